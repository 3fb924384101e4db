"""Text in, probability out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import nn

from sentiment_tune.data.batches import in_order
from sentiment_tune.data.text import PADDING, Reading, Vocabulary
from sentiment_tune.training.loop import predict

LABELS = ("negative", "positive")


@dataclass(frozen=True)
class Encoded:
    """Texts as ids: what `batches` asks of reviews."""

    reviews: Sequence[NDArray[np.int64]]

    @cached_property
    def ids(self) -> NDArray[np.int64]:
        return np.concatenate([*self.reviews, [PADDING]], dtype=np.int64)  # never empty

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        return np.cumsum(self.lengths) - self.lengths

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        return np.array([len(review) for review in self.reviews], dtype=np.int64)


@dataclass(frozen=True)
class Scorer:
    """A trained network together with the words and the reading it was trained with."""

    network: nn.Module
    vocabulary: Vocabulary
    reading: Reading

    def probabilities(self, texts: Iterable[str]) -> NDArray[np.float64]:
        """Probability [text] that a text is positive; a text's own, whatever else is scored with it."""
        encoded = Encoded([np.array(self.vocabulary.encode(text), dtype=np.int64) for text in texts])
        return probability(predict(self.network, in_order(encoded, self.reading)))


def probability(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """The logistic function, without overflow on either side."""
    return np.exp(-np.logaddexp(0, -logits))


def label(probability: float) -> str:
    return LABELS[int(probability > 0.5)]
