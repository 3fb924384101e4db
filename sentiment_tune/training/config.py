"""How a network is trained: every setting with its bounds and what it does."""

import math
from dataclasses import dataclass
from typing import Annotated

from sentiment_tune.space import Fixed, Range


@dataclass(frozen=True)
class TrainConfig:
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

    def rate_at(self, passed: float) -> float:
        """Learning rate after so many epochs, and parts of one."""
        progress = passed / self.epochs
        falling = {"constant": 1.0, "linear": 1 - progress, "cosine": (1 + math.cos(math.pi * progress)) / 2}
        rising = min(1.0, passed / self.warmup) if self.warmup else 1.0
        return self.learning_rate * rising * falling[self.schedule]
