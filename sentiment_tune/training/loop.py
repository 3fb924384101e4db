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
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from sentiment_tune.data.batches import Batch, Batches, Encoded, batches, in_order, shuffled
from sentiment_tune.data.text import PADDING, UNKNOWN, Reading
from sentiment_tune.space import Fixed, Range


@dataclass(frozen=True)
class Recipe:
    """How a network is trained."""

    epochs: Annotated[int, Range(1, 10_000)] = 30  # at most
    patience: Annotated[int, Range(1, 10_000)] = 3  # epochs without progress after which training ends
    batch: Annotated[int, Range(1, 65_536)] = 64  # reviews a step
    learning_rate: Annotated[float, Range(1e-8, 1e12, search=(5e-4, 1e-2), log=True)] = 2e-3
    warmup: Annotated[float, Range(0.0, 10_000.0)] = 0.5  # epochs over which the rate rises to its full size
    schedule: Annotated[str, Fixed("constant", "linear", "cosine")] = "constant"  # of the rate, over all epochs
    weight_decay: Annotated[float, Range(0.0, 10.0)] = 0.01
    clip: Annotated[float, Range(1e-6, 1e6)] = 1.0  # largest norm of a step's gradient
    word_dropout: Annotated[float, Range(0.0, 0.99)] = 0.0  # share of a review's words read as unknown ones
    adversarial: Annotated[float, Range(0.0, 10.0)] = 0.0  # size of the change that `worse` makes; 0 makes none
    averaging: Annotated[float, Range(0.0, 0.99999)] = 0.0  # what a step leaves of the weights' running mean
    refit: Annotated[bool, Fixed(False, True)] = False  # train once more, on train and validation, before the test
    precision: Annotated[str, Fixed("float32", "bfloat16")] = "float32"  # bfloat16: of matrix products, for a GPU

    def rate(self, passed: float) -> float:
        """Learning rate after so many epochs, and parts of one."""
        progress = passed / self.epochs
        falling = {"constant": 1.0, "linear": 1 - progress, "cosine": (1 + math.cos(math.pi * progress)) / 2}
        rising = min(1.0, passed / self.warmup) if self.warmup else 1.0
        return self.learning_rate * rising * falling[self.schedule]


@dataclass(frozen=True)
class Epoch:
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


class Diverged(ArithmeticError):
    """The loss is no longer a finite number; the message says where, at which learning rate, and the way out."""


class Labelled(Encoded, Protocol):
    """Reviews with their labels [review], 0 or 1."""

    @property
    def labels(self) -> NDArray[np.uint8]: ...


Watch = Callable[[Iterable[Batch], int], Iterable[Batch]]  # an epoch's batches and its number in, the batches out


def unwatched(passing: Iterable[Batch], epoch: int) -> Iterable[Batch]:
    return passing


def fit(
    network: nn.Module,
    train: Labelled,
    validation: Labelled,
    recipe: Recipe,
    reading: Reading,
    seed: int,
    watch: Watch = unwatched,
) -> Iterator[Epoch]:
    """Train `network` in place, on the device it is on, and yield each epoch's record when the epoch ends.

    The validation reviews are only measured. Raises Diverged at the first step whose loss is not finite.
    """
    descent, device = _Descent(network, recipe), device_of(network)
    passing, held = batches(train, reading, recipe.batch, device=device), in_order(validation, reading, device)
    for number in range(1, recipe.epochs + 1):
        started = time.perf_counter()
        passing = passing.ordered(shuffled(np.random.default_rng([seed, number])), recipe.batch)
        rates = [recipe.rate(number - 1 + (step + 0.5) / len(passing)) for step in range(len(passing))]
        with seeded(seed, number, device=device):
            loss, accuracy = _pass(descent, watch(passing, number), train.labels, rates, number)
        descent.mean.show()
        val_loss, val_accuracy = measure(predict(network, held), validation.labels)
        yield Epoch(number, loss, accuracy, val_loss, val_accuracy, time.perf_counter() - started)
        descent.mean.hide()


def _pass(
    descent: "_Descent", passing: Iterable[Batch], labels: NDArray[np.uint8], rates: list[float], epoch: int
) -> tuple[float, float]:
    """One step a batch, each at its rate; mean loss and accuracy on the way."""
    descent.network.train()
    device = device_of(descent.network)
    loss, right, reviews = 0.0, 0, 0
    for step, (batch, rate) in enumerate(zip(passing, rates, strict=True), 1):
        wanted = torch.from_numpy(labels[batch.rows].astype(np.float32)).to(device)
        batch_loss, logits = descent.step(batch.ids, wanted, rate)
        if not math.isfinite(batch_loss):
            raise Diverged(
                f"the loss became {batch_loss} in epoch {epoch}, step {step}, at learning rate {rate:g}; "
                "try a smaller learning_rate"
            )
        loss += batch_loss * len(wanted)
        right += int(((logits > 0) == (wanted > 0.5)).sum())
        reviews += len(wanted)
    return loss / reviews, right / reviews


class _Descent:
    """Steps down the loss, with what one leaves to the next."""

    def __init__(self, network: nn.Module, recipe: Recipe):
        self.network = network
        self.mean = RunningMean(network, recipe.averaging)
        self._recipe = recipe
        self._weights = list(network.parameters())
        self._optimizer = torch.optim.AdamW(self._weights, weight_decay=recipe.weight_decay, fused=True)

    def step(self, ids: Tensor, wanted: Tensor, rate: float) -> tuple[float, Tensor]:
        """One step; the loss and the logits before it. A loss that is not finite changes no weight."""
        ids = some_unknown(ids, self._recipe.word_dropout)
        self._optimizer.zero_grad()
        logits = self._logits(ids)
        loss = _added_gradient(logits, wanted)
        if math.isfinite(loss):
            if self._recipe.adversarial:
                with worse(self.network, self._recipe.adversarial):
                    _added_gradient(self._logits(ids), wanted)
            _clip(self._weights, self._recipe.clip)
            self._optimizer.param_groups[0]["lr"] = rate
            self._optimizer.step()
            self.mean.see()
        return loss, logits

    def _logits(self, ids: Tensor) -> Tensor:
        """The network's, from automatic mixed precision where the recipe says so; bfloat16 needs no loss scaling."""
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=self._recipe.precision == "bfloat16"):
            logits: Tensor = self.network(ids)
        return logits.float()


def some_unknown(ids: Tensor, share: float) -> Tensor:
    """ids [batch, word] where each word is with probability `share` the unknown one; padding stays."""
    if not share:
        return ids
    chosen = torch.rand(ids.shape, device=ids.device) < share
    return ids.masked_fill(chosen & (ids != PADDING), UNKNOWN)


def _added_gradient(logits: Tensor, wanted: Tensor) -> float:
    """The loss, whose gradient is added to that of the weights if it is finite."""
    loss = binary_cross_entropy_with_logits(logits, wanted)
    value = loss.item()
    if math.isfinite(value):
        loss.backward()  # type: ignore[no-untyped-call]
    return value


@contextmanager
def worse(network: nn.Module, size: float) -> Iterator[None]:
    """A block in which the words' vectors are changed in the direction in which the loss grows, as their gradient says.

    The vectors of a batch change together, by `size` times their norm: adversarial training as in Miyato et al. (2017),
    who change each occurrence of a word by itself.
    """
    changes = []
    for vectors in lookup_tables(network):
        gradient = vectors.grad
        if gradient is not None and gradient.any():
            present = vectors.detach()[gradient.any(1)]
            changes.append((vectors, gradient * (size * present.norm() / gradient.norm())))
    with torch.no_grad():
        for vectors, change in changes:
            vectors.add_(change)
    yield
    with torch.no_grad():
        for vectors, change in changes:
            vectors.sub_(change)


def lookup_tables(network: nn.Module) -> list[Tensor]:
    """The tables [word, feature] in which a network looks up its words."""
    return [module.weight for module in network.modules() if isinstance(module, nn.Embedding | nn.EmbeddingBag)]


class RunningMean:
    """A network's weights averaged over the steps: each leaves `kept` of the mean, less at first; 0 is no mean."""

    def __init__(self, network: nn.Module, kept: float):
        self._kept = kept
        self._weights = list(network.parameters()) if kept else []
        self._means = [weight.detach().clone() for weight in self._weights]
        self._steps = 0

    @torch.no_grad()
    def see(self) -> None:
        self._steps += 1
        for mean, weight in zip(self._means, self._weights, strict=True):
            mean.lerp_(weight, max(1 - self._kept, 10 / (10 + self._steps)))

    def show(self) -> None:
        """Give the network the mean, to be measured and copied."""
        self._exchange()

    def hide(self) -> None:
        """Give the network back the weights that the next step is to change."""
        self._exchange()

    def _exchange(self) -> None:
        for place, weight in enumerate(self._weights):
            weight.data, self._means[place] = self._means[place], weight.data


def _clip(weights: Sequence[Tensor], largest: float) -> None:
    """What clip_grad_norm_ does, but gradients that are short enough are not even multiplied by one."""
    norm = nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])
    if norm > largest:
        nn.utils.clip_grads_with_norm_(weights, largest, norm)


def until_stale(epochs: Iterable[Epoch], patience: int) -> Iterator[Epoch]:
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


class Best:
    """The best epoch seen, with the weights it left."""

    def __init__(self) -> None:
        self.epoch: Epoch | None = None
        self._weights: dict[str, Tensor] = {}

    def see(self, epoch: Epoch, network: nn.Module) -> None:
        if self.epoch is None or epoch.quality > self.epoch.quality:
            self.epoch = epoch
            self._weights = copy.deepcopy(network.state_dict())

    def restore(self, network: nn.Module) -> Epoch:
        """Put the best weights back; ValueError if no epoch was seen."""
        if self.epoch is None:
            raise ValueError("no epoch has been seen, so there are no best weights")
        network.load_state_dict(self._weights)
        return self.epoch


@torch.inference_mode()
def predict(network: nn.Module, passing: Batches) -> NDArray[np.float64]:
    """Logits [review] of the network as it scores, without dropout, in the order of the reviews."""
    network.eval()
    device = device_of(network)
    logits = np.empty(sum(map(len, passing.rows)))
    for batch in passing:
        logits[batch.rows] = network(batch.ids.to(device)).cpu().double().numpy()
    return logits


def measure(logits: NDArray[np.float64], labels: NDArray[np.uint8]) -> tuple[float, float]:
    """Mean loss in nats and accuracy, a fraction."""
    loss = np.logaddexp(0, np.where(labels == 1, -logits, logits)).mean()
    return float(loss), float(((logits > 0) == (labels == 1)).mean())


def device_of(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


@contextmanager
def seeded(*seed: int, device: torch.device | None = None) -> Iterator[None]:
    """A block whose random numbers come from `seed` alone; those of the rest of the program go on untouched.

    Of GPUs only `device` is looked at: the others may be in the hands of others.
    """
    with torch.random.fork_rng([device] if device and device.type == "cuda" else []):
        torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        yield
