"""Figures and their uncertainty, against published values and other people's code."""

from statistics import NormalDist

import numpy as np
import pytest
from sklearn import metrics

from sentiment_tune.data.labels import SENTIMENT, Classes, probabilities_of
from sentiment_tune.data.load import DataConfig, load
from sentiment_tune.evaluation import metrics as evaluation
from sentiment_tune.evaluation.metrics import Proportion, wilson_interval


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


def test_wilson_interval_matches_a_published_value() -> None:
    """Newcombe (1998), Statistics in Medicine 17, table I, method 3: 81/263, 15/148, 0/20, 1/29."""
    positives, counts = np.array([81.0, 15, 0, 1]), np.array([263.0, 148, 20, 29])
    expected = [[0.2553, 0.0624, 0.0, 0.0061], [0.3662, 0.1605, 0.1611, 0.1718]]
    np.testing.assert_allclose(wilson_interval(positives, counts), expected, atol=6e-5)


def test_metrics_are_scikit_learns() -> None:
    rng = np.random.default_rng(3)
    labels, logits = (rng.random(200) < 0.4).astype(np.uint8), rng.normal(0, 2, 200)
    probabilities = 1 / (1 + np.exp(-logits))
    values = evaluation.compute_metrics(labels, probabilities, logits, SENTIMENT)
    assert values["accuracy"] == metrics.accuracy_score(labels, probabilities > 0.5)
    assert values["log_loss"] == pytest.approx(metrics.log_loss(labels, probabilities))
    assert values["roc_auc"] == metrics.roc_auc_score(labels, probabilities)
    assert values["brier"] == pytest.approx(np.mean((probabilities - labels) ** 2))
    assert values["macro_f1"] == pytest.approx(metrics.f1_score(labels, probabilities > 0.5, average="macro"))
    assert values["balanced_accuracy"] == metrics.balanced_accuracy_score(labels, probabilities > 0.5)
    assert evaluation.loss_and_accuracy(logits, labels) == (values["log_loss"], values["accuracy"])
    assert values["kappa"] == pytest.approx(metrics.cohen_kappa_score(labels, probabilities > 0.5))
    assert "mean_absolute_error" not in values


@pytest.mark.parametrize("classes", [Classes(("1", "2", "3", "4"), ordered=True), Classes(("a", "b", "c", "d"))])
def test_metrics_of_more_classes_are_scikit_learns(classes: Classes) -> None:
    rng = np.random.default_rng(3)
    labels, logits = rng.choice(4, 300, p=[0.5, 0.3, 0.15, 0.05]).astype(np.uint8), rng.normal(0, 2, (300, 4))
    probabilities, predicted = probabilities_of(logits), logits.argmax(1)
    values = evaluation.compute_metrics(labels, probabilities, logits, classes)
    assert values["accuracy"] == metrics.accuracy_score(labels, predicted) == evaluation.accuracy(logits, labels)
    assert values["log_loss"] == pytest.approx(metrics.log_loss(labels, probabilities))
    assert values["roc_auc"] == pytest.approx(metrics.roc_auc_score(labels, probabilities, multi_class="ovr"))
    assert values["macro_f1"] == pytest.approx(metrics.f1_score(labels, predicted, average="macro"))
    assert values["brier"] == pytest.approx(((probabilities - np.eye(4)[labels]) ** 2).sum() / 300)
    assert "f1" not in values
    if classes.ordered:
        assert values["kappa"] == pytest.approx(metrics.cohen_kappa_score(labels, predicted, weights="quadratic"))
        assert values["mean_absolute_error"] == metrics.mean_absolute_error(labels, predicted)
    for name in evaluation.METRICS:
        judged = evaluation.score_of(name, logits, labels, classes)
        assert judged == pytest.approx(-values[name] if name == "log_loss" else values.get(name, judged))


def test_a_class_that_the_test_lacks_breaks_no_metric() -> None:
    labels, logits = np.array([0, 2, 2, 0], np.uint8), np.random.default_rng(1).normal(size=(4, 3))
    values = evaluation.compute_metrics(labels, probabilities_of(logits), logits, Classes(("a", "b", "c")))
    assert all(np.isfinite(value) for value in values.values())


def test_a_probability_of_one_half_is_negative() -> None:
    assert evaluation.is_correct(np.array([0, 1]), np.array([0.5, 0.5])).tolist() == [True, False]
    assert evaluation.accuracy(np.zeros(2), np.array([0, 1], dtype=np.uint8)) == 0.5


def test_calibration_error_is_zero_where_shares_equal_probabilities() -> None:
    tenths = np.arange(10) / 10 + 0.05
    labels = np.concatenate([np.arange(100) < round(100 * tenth) for tenth in tenths]).astype(int)
    assert evaluation.expected_calibration_error(labels, np.repeat(tenths, 100)) == pytest.approx(0)


@pytest.mark.parametrize(
    ("labels", "probabilities", "error"),
    [([0, 1] * 50, [0.9] * 100, 0.4), ([1, 0], [0.0, 1.0], 1), ([0, 1], [0.0, 1.0], 0)],
)
def test_calibration_error_of_a_constant_classifier(
    labels: list[int], probabilities: list[float], error: float
) -> None:
    found = evaluation.expected_calibration_error(np.array(labels), np.array(probabilities))
    assert found == pytest.approx(error)


@pytest.mark.parametrize(
    ("labels", "predicted"),
    [([0, 0, 1, 1], [0, 0, 1, 0]), ([0, 0, 1, 1], [0, 0, 1, 3]), ([2, 2, 2], [2, 2, 2]), ([0, 3, 4], [0, 3, 3])],
)
@pytest.mark.parametrize("ordered", [False, True])
def test_a_class_that_is_neither_there_nor_said_is_no_mistake(
    labels: list[int], predicted: list[int], ordered: bool
) -> None:
    said = 9.0 * np.eye(5)[predicted], np.array(labels), Classes(("1", "2", "3", "4", "5"), ordered)
    assert evaluation.score_of("macro_f1", *said) == metrics.f1_score(
        labels, predicted, average="macro", zero_division=0.0
    )
    if ordered and len(set(labels)) > 1:  # by steps, as far apart as the classes are, whichever are there
        kappa = metrics.cohen_kappa_score(labels, predicted, labels=range(5), weights="quadratic")
        assert evaluation.score_of("kappa", *said) == kappa


@pytest.mark.parametrize("count", [0, 3, 10, 1000])
def test_mistakes_come_in_order_of_confidence(count: int) -> None:
    rng = np.random.default_rng(7)
    labels = rng.integers(0, 2, 200)
    probabilities = 1 / (1 + np.exp(1 - 2 * labels - rng.normal(size=200)))
    rows = evaluation.most_confident_mistakes(labels, probabilities, count)
    wrong = (probabilities > 0.5) != labels
    confidence = np.abs(probabilities - 0.5)
    assert len(rows) == min(count, wrong.sum())
    assert all(wrong[rows])
    assert np.all(np.diff(confidence[rows]) <= 0)
    left = np.setdiff1d(np.flatnonzero(wrong), rows)
    assert not rows or not len(left) or confidence[left].max() <= confidence[rows].min()


def test_equally_confident_mistakes_keep_their_order() -> None:
    labels, probabilities = np.array([1, 0, 1, 1, 0]), np.array([0.25, 0.75, 0.9, 0.25, 1.0])
    assert evaluation.most_confident_mistakes(labels, probabilities) == [4, 0, 1, 3]


def test_the_table_of_mistakes_has_their_texts_and_classes() -> None:
    corpus = load(DataConfig("sample"))
    test = corpus.test
    probabilities = np.where(test.labels == 1, 0.9, 0.1)
    negative, positive = (int(np.flatnonzero(test.labels == label)[3]) for label in (0, 1))
    probabilities[[negative, positive]] = 0.99, 0.2
    assert evaluation.mistakes_table(corpus, probabilities) == {
        "review": [negative, positive],
        "text": [corpus.vocabulary.decode(test[negative]), corpus.vocabulary.decode(test[positive])],
        "true_class": ["negative", "positive"],
        "predicted_class": ["positive", "negative"],
        "probability": [0.99, 0.2],
    }
    assert len(evaluation.mistakes_table(corpus, 1 - probabilities)["review"]) == 100


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


def test_a_kind_without_a_mistake_has_no_example() -> None:
    corpus = load(DataConfig("sample"))
    rates = evaluation.error_rates_by_kind(corpus, np.where(corpus.test.labels == 1, 0.9, 0.1), longest=500)
    assert {(rate.count, example) for rate, example in rates.values()} == {(0, None)}
