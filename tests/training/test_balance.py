"""Classes of unequal size: their weights in the loss, and the threshold between two."""

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from sentiment_tune.config import ExperimentConfig
from sentiment_tune.data.batches import evaluation_batches
from sentiment_tune.data.labels import SENTIMENT, Classes
from sentiment_tune.errors import InputError
from sentiment_tune.evaluation.metrics import METRICS, score_of
from sentiment_tune.inference.predict import predict
from sentiment_tune.training.balance import check_threshold, class_weights, find_threshold
from sentiment_tune.training.config import TrainConfig
from sentiment_tune.training.loop import EpochRecord, fit
from sentiment_tune.training.step import count_correct, mean_loss
from support import READING, THREE, built, toy, toy_of_three


def test_balanced_classes_count_the_same_as_a_whole() -> None:
    reviews = toy_of_three().take(np.array([0, 1, 2, 3, 6, 9, 12, 4]))  # 5 of the first class, 2, and 1
    weights = class_weights("balanced", reviews)
    assert weights is not None
    counts = np.bincount(reviews.labels)
    np.testing.assert_allclose(weights * counts, len(reviews) / 3)
    assert class_weights("none", reviews) is None


def test_weights_are_given_by_name() -> None:
    weights = class_weights("good=5 'so so'=0.5", toy_of_three())
    assert weights is not None
    assert weights.tolist() == [1, 5, 0.5]
    assert class_weights("neg=2", toy()).tolist() == [2, 1]  # type: ignore[union-attr]
    with pytest.raises(InputError, match="no class 'god'; did you mean 'good'"):
        class_weights("god=5", toy_of_three())
    with pytest.raises(
        InputError, match=r"no class 'neg=5,pos'; .*; part weights by blanks, such as 'negative=5 positive=2'"
    ):
        class_weights("neg=5,pos=1", toy())


@pytest.mark.parametrize(("given", "again"), [("neg=5 Negative=2", "'Negative' is 'negative'"), ("1=5 1=5", "'1' is")])
def test_a_class_has_one_weight_however_it_is_spelled(given: str, again: str) -> None:
    with pytest.raises(InputError, match=f"class_weights cannot be '{given}': {again}.*, which has a weight already"):
        class_weights(given, toy())


@pytest.mark.parametrize("given", ["", "5", "good", "good=", "good=0", "good=-1", "good=x", "balance", "'good=5"])
def test_what_are_no_weights_is_refused(given: str) -> None:
    with pytest.raises(InputError, match="class_weights cannot be"):
        ExperimentConfig.of("linear", {"class_weights": given})


@pytest.mark.parametrize("given", ["", "1.1", "-0.1", "nan", "half", "None"])
def test_what_is_no_threshold_is_refused(given: str) -> None:
    with pytest.raises(InputError, match="threshold cannot be"):
        ExperimentConfig.of("linear", {"threshold": given})


def test_only_two_classes_have_a_threshold() -> None:
    check_threshold("auto", SENTIMENT, "accuracy")
    check_threshold("0.5", THREE, "log_loss")
    with pytest.raises(InputError, match="threshold cannot be auto: it parts two classes, and the data have 3"):
        check_threshold("auto", THREE, "accuracy")


@pytest.mark.parametrize("metric", ["log_loss", "roc_auc"])
def test_a_metric_without_a_threshold_finds_none(metric: str) -> None:
    check_threshold("0.4", SENTIMENT, metric)
    with pytest.raises(InputError, match=f"threshold cannot be auto for metric {metric}, which no threshold changes"):
        check_threshold("auto", SENTIMENT, metric)


def test_the_loss_is_torchs() -> None:
    logits, targets = torch.randn(20), torch.randint(0, 2, (20,)).float()
    assert mean_loss(logits, targets).equal(binary_cross_entropy_with_logits(logits, targets))
    weights = torch.tensor([0.5, 3.0])
    each = binary_cross_entropy_with_logits(logits, targets, reduction="none")
    torch.testing.assert_close(mean_loss(logits, targets, weights), (each * weights[targets.long()]).mean())
    many, numbers = torch.randn(20, 3), torch.randint(0, 3, (20,))
    torch.testing.assert_close(mean_loss(many, numbers), cross_entropy(many, numbers))
    weights = torch.tensor([0.5, 3.0, 1.0])
    total = cross_entropy(many, numbers, weights, reduction="sum") / 20
    torch.testing.assert_close(mean_loss(many, numbers, weights), total)
    assert count_correct(many, numbers) == int((many.argmax(1) == numbers).sum())
    assert count_correct(logits, targets) == int(((logits > 0) == (targets == 1)).sum())


def test_two_columns_of_logits_are_worth_what_one_is() -> None:
    """The first class's logit is 0: softmax is then the sigmoid of the other."""
    logits, targets = torch.randn(20, dtype=torch.float64), torch.randint(0, 2, (20,))
    both = torch.stack([torch.zeros_like(logits), logits], 1)
    torch.testing.assert_close(mean_loss(both, targets), mean_loss(logits, targets.double()))


@pytest.mark.parametrize("metric", METRICS)
def test_the_threshold_is_the_best_there_is(metric: str) -> None:
    rng = np.random.default_rng(5)
    reviews = toy(count=300)
    labels = (rng.random(300) < 0.15).astype(np.uint8)
    reviews = type(reviews)(reviews.ids, reviews.starts, reviews.lengths, labels)
    logits = rng.normal(-2, 1, 300) + 2 * labels
    threshold = find_threshold(metric, logits, reviews)
    found = score_of(metric, logits, labels, SENTIMENT, threshold)
    tried = [score_of(metric, logits, labels, SENTIMENT, one) for one in np.linspace(0, 1, 2001)]
    assert found >= max(tried)
    assert (threshold == 0.5) == (metric in ("roc_auc", "log_loss"))


@pytest.mark.parametrize("metric", ["macro_f1", "log_loss", "kappa"])
def test_epochs_are_judged_by_the_metric(metric: str) -> None:
    train = toy_of_three()
    epochs = list(fit(built("embedding", {}, train), train, train, TrainConfig(epochs=3, metric=metric), READING, 1))
    assert [epoch.score for epoch in epochs] == [epoch.val_score for epoch in epochs]
    assert epochs[-1].figures["val_score"] == epochs[-1].val_score
    if metric == "log_loss":
        assert [epoch.score for epoch in epochs] == [-epoch.val_loss for epoch in epochs]


@pytest.mark.parametrize("given", ["0.9", "auto"])
def test_epochs_are_judged_by_what_the_threshold_makes_of_them(given: str) -> None:
    train = toy(count=90)
    config = TrainConfig(epochs=2, metric="macro_f1", threshold=given)
    network, before = built("embedding", {}, train), 0
    for epoch in fit(network, train, train, config, READING, 1):
        logits = predict(network, evaluation_batches(train, READING))
        threshold = find_threshold("macro_f1", logits, train) if given == "auto" else 0.9
        worth = (score_of(name, logits, train.labels, SENTIMENT, threshold) for name in ("accuracy", "macro_f1"))
        assert (epoch.val_accuracy, epoch.val_score) == tuple(worth)
        before += threshold != 0.5
    assert before


def test_accuracy_judges_by_default() -> None:
    record = EpochRecord(1, 0.5, 0.5, 0.4, 0.8, 1.0)
    assert record.score == 0.8
    assert record.quality == (0.8, -0.4)
    assert "val_score" not in record.figures


def test_weighted_classes_are_found_more_often() -> None:
    labels = (np.arange(300) % 15 == 0).astype(np.uint8)
    plain = toy(count=300)
    train = type(plain)(plain.ids, plain.starts, plain.lengths, labels, classes=Classes(("no", "yes")))
    found = []
    for weights in ("none", "yes=20"):
        config = TrainConfig(epochs=3, class_weights=weights, metric="balanced_accuracy")
        found.append(list(fit(built("embedding", {}, train), train, train, config, READING, 1))[-1].val_accuracy)
    assert found[1] < found[0]  # many more are said to be of the rare class
