"""Signals at any moment: the run is KILLED with an end, the trial is tried again, and no process is left."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from functools import partial
from pathlib import Path

import optuna
import psutil
import pytest
from optuna.trial import FrozenTrial, TrialState

from forks import forked
from sentiment_tune.tuning.liveness import is_interrupted
from support import ROOT, SCRIPT, ask, runs, started, wait_until, workers_of

pytestmark = [pytest.mark.chaos, pytest.mark.usefixtures("forking")]
SEED = int(os.environ.get("SENTIMENT_TUNE_CHAOS_SEED", "0")) or random.randrange(10**6)
BOUND = 10  # seconds within which everything is to be over
SMALL = ("--data", "sample", "--vocabulary", "300", "--length", "60", "--device", "cpu")
LONG = ("--epochs", "10000", "--patience", "10000")
TRAIN = ("train", "--model", "embedding", *SMALL)
TUNE = ("tune", "--model", "embedding", *SMALL, "--epochs", "2", "--trials", "3", "--top", "1", "--seeds", "2")
AT_MOMENT = str(Path(__file__).with_name("at_moment.py"))
INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
# In sessions of their own, so that what they leave can be found.
begun, begun_at_once = partial(started, session=True), partial(forked, session=True)


def left_of(session: int) -> list[str]:
    """Processes of a session that are alive."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline())[:200])
        except (ProcessLookupError, psutil.Error):
            continue
    return found


def ended_in_time(process: subprocess.Popen[str], since: float) -> tuple[int, str]:
    """Exit code and standard error of a process that was told to end, and that has left nobody."""
    with process:
        try:
            _, err = process.communicate(timeout=BOUND + 2)
            while left_of(process.pid) and time.monotonic() - since < BOUND:
                time.sleep(0.1)
            assert left_of(process.pid) == []
            assert time.monotonic() - since < BOUND + 2
            return process.returncode, err
        finally:  # before the pipes are closed, which waits for who holds their other ends
            for left in psutil.process_iter():
                try:
                    if os.getsid(left.pid) == process.pid:
                        left.kill()
                except (ProcessLookupError, psutil.Error):
                    continue


def statuses(folder: Path) -> list[tuple[str, bool]]:
    """Status of each run, the newest last, and whether it has an end."""
    if not (folder / "mlflow.db").exists():
        return []
    with closing(sqlite3.connect(folder / "mlflow.db", timeout=60)) as database:
        found = database.execute("SELECT status, end_time IS NOT NULL FROM runs ORDER BY start_time").fetchall()
    return [(status, bool(ended)) for status, ended in found]


def stored_trials(folder: Path) -> list[FrozenTrial]:
    storage = f"sqlite:///{folder}/optuna.db"
    if not (folder / "optuna.db").exists() or not optuna.get_all_study_names(storage):
        return []
    return optuna.load_study(study_name=None, storage=storage).get_trials()


def check_left(folder: Path) -> None:
    """No run and no trial is said to be running, and what was interrupted is queued again exactly once."""
    told = statuses(folder)
    assert {status for status, _ in told} <= {"FINISHED", "KILLED"}, told
    assert all(has_end for _, has_end in told), told
    trials = stored_trials(folder)
    assert [trial.number for trial in trials if trial.state == TrialState.RUNNING] == []
    again = Counter(
        trial.system_attrs["retry_history"][-1] for trial in trials if "retry_history" in trial.system_attrs
    )
    assert again == Counter(trial.number for trial in trials if is_interrupted(trial)), trials


def said_last(err: str) -> str:
    """The one line of a signal's end, without the way on that a training names."""
    (line,) = err.strip().splitlines() or [""]
    return line.partition(";")[0]


def code_of(number: int) -> int:
    return 130 if number == INT else 143


def chance(*about: object) -> random.Random:
    print(f"seed {SEED}")
    return random.Random(f"{SEED} {about}")


MOMENTS = [
    (TRAIN, "import mlflow", INT, 1),
    (TRAIN, "import sentiment_tune.evaluation.plots", INT, 1),
    (TRAIN, "import sentiment_tune.evaluation.plots", TERM, 2),
    (TRAIN, "commit ANY", TERM, 1),
    (TRAIN, "commit ANY", INT, 2),
    (TRAIN, "call sentiment_tune.experiment:evaluate_on_test", HUP, 1),
    (TRAIN, "call sentiment_tune.tracking.flavor:save_model", TERM, 3),
    (TUNE, "import optuna", TERM, 1),
    (TUNE, "commit ANY", INT, 2),
    (TUNE, "commit ANY", HUP, 1),
    (TUNE, "commit ANY", TERM, 3),
    (TUNE, "call sentiment_tune.tuning.trials:wait_for_turn", INT, 1),
    (TUNE, "call sentiment_tune.tuning.campaign:confirm_trials", HUP, 2),
    (TUNE, "call sentiment_tune.tuning.campaign:register_run", TERM, 1),
    (TUNE, "call sentiment_tune.publish:tracking_uri", TERM, 1),  # just before a fresh process is started
]


@pytest.mark.parametrize(("command", "moment", "number", "times"), MOMENTS)
def test_a_signal_at_a_moment(here: Path, command: tuple[str, ...], moment: str, number: int, times: int) -> None:
    most = 60 if command[0] == "train" else 200  # commits that such a command makes, about
    moment = moment.replace("ANY", str(chance(command, moment, number, times).randint(1, most)))
    given = (AT_MOMENT, moment, str(int(number)), str(times), *command)
    is_of_imports = moment.startswith("import")  # so they are not to have been done before
    process = begun(here, sys.executable, *given) if is_of_imports else begun_at_once(here, *given)
    assert process.stderr is not None
    said = process.stderr.readline()
    since = time.monotonic()
    code, err = ended_in_time(process, since)
    assert said == "now\n", (moment, said, err)
    assert (code, said_last(err)) == (code_of(number), "sentiment-tune: ended"), moment
    check_left(here)
    if moment.startswith("call") or "plots" in moment:
        assert statuses(here)[-1][0] == "KILLED" or command is TUNE
        assert "KILLED" in [status for status, _ in statuses(here)]


def test_signals_at_random_to_a_training(here: Path) -> None:
    draw = chance("training")
    for begin, most in ((begun, 8), (begun_at_once, 3), (begun_at_once, 3)):
        number, times, pause = draw.choice([INT, TERM, HUP]), draw.randint(1, 3), draw.random()
        delay = draw.uniform(0.3, most)
        process = begin(here, SCRIPT, *TRAIN, *LONG)
        time.sleep(delay)
        code, err = signalled(process, number, times, pause)
        assert (code, said_last(err)) == (code_of(number), "sentiment-tune: ended"), (number, times, pause, delay)
        check_left(here)


def signalled(
    process: subprocess.Popen[str], number: int, times: int, pause: float, group: bool = False
) -> tuple[int, str]:
    since = time.monotonic()
    for _ in range(times):
        if process.poll() is None:
            (os.killpg if group else os.kill)(process.pid, number)
            time.sleep(pause)
    return ended_in_time(process, since)


@pytest.mark.parametrize(("number", "times", "group"), [(INT, 2, True), (TERM, 1, False), (HUP, 3, True)])
def test_a_signal_to_a_study_with_workers(here: Path, number: int, times: int, group: bool) -> None:
    draw = chance("workers", number)
    process = begun_at_once(here, SCRIPT, *TUNE, "--trials", "50", "--pruner", "NopPruner", "--workers", "2")
    wait_until(lambda: len(workers_of(here)) == 2)
    time.sleep(draw.random() * 2)
    code, err = signalled(process, number, times, 0.7, group)
    assert (code, said_last(err)) == (code_of(number), "sentiment-tune: ended")
    check_left(here)


def test_a_signal_to_an_ensemble(here: Path) -> None:
    for model in ("embedding", "linear"):
        assert ask("train", "--model", model, *SMALL, "--epochs", "1", "--quiet").code == 0
        assert ask("register", "--run", runs(f"sqlite:///{here}/mlflow.db")[0].info.run_id).code == 0
    before = len(statuses(here))
    ensemble = ("ensemble", "--data", "sample")
    moment = "call sentiment_tune.ensembling:evaluate_on_test"
    process = begun_at_once(here, AT_MOMENT, moment, str(int(TERM)), "1", *ensemble)
    assert process.stderr is not None
    process.stderr.readline()
    code, err = ended_in_time(process, time.monotonic())
    assert (code, said_last(err), len(statuses(here)) - before) == (143, "sentiment-tune: ended", 1)
    check_left(here)
    assert statuses(here)[-1][0] == "KILLED"


@pytest.mark.parametrize("number", [TERM, HUP, signal.SIGKILL])
def test_a_signal_to_mlflow_run_alone(here: Path, number: int) -> None:
    """Its child hears nothing of it, and is not to train on."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    words = [f"{name.strip('-').replace('-', '_')}={value}" for name, value in zip(LONG[::2], LONG[1::2], strict=True)]
    given = [word for value in ("model=embedding", "data=sample", "device=cpu", *words) for word in ("-P", value)]
    process = begun_at_once(
        here,
        *(str(Path(sys.executable).with_name("mlflow")), "run", str(ROOT), "--env-manager", "local", *given),
        PATH=path,
        MLFLOW_TRACKING_URI=f"sqlite:///{here}/mlflow.db",
    )
    wait_until(lambda: any("sentiment_tune train" in line for line in left_of(process.pid)))
    time.sleep(chance("project", number).random() * 8)
    os.kill(process.pid, number)
    ended_in_time(process, time.monotonic())
    assert [status for status, _ in statuses(here)] == ["KILLED"]
    check_left(here)


def test_what_is_ignored_stays_so(here: Path) -> None:
    """As under nohup, and as Ctrl-C is for a job in the background of a script."""
    command = [shutil.which("nohup") or "nohup", SCRIPT, *TRAIN, *LONG]
    process = begun(here, "/bin/sh", "-c", 'trap "" INT; exec "$@"', "sh", *command)
    wait_until(lambda: ("RUNNING", False) in statuses(here))
    for number in (HUP, INT):
        os.kill(process.pid, number)
    time.sleep(1)
    assert process.poll() is None
    code, _ = signalled(process, TERM, 1, 0)
    assert code == 143
    check_left(here)


def test_a_reader_that_goes(here: Path) -> None:
    """As `head` does: the training ends like one whose terminal closes."""
    process = begun_at_once(here, SCRIPT, *TRAIN, *LONG)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read()
    with process:
        assert (process.wait(), said_last(err)) == (143, "sentiment-tune: ended")
    assert statuses(here) == [("KILLED", True)]


def test_a_network_that_comes_to_no_safe_point(here: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A step that never ends is not waited for, and an end that is sudden leaves no files behind."""
    temporary = tmp_path_factory.mktemp("temporary")
    (here / "mynet.py").write_text(STUCK)
    process = begun_at_once(here, SCRIPT, "train", "--model", "mynet:Stuck", *SMALL, TMPDIR=str(temporary))
    assert process.stderr is not None
    while (line := process.stderr.readline()) != "stuck\n":
        assert line, "it ended before it was stuck"
    code, err = signalled(process, TERM, 1, 0)
    assert (code, said_last(err)) == (143, "sentiment-tune: ended")
    assert statuses(here) == [("KILLED", True)]
    assert list(temporary.iterdir()) == []


STUCK = """
import sys, time
from torch import nn


class Stuck(nn.Module):
    def __init__(self, vocabulary: int):
        super().__init__()
        self.vectors = nn.Embedding(vocabulary, 4, padding_idx=0)
        self.output = nn.Linear(4, 1)
        self.steps = 0

    def forward(self, ids):
        self.steps += self.training
        if self.steps > 4:  # the first are tries, before the run
            print("stuck", file=sys.stderr, flush=True)
            while True:
                try:
                    time.sleep(1)
                except BaseException:
                    pass
        return self.output(self.vectors(ids).sum(1)).squeeze(-1)
"""
