"""How a network is trained: every setting with its bounds and what it does."""

import math
from dataclasses import dataclass, replace
from typing import Annotated, Self

from sentiment_tune.evaluation.metrics import METRICS
from sentiment_tune.space import Doc, Fixed, Range, Text
from sentiment_tune.training.balance import AUTO, BALANCED, NO_WEIGHTS, is_threshold, is_weighting

SHOWN, FEWEST, MOST = 75_000, 3, 100  # reviews that are enough, counted as often as they are shown; and epochs


@dataclass(frozen=True)
class TrainConfig:
    """How a network is trained."""

    epochs: Annotated[
        int, Range(0, 10_000), Doc(f"epochs at most; 0: as many as show {SHOWN:,} reviews, {FEWEST} to {MOST}")
    ] = 0
    patience: Annotated[int, Range(1, 10_000), Doc("epochs without progress after which training ends")] = 3
    batch: Annotated[int, Range(1, 65_536), Doc("reviews a step")] = 64
    learning_rate: Annotated[float, Range(1e-8, 1e12, search=(5e-4, 1e-2), log=True), Doc("size of a step")] = 2e-3
    warmup: Annotated[
        float, Range(0.0, 10_000.0), Doc("epochs over which the learning rate rises to its full size")
    ] = 0.5
    schedule: Annotated[str, Fixed("constant", "linear", "cosine"), Doc("of the learning rate, over all epochs")] = (
        "linear"
    )
    weight_decay: Annotated[
        float, Range(0.0, 10.0), Doc("share of the weights that a step takes away, times the learning rate")
    ] = 0.01
    clip: Annotated[float, Range(1e-6, 1e6), Doc("largest norm of a gradient")] = 1.0
    word_dropout: Annotated[float, Range(0.0, 0.99), Doc("share of a review's words read as unknown ones")] = 0.0
    adversarial: Annotated[
        float, Range(0.0, 10.0), Doc("size of the worst change to the words' vectors that is trained against as well")
    ] = 0.0
    averaging: Annotated[
        float, Range(0.0, 0.99999), Doc("share of the weights' running mean that a step keeps; 0 is no mean")
    ] = 0.0
    refit: Annotated[bool, Fixed(False, True), Doc("train once more, on train and validation, before the test")] = False
    precision: Annotated[str, Fixed("float32", "bfloat16"), Doc("of matrix products; bfloat16 is for a GPU")] = (
        "float32"
    )

    metric: Annotated[
        str, Fixed(*METRICS), Doc("of the validation reviews, by which epochs, trials and champions are judged")
    ] = "accuracy"
    class_weights: Annotated[
        str,
        Text("none, balanced, or weights such as negative=5", is_weighting, NO_WEIGHTS, BALANCED),
        Doc("how much a review of each class counts in training"),
    ] = NO_WEIGHTS
    threshold: Annotated[
        str,
        Text("a number from 0 to 1, or auto", is_threshold, "0.5", AUTO),
        Doc(
            "probability above which a review is of the second of two classes; auto finds the best on validation, by "
            "any metric but roc_auc and log_loss"
        ),
    ] = "0.5"

    def for_reviews(self, count: int) -> Self:
        """The same, with the number of epochs that suits so many reviews to train on, unless one was given.

        A large corpus needs few epochs, if the learning rate falls over them; a small one many, for its few steps.
        """
        return self if self.epochs else replace(self, epochs=min(max(round(SHOWN / count), FEWEST), MOST))

    def rate_at(self, passed: float) -> float:
        """Learning rate after so many epochs, and parts of one; of how many must be known, as of `for_reviews`."""
        progress = passed / self.epochs
        falling = {"constant": 1.0, "linear": 1 - progress, "cosine": (1 + math.cos(math.pi * progress)) / 2}
        rising = min(1.0, passed / self.warmup) if self.warmup else 1.0
        return self.learning_rate * rising * falling[self.schedule]
