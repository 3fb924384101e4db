"""Figures and their uncertainty, against published values and other people's code."""

from statistics import NormalDist

import numpy as np
import pytest
from sklearn import metrics

from sentiment_tune.data.load import DataConfig, load
from sentiment_tune.evaluation import metrics as evaluation
from sentiment_tune.evaluation.metrics import Proportion


def test_mcnemar_agrees_with_the_exact_binomial_and_calls_equal_models_equal() -> None:
    one, other = np.array([True] * 100), np.array([True] * 85 + [False] * 15)
    # Fifteen differences, all to one side: twice the chance of fifteen heads in a row.
    assert evaluation.mcnemar_test(one, other) == pytest.approx(2 * 0.5**15)
    assert evaluation.mcnemar_test(other, one) == evaluation.mcnemar_test(one, other)
    assert evaluation.mcnemar_test(one, one) == 1.0
    split = np.array([True, False] * 50)
    assert evaluation.mcnemar_test(split, ~split) == pytest.approx(1.0)


def test_z95_holds_95_percent() -> None:
    assert NormalDist().inv_cdf(0.975) == pytest.approx(evaluation.Z95, abs=1e-6)


def test_an_interval_holds_its_share() -> None:
    low, high = Proportion(81, 263).interval  # Newcombe 1998, method 3
    assert (low, high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert Proportion(0, 10).interval[0] == pytest.approx(0.0)


def test_figures_are_scikit_learns() -> None:
    chance = np.random.default_rng(3)
    labels, logits = (chance.random(200) < 0.4).astype(np.uint8), chance.normal(0, 2, 200)
    probabilities = 1 / (1 + np.exp(-logits))
    figures = evaluation.compute_metrics(labels, probabilities, logits)
    assert figures["accuracy"] == metrics.accuracy_score(labels, probabilities > 0.5)
    assert figures["log_loss"] == pytest.approx(metrics.log_loss(labels, probabilities))
    assert figures["roc_auc"] == metrics.roc_auc_score(labels, probabilities)


def test_lengths_share_all_reviews_among_them() -> None:
    lengths = np.array([1, 100, 101, 200, 500, 501, 9_000])
    correct = np.array([True, False, True, True, True, False, False])
    shares = evaluation.accuracy_by_length(correct, lengths)
    assert {name: (share.count, share.reviews) for name, share in shares.items()} == {
        "1 to 100": (1, 2),
        "101 to 200": (2, 2),
        "301 to 500": (1, 1),
        "over 500": (0, 2),
    }


def test_mistakes_are_counted_by_what_the_reviews_say() -> None:
    corpus = load(DataConfig("sample"))
    test = corpus.test
    says_but = np.array(["but" in corpus.vocabulary.decode(test[row]).split() for row in range(len(test))])
    probabilities = np.where(test.labels == 1, 0.9, 0.1)
    rows = np.flatnonzero(says_but)[:12]
    probabilities[rows] = 1 - probabilities[rows]
    probabilities[rows[5]] = 0.001 if test.labels[rows[5]] else 0.999
    share, example = evaluation.error_rates_by_kind(corpus, probabilities, longest=500)["contrast"]
    assert share.count == 12
    assert share.reviews >= says_but.sum()
    assert example == corpus.vocabulary.decode(test[int(rows[5])])
    assert "cut at 500 words" not in evaluation.error_rates_by_kind(corpus, probabilities, longest=500)
    assert "cut at 50 words" in evaluation.error_rates_by_kind(corpus, probabilities, longest=50)
