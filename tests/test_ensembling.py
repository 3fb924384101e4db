"""Champions put together: the sum is what its members say, its weights are fair, it is registered like any other."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sentiment_tune
from sentiment_tune import ensembling as ensembles
from sentiment_tune.data.batches import evaluation_batches
from sentiment_tune.data.corpus import EncodedReviews
from sentiment_tune.data.text import TextConfig
from sentiment_tune.errors import InputError
from sentiment_tune.evaluation.metrics import log_loss
from sentiment_tune.inference.predict import predict
from sentiment_tune.models import registry as models
from sentiment_tune.models.ensemble import Ensemble, reread
from sentiment_tune.tracking import registry
from support import VOCABULARY, Answer, ask, padded, runs, toy, trained

SMALL = ("--data", "sample", "--vocabulary", "300", "--epochs", "2", "--device", "cpu", "--quiet")
READINGS = [TextConfig(VOCABULARY - 5, 6), TextConfig(VOCABULARY, 9)]


@given(
    st.lists(st.lists(st.integers(1, 40), max_size=30), min_size=1, max_size=4),
    st.integers(4, 45),
    st.integers(1, 35),
    st.sampled_from(["tail", "head"]),
)
@settings(deadline=None)
def test_what_is_read_again_is_what_would_have_been_read(
    reviews: list[list[int]], vocabulary: int, length: int, keep: str
) -> None:
    encoded = EncodedReviews.of([np.array(review, dtype=np.int64) for review in reviews])
    (wide,), (narrow,) = (
        evaluation_batches(encoded, TextConfig(50, 40)),
        evaluation_batches(encoded, TextConfig(vocabulary, length, keep)),
    )
    again = reread(wide.ids, vocabulary, length, keep)
    for row, ids in zip(wide.rows, again, strict=True):
        (index,) = np.flatnonzero(narrow.rows == row)
        expected = narrow.ids[index]
        assert ids[ids != 0].tolist() == expected[expected != 0].tolist()
        assert not ids[(ids != 0).sum() :].any()  # padding stands on the right


def together() -> tuple[list[torch.nn.Module], Ensemble]:
    """Two networks that read differently, and their ensemble."""
    facts = []
    for name, reading in zip(("cnn", "linear"), READINGS, strict=True):
        facts.append({"model": name, "network": {}, "reading": asdict(reading)})
    network = models.create_network("ensemble", VOCABULARY, {"members": json.dumps(facts)})
    assert isinstance(network, Ensemble)
    with torch.no_grad():
        network.weights.copy_(torch.tensor([0.3, 1.5]))
        network.bias.fill_(-0.2)
    network.members[1].load_state_dict(trained("linear", False).state_dict())
    return list(network.members), network.eval()


def test_the_ensemble_is_the_weighted_sum_of_what_its_members_say() -> None:
    members, network = together()
    reviews = toy(count=32)
    one, other = (
        predict(member, evaluation_batches(reviews, reading)) for member, reading in zip(members, READINGS, strict=True)
    )
    logits = predict(network, evaluation_batches(reviews, TextConfig(VOCABULARY, 9)))
    assert logits == pytest.approx(0.3 * one + 1.5 * other - 0.2, abs=1e-5)
    assert not np.allclose(one, other)


def test_an_exported_ensemble_takes_any_batch_and_length(tmp_path: Path) -> None:
    from sentiment_tune.tracking import flavor

    network = together()[1]
    flavor.export(network, tmp_path / "model.pt2")
    exported = torch.export.load(tmp_path / "model.pt2").module()
    with torch.no_grad():
        for count, more in ((1, 0), (5, 1), (33, 700)):
            ids = torch.nn.functional.pad(padded(toy(count=64).reviews[:count]), (0, more))
            torch.testing.assert_close(exported(ids), network(ids), rtol=0, atol=2e-6)


def logits_of(members: int, reviews: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(1)
    labels = chance.integers(0, 2, reviews).astype(np.uint8)
    return np.where(labels, 1.0, -1.0)[:, None] + noise * chance.standard_normal((reviews, members)), labels


def test_weights_are_those_of_least_loss_and_trust_nobody_to_be_wrong() -> None:
    logits, labels = logits_of(3, 4000, 1.5)
    logits[:, 1] = np.random.default_rng(2).standard_normal(4000)  # knows nothing
    logits[:, 2] *= -1  # is mostly wrong
    weights, bias = ensembles.fit_weights(logits, labels)
    assert weights[0] > 0.5
    assert weights[1] < 0.1
    assert weights[2] == 0
    assert abs(bias) < 0.1

    def loss(weights: np.ndarray, bias: np.ndarray) -> float:
        margin = np.where(labels, 1.0, -1.0) * (logits @ weights + bias)
        return float(np.logaddexp(0, -margin).mean() + 0.01 * ((weights - 1 / 3) ** 2).sum())

    least = loss(weights, bias)
    for member in range(3):
        for step in (-0.01, 0.01):
            moved = weights + step * np.eye(3)[member]
            assert (moved < 0).any() or loss(moved, bias) > least
    assert min(loss(weights, bias - 0.01), loss(weights, bias + 0.01)) > least


def test_weights_of_more_classes_are_those_of_least_loss_too() -> None:
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 3, 2000).astype(np.uint8)
    logits = rng.normal(size=(2000, 3, 2))
    logits[np.arange(2000), labels, 0] += 2  # the first member knows something
    weights, biases = ensembles.fit_weights(logits, labels)
    assert (weights.shape, biases.shape) == ((2,), (3,))
    assert weights[0] > 0.8
    assert weights[1] < 0.2

    def loss(weights: np.ndarray, biases: np.ndarray) -> float:
        return log_loss(logits @ weights + biases, labels) + 0.01 * float(((weights - 0.5) ** 2).sum())

    least = loss(weights, biases)
    for step in (-0.01, 0.01):
        assert all(loss(weights + step * one, biases) > least for one in np.eye(2))
        assert all(loss(weights, biases + step * one) > least for one in np.eye(3))
    assert ensembles.cross_validate(logits, labels).shape == (2000, 3)


def test_no_review_is_judged_by_weights_that_have_seen_it() -> None:
    logits, labels = logits_of(2, 200, 2.0)
    judged = ensembles.cross_validate(logits, labels)
    turned = labels.copy()
    turned[7] = 1 - turned[7]
    assert ensembles.cross_validate(logits, turned)[7] == judged[7]
    assert not np.array_equal(ensembles.cross_validate(logits, turned), judged)


def test_members_that_keep_different_ends_are_refused() -> None:
    assert ensembles.common_text_config(READINGS) == TextConfig(VOCABULARY, 9)
    with pytest.raises(InputError, match="different ends"):
        ensembles.common_text_config([READINGS[0], TextConfig(keep="head")])


@pytest.fixture(scope="module")
def combined(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Answer, list[Any]]]:
    """Two champions and their ensemble, in a database of their own."""
    import mlflow

    folder = tmp_path_factory.mktemp("ensemble")
    address = ("--tracking-uri", f"sqlite:///{folder}/mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for model, length in (("embedding", "60"), ("linear", "80")):
            assert ask("train", "--model", model, "--length", length, *SMALL, *address).code == 0
            newest = runs(address[1])[0].info.run_id
            assert ask("register", "--run", newest, *address).code == 0
        assert ask("register", "--run", newest, "--name", "mine", *address).code == 0  # a name more of one model
        answer = ask("ensemble", "--data", "sample", *address)
    yield folder, answer, runs(address[1])
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # back to its own variable
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID"):  # which MLflow has set
        os.environ.pop(name, None)


def test_champions_become_one_model_that_is_registered(
    combined: tuple[Path, Answer, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    folder, answer, found = combined
    assert answer.code == 0, answer
    for part in ("sentiment-embedding version 1", "sentiment-linear version 1", "together", "test accuracy"):
        assert part in answer.out
    assert "sentiment-ensemble version 1 is champion" in answer.out
    run = found[0]
    assert (run.data.tags["network"], run.data.params["length"], run.info.status) == ("ensemble", "80", "FINISHED")
    assert run.data.metrics["train_seconds"] == pytest.approx(
        sum(other.data.metrics["train_seconds"] for other in found[1:])
    )
    note = run.data.tags["mlflow.note.content"]
    assert note.startswith("**ensemble** on **sample**")
    assert "- sentiment-linear version 1: weight " in note
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    version = registry.champion("sentiment-ensemble")
    assert version is not None
    assert version.run_id == run.info.run_id
    scored = mlflow.pyfunc.load_model("models:/sentiment-ensemble@champion").predict(["a clever film", "a dull one"])
    assert scored["label"].tolist() == ["positive", "negative"]
    ids = torch.tensor([[1, 5, 9, 0], [1, 7, 0, 0]])
    network = mlflow.pytorch.load_model("models:/sentiment-ensemble@champion")
    assert network(ids).shape == (2,)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("--members sentiment-linear", ["two champions or more", "finds 1"]),
        ("--members sentiment-linear,nobody", ["no champion of 'nobody'"]),
        ("--data FILE --members sentiment-linear,sentiment-embedding", ["other data", "--data"]),
        ("--data FILE", ["finds 0"]),
        ("--members sentiment-linear,sentiment-linear", ["'sentiment-linear' is a member already", "name it once"]),
        ("--members sentiment-linear,sentiment-embedding,mine", ["'mine' is a member already, as that of 'sentiment-"]),
    ],
)
def test_what_cannot_be_put_together_is_one_line(
    words: str, complaint: list[str], combined: tuple[Path, Answer, list[Any]], tmp_path: Path
) -> None:
    other = tmp_path / "other.csv"
    rows = [f"{'good' if row % 2 else 'bad'} film {row},{row % 2}" for row in range(60)]
    other.write_text("\n".join(["text,label", *rows]))
    data = () if "FILE" in words else ("--data", "sample")
    folder, _, before = combined
    address = f"sqlite:///{folder}/mlflow.db"
    refusal = ask("ensemble", *data, *words.replace("FILE", str(other)).split(), "--tracking-uri", address).refusal
    assert [part for part in complaint if part not in refusal] == []
    assert len(runs(address)) == len(before)


def test_who_has_seen_the_validation_reviews_is_no_member(combined: tuple[Path, Answer, list[Any]]) -> None:
    from mlflow import MlflowClient

    address = ("--tracking-uri", f"sqlite:///{combined[0]}/mlflow.db")
    client, member = MlflowClient(address[1]), combined[2][1].info.run_id
    client.set_tag(member, "refit", "True")
    try:
        named = ("--members", "sentiment-linear,sentiment-embedding")
        assert "the validation reviews too (refit)" in ask("ensemble", "--data", "sample", *named, *address).refusal
        assert "finds 1" in ask("ensemble", "--data", "sample", *address).refusal
    finally:
        client.delete_tag(member, "refit")


@pytest.fixture
def judged(here: Path) -> Any:
    """Makes champions of two networks, judged by metrics of their own, and puts them together."""
    chance = np.random.default_rng(3).random((600, 2))
    frame = pd.DataFrame(
        {"text": [f"{'fine' if one < 0.3 else 'dull'} w{row % 29}" for row, (one, _) in enumerate(chance)]}
    )
    frame["label"] = (chance[:, 1] < np.where(chance[:, 0] < 0.3, 0.4, 0.02)).astype(int)  # fine ones are seldom more

    def put(metrics: Sequence[str], **settings: Any) -> ensembles.EnsembleResult:
        few = {"vocabulary": 60, "epochs": 2, "device": "cpu", "progress": False, **settings}
        for model, metric in zip(("embedding", "linear"), metrics, strict=True):
            sentiment_tune.register(sentiment_tune.train(model, frame, metric=metric, **few).run_id)
        return sentiment_tune.ensemble(data=frame)

    return put


@pytest.mark.slow
def test_an_ensemble_is_judged_as_its_members_are(judged: Any, here: Path) -> None:
    """By their metric, with a threshold that is found as theirs were, so that it may beat them."""
    result = judged(("kappa", "kappa"), threshold="auto")
    run = next(run for run in runs(f"sqlite:///{here}/mlflow.db") if run.info.run_id == result.run_id)
    assert (run.data.tags["metric"], run.data.params["metric"], run.data.params["threshold"]) == (
        "kappa",
        "kappa",
        "auto",
    )
    assert result.metric == "kappa"
    assert run.data.metrics["best_val_score"] == result.validation
    model = sentiment_tune.load_model(f"runs:/{result.run_id}/model")
    assert model.threshold == run.data.metrics["threshold"] != 0.5
    champions = [registry.champion(f"sentiment-{name}") for name in ("embedding", "linear")]
    assert result.alone.tolist() == pytest.approx([float(one.tags["val_score"]) for one in champions if one])
    (first, *_) = sentiment_tune.register(result.run_id)
    best = registry.champion("sentiment")
    assert first.alias == "champion"
    assert best is not None
    assert best.tags["metric"] == "kappa"
    assert (best.run_id == result.run_id) == (result.validation > max(result.alone))


@pytest.mark.slow
def test_members_of_several_metrics_are_together_judged_by_accuracy_which_is_told(
    judged: Any, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    result = judged(("kappa", "accuracy"))
    run = next(run for run in runs(f"sqlite:///{here}/mlflow.db") if run.info.run_id == result.run_id)
    assert "metric" not in run.data.tags | run.data.params
    assert "best_val_score" not in run.data.metrics
    assert (result.metric, result.validation) == ("accuracy", run.data.metrics["best_val_accuracy"])
    assert "judged by accuracy and kappa: together they are by accuracy" in " ".join(capfd.readouterr().err.split())


def test_an_ensemble_cannot_be_trained() -> None:
    assert "put them together" in ask("train", "--model", "ensemble").refusal
