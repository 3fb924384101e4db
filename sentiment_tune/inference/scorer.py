"""Text in, probability out."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from torch import nn

from sentiment_tune.data.batches import evaluation_batches
from sentiment_tune.data.corpus import encode_texts
from sentiment_tune.data.labels import CLASS_NAMES, is_positive
from sentiment_tune.data.text import Tally, TextConfig, Vocabulary
from sentiment_tune.errors import InputError
from sentiment_tune.inference.predict import predict


@dataclass(frozen=True)
class Scorer:
    """A trained network with the vocabulary and the text settings that it was trained with."""

    network: nn.Module
    vocabulary: Vocabulary
    text_config: TextConfig

    def predict_proba(self, texts: Iterable[str], tally: Tally | None = None) -> NDArray[np.float64]:
        """Probability [text] that a text is positive; a text's own, whatever else is scored with it.

        The tally counts how many of the words are known.
        """
        reviews = encode_texts(texts, self.vocabulary, tally)
        logits = predict(self.network, evaluation_batches(reviews, self.text_config))
        if not np.isfinite(logits).all():
            row = int(np.flatnonzero(~np.isfinite(logits))[0])
            raise InputError(f"the model has no finite answer to row {row}: do not use it")
        return expit(logits)


def label_for(probability: float) -> str:
    """Name of the class that this probability of being positive predicts."""
    return CLASS_NAMES[int(is_positive(probability))]


def unreadable(row: int, text: object) -> str:
    """Why what stands in this row cannot be scored; empty for a text."""
    return "" if isinstance(text, str) else f"row {row} is {text!r:.40}, not a text"
