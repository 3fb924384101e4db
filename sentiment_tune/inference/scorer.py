"""Text in, probability out."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from sentiment_tune.data.batches import evaluation_batches
from sentiment_tune.data.corpus import encode_texts
from sentiment_tune.data.labels import SENTIMENT, THRESHOLD, Classes, both_columns, classify, probabilities_of
from sentiment_tune.data.text import Tally, TextConfig, Vocabulary
from sentiment_tune.errors import InputError
from sentiment_tune.evaluation.metrics import stated
from sentiment_tune.inference.predict import predict


@dataclass(frozen=True)
class Scorer:
    """A trained network with the vocabulary and the text settings that it was trained with."""

    network: nn.Module
    vocabulary: Vocabulary
    text_config: TextConfig
    classes: Classes = SENTIMENT
    threshold: float = THRESHOLD  # between two classes

    def predict_proba(self, texts: Iterable[str], tally: Tally | None = None) -> NDArray[np.float64]:
        """Probabilities of the second of two classes [text], or of each of more [text, class].

        They are a text's own, whatever else is scored with it. The tally counts how many of the words are known.
        """
        reviews = encode_texts(texts, self.vocabulary, tally)
        if not len(reviews):
            return np.empty(0 if self.classes.are_two else (0, len(self.classes)))
        logits = predict(self.network, evaluation_batches(reviews, self.text_config))
        if not np.isfinite(logits).all():
            row = int(np.argwhere(~np.isfinite(logits))[0][0])
            raise InputError(f"the model has no finite answer to row {row}: do not use it")
        return probabilities_of(logits)

    def answers(self, probabilities: NDArray[np.float64], all_classes: bool = False) -> dict[str, Any]:
        """Columns [text]: the probability that stands beside the label, the label, and of `all_classes` each one's."""
        answers = {"probability": stated(probabilities), "label": self.labels(probabilities)}
        if all_classes:
            columns = both_columns(probabilities).T
            answers |= {f"probability_{name}": column for name, column in zip(self.classes.names, columns, strict=True)}
        return answers

    def labels(self, probabilities: NDArray[np.float64]) -> list[str]:
        """Names of the classes that probabilities predict, as `predict_proba` returns them."""
        return [self.classes.names[number] for number in classify(probabilities, self.threshold)]


def unreadable(row: int, text: object) -> str:
    """Why what stands in this row cannot be scored; empty for a text."""
    return "" if isinstance(text, str) else f"row {row} is {text!r:.40}, not a text"
