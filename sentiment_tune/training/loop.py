"""Training as a generator of epochs: whoever iterates decides what happens between them.

    best = Best()
    for epoch in until_stale(fit(network, train, validation, recipe, reading, seed), recipe.patience):
        best.see(epoch, network)
    best.restore(network)

Everything random in an epoch comes from the seed and the epoch's number, so an epoch can be repeated by itself.
"""

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sentiment_tune.data.batches import Batch, Encoded, evaluation_batches, make_batches, shuffle_by_length
from sentiment_tune.data.text import TextConfig
from sentiment_tune.evaluation.metrics import loss_and_accuracy
from sentiment_tune.inference.predict import device_of, predict
from sentiment_tune.training.config import TrainConfig
from sentiment_tune.training.step import TrainStep


@dataclass(frozen=True)
class EpochRecord:
    """What one pass over the training reviews led to: accuracies are fractions, losses nats a review."""

    epoch: int  # from 1
    train_loss: float  # while training, with dropout
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float  # wall time, validation included

    @property
    def quality(self) -> tuple[float, float]:
        """More is better: validation accuracy, and of equal ones the smaller loss."""
        return self.val_accuracy, -self.val_loss


class DivergenceError(ArithmeticError):
    """The loss is no longer a finite number; the message says where, at which learning rate, and the way out."""


class LabelledReviews(Encoded, Protocol):
    """Reviews with their labels [review], 0 or 1."""

    @property
    def labels(self) -> NDArray[np.uint8]: ...


Watch = Callable[[Iterable[Batch], int], Iterable[Batch]]  # an epoch's batches and its number in, the batches out


def unwatched(passing: Iterable[Batch], epoch: int) -> Iterable[Batch]:
    return passing


def fit(
    network: nn.Module,
    train: LabelledReviews,
    validation: LabelledReviews,
    recipe: TrainConfig,
    reading: TextConfig,
    seed: int,
    watch: Watch = unwatched,
) -> Iterator[EpochRecord]:
    """Train `network` in place, on the device it is on, and yield each epoch's record when the epoch ends.

    The validation reviews are only measured. Raises DivergenceError at the first step whose loss is not finite.
    """
    descent, device = (
        TrainStep(network, recipe),
        device_of(network),
    )
    passing, held = (
        make_batches(train, reading, recipe.batch, device=device),
        evaluation_batches(validation, reading, device),
    )
    for number in range(1, recipe.epochs + 1):
        started = time.perf_counter()
        passing = passing.reordered(shuffle_by_length(np.random.default_rng([seed, number])), recipe.batch)
        rates = [recipe.rate_at(number - 1 + (step + 0.5) / len(passing)) for step in range(len(passing))]
        with seeded(seed, number, device=device):
            loss, accuracy = _pass(descent, watch(passing, number), train.labels, rates, number)
        descent.mean.swap_in()
        val_loss, val_accuracy = loss_and_accuracy(predict(network, held), validation.labels)
        yield EpochRecord(number, loss, accuracy, val_loss, val_accuracy, time.perf_counter() - started)
        descent.mean.swap_out()


def _pass(
    descent: TrainStep, passing: Iterable[Batch], labels: NDArray[np.uint8], rates: list[float], epoch: int
) -> tuple[float, float]:
    """One step a batch, each at its rate; mean loss and accuracy on the way."""
    descent.network.train()
    device = device_of(descent.network)
    loss, right, reviews = 0.0, 0, 0
    for step, (batch, rate) in enumerate(zip(passing, rates, strict=True), 1):
        wanted = torch.from_numpy(labels[batch.rows].astype(np.float32)).to(device)
        batch_loss, logits = descent.step(batch.ids, wanted, rate)
        if not math.isfinite(batch_loss):
            raise DivergenceError(
                f"the loss became {batch_loss} in epoch {epoch}, step {step}, at learning rate {rate:g}; "
                "try a smaller learning_rate"
            )
        loss += batch_loss * len(wanted)
        right += int(((logits > 0) == (wanted > 0.5)).sum())
        reviews += len(wanted)
    return loss / reviews, right / reviews


def early_stopping(epochs: Iterable[EpochRecord], patience: int) -> Iterator[EpochRecord]:
    """The epochs, until neither validation accuracy nor loss has been better than ever for `patience` of them.

    Either counts, because accuracy stands still at first where the loss already falls, and the other way round later.
    """
    accuracy, loss, progress = -math.inf, math.inf, 0
    for epoch in epochs:
        yield epoch
        if epoch.val_accuracy > accuracy or epoch.val_loss < loss:
            progress = epoch.epoch
        accuracy, loss = max(accuracy, epoch.val_accuracy), min(loss, epoch.val_loss)
        if epoch.epoch - progress >= patience:
            return


class BestWeights:
    """The best epoch seen, with the weights it left."""

    def __init__(self) -> None:
        self.epoch: EpochRecord | None = None
        self._weights: dict[str, Tensor] = {}

    def update(self, epoch: EpochRecord, network: nn.Module) -> None:
        if self.epoch is None or epoch.quality > self.epoch.quality:
            self.epoch = epoch
            self._weights = copy.deepcopy(network.state_dict())

    def restore(self, network: nn.Module) -> EpochRecord:
        """Put the best weights back; ValueError if no epoch was seen."""
        if self.epoch is None:
            raise ValueError("no epoch has been seen, so there are no best weights")
        network.load_state_dict(self._weights)
        return self.epoch


@contextmanager
def seeded(*seed: int, device: torch.device | None = None) -> Iterator[None]:
    """A block whose random numbers come from `seed` alone; those of the rest of the program go on untouched.

    Of GPUs only `device` is looked at: the others may be in the hands of others.
    """
    with torch.random.fork_rng([device] if device and device.type == "cuda" else []):
        torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        yield
