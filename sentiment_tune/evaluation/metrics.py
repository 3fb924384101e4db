"""What a finished model's answers are worth: figures with their uncertainty, and where the mistakes are.

`labels` are 0 or 1 [review], `probabilities` those of class positive [review]; a review is called positive where its
probability exceeds 0.5.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sentiment_tune.data.corpus import Corpus


def loss_and_accuracy(logits: NDArray[np.float64], labels: NDArray[np.uint8]) -> tuple[float, float]:
    """Mean loss in nats and accuracy, a fraction."""
    loss = np.logaddexp(0, np.where(labels == 1, -logits, logits)).mean()
    return float(loss), float(((logits > 0) == (labels == 1)).mean())


Z95 = 1.959964  # standard deviations on either side that hold 95 % of a normal distribution
LENGTHS = (100, 200, 300, 500)  # words at which reviews are told apart by length
FEWEST = 10  # reviews of a kind from which on its share of mistakes says something
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


def is_correct(labels: NDArray[np.uint8], probabilities: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Whether each review was called what it is."""
    correct: NDArray[np.bool_] = (probabilities > 0.5) == (labels == 1)
    return correct


def compute_metrics(
    labels: NDArray[np.uint8], probabilities: NDArray[np.float64], logits: NDArray[np.float64]
) -> dict[str, float]:
    """Metrics of a finished model, by the name under which they are logged behind `test_`."""
    from sklearn import metrics  # slow to import, and not needed before

    loss = np.logaddexp(0, np.where(labels == 1, -logits, logits)).mean()
    return {
        "accuracy": float(is_correct(labels, probabilities).mean()),
        "f1": float(metrics.f1_score(labels, probabilities > 0.5)),
        "roc_auc": float(metrics.roc_auc_score(labels, logits)),
        "log_loss": float(loss),
        "brier": float(metrics.brier_score_loss(labels, probabilities)),
    }


def accuracy_by_length(correct: NDArray[np.bool_], lengths: NDArray[np.integer]) -> dict[str, Proportion]:
    """Reviews called right among those of each length, in words; lengths that no review has are left out."""
    bounds = [0, *LENGTHS, math.inf]
    shares = {}
    for low, high in pairwise(bounds):
        inside = (lengths > low) & (lengths <= high)
        if inside.any():
            name = f"over {low}" if math.isinf(high) else f"{low + 1} to {high}"
            shares[name] = Proportion(int(correct[inside].sum()), int(inside.sum()))
    return shares


def error_rates_by_kind(
    corpus: Corpus, probabilities: NDArray[np.floating], longest: int
) -> dict[str, tuple[Proportion, str | None]]:
    """Share of mistakes among the test reviews of each kind, with the most confident one as an example.

    A review is of a kind if it uses one of the kind's words, or is longer than `longest` words and was cut; kinds with
    few reviews are left out.
    """
    test, known = corpus.test, corpus.vocabulary.ids
    wrong = ~is_correct(test.labels, probabilities)
    inside = {
        name: test.containing_any([known[word] for word in words if word in known]) for name, words in KINDS.items()
    }
    inside[f"cut at {longest} words"] = test.lengths > longest
    found = {}
    for name, members in inside.items():
        rows = np.flatnonzero(members & wrong)
        worst = max(rows, key=lambda row: abs(probabilities[row] - 0.5), default=None)
        example = None if worst is None else corpus.vocabulary.decode(test[int(worst)])
        if members.sum() >= FEWEST:
            found[name] = Proportion(len(rows), int(members.sum())), example
    return found


def mcnemar_test(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Probability of a difference this large by chance, between two models that read the same reviews.

    Exact test of McNemar (1947), two-sided, on what only one of the two got right; 1 where they never differ.
    """
    from scipy.stats import binomtest  # slow to import, and rarely needed

    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    if only_one + only_other == 0:
        return 1.0
    return float(binomtest(only_one, only_one + only_other).pvalue)
