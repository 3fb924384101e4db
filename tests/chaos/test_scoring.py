"""Scoring that is killed: nothing half-made, no process left, no traceback, and the same command goes on."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from sentiment_tune.data.tables import read_table
from sentiment_tune.data.text import FIRST_WORD, TextConfig, Vocabulary
from sentiment_tune.inference.package import ModelPackage, save_package
from sentiment_tune.space import resolve
from support import SCRIPT, SMALL, VOCABULARY, ended, started, trained, wait_until

pytestmark = pytest.mark.chaos
ROWS = 200_000
PARTS = 3


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = Vocabulary([f"word{number}" for number in range(VOCABULARY - FIRST_WORD)])
    network = trained("embedding", False)
    folder = tmp_path_factory.mktemp("model") / "model"
    save_package(
        ModelPackage("embedding", network, resolve(type(network), SMALL), words, TextConfig(VOCABULARY, 50)), folder
    )
    return folder


@pytest.fixture
def command(model: Path, tmp_path: Path) -> tuple[str, ...]:
    """Scores three files, a short one between two that take seconds."""
    for part in range(PARTS):
        rows = 10 if part == 1 else ROWS
        (tmp_path / f"part-{part}.csv").write_text("text\n" + "word1 word2 a word9\n" * rows)
    return (SCRIPT, "score", "--model", str(model), "--input", "part-*.csv", "--output", "scored", "--workers", "2")


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("scored/*"))


def is_writing(folder: Path) -> bool:
    """Whether some rows of a file are written already, by workers that are at work then."""
    return any(path.stat().st_size for path in folder.glob("scored/.*.partial/*"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_with_all_workers_and_a_line(
    number: signal.Signals, code: int, command: tuple[str, ...], tmp_path: Path
) -> None:
    process = started(tmp_path, *command, session=True)
    wait_until(lambda: is_writing(tmp_path))
    below = psutil.Process(process.pid).children(recursive=True)
    assert len(below) >= 2
    os.killpg(process.pid, number)  # as a terminal does, to all of them
    answer = ended(process)
    assert (answer.code, answer.err.splitlines()[-1]) == (code, "sentiment-tune: ended"), answer
    assert "Traceback" not in answer.err
    wait_until(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in below))
    assert [name for name in left(tmp_path) if name.startswith(".") or name == "part-2.csv"] == []


def test_a_worker_that_is_killed_ends_it_with_a_line(command: tuple[str, ...], tmp_path: Path) -> None:
    process = started(tmp_path, *command, session=True)
    wait_until(lambda: is_writing(tmp_path))
    workers = [one for one in psutil.Process(process.pid).children() if any("spawn_main" in w for w in one.cmdline())]
    workers[-1].kill()
    answer = ended(process)
    assert answer.code == 2, answer
    assert "one of 2 workers died" in answer.err.splitlines()[-1]
    assert "Traceback" not in answer.err
    assert left(tmp_path) == []


def test_after_kill_no_worker_stays_and_the_same_command_goes_on(command: tuple[str, ...], tmp_path: Path) -> None:
    process = started(tmp_path, *command, session=True)
    wait_until(lambda: (tmp_path / "scored" / "part-1.csv").exists())
    wait_until(lambda: is_writing(tmp_path))
    below = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    ended(process)
    wait_until(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in below))
    finished = {name: (tmp_path / "scored" / name).stat().st_mtime_ns for name in ("part-0.csv", "part-1.csv")}
    assert [name[:12] for name in left(tmp_path) if name.startswith(".")] == [".part-2.csv~"]
    answer = ended(started(tmp_path, *command))
    assert answer.code == 0, answer
    assert f"2 of {PARTS} are in scored already" in answer.err
    assert left(tmp_path) == [f"part-{part}.csv" for part in range(PARTS)]
    assert {name: (tmp_path / "scored" / name).stat().st_mtime_ns for name in finished} == finished
    assert len(read_table(tmp_path / "scored" / "part-2.csv").rows) == ROWS
