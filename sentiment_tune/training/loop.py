"""Training as a generator of epochs: whoever iterates decides what happens between them.

    best = BestWeights()
    for epoch in early_stopping(fit(network, train, validation, config, text, seed), config.patience):
        best.update(epoch, network)
    best.restore(network)

Everything random in an epoch comes from the seed and the epoch's number, so an epoch can be repeated by itself.
"""

import copy
import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sentiment_tune.data.batches import Batches, evaluation_batches, make_batches, shuffle_by_length
from sentiment_tune.data.corpus import Reviews
from sentiment_tune.data.text import TextConfig
from sentiment_tune.evaluation.metrics import loss_and_accuracy
from sentiment_tune.events import Event, Listener, ignore
from sentiment_tune.inference.predict import device_of, predict
from sentiment_tune.signals import end_if_asked
from sentiment_tune.training.config import TrainConfig
from sentiment_tune.training.step import TrainStep


@dataclass(frozen=True)
class StepEnd(Event):
    """A training step is done; both counts from 1."""

    epoch: int
    step: int
    steps: int  # of the epoch


@dataclass(frozen=True)
class EpochRecord(Event):
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


def fit(
    network: nn.Module,
    train: Reviews,
    validation: Reviews,
    config: TrainConfig,
    text: TextConfig,
    seed: int,
    listener: Listener = ignore,
) -> Iterator[EpochRecord]:
    """Train `network` in place, on the device it is on, and yield each epoch's record when the epoch ends.

    The validation reviews are only measured; the listener hears of each step. Raises DivergenceError at the first step
    whose loss is not finite.
    """
    train_step, device = TrainStep(network, config), device_of(network)
    batches = make_batches(train, text, config.batch, device=device)
    validation_batches = evaluation_batches(validation, text, device)
    for number in range(1, config.epochs + 1):
        started = time.perf_counter()
        batches = batches.reordered(shuffle_by_length(np.random.default_rng([seed, number])), config.batch)
        with seeded(seed, number, device=device):
            loss, accuracy = train_epoch(train_step, batches, train.labels, config, number, listener)
        train_step.swap_average()
        val_loss, val_accuracy = loss_and_accuracy(predict(network, validation_batches), validation.labels)
        yield EpochRecord(number, loss, accuracy, val_loss, val_accuracy, time.perf_counter() - started)
        train_step.swap_average()  # not when nobody asks for another epoch: the weights are the caller's then


def train_epoch(
    train_step: TrainStep,
    batches: Batches,
    labels: NDArray[np.uint8],
    config: TrainConfig,
    epoch: int,
    listener: Listener,
) -> tuple[float, float]:
    """One step a batch; mean loss and accuracy on the way, over reviews."""
    train_step.network.train()
    device = device_of(train_step.network)
    loss_sum, correct, reviews = 0.0, 0, 0
    for step, batch in enumerate(batches, 1):
        end_if_asked()
        targets = torch.from_numpy(labels[batch.rows].astype(np.float32)).to(device)
        learning_rate = config.rate_at(epoch - 1 + (step - 0.5) / len(batches))
        loss, logits = train_step(batch.ids, targets, learning_rate)
        if not math.isfinite(loss):
            raise DivergenceError(
                f"the loss became {loss} in epoch {epoch}, step {step}, at learning rate {learning_rate:g}; "
                "try a smaller learning_rate"
            )
        loss_sum += loss * len(targets)
        correct += int(((logits > 0) == (targets > 0.5)).sum())
        reviews += len(targets)
        listener(StepEnd(epoch, step, len(batches)))
    return loss_sum / reviews, correct / reviews


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
