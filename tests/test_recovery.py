"""What dead processes left is found and mended; what a live one works on is not touched."""

import signal
import socket
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import mlflow
import optuna
import psutil
import pytest
from mlflow.entities import LoggedModelStatus

from sentiment_tune import api, local, recovery
from sentiment_tune.data import store
from sentiment_tune.recovery import LEFT, MENDED
from sentiment_tune.tracking import leftovers, server
from sentiment_tune.tuning import liveness
from support import ask

DEAD = f"{socket.gethostname()}:{2**22 + 1}:1.00"
ELSEWHERE = "elsewhere:1:1.00"


@pytest.fixture(autouse=True)
def _own_temporary_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests that are running leave things too."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path_factory.mktemp("temporary")))


def running(process: str | None, seen: float = 0.0, **tags: str) -> str:
    """A run that is said to be running, of a process that was last seen so many seconds ago."""
    told = {} if process is None else {"process": process, "seen": f"{time.time() - seen:.0f}"}
    client = mlflow.MlflowClient()
    return str(client.create_run("0", tags={"network": "cnn", **told, **tags}, run_name="left").info.run_id)


def status(run_id: str) -> str:
    return str(mlflow.get_run(run_id).info.status)


def outcomes() -> dict[str, str]:
    return {finding.what: finding.outcome for finding in api.doctor(fix=True)}


def test_runs_of_dead_processes_are_ended_and_those_of_live_ones_never(here: Path) -> None:
    dead, silent = running(DEAD), running(ELSEWHERE, seen=leftovers.SILENCE + 60)
    alive = [running(local.process_id(), seen=1e6), running(ELSEWHERE, seen=60)]
    unknown, foreign = running(None), mlflow.MlflowClient().create_run("0").info.run_id
    assert [finding.outcome for finding in api.doctor()] == [LEFT] * 3
    assert set(map(status, (dead, silent, *alive))) == {"RUNNING"}  # to look changes nothing
    assert sorted(outcomes().values()) == [LEFT, MENDED, MENDED]
    assert [status(run) for run in (dead, silent)] == ["KILLED"] * 2
    assert mlflow.get_run(dead).info.end_time
    assert {status(run) for run in (*alive, unknown, foreign)} == {"RUNNING"}
    assert [finding.what for finding in api.doctor() if unknown not in finding.what] == []


def test_a_run_that_somebody_goes_on_with_in_the_meantime_is_left_alone(here: Path) -> None:
    run = running(DEAD)
    (found,) = api.doctor()
    mlflow.MlflowClient().set_tag(run, "process", local.process_id())
    recovery.mend(found)
    assert status(run) == "RUNNING"


def test_half_written_models_go_and_finished_ones_stay(here: Path) -> None:
    client, run = mlflow.MlflowClient(), running(DEAD)
    half, whole = (client.create_logged_model("0", name="model", source_run_id=run) for _ in range(2))
    client.finalize_logged_model(whole.model_id, LoggedModelStatus.READY)
    folder = Path(half.artifact_location.removeprefix("file://"))
    folder.mkdir(parents=True)
    (folder / "model.pt2").write_bytes(b"half")
    assert sorted(outcomes().values()) == [MENDED] * 2
    assert not folder.exists()
    assert client.get_logged_model(whole.model_id).status == LoggedModelStatus.READY


@pytest.fixture
def study(here: Path) -> optuna.Study:
    """A study with its run, a lost trial, one of this process, and a finished one whose run was deleted."""
    with warnings.catch_warnings(action="ignore"):
        storage = f"sqlite:///{here}/optuna.db"
        study = optuna.create_study(storage=storage, study_name="cnn on sample", direction="maximize")
        study.set_user_attr(liveness.FACTS, {})
        study.set_user_attr(liveness.RUN_ID, running(local.process_id()))
        dropout: dict[str, optuna.distributions.BaseDistribution] = {}
        dropout["dropout"] = optuna.distributions.FloatDistribution(0, 1)
        for worker in (DEAD, local.process_id(), DEAD):
            study.ask(dropout).set_user_attr(liveness.WORKER, worker)
        trial = optuna.trial.Trial(study, study.trials[2]._trial_id)
        trial.report(0.75, 1)
        trial.report(0.875, 2)
        study.tell(trial, 0.875)
    return study


@pytest.mark.parametrize(
    ("facts", "name"), [({}, "best_val_accuracy"), ({"cnn.metric": '"macro_f1"'}, "best_val_score")]
)
def test_trials_of_dead_processes_are_tried_again_and_lost_runs_are_written_anew(
    facts: dict[str, str], name: str, study: optuna.Study
) -> None:
    study.set_user_attr(liveness.FACTS, facts)
    assert len(outcomes()) == 2
    states = [trial.state.name for trial in study.get_trials()]
    assert states == ["FAIL", "RUNNING", "COMPLETE", "WAITING"]
    parent = study.user_attrs[liveness.RUN_ID]
    (run,) = mlflow.search_runs(["0"], f"tags.`mlflow.parentRunId` = '{parent}'", output_format="list")
    assert (run.info.status, run.data.tags["trial"], list(run.data.params)) == ("FINISHED", "2", ["dropout"])
    history: list[Any] = mlflow.MlflowClient().get_metric_history(run.info.run_id, name)
    assert [(point.step, point.value) for point in history] == [(1, 0.75), (2, 0.875)]
    assert outcomes() == {}


def test_a_trial_whose_process_stands_still_is_left_to_it(study: optuna.Study) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        process.send_signal(signal.SIGSTOP)
        begun = psutil.Process(process.pid).create_time()
        still = {"worker": f"{socket.gethostname()}:{process.pid}:{begun:.2f}", "seen": time.time() - 3600}
        running_trial = optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING, user_attrs=still)
        number = study._storage.get_trial(study._storage.create_new_trial(study._study_id, running_trial)).number
        outcomes()
        assert study.get_trials()[number].state.name == "RUNNING"
        process.kill()
    assert any(f"trial {number} " in what for what in outcomes())
    assert study.get_trials()[number].state.name == "FAIL"


def test_half_written_files_and_checkpoints_nobody_needs_are_deleted(here: Path) -> None:
    state = server.state_folder()
    finished, killed = running(local.process_id()), running(local.process_id())
    for run, end in ((finished, "FINISHED"), (killed, "KILLED")):
        mlflow.MlflowClient().set_terminated(run, end)
        (state / "checkpoints" / run).mkdir(parents=True)
    (state / "checkpoints" / ("0" * 32)).mkdir()
    for folder in (state, store.cache_folder()):
        (folder / f".a~{DEAD}~01234567.partial").mkdir()
        (folder / f".b~{local.process_id()}~01234567.partial").touch()
    assert sorted(outcomes().values()) == [LEFT, *[MENDED] * 4]
    assert [path.name for path in (state / "checkpoints").iterdir()] == [killed]
    for folder in (state, store.cache_folder()):
        (alive,) = folder.glob(".*.partial")
        assert alive.name.startswith(".b")
        alive.unlink()


def test_what_cannot_be_mended_is_said_and_the_rest_goes_on(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, state = running(DEAD), server.state_folder()
    (state / f".a~{DEAD}~01234567.partial").touch()

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(local, "delete", refuse)
    answer = ask("doctor", "--fix")
    assert (answer.code, status(run)) == (0, "KILLED")
    assert "Permission denied" in answer.out
    assert "2 found, 1 mended" in answer.out


def test_an_empty_folder_needs_no_doctor_and_gets_no_file(bare: Path) -> None:
    answer = ask("doctor")
    assert (answer.code, answer.out, list(bare.iterdir())) == (0, "nothing was left behind\n", [])


def test_compare_says_that_something_was_left(here: Path) -> None:
    ask("train", "--data", "sample", "--model", "embedding", "--epochs", "1", "--quiet")
    assert "doctor" not in ask("compare").err
    running(DEAD)
    assert "a run is said to be running whose process is gone: sentiment-tune doctor" in ask("compare").err
