"""Studies whose processes die: each comes to its trials, each trial has its run, and nothing is said to be running."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import optuna
import psutil
import pytest
from optuna.trial import TrialState

from forks import forked
from sentiment_tune.errors import InputError
from sentiment_tune.events import Event, WarningMessage
from sentiment_tune.tuning.liveness import finished_trials
from sentiment_tune.tuning.workers import RESTARTS, run_in_processes
from support import SCRIPT, TIME_LIMIT, ended, wait_until, workers_of

pytestmark = [pytest.mark.chaos, pytest.mark.usefixtures("forking")]
SEED = int(os.environ.get("SENTIMENT_TUNE_CHAOS_SEED", "0")) or random.randrange(10**6)
KILLS = int(os.environ.get("SENTIMENT_TUNE_CHAOS_KILLS", "8"))
COMMITS = 70  # that a study of two trials makes, about
SMALL = ("--data", "sample", "--vocabulary", "300", "--length", "60", "--device", "cpu")
TUNE = ("tune", "--model", "embedding", *SMALL, "--epochs", "2", "--top", "0", "--pruner", "NopPruner")


def check_study(folder: Path, name: str, count: int) -> None:
    """The study has the trials it was to have, each with a run of its own, and nothing is said to be running."""
    trials = optuna.load_study(study_name=name, storage=f"sqlite:///{folder}/optuna.db").get_trials()
    finished = finished_trials(trials)
    assert len(finished) == count
    assert [trial.number for trial in trials if trial.state == TrialState.RUNNING] == []
    with closing(sqlite3.connect(folder / "mlflow.db", timeout=60)) as database:
        runs = dict(database.execute("SELECT run_uuid, status FROM runs").fetchall())
    assert set(runs.values()) <= {"FINISHED", "KILLED"}
    ids = [trial.user_attrs["run_id"] for trial in finished]
    assert (len(set(ids)), set(ids) - runs.keys()) == (count, set())
    again = [trial.system_attrs["retry_history"][-1] for trial in trials if "retry_history" in trial.system_attrs]
    assert len(again) == len(set(again))


def test_a_study_goes_on_wherever_its_process_died(here: Path) -> None:
    """Between any two writes, to MLflow or to Optuna: before each commit, or before some, drawn by chance."""
    print(f"seed {SEED}")
    drawn = random.Random(SEED).sample(range(1, COMMITS + 1), KILLS) if KILLS < COMMITS else range(1, COMMITS + 1)
    command = [sys.executable, str(Path(__file__).with_name("small_study.py")), str(here), "2", *map(str, drawn)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT * 2)
    lines = [line.split() for line in answer.stdout.splitlines()]
    assert [(number, code) for number, code, _ in lines] == [(str(number), "0") for number in drawn], answer
    assert max(float(seconds) for *_, seconds in lines) < 60
    for number in drawn:
        check_study(here / str(number), "small", 2)


def test_workers_that_are_killed_at_random(here: Path) -> None:
    draw = random.Random(SEED)
    print(f"seed {SEED}")
    process = forked(here, SCRIPT, *TUNE, "--trials", "16", "--workers", "2")
    owner = psutil.Process(process.pid)
    for _ in range(3):
        await_worker(here, process)
        time.sleep(draw.uniform(0, 1))
        workers = _workers(owner)
        if process.poll() is None and workers:
            draw.choice(workers).send_signal(signal.SIGKILL)
    answer = ended(process)
    assert answer.code == 0, answer
    check_study(here, "embedding-sample", 16)
    assert "restarts are left to it" in answer.err


def await_worker(folder: Path, process: subprocess.Popen[str]) -> None:
    """Wait until one more has begun to work, or the study has ended."""
    before = workers_of(folder)
    wait_until(lambda: process.poll() is not None or workers_of(folder) > before)


def _workers(owner: psutil.Process) -> list[psutil.Process]:
    try:
        return [child for child in owner.children() if "spawn_main" in " ".join(child.cmdline())]
    except psutil.NoSuchProcess:
        return []


def test_an_owner_that_is_killed_leaves_nobody(here: Path) -> None:
    words = (SCRIPT, *TUNE, "--trials", "4", "--workers", "2")
    process = forked(here, *words)
    owner = psutil.Process(process.pid)
    wait_until(lambda: len(_workers(owner)) == 2)
    workers = _workers(owner)
    time.sleep(random.Random(SEED).uniform(4, 10))
    process.send_signal(signal.SIGKILL)
    assert psutil.wait_procs(workers, 10)[1] == []
    ended(process)
    answer = ended(forked(here, *words))
    assert answer.code == 0, answer
    check_study(here, "embedding-sample", 4)


def _die(corpus: object, worker: int) -> None:
    os._exit(9)


def test_a_worker_is_not_started_again_for_ever(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sentiment_tune.data.load import DataConfig

    lost: list[bool] = []
    told: list[Event] = []
    with pytest.raises(InputError, match=r"every worker died .exit code 9.: see"):
        run_in_processes(1, DataConfig(data="sample"), _die, lambda: lost.append(True), told.append)
    lines = [event.text for event in told if isinstance(event, WarningMessage)]
    assert len(lost) == len(lines) == RESTARTS + 1
    assert "worker 0 died (exit code 9) and is started again; 2 restarts are left to it" in lines[0]
    assert lines[-1].endswith("is not started again")
