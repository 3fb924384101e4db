"""What real kills leave is mended by `doctor`, and a training that is alive beside it goes on to its end."""

import random
import signal
import time
from pathlib import Path

import pytest

from forks import forked
from sentiment_tune import local
from support import SCRIPT, ask, ended, runs, wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.usefixtures("forking")]


@pytest.mark.parametrize("seed", range(2))
def test_the_doctor_mends_what_a_kill_left_and_touches_nobody_alive(
    here: Path, seed: int, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path_factory.mktemp("temporary")
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    print(f"seed {seed}")
    train = (SCRIPT, "train", "--data", "sample", "--quiet", "--epochs", "400", "--patience", "400", "--model")
    alive, victim = forked(here, *train, "embedding"), forked(here, *train, "cnn")
    database = f"sqlite:///{here}/mlflow.db"
    wait_until(lambda: len(runs(database)) == 2 or any(one.poll() is not None for one in (alive, victim)))
    assert len(runs(database)) == 2, [ended(one) for one in (alive, victim) if one.poll() is not None]
    time.sleep(random.Random(seed).uniform(0, 3))
    victim.send_signal(signal.SIGKILL)
    ended(victim)
    assert "is said to be running, and its process is gone" in ask("doctor").out
    assert ask("doctor", "--fix").code == 0
    states = {run.data.tags["network"]: run.info.status for run in runs(database)}
    assert states == {"embedding": "RUNNING", "cnn": "KILLED"}
    assert "--fix" not in ask("doctor").out
    alive.send_signal(signal.SIGTERM)
    assert ended(alive).code == 143
    assert [run.info.status for run in runs(database)] == ["KILLED"] * 2
    assert local.temporary_folders_left() == []
