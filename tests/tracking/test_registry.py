"""Which model scores where none is named."""

from pathlib import Path
from typing import Any

import mlflow
import pytest

from sentiment_tune.errors import InputError
from sentiment_tune.evaluation.finished_run import FinishedRun
from sentiment_tune.tracking import registry
from sentiment_tune.tracking.registry import Claim, Registration


def finish_run(network: str, digest: str, accuracy: float) -> str:
    """A training as its run tells of it, without its model."""
    with mlflow.start_run() as run:
        mlflow.set_tags({"network": network, "data": f"films {digest}", "data_digest": digest})
        mlflow.log_metrics({"package_seconds": 1.0, "test_accuracy": accuracy})
    return str(run.info.run_id)


def crown(network: str, digest: str, accuracy: float, run_id: str | None = None) -> None:
    client = mlflow.MlflowClient()
    client.create_registered_model("sentiment")
    tags = {"network": network, "data_digest": digest, "test_accuracy": str(accuracy)}
    client.create_model_version("sentiment", "file:///nowhere", run_id, tags=tags)
    client.set_registered_model_alias("sentiment", "champion", "1")


def test_the_newest_run_scores_where_no_champion_is(here: Path) -> None:
    finish_run("cnn", "aa", 0.9)
    newest = finish_run("rnn", "aa", 0.8)
    assert str(registry.default_model()) == (
        f"scored by runs:/{newest}/model (the newest finished run): rnn on films aa, test accuracy 0.8000"
    )


def test_the_champion_scores_for_the_data_at_hand(here: Path) -> None:
    crown("gru", "aa", 0.91)
    finish_run("rnn", "aa", 0.8)
    assert str(registry.default_model()) == (
        "scored by models:/sentiment@champion (version 1): gru on films aa, test accuracy 0.9100"
    )
    other = finish_run("rnn", "bb", 0.7)
    assert registry.default_model().uri == f"runs:/{other}/model"


def finish_folds(digest: str, best: str) -> None:
    """A training with two folds, and its best as the champion."""
    with mlflow.start_run():
        mlflow.set_tags({"stage": "repeats", "network": "cnn", "data_digest": digest})
        for fold in ("1", "2"):
            with mlflow.start_run(nested=True) as run:
                mlflow.set_tags({"network": "cnn", "data": "films", "data_digest": f"{digest}{fold}", "fold": fold})
                mlflow.log_metrics({"package_seconds": 1.0, "test_accuracy": 0.8})
            if fold == best:
                crown("cnn", f"{digest}{fold}", 0.8, run.info.run_id)


@pytest.mark.parametrize("best", ["1", "2"])
def test_the_champion_of_folds_scores_for_the_data_that_they_are_cut_of(best: str, here: Path) -> None:
    finish_folds("aa", best)
    assert registry.default_model().uri == "models:/sentiment@champion"
    finish_folds("aa", "")  # the same again, and its best was not registered
    assert registry.default_model().uri == "models:/sentiment@champion"
    finish_folds("bb", "")
    assert registry.default_model().uri.startswith("runs:/")
    other = finish_run("cnn", "aa", 0.7)
    assert registry.default_model().uri == f"runs:/{other}/model"


def test_no_run_is_named(here: Path) -> None:
    with pytest.raises(InputError, match="no finished run at sqlite"):
        registry.default_model()


def test_a_registered_name_says_how_good_its_champion_is_unless_somebody_describes_it(here: Path) -> None:
    client = mlflow.MlflowClient()
    crown("gru", "aa", 0.91)
    registry.promote("sentiment", 1)
    described = client.get_registered_model("sentiment").description
    assert "Champion: version 1, `gru` on its data, validation accuracy unknown, test accuracy 0.9100." in described
    assert "models:/sentiment@champion" in described
    client.update_registered_model("sentiment", "Reviews as positive or negative: what was said at first")
    registry.promote("sentiment", 1)
    assert client.get_registered_model("sentiment").description == described
    client.update_registered_model("sentiment", "mine")
    registry.promote("sentiment", 1)
    assert client.get_registered_model("sentiment").description == "mine"


def trained(run_id: str, accuracy: float, digest: str = "aa") -> FinishedRun:
    counts = dict.fromkeys(("reviews_train", "reviews_validation", "reviews_test", "seed"), 1)
    test = ("test_accuracy", "test_f1", "test_macro_f1", "test_roc_auc", "test_log_loss", "test_brier")
    others = ("test_reviews_per_second", "train_seconds", "refit_seconds")
    figures: dict[str, Any] = {**counts, **dict.fromkeys((*test, *others), 1.0)}
    return FinishedRun(
        run_id=run_id,
        network="cnn",
        data="films",
        data_digest=digest,
        package_version="0.2.0",
        git_commit=None,
        parameters=900,
        is_refit=False,
        best_val_accuracy=accuracy,
        model_bytes=5e6,
        **figures,
    )


def claimed(run: FinishedRun, figure: float, cost: str = "latency", alias: str = "fastest") -> Registration:
    claim = Claim(alias, "of the front of study s", cost, figure, f"{cost}_tag", lambda value: f"{value:g} ms")
    return registry.claim_alias("sentiment-cnn", "file:///nowhere", run, lambda address: f"load {address}", claim)


def described(version: int) -> tuple[str | None, str]:
    """Description and reason of a version."""
    found = mlflow.MlflowClient().get_model_version("sentiment-cnn", str(version))
    return found.description, found.tags["reason"]


def test_an_end_has_to_have_less_than_the_holder_of_its_alias(here: Path) -> None:
    entries = [
        claimed(trained("one", 0.55), 3.0),
        claimed(trained("two", 0.90), 4.0),
        claimed(trained("three", 0.90, "bb"), 1.0),
        claimed(trained("four", 0.55), 3.0),
        claimed(trained("five", 0.60), 3.0),
        claimed(trained("six", 0.10), 2.0),
    ]
    assert [entry.alias for entry in entries] == ["fastest", "", "", "", "fastest", "fastest"]
    assert [entry.reason for entry in entries] == [
        "the first of its name, of the front of study s: latency 3 ms",
        "not fastest: latency 4 ms is more than the 3 ms of version 1",
        "not fastest: version 1 was trained on other data, aa: no comparison is fair",
        "not fastest: latency 3 ms is that of version 1 too, and validation accuracy 0.5500 does not beat its 0.5500",
        "latency 3 ms is that of version 1 too, and validation accuracy 0.6000 beats its 0.5500",
        "latency 2 ms is less than the 3 ms of version 5",
    ]
    assert [(move["from"], move["to"]) for move in registry.moves("sentiment-cnn")] == [(None, 1), (1, 5), (5, 6)]
    for entry in entries:
        described_as = "@fastest" if entry.alias else f"/{entry.version}"
        assert described(entry.version) == (f"load models:/sentiment-cnn{described_as}", entry.reason)


def test_a_claim_that_is_made_again_changes_nothing(here: Path) -> None:
    first = claimed(trained("one", 0.55), 3.0)
    assert claimed(trained("one", 0.55), 3.0) == first
    lost = claimed(trained("two", 0.55), 4.0)
    assert claimed(trained("two", 0.55), 4.0) == lost
    assert len(registry.moves("sentiment-cnn")) == 1


def test_a_champion_that_is_an_end_too_keeps_its_reason(here: Path) -> None:
    champion = registry.register_version("sentiment-cnn", "file:///nowhere", trained("one", 0.9), str)
    assert claimed(trained("one", 0.9), 3.0).version == champion.version
    assert described(champion.version) == ("models:/sentiment-cnn@champion", champion.reason)
    mlflow.MlflowClient().set_registered_model_alias("sentiment-cnn", "smallest", "1")
    by_hand = claimed(trained("two", 0.9), 3.0, "memory", "smallest")
    assert by_hand.reason == "not smallest: version 1 does not say its memory: no comparison is fair"
