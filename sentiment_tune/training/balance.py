"""What makes up for classes of unequal size: weights of the classes in training, and the threshold between two."""

import math
import re
import shlex

import numpy as np
from numpy.typing import NDArray

from sentiment_tune.data.corpus import Reviews
from sentiment_tune.data.labels import THRESHOLD, Classes, probabilities_of
from sentiment_tune.errors import InputError
from sentiment_tune.evaluation.metrics import LOG_LOSS, ROC_AUC, score_of

NO_WEIGHTS, BALANCED, AUTO = "none", "balanced", "auto"
_WEIGHT = re.compile(r"(.+)=(\d{1,9}(?:\.\d{1,9})?)")


def is_weighting(text: str) -> bool:
    """Whether a text says how much classes count."""
    return text in (NO_WEIGHTS, BALANCED) or bool(_weights_in(text))


def is_threshold(text: str) -> bool:
    """Whether a text says where two classes part."""
    try:
        return text == AUTO or 0 <= float(text) <= 1
    except ValueError:
        return False


def _weights_in(text: str) -> list[tuple[str, float]]:
    """Classes and their weights of `negative=5 neutral=2`; empty where that is none."""
    try:
        matches = [_WEIGHT.fullmatch(word) for word in shlex.split(text)]
    except ValueError:
        return []
    given = [(match[1], float(match[2])) for match in matches if match]
    return given if len(given) == len(matches) and all(weight for _, weight in given) else []


def class_weights(given: str, reviews: Reviews) -> NDArray[np.float32] | None:
    """How much a review of each class counts in training [class]; None where all count the same.

    Balanced, each class counts the same as a whole, and a review 1 in the mean (scikit-learn's rule). InputError for
    the name of a class that there is not, or that has a weight already.
    """
    if given == NO_WEIGHTS:
        return None
    counts = np.bincount(reviews.labels, minlength=len(reviews.classes))
    if given == BALANCED:
        return (len(reviews) / (len(counts) * np.maximum(counts, 1))).astype(np.float32)
    weights: dict[int, float] = {}
    for name, weight in _weights_in(given):
        number = _class_called(name, reviews.classes)
        if number in weights:
            raise InputError(
                f"class_weights cannot be {given!r:.100}: {name!r:.40} is {reviews.classes.names[number]!r:.40}, which "
                "has a weight already; give each class one"
            )
        weights[number] = weight
    return np.array([weights.get(number, 1.0) for number in range(len(counts))], np.float32)


def _class_called(name: str, classes: Classes) -> int:
    """The number of a class that has a weight; InputError where there is none."""
    try:
        return classes.number_of(name)
    except InputError as error:
        hint = "; part weights by blanks, such as 'negative=5 positive=2'" if "=" in name else ""
        raise InputError(f"{error}{hint}") from None


def check_threshold(given: str, classes: Classes, metric: str) -> None:
    """InputError where more than two classes are to part at a threshold, or it is to be found by what knows none."""
    if given == AUTO and metric in (LOG_LOSS, ROC_AUC):
        raise InputError(f"threshold cannot be auto for metric {metric}, which no threshold changes: leave one out")
    if not classes.are_two and given != str(THRESHOLD):
        raise InputError(
            f"threshold cannot be {given}: it parts two classes, and the data have {len(classes)}; leave it out"
        )


def threshold_by(given: str, metric: str, logits: NDArray[np.float64], reviews: Reviews) -> float:
    """Where two classes part: as was given, for `auto` as is best for these answers to validation reviews."""
    return find_threshold(metric, logits, reviews) if given == AUTO else float(given)


def find_threshold(metric: str, logits: NDArray[np.float64], reviews: Reviews) -> float:
    """The threshold between two classes by which the metric of these reviews is best.

    Between two of their probabilities it stands in the middle; of equally good ones the nearest to 0.5 is taken.
    Metrics that know no predictions, of which the threshold makes none better, leave it at 0.5.
    """
    if metric in (LOG_LOSS, ROC_AUC):
        return THRESHOLD
    probabilities = np.unique(probabilities_of(logits))
    candidates = np.append((probabilities[1:] + probabilities[:-1]) / 2, THRESHOLD)
    values = [score_of(metric, logits, reviews.labels, reviews.classes, float(one)) for one in _thin(candidates)]
    best = [float(one) for one, value in zip(_thin(candidates), values, strict=True) if value == max(values)]
    return min(best, key=lambda one: math.fabs(one - THRESHOLD))


def _thin(candidates: NDArray[np.float64]) -> NDArray[np.float64]:
    """At most 1000 of them, evenly spread over the reviews; the last is always there."""
    return candidates[np.unique(np.linspace(0, len(candidates) - 1, 1000).astype(np.int64))]
