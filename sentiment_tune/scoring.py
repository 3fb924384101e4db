"""Text in, probability out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from sentiment_tune.batches import in_order
from sentiment_tune.text import Reading, Vocabulary
from sentiment_tune.training import predict

LABELS = ("negative", "positive")


@dataclass(frozen=True)
class Encoded:
    """Texts as ids: what `batches` asks of reviews."""

    reviews: Sequence[NDArray[np.int64]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.array([len(review) for review in self.reviews], dtype=np.int64)

    def __getitem__(self, row: int, /) -> NDArray[np.int64]:
        return self.reviews[row]


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
