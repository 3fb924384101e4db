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
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sentiment_tune.data.batches import Batches, evaluation_batches, make_batches, shuffle_by_length, to_device
from sentiment_tune.data.corpus import Reviews
from sentiment_tune.data.text import TextConfig
from sentiment_tune.errors import DivergenceError
from sentiment_tune.evaluation.metrics import ACCURACY, check_finite, loss_and_accuracy, score_of
from sentiment_tune.events import Event, Listener, Message, ignore
from sentiment_tune.inference.predict import device_of, predict
from sentiment_tune.inference.threads import Threads, choice_of
from sentiment_tune.signals import end_if_asked
from sentiment_tune.training.balance import class_weights, threshold_by
from sentiment_tune.training.checkpoint import Checkpoints
from sentiment_tune.training.config import TrainConfig
from sentiment_tune.training.step import TrainStep

ASKED_TOGETHER = 64  # steps whose losses a GPU is asked for at once: it would have to be waited for after each


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
    val_score: float | None = None  # of the metric that judges, more is better; None where that is accuracy

    @property
    def figures(self) -> dict[str, float]:
        """What was measured, by name; without a score of its own where accuracy judges."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @property
    def score(self) -> float:
        """By which it is judged, more is better."""
        return self.val_accuracy if self.val_score is None else self.val_score

    @property
    def quality(self) -> tuple[float, float]:
        """More is better: the score, and of equal ones the smaller loss."""
        return self.score, -self.val_loss


def fit(
    network: nn.Module,
    train: Reviews,
    validation: Reviews,
    config: TrainConfig,
    text: TextConfig,
    seed: int,
    listener: Listener = ignore,
    checkpoints: Checkpoints | None = None,
    best: "BestWeights | None" = None,
    threads: int = 0,
) -> Generator[EpochRecord, None, None]:
    """Train `network` in place, on the device it is on, and yield each epoch's record when the epoch ends.

    The validation reviews are only measured; the listener hears of each step. Raises DivergenceError at the first step
    whose loss is not finite, on a GPU up to 64 steps after it, and after the first epoch whose answers to the
    validation reviews are not.

    With checkpoints it goes on from the last one and ends as if it had never been cut off; the `best` weights are kept
    with its own. The epochs that are behind it then are yielded again, as they were.

    Of the CPU it uses as many `threads` as torch is set to; if that is 0, as many of them as are fastest at the moment.
    """
    device, config = device_of(network), config.for_reviews(len(train))
    weights = class_weights(config.class_weights, train)
    train_step = TrainStep(network, config, None if weights is None else torch.from_numpy(weights).to(device))
    batches = make_batches(train, text, config.batch, device=device)
    validation_batches = evaluation_batches(validation, text, device)
    progress = Progress(train_step, best or BestWeights(), checkpoints, choice_of(network, threads))
    with closing(checkpoints) if checkpoints else nullcontext(), closing(progress.threads):
        for record in progress.resume():
            yield from _shown(record, train_step)
        while (number := progress.epoch) <= config.epochs:
            progress.start_clock()
            batches = batches.reordered(shuffle_by_length(np.random.default_rng([seed, number])), config.batch)
            with seeded(seed, number, device=device), train_step.place():
                loss, accuracy = train_epoch(progress, batches, train, config, listener)
            train_step.swap_average()
            measured = _measure(network, validation_batches, validation, config, number)
            train_step.swap_average()
            val_loss, val_accuracy, val_score = measured
            record = EpochRecord(number, loss, accuracy, val_loss, val_accuracy, progress.seconds, val_score)
            progress.end_epoch(record)
            yield from _shown(record, train_step)


def _shown(record: EpochRecord, train_step: TrainStep) -> Iterator[EpochRecord]:
    """An epoch's record, while the network has the weights that were measured."""
    train_step.swap_average()
    yield record
    train_step.swap_average()  # not when nobody asks for another epoch: the weights are the caller's then


def _measure(
    network: nn.Module, batches: Batches, reviews: Reviews, config: TrainConfig, epoch: int
) -> tuple[float, float, float | None]:
    """Loss, accuracy and score of the validation reviews; the last is None where accuracy judges."""
    logits = predict(network, batches)
    check_finite(logits, f"validation reviews in epoch {epoch}, at learning rate {config.rate_at(epoch):g},")
    threshold = threshold_by(config.threshold, config.metric, logits, reviews)
    loss, accuracy = loss_and_accuracy(logits, reviews.labels, threshold)
    if config.metric == ACCURACY:
        return loss, accuracy, None
    return loss, accuracy, score_of(config.metric, logits, reviews.labels, reviews.classes, threshold)


def train_epoch(
    progress: "Progress", batches: Batches, reviews: Reviews, config: TrainConfig, listener: Listener
) -> tuple[float, float]:
    """One step a batch, from where the progress is; mean loss and accuracy on the way, over reviews."""
    train_step, epoch = progress.train_step, progress.epoch
    train_step.network.train()
    device = device_of(train_step.network)
    kind = np.float32 if reviews.classes.are_two else np.int64  # of a target: see `mean_loss`
    progress.resume_random_numbers(device)
    for step, batch in enumerate(batches.after(progress.sums.steps), progress.sums.steps + 1):
        end_if_asked()
        targets = to_device(reviews.labels[batch.rows].astype(kind), device)
        learning_rate = config.rate_at(epoch - 1 + (step - 0.5) / len(batches))
        with progress.threads.step(batch.ids.numel()):
            loss, correct = train_step(batch.ids, targets, learning_rate)
        progress.end_step(StepOutcome(loss, correct, len(targets), learning_rate), device)
        listener(StepEnd(epoch, step, len(batches)))
    sums = progress.summed_up()
    return sums.loss / sums.reviews, sums.correct / sums.reviews


def early_stopping(epochs: Iterable[EpochRecord], patience: int) -> Iterator[EpochRecord]:
    """The epochs, until neither the validation's score nor its loss has been better than ever for `patience` of them.

    Either counts, because accuracy stands still at first where the loss already falls, and the other way round later.
    """
    score, loss, progress = -math.inf, math.inf, 0
    for epoch in epochs:
        yield epoch
        if epoch.score > score or epoch.val_loss < loss:
            progress = epoch.epoch
        score, loss = max(score, epoch.score), min(loss, epoch.val_loss)
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

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """The weights by name; empty before the first epoch."""
        return self._weights

    def take_over(self, epoch: EpochRecord, weights: Mapping[str, Tensor]) -> None:
        """Begin with what an earlier process has found."""
        self.epoch, self._weights = epoch, dict(weights)

    def restore(self, network: nn.Module) -> EpochRecord:
        """Put the best weights back; ValueError if no epoch was seen."""
        if self.epoch is None:
            raise ValueError("no epoch has been seen, so there are no best weights")
        network.load_state_dict(self._weights)
        return self.epoch


class StepOutcome(NamedTuple):
    """What a step came to, perhaps on a GPU that has still to compute it."""

    loss: Tensor  # []
    correct: Tensor  # [], of the reviews
    reviews: int
    learning_rate: float


@dataclass
class Sums:
    """Over the steps of an epoch that are done."""

    steps: int = 0
    loss: float = 0.0
    correct: int = 0
    reviews: int = 0

    def add(self, outcomes: Sequence[StepOutcome], epoch: int) -> None:
        """Add what steps came to, waiting for it; DivergenceError at the first whose loss is not finite."""
        losses = torch.stack([outcome.loss for outcome in outcomes]).tolist()
        correct = torch.stack([outcome.correct for outcome in outcomes]).tolist()
        for outcome, loss, right in zip(outcomes, losses, correct, strict=True):
            self.steps += 1
            if not math.isfinite(loss):
                raise DivergenceError(
                    f"the loss became {loss} in epoch {epoch}, step {self.steps}, at learning rate "
                    f"{outcome.learning_rate:g}; try a smaller learning_rate"
                )
            self.loss += loss * outcome.reviews
            self.correct += right
            self.reviews += outcome.reviews


class Progress:
    """How far a training is: all that the rest of it depends on, at any moment between two steps."""

    def __init__(self, train_step: TrainStep, best: BestWeights, checkpoints: Checkpoints | None, threads: Threads):
        self.train_step, self.threads = train_step, threads
        self.records: list[EpochRecord] = []  # of the epochs that have ended
        self.sums = Sums()  # of the epoch under way
        self._outcomes: list[StepOutcome] = []  # of its latest steps, which have still to be added
        self._together = 1 if train_step.waits else ASKED_TOGETHER
        self._best, self._checkpoints = best, checkpoints
        self._random: Mapping[str, Tensor] = {}  # where the generators go on, within an epoch that was cut off
        self._earlier_seconds = 0.0  # of that epoch
        self._started = time.perf_counter()

    @property
    def epoch(self) -> int:
        """The number of the epoch under way."""
        return len(self.records) + 1

    @property
    def seconds(self) -> float:
        """Wall time of the epoch so far."""
        return self._earlier_seconds + time.perf_counter() - self._started

    def start_clock(self) -> None:
        """Count the epoch's seconds from now on."""
        self._started = time.perf_counter()

    def end_step(self, outcome: StepOutcome, device: torch.device) -> None:
        """Take what a step came to, and keep where it has led, if it is time to."""
        self._outcomes.append(outcome)
        is_due = self._checkpoints and self._checkpoints.is_due()
        if is_due or len(self._outcomes) >= self._together:
            self.summed_up()
        if self._checkpoints and is_due:
            self._save(self._checkpoints, random_states(device))

    def summed_up(self) -> Sums:
        """The sums over all steps of the epoch so far; DivergenceError at the first whose loss is not finite."""
        if self._outcomes:
            self.sums.add(self._outcomes, self.epoch)
            self._outcomes = []
        return self.sums

    def end_epoch(self, record: EpochRecord) -> None:
        """Begin the next epoch, and keep where this one has led."""
        self.records.append(record)
        self.sums, self._random, self._earlier_seconds = Sums(), {}, 0.0
        self.start_clock()
        if self._checkpoints:
            self._save(self._checkpoints, {})

    def _save(self, checkpoints: Checkpoints, random: Mapping[str, Tensor]) -> None:
        parts = {"best": self._best.weights, "random": random}
        tensors = {f"{part}.{name}": tensor for part, named in parts.items() for name, tensor in named.items()}
        facts = {
            "records": [asdict(record) for record in self.records],
            "best": self._best.epoch.epoch if self._best.epoch else None,
            "sums": asdict(self.sums),
            "seconds": self.seconds,
        }
        checkpoints.save(len(self.records), self.sums.steps, {**self.train_step.tensors, **tensors}, facts)

    def resume(self) -> list[EpochRecord]:
        """Go on where the last checkpoint was made, if there is one; the epochs behind it."""
        checkpoint = self._checkpoints and self._checkpoints.latest()
        if not self._checkpoints or not checkpoint:
            return []
        tensors, facts = checkpoint.tensors, checkpoint.facts
        self.train_step.restore(tensors)
        self.records = [EpochRecord(**record) for record in facts["records"]]
        self.sums, self._earlier_seconds = Sums(**facts["sums"]), facts["seconds"]
        self._random = _part(tensors, "random")
        if facts["best"]:
            self._best.take_over(self.records[facts["best"] - 1], _part(tensors, "best"))
        where = f"step {self.sums.steps} of epoch {self.epoch}" if self.sums.steps else f"epoch {len(self.records)}"
        self._checkpoints.listener(Message(f"goes on after {where}"))
        return list(self.records)

    def resume_random_numbers(self, device: torch.device) -> None:
        """Let the generators go on where the epoch was cut off, if it was."""
        if self._random:
            torch.set_rng_state(self._random["cpu"])
        if "cuda" in self._random and device.type == "cuda":
            torch.cuda.set_rng_state(self._random["cuda"], device)


def _part(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    prefix = f"{part}."
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def random_states(device: torch.device) -> dict[str, Tensor]:
    """The states of the generators that a training on the device draws from, by kind of device."""
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


@contextmanager
def seeded(*seed: int, device: torch.device | None = None) -> Iterator[None]:
    """A block whose random numbers come from `seed` alone; those of the rest of the program go on untouched.

    Of GPUs only `device` is looked at: the others may be in the hands of others.
    """
    with torch.random.fork_rng([device] if device and device.type == "cuda" else []):
        torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        yield
