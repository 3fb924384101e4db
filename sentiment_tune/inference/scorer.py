"""Text in, probability out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import nn

from sentiment_tune.data.batches import evaluation_batches
from sentiment_tune.data.text import PADDING, TextConfig, Vocabulary
from sentiment_tune.inference.predict import predict

LABELS = ("negative", "positive")


@dataclass(frozen=True)
class EncodedTexts:
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
    reading: TextConfig

    def predict_proba(self, texts: Iterable[str]) -> NDArray[np.float64]:
        """Probability [text] that a text is positive; a text's own, whatever else is scored with it."""
        encoded = EncodedTexts([np.array(self.vocabulary.encode(text), dtype=np.int64) for text in texts])
        return sigmoid(predict(self.network, evaluation_batches(encoded, self.reading)))


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """The logistic function, without overflow on either side."""
    return np.exp(-np.logaddexp(0, -logits))


def label_for(probability: float) -> str:
    return LABELS[int(probability > 0.5)]
