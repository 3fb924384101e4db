"""Folders, users and environments of every kind: commands work there, or say in one line why they cannot."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import mlflow
import pytest

import sentiment_tune as st
from sentiment_tune.errors import InputError
from support import ODD, ROOT, ask, ended, started

TINY = ("--model", "embedding", "--data", "sample", "--epochs", "1", "--vocabulary", "300", "--embedding", "8")


# ---- where


def test_commands_work_in_an_odd_folder(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = bare / ODD
    folder.mkdir()
    monkeypatch.chdir(folder)
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # MLflow's own default
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", "")  # so that it is gone again behind this test
    monkeypatch.delenv("_MLFLOW_SERVER_ARTIFACT_ROOT")
    assert ask("score", "fine").refusal.startswith("sentiment-tune: no finished run at sqlite:///mlflow.db")
    assert "--model FOLDER" in ask("score", "fine").refusal
    for words in (("compare",), ("register", "--run", "abc"), ("ensemble",)):  # which have no --model
        assert ask(*words).refusal.endswith(
            "no finished run at sqlite:///mlflow.db: train one first, or give --tracking-uri\n"
        )
    assert ask("train", *TINY).code == 0
    assert ask("compare", "--csv", "its table.csv", "--html", "its page.html").code == 0
    assert ask("score", "--input", "its table.csv", "--column", "network").code == 0
    assert ask("tune", *TINY, "--trials", "1", "--top", "0").code == 0
    assert list(bare.iterdir()) == [folder]
    assert {"mlflow.db", "mlruns", "optuna.db"} <= {path.name for path in folder.iterdir()}


@pytest.mark.slow
def test_the_project_runs_in_an_odd_folder_and_leaves_none_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "my #1 100% it's ü名 a%20b" / "project"
    folder.mkdir(parents=True)
    for name in ("MLproject", "conda.yaml"):
        shutil.copy(ROOT / name, folder)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    project = (sys.executable, "-m", "mlflow", "run", ".", "--env-manager", "local")

    def do(*words: str) -> None:
        answer = ended(started(folder, "env", f"PATH={path}", f"PYTHONPATH={ROOT}", *project, *words))
        assert answer.code == 0, answer
        assert list(tmp_path.iterdir()) == [folder.parent]
        assert list(folder.parent.iterdir()) == [folder]

    do(*(word for option, value in zip(TINY[::2], TINY[1::2], strict=True) for word in ("-P", f"{option[2:]}={value}")))
    assert len(list(folder.glob("mlruns/*/*/artifacts"))) == 1
    do("-e", "score", "-P", "text=it's fine")
    do("-e", "compare", "-P", "html=its page.html")
    assert (folder / "its page.html").is_file()


def test_a_folder_that_is_gone_is_told(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = bare / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert "the current folder cannot be used (No such file or directory)" in ask("recipes").refusal
    monkeypatch.chdir(bare)


def test_a_folder_that_cannot_be_named_is_told(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    nameless = bare / os.fsdecode(b"\xff")
    nameless.mkdir()
    monkeypatch.chdir(nameless)
    assert "its path is not UTF-8" in ask("train", *TINY).refusal


def test_the_runs_of_mlflow_2_are_told_of(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    experiment = bare / "mlruns" / "0"
    experiment.mkdir(parents=True)
    (experiment / "meta.yaml").touch()
    for words in (("train", *TINY), ("score", "fine"), ("compare",), ("register", "--run", "x")):
        told = ask(*words).refusal
        assert f"mlflow migrate-filestore --source {bare}/mlruns --target sqlite:///mlflow.db" in told
    assert "folder holds no runs" in ask("train", *TINY, "--tracking-uri", "elsewhere").refusal


LONG = "x" * 300


@pytest.mark.parametrize(
    "words",
    [
        ("score", "--model", LONG, "fine"),
        ("score", "--input", f"{LONG}.csv"),
        ("train", "--data", f"{LONG}.csv"),
        ("train", "--data", f"{LONG}.npz"),
        ("train", "--settings", LONG),
        ("compare", "--tracking-uri", f"sqlite:///{LONG}"),
        ("register", "--run", 'it\'s "fine"'),
        ("register", "--promote", "a'b@77"),
        ("register", "--promote", "a'\"b@77"),
    ],
)
def test_a_name_that_none_can_have_is_one_line(words: tuple[str, ...], here: Path) -> None:
    assert ask(*words).refusal


def test_pictures_are_drawn_whatever_backend_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = ended(
        started(
            here, "env", "MPLBACKEND=module://not.installed", sys.executable, "-m", "sentiment_tune", "train", *TINY
        )
    )
    assert (answer.code, answer.err) == (0, ""), answer
    assert len(list(here.rglob("*.png"))) == 4


def test_a_picture_that_fails_costs_no_model(
    here: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no ink")

    monkeypatch.setattr("sentiment_tune.tracking.runs.log_figure", fail)
    assert ask("train", *TINY).code == 0
    told = [record.getMessage() for record in caplog.records if record.name == "sentiment_tune.experiment"]
    assert len(told) == 4
    assert told[0] == "the picture learning_curves is missing (RuntimeError: no ink)"


def test_a_deleted_run_is_named_as_such(here: Path) -> None:
    run_id = begun()
    mlflow.delete_run(run_id)
    assert f"run '{run_id}' is deleted" in ask("register", "--run", run_id).refusal
    assert f"run '{run_id}' is deleted" in ask("score", "--model", f"runs:/{run_id}/model", "fine").refusal


# ---- MLflow's variables


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("MLFLOW_EXPERIMENT_ID", "77", "MLFLOW_EXPERIMENT_ID names experiment '77', not to be found at"),
        ("MLFLOW_EXPERIMENT_ID", "it's", 'MLFLOW_EXPERIMENT_ID names experiment "it\'s", not to be found at'),
        ("MLFLOW_RUN_ID", "abc", "MLFLOW_RUN_ID names run 'abc', which is not at"),
        ("MLFLOW_RUN_ID", "it's/..", 'MLFLOW_RUN_ID names run "it\'s/..", which is not at'),
        ("MLFLOW_HTTP_REQUEST_TIMEOUT", "soon", "MLFLOW_HTTP_REQUEST_TIMEOUT='soon' in the environment"),
        ("MLFLOW_TRACKING_URI", "nonsense://x", "no MLflow tracking at 'nonsense://x'"),
        ("MLFLOW_REGISTRY_URI", "nonsense://x", "no MLflow tracking at"),
    ],
)
def test_a_variable_that_names_nothing_is_one_line(
    name: str, value: str, told: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "MLFLOW_TRACKING_URI":
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
    monkeypatch.setenv(name, value)
    assert told in ask("train", *TINY).refusal


def begun(**tags: str) -> str:
    client = mlflow.MlflowClient()
    run_id: str = client.create_run("0", tags=tags).info.run_id
    return run_id


def test_a_run_that_waits_for_a_training_is_gone_on_with(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = begun()
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    assert ask("train", *TINY).code == 0
    assert mlflow.get_run(run_id).data.tags["network"] == "embedding"


@pytest.mark.parametrize("state", ["FINISHED", "FAILED", "KILLED", "deleted", "network", "stage", "process"])
def test_no_other_run_is_gone_on_with(state: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = begun(**({state: "cnn"} if state in ("network", "stage", "process") else {}))
    if state == "deleted":
        mlflow.delete_run(run_id)
    elif state.isupper():
        mlflow.MlflowClient().set_terminated(run_id, state)
    before = mlflow.get_run(run_id).to_dictionary()
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    told = {"deleted": "which is deleted"}.get(
        state, f"which has ended ({state})" if state.isupper() else "which holds a training already"
    )
    assert told in ask("train", *TINY).refusal
    assert told in ask("tune", *TINY, "--trials", "1").refusal
    assert mlflow.get_run(run_id).to_dictionary() == before


def test_a_deleted_experiment_is_named_as_such(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deleted = mlflow.create_experiment("films")
    mlflow.delete_experiment(deleted)
    told = "experiment 'films' is deleted: give another --experiment, or restore it, mlflow experiments restore --exp"
    assert told in ask("train", *TINY, "--experiment", "films").refusal
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "films")
    assert told in ask("train", *TINY).refusal
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", deleted)
    assert told in ask("tune", *TINY, "--trials", "1").refusal


def test_within_a_run_of_the_caller_s_a_training_is_its_child(here: Path) -> None:
    tiny: dict[str, Any] = {"data": "sample", "epochs": 1, "vocabulary": 300, "embedding": 8, "progress": False}
    mlflow.set_experiment("the caller's")
    with mlflow.start_run() as around:
        child = mlflow.get_run(st.train("embedding", **tiny).run_id)
        assert getattr(mlflow.active_run(), "info", None) == around.info
        with pytest.raises(InputError, match="is under way at"):
            st.train("embedding", tracking_uri=f"sqlite:///{here}/other.db", **tiny)
    assert child.info.experiment_id == around.info.experiment_id
    assert child.data.tags["mlflow.parentRunId"] == around.info.run_id
    outer = mlflow.get_run(around.info.run_id)
    assert (outer.info.status, outer.data.params, outer.data.metrics) == ("FINISHED", {}, {})
