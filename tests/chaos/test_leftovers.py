"""Nothing is left behind in the temporary folder, whatever a command or a call does and however it ends."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from forks import forked
from support import SCRIPT, ended, runs, started

pytestmark = [pytest.mark.chaos, pytest.mark.usefixtures("forking")]
SMALL = ("--data", "sample", "--epochs", "1", "--quiet")
CALLS = """
import sentiment_tune as st
run = st.train("embedding", data="sample", epochs=1, progress=False)
st.load_model(f"runs:/{run.run_id}/model").predict(["a fine film"])
st.register(run)
st.load_model().predict(["a fine film"])
st.leaderboard()
"""


class Folder:
    """A folder to work in, and an empty temporary folder for whatever is started."""

    def __init__(self, path: Path):
        self.path, self.temporary = path / "work", path / "temporary"
        self.path.mkdir()
        self.temporary.mkdir()

    @property
    def left(self) -> list[str]:
        return sorted(str(path.relative_to(self.temporary)) for path in self.temporary.rglob("*"))

    def start(self, *words: str, at_once: bool = True) -> subprocess.Popen[str]:
        begin, first = (forked, ()) if at_once else (started, (sys.executable,))
        return begin(self.path, *first, *words, TMPDIR=str(self.temporary))

    def command(self, *words: str) -> int:
        return ended(self.start(SCRIPT, *words)).code


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_commands_leave_nothing(folder: Folder) -> None:
    for network in ("embedding", "linear"):
        assert folder.command("train", "--model", network, *SMALL) == 0
    newest, oldest = runs(f"sqlite:///{folder.path}/mlflow.db")
    commands: list[tuple[str, ...]] = [
        ("score", "--model", f"runs:/{newest.info.run_id}/model", "a fine film"),
        ("register", "--run", newest.info.run_id),
        ("register", "--run", oldest.info.run_id),
        ("ensemble", "--data", "sample"),
        ("tune", "--model", "embedding", "--trials", "2", "--workers", "2", "--top", "0", *SMALL[:4]),
    ]
    for words in commands:
        assert (folder.command(*words), folder.left) == (0, []), words
    assert (folder.command("score", "--model", "runs:/none/model", "x"), folder.left) == (2, [])


def test_calls_leave_nothing(folder: Folder) -> None:
    (folder.path / "calls.py").write_text(CALLS)
    assert ended(folder.start(str(folder.path / "calls.py"))).code == 0
    # torch's one cache of this user, without a file in it, which later calls use again
    assert [name for name in folder.left if not name.startswith("torchinductor_")] == []


@pytest.mark.parametrize(("seconds", "at_once"), [(1, False), (0.5, True), (3, True)])
@pytest.mark.parametrize("times", [1, 2])
def test_what_is_ended_leaves_nothing(folder: Folder, seconds: float, at_once: bool, times: int) -> None:
    train = ("train", "--model", "rnn", "--data", "sample", "--epochs", "99")
    process = folder.start(SCRIPT, *train, at_once=at_once)
    time.sleep(seconds)
    for _ in range(times):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
    assert ended(process).code != 0
    assert folder.left == []
