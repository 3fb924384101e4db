"""Commands work in an odd folder, and nothing is left in the temporary one, whatever is done and however it ends."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from forks import forked
from support import ODD, SCRIPT, ended, started

pytestmark = [pytest.mark.chaos, pytest.mark.usefixtures("forking")]
SMALL = ("--data", "sample", "--epochs", "1")
CALLS = """
import sentiment_tune as st
run = st.train("embedding", data="sample", epochs=1, progress=False)
st.load_model(f"runs:/{run.run_id}/model").predict(["a fine film"])
st.register(run)
st.load_model().predict(["a fine film"])
st.leaderboard()
"""


class Folder:
    """A folder to work in, of an odd name, and an empty temporary folder for whatever is started."""

    def __init__(self, path: Path):
        self.path, self.temporary = path / ODD, path / "temporary"
        self.path.mkdir()
        self.temporary.mkdir()

    @property
    def left(self) -> list[str]:
        return sorted(str(path.relative_to(self.temporary)) for path in self.temporary.rglob("*"))

    def start(self, *words: str, at_once: bool = True) -> subprocess.Popen[str]:
        begin, first = (forked, ()) if at_once else (started, (sys.executable,))
        return begin(self.path, *first, *words, TMPDIR=str(self.temporary))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_every_command_works_in_an_odd_folder_and_leaves_nothing_elsewhere(folder: Folder) -> None:
    def do(*words: str) -> str:
        answer = ended(folder.start(SCRIPT, *words))
        assert (answer.code, answer.err, folder.left) == (0, "", []), answer
        return answer.out

    do("train", "--model", "embedding", *SMALL, "--vocabulary", "300", "--embedding", "8")
    do("tune", "--model", "linear", *SMALL, "--trials", "2", "--top", "1", "--workers", "2")
    assert "linear" in do("compare", "--csv", "ranked.csv")
    lines = (folder.path / "ranked.csv").read_text().splitlines()[1:]
    (run,) = (line.split(",")[-1] for line in lines if "embedding" in line)
    do("register", "--run", run)
    do("ensemble", "--data", "sample")
    for model in ("models:/sentiment@champion", f"runs:/{run}/model"):
        assert do("score", "--model", model, "the film")
    refused = ended(folder.start(SCRIPT, "score", "--model", "runs:/none/model", "fine"))
    assert (refused.code, folder.left) == (2, [])
    assert sorted(folder.path.parent.iterdir()) == sorted([folder.path, folder.temporary])


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
