"""An experiment says in MLflow's pages what is in it, and addresses lead to the pages that are made for trainings."""

import json
from pathlib import Path

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from sentiment_tune.tracking import runs, ui
from sentiment_tune.tracking.runs import RunSpec


@pytest.fixture
def database(here: Path) -> str:
    return f"sqlite:///{here}/mlflow.db"


def tags_of(experiment: str) -> dict[str, str]:
    found = mlflow.get_experiment_by_name(experiment)
    return dict(found.tags) if found else {}


def test_those_who_begin_at_once_all_begin(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def overtaken(*_: object) -> None:
        raise MlflowException("(sqlite3.IntegrityError) UNIQUE constraint failed: experiment_tags.key")

    monkeypatch.setattr(mlflow.MlflowClient, "set_experiment_tag", overtaken)
    with runs.start_run(RunSpec(name="one")) as run:
        pass
    assert mlflow.get_run(run.run_id).info.status == "FINISHED"


def test_an_experiment_of_ours_is_described_once(database: str) -> None:
    with runs.start_run(RunSpec(name="one")):
        pass
    tags = tags_of("sentiment")
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert "sentiment-tune" in tags["mlflow.note.content"]
    view = json.loads(tags["mlflow.sharedViewState.sentiment_tune"])
    columns = json.loads(view["state"])["selectedColumns"]
    assert columns[:2] == ["metrics.`best_val_accuracy`", "metrics.`test_accuracy`"]
    mlflow.set_experiment_tag("mlflow.note.content", "mine")
    with runs.start_run(RunSpec(name="two")):
        pass
    assert tags_of("sentiment")["mlflow.note.content"] == "mine"


def test_an_experiment_of_somebody_s_own_is_left_as_it_is(database: str) -> None:
    mlflow.MlflowClient().create_experiment("agents", tags={"mlflow.experimentKind": "genai_development"})
    before = tags_of("agents")
    with runs.start_run(RunSpec(experiment="agents")):
        pass
    assert tags_of("agents") == before
    with runs.start_run(RunSpec(experiment="films")):
        pass
    assert "mlflow.note.content" in tags_of("films")


def test_addresses_lead_to_what_is_made_for_trainings(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trainings = "workflowType=machine_learning"
    assert ui.link(ui.runs_page("1")) == (
        f"http://127.0.0.1:5000/#/experiments/1/runs?{trainings}&viewStateShareKey=sentiment_tune"
    )
    monkeypatch.setattr("sentiment_tune.tracking.server.tracking_uri", lambda: "https://host/mlflow/")
    assert ui.link(ui.run_page("1", "ab")) == f"https://host/mlflow/#/experiments/1/runs/ab?{trainings}"
    assert ui.logged_model_page("1", "models:/m-3") == f"#/experiments/1/models/m-3?{trainings}"
    assert ui.logged_model_page("1", "runs:/ab/model") is None
