"""Which model scores where none is named."""

from pathlib import Path

import mlflow
import pytest

from sentiment_tune.errors import InputError
from sentiment_tune.tracking import registry


def finish_run(network: str, digest: str, accuracy: float) -> str:
    """A training as its run tells of it, without its model."""
    with mlflow.start_run() as run:
        mlflow.set_tags({"network": network, "data": f"films {digest}", "data_digest": digest})
        mlflow.log_metrics({"package_seconds": 1.0, "test_accuracy": accuracy})
    return str(run.info.run_id)


def crown(network: str, digest: str, accuracy: float) -> None:
    client = mlflow.MlflowClient()
    client.create_registered_model("sentiment")
    tags = {"network": network, "data_digest": digest, "test_accuracy": str(accuracy)}
    client.create_model_version("sentiment", "file:///nowhere", tags=tags)
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
