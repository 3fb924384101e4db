"""What a finished model's answers are worth: metrics with their uncertainty, and where the mistakes are.

`labels` are the numbers of the classes [review]. `logits` and `probabilities` are of two classes those of the second
[review], of more those of each [review, class].
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sentiment_tune.data.corpus import Corpus
from sentiment_tune.data.labels import THRESHOLD, Classes, both_columns, classify, probabilities_of
from sentiment_tune.errors import DivergenceError

ACCURACY, LOG_LOSS, ROC_AUC = "accuracy", "log_loss", "roc_auc"
METRICS = (ACCURACY, "macro_f1", ROC_AUC, LOG_LOSS, "balanced_accuracy", "kappa")  # by which a model may be judged
Z95 = 1.959964  # standard deviations on either side that hold 95 % of a normal distribution
LENGTHS = (100, 200, 300, 500)  # words at which reviews are told apart by length
FEWEST = 10  # reviews of a kind from which on its error rate says something
BINS = 10  # of equal width, over the probabilities
KINDS: Mapping[str, tuple[str, ...]] = {
    "negation": ("not", "never", "nothing", "nobody", "hardly", "isn't", "wasn't", "don't", "didn't", "can't"),
    "contrast": ("but", "although", "though", "however", "despite", "yet"),
    "expectation": ("expected", "hoped", "supposed", "should", "could", "promising", "potential"),
    "comparison": ("better", "worse", "best", "worst", "compared", "than"),
}


@dataclass(frozen=True)
class Proportion:
    """So many of so many reviews, with the 95 % interval of the share (Wilson 1927)."""

    count: int
    reviews: int

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> "Proportion":
        """The reviews of a mask [review] among all of them."""
        return cls(int(mask.sum()), len(mask))

    @property
    def value(self) -> float:
        return self.count / self.reviews

    @property
    def interval(self) -> tuple[float, float]:
        low, high = wilson_interval(np.array([self.count]), np.array([self.reviews]))[:, 0]
        return float(low), float(high)


def wilson_interval(counts: NDArray[np.number], reviews: NDArray[np.number]) -> NDArray[np.float64]:
    """Lower and upper end [2, share] of the 95 % interval of each share, sound for few reviews and shares of 0 or 1."""
    square = Z95**2
    centre = counts + square / 2
    half = np.sqrt(square * (counts * (reviews - counts) / reviews + square / 4))
    return np.array([centre - half, centre + half]) / (reviews + square)


def is_correct(
    labels: NDArray[np.integer], probabilities: NDArray[np.floating], threshold: float = THRESHOLD
) -> NDArray[np.bool_]:
    """Whether each review is predicted to be what it is."""
    correct: NDArray[np.bool_] = classify(probabilities, threshold) == labels
    return correct


def accuracy(logits: NDArray[np.float64], labels: NDArray[np.integer], threshold: float = THRESHOLD) -> float:
    """Share of reviews that are predicted to be what they are; a logit above 0 is a probability above 0.5."""
    if threshold != THRESHOLD:
        return float(is_correct(labels, probabilities_of(logits), threshold).mean())
    predicted = logits > 0 if logits.ndim == 1 else logits.argmax(1)
    return float((predicted == labels).mean())


def log_loss(logits: NDArray[np.float64], labels: NDArray[np.integer]) -> float:
    """Mean loss in nats; of logits, since a probability that rounds to 0 or 1 has none."""
    if logits.ndim == 2:
        return float((np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(labels)), labels]).mean())
    return float(np.logaddexp(0, np.where(labels == 1, -logits, logits)).mean())


def check_finite(logits: NDArray[np.float64], reviews: str) -> None:
    """DivergenceError if a network's answers to these reviews are not all finite numbers."""
    broken = int((~np.isfinite(logits)).sum())
    if broken:
        raise DivergenceError(
            f"{broken:,} of {len(logits):,} answers to the {reviews} are no finite numbers; try a smaller learning_rate"
        )


def loss_and_accuracy(
    logits: NDArray[np.float64], labels: NDArray[np.integer], threshold: float = THRESHOLD
) -> tuple[float, float]:
    """Mean loss in nats and accuracy, a fraction."""
    return log_loss(logits, labels), accuracy(logits, labels, threshold)


def score_of(
    metric: str,
    logits: NDArray[np.float64],
    labels: NDArray[np.integer],
    classes: Classes,
    threshold: float = THRESHOLD,
) -> float:
    """What these answers are worth by a metric, more is better: of the loss it is the negative.

    Two classes part at the threshold, which the loss and the area under the curve do not know.
    """
    if metric == LOG_LOSS:
        return -log_loss(logits, labels)
    if metric == ROC_AUC:
        return roc_auc(labels, logits)
    predicted = classify(probabilities_of(logits), threshold)
    if metric == ACCURACY:
        return float((predicted == labels).mean())
    return _of_predicted(metric, labels, predicted, classes)


def measured(metric: str, score: float) -> float:
    """The metric itself of a score of which more is better: as people read it, a loss is positive."""
    return -score if metric == LOG_LOSS else score


def words_for(metric: str) -> str:
    """A metric's name as it stands in a text."""
    return metric.replace("_", " ")


def _of_predicted(metric: str, labels: NDArray[np.integer], predicted: NDArray[np.int64], classes: Classes) -> float:
    from sklearn import metrics  # slow to import, and not needed in most trainings

    if metric == "macro_f1":  # over the classes that are there or said: one that is neither is no mistake
        return float(metrics.f1_score(labels, predicted, average="macro", zero_division=0.0))
    if metric == "balanced_accuracy":
        return float(metrics.recall_score(labels, predicted, labels=np.unique(labels), average="macro"))
    numbers = list(range(len(classes)))  # whose distances count, whichever of them are there
    weights = "quadratic" if classes.ordered and not classes.are_two else None
    return float(np.nan_to_num(metrics.cohen_kappa_score(labels, predicted, labels=numbers, weights=weights)))


def roc_auc(labels: NDArray[np.integer], logits: NDArray[np.float64]) -> float:
    """Area under the ROC curve; of more than two classes the mean over each against all others, if both are there."""
    from sklearn import metrics  # slow to import, and not needed in training

    if logits.ndim == 1:
        return float(metrics.roc_auc_score(labels, logits))
    probabilities, present = probabilities_of(logits), np.unique(labels)
    return float(np.mean([metrics.roc_auc_score(labels == one, probabilities[:, one]) for one in present]))


def brier_score(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean squared distance of probability and label (Brier 1950); of more than two classes summed over them."""
    from sklearn import metrics  # slow to import, and not needed in training

    chances = np.asarray(probabilities)
    if chances.ndim == 2:
        return float(((chances - np.eye(chances.shape[1])[np.asarray(labels)]) ** 2).sum(1).mean())
    return float(metrics.brier_score_loss(labels, probabilities, pos_label=1))


def compute_metrics(
    labels: NDArray[np.integer],
    probabilities: NDArray[np.float64],
    logits: NDArray[np.float64],
    classes: Classes,
    threshold: float = THRESHOLD,
) -> dict[str, float]:
    """Metrics of a finished model, by the name under which they are logged behind `test_`.

    `f1` is that of the second of two classes. Only classes that are ordered have a mean absolute error, in steps from
    class to class, and their kappa is the weighted one (Cohen 1968).
    """
    from sklearn import metrics  # slow to import, and not needed in training

    predicted = classify(probabilities, threshold)
    values = {
        ACCURACY: float((predicted == labels).mean()),
        "balanced_accuracy": _of_predicted("balanced_accuracy", labels, predicted, classes),
        "macro_f1": _of_predicted("macro_f1", labels, predicted, classes),
        "kappa": _of_predicted("kappa", labels, predicted, classes),
        ROC_AUC: roc_auc(labels, logits),
        LOG_LOSS: log_loss(logits, labels),
        "brier": brier_score(labels, probabilities),
    }
    if classes.are_two:
        values["f1"] = float(metrics.f1_score(labels, predicted))
    if classes.ordered and not classes.are_two:
        values["mean_absolute_error"] = float(np.abs(predicted - labels).mean())
    return values


def as_two(
    labels: NDArray[np.integer], probabilities: NDArray[np.floating]
) -> tuple[NDArray[np.integer], NDArray[np.floating]]:
    """What calibration is about: whether a review is of a class, 0 or 1 [review], and the probability of it [review].

    Of two classes it is the second, of more the one that is the likeliest for the review.
    """
    if probabilities.ndim == 1:
        return labels, probabilities
    return is_correct(labels, probabilities).astype(np.int64), probabilities.max(1)


def calibration_bins(labels: NDArray[np.integer], probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Reviews, those of label 1 and sum of probabilities of each bin [3, bin]; probability 1 belongs to the last.

    Labels and probabilities as of `as_two`.
    """
    bins = np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)
    columns = np.ones(len(bins)), labels, probabilities
    return np.array([np.bincount(bins, weights, BINS) for weights in columns], dtype=np.float64)


def expected_calibration_error(labels: NDArray[np.integer], probabilities: NDArray[np.floating]) -> float:
    """Mean distance of probability and share over the bins, weighted by their reviews; see `as_two`."""
    _, positives, total = calibration_bins(*as_two(labels, probabilities))
    return float(np.abs(positives - total).sum() / len(labels))


def accuracy_by_length(correct: NDArray[np.bool_], lengths: NDArray[np.integer]) -> dict[str, Proportion]:
    """Reviews that are predicted right among those of each length, in words; lengths no review has are left out."""
    bounds = [0, *LENGTHS, math.inf]
    accuracies = {}
    for low, high in pairwise(bounds):
        inside = (lengths > low) & (lengths <= high)
        if inside.any():
            name = f"over {low}" if math.isinf(high) else f"{low + 1} to {high}"
            accuracies[name] = Proportion.of(correct[inside])
    return accuracies


def confidence(probabilities: NDArray[np.floating]) -> NDArray[np.floating]:
    """Probability of the likeliest class [review]."""
    return both_columns(probabilities).max(1)


def stated(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """The probability that stands beside a label [review]: of the second of two classes, of more of the likeliest."""
    return (probabilities if probabilities.ndim == 1 else probabilities.max(1)).astype(np.float64, copy=False)


def most_confident_mistakes(
    labels: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    count: int = 10,
    threshold: float = THRESHOLD,
) -> list[int]:
    """Rows of at most `count` mistakes, the most confident first; equals keep the order of the rows."""
    rows = np.flatnonzero(~is_correct(labels, probabilities, threshold))
    order = np.argsort(-confidence(probabilities[rows]), kind="stable")
    return [int(row) for row in rows[order[:count]]]


def mistakes_table(
    corpus: Corpus, probabilities: NDArray[np.floating], count: int = 100, threshold: float = THRESHOLD
) -> dict[str, list[object]]:
    """The most confident mistakes of the test reviews as columns: review (its row), text, classes and probability."""
    test, names = corpus.test, corpus.classes.names
    rows = most_confident_mistakes(test.labels, probabilities, count, threshold)
    return {
        "review": [*rows],
        "text": [corpus.vocabulary.decode(test[row]) for row in rows],
        "true_class": [names[test.labels[row]] for row in rows],
        "predicted_class": [names[number] for number in classify(probabilities[rows], threshold)],
        "probability": stated(probabilities[rows]).tolist(),
    }


def error_rates_by_kind(
    corpus: Corpus, probabilities: NDArray[np.floating], longest: int, threshold: float = THRESHOLD
) -> dict[str, tuple[Proportion, str | None]]:
    """Share of mistakes among the test reviews of each kind, with the most confident one as an example.

    A review is of a kind if it uses one of the kind's words, or is longer than `longest` words and was cut; kinds with
    few reviews are left out.
    """
    test, ids = corpus.test, corpus.vocabulary.ids
    is_of_kind = {
        name: test.containing_any([ids[word] for word in words if word in ids]) for name, words in KINDS.items()
    }
    is_of_kind[f"cut at {longest} words"] = test.lengths > longest
    rates = {}
    for name, mask in is_of_kind.items():
        if mask.sum() < FEWEST:
            continue
        reviews = np.flatnonzero(mask)
        labels, answers = test.labels[reviews], probabilities[reviews]
        worst = most_confident_mistakes(labels, answers, 1, threshold)
        example = corpus.vocabulary.decode(test[int(reviews[worst[0]])]) if worst else None
        rates[name] = Proportion.of(~is_correct(labels, answers, threshold)), example
    return rates


def mcnemar_test(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Probability of a difference this large by chance, between two models that read the same reviews.

    Exact test of McNemar (1947), two-sided, on what only one of the two got right; 1 where they never differ.
    """
    from scipy.special import bdtr  # a tenth of scipy.stats to import

    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    either = bdtr(min(only_one, only_other), only_one + only_other, 0.5)  # for the chance of both is the same
    return min(1.0, 2 * float(either))
