"""Many machines on one study: worker commands that share PostgreSQL and an MLflow server, and nothing else."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import optuna
import pytest
from mlflow import MlflowClient
from optuna.trial import TrialState

from sentiment_tune.tuning.liveness import finished_trials
from support import SCRIPT, TIME_LIMIT, ended, started, wait_until

pytestmark = pytest.mark.postgresql
TUNING = ("tune", "--model", "embedding", "--data", "sample", "--vocabulary", "300", "--length", "60", "--epochs", "2")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def program(name: str) -> str:
    """A program of PostgreSQL, which Debian keeps off the search path."""
    found = shutil.which(name) or next(map(str, sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))), None)
    if found is None:
        pytest.fail("PostgreSQL is not installed: apt-get install postgresql")  # who asks for this test wants it run
    return found


@contextmanager
def serving(command: list[str], **given: object) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **given)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(TIME_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server on loopback, without its database."""
    folder, port = tmp_path_factory.mktemp("postgresql"), free_port()
    user: dict[str, object] = {}
    if os.geteuid() == 0:  # which PostgreSQL refuses to run as
        owner = pwd.getpwnam("postgres")
        folder = Path("/var/tmp", f"sentiment_tune-{port}")
        folder.mkdir()
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        user = {"user": "postgres", "group": "postgres", "extra_groups": []}
    data = str(folder / "data")
    make = [program("initdb"), "-D", data, "-U", "tuner", "-A", "trust", "-E", "UTF8", "--locale=C"]
    subprocess.run(make, check=True, capture_output=True, cwd=folder, **user)  # type: ignore[call-overload]
    serve = [program("postgres"), "-D", data, "-p", str(port), "-k", str(folder), "-h", "127.0.0.1", "-c", "fsync=off"]
    with serving(serve, cwd=folder, **user):
        server = ["-h", "127.0.0.1", "-p", str(port), "-U", "tuner"]
        wait_until(lambda: subprocess.run([program("pg_isready"), *server], capture_output=True).returncode == 0)
        for name in ("optuna", "mlflow"):
            subprocess.run([program("createdb"), *server, name], check=True)
        yield f"postgresql://tuner@127.0.0.1:{port}"
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def mlflow_server(postgresql: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of an MLflow server whose runs are in PostgreSQL."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    store = f"{postgresql.replace('postgresql:', 'postgresql+psycopg:')}/mlflow"
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store, "--port", str(port)]
    command += ["--artifacts-destination", str(folder / "artifacts"), "--workers", "2"]
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            urllib.request.urlopen(f"{address}/health", timeout=2).close()
        except OSError:
            return False
        return True

    with serving(command, cwd=folder):
        wait_until(answers)
        yield address


class Joined(NamedTuple):
    study: optuna.Study
    client: MlflowClient


@pytest.fixture(scope="module")
def joined(postgresql: str, mlflow_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Joined]:
    """A study on which four commands have worked, each in a folder of its own, as on machines of their own."""
    storage = f"{postgresql}/optuna"
    shared = ("--storage", storage, "--tracking-uri", mlflow_server, "--trials", "12", "--top", "1", "--seeds", "1")
    processes = [
        started(tmp_path_factory.mktemp("machine"), SCRIPT, *TUNING, *shared, "--threads", "1", "--device", "cpu")
        for _ in range(4)
    ]
    answers = [ended(process, 2 * TIME_LIMIT) for process in processes]
    assert [answer.code for answer in answers] == [0] * 4, answers
    owners = [answer for answer in answers if "sentiment version 1 is champion" in answer.out]
    joiners = [answer for answer in answers if "another process owns this study" in answer.out]
    assert (len(owners), len(joiners)) == (1, 3), answers
    opened = optuna.storages.RDBStorage(storage)
    yield Joined(optuna.load_study(study_name="embedding-sample", storage=opened), MlflowClient(mlflow_server))
    opened.remove_session()
    opened.engine.dispose()  # connections left open warn when they are collected, whenever that is


def test_machines_that_join_share_the_trials_of_one_study(joined: Joined) -> None:
    trials = joined.study.get_trials()
    assert len(finished_trials(trials)) == 12
    assert {trial.state for trial in trials if trial in finished_trials(trials)} <= {
        TrialState.COMPLETE,
        TrialState.PRUNED,
    }
    assert len({trial.user_attrs["worker"] for trial in finished_trials(trials)}) >= 3
    assert (
        len({tuple(sorted(trial.params.items())) for trial in finished_trials(trials)}) == 12
    )  # nobody repeats another
    assert TrialState.RUNNING not in [trial.state for trial in trials]


def test_all_their_runs_are_below_one_and_none_is_left_running(joined: Joined) -> None:
    client = joined.client
    found = client.search_runs([held.experiment_id for held in client.search_experiments()], max_results=1000)
    (parent,) = (run for run in found if run.data.tags["stage"] == "study")
    (repeats,) = (run for run in found if run.data.tags["stage"] == "repeats")
    for run in found:
        above = repeats if run.data.tags["stage"] == "confirm" else parent
        assert run.data.tags.get("mlflow.parentRunId", parent.info.run_id) == above.info.run_id
    assert {run.info.status for run in found} <= {"FINISHED", "KILLED"}
    trials = {trial.user_attrs["run_id"] for trial in finished_trials(joined.study.get_trials())}
    assert trials == {run.info.run_id for run in found if run.data.tags["stage"] == "search"}
    assert client.get_model_version_by_alias("sentiment", "champion").run_id == parent.data.tags["winner"]
