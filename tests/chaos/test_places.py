"""Every command in a folder of an odd name, and as a user whom the system does not know."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

from forks import forked
from sentiment_tune import local
from sentiment_tune.data.load import DataConfig, load
from support import ODD, SCRIPT, Answer, ended, started

pytestmark = [pytest.mark.chaos, pytest.mark.usefixtures("forking")]
TINY = ("--data", "sample", "--epochs", "1", "--vocabulary", "300", "--embedding", "8")


def test_every_command_works_in_an_odd_folder(tmp_path: Path) -> None:
    folder = tmp_path / ODD
    folder.mkdir()

    def do(*words: str) -> Answer:
        answer = ended(forked(folder, SCRIPT, *words))
        assert (answer.code, answer.err) == (0, ""), answer
        return answer

    do("train", "--model", "embedding", *TINY)
    do("tune", "--model", "linear", *TINY[:4], "--trials", "2", "--top", "1", "--workers", "2")
    assert "linear" in do("compare", "--csv", "ranked.csv").out
    lines = (folder / "ranked.csv").read_text().splitlines()[1:]
    (run,) = (line.split(",")[-1] for line in lines if "embedding" in line)
    do("register", "--run", run)
    do("ensemble", "--data", "sample")
    assert do("score", "--model", "models:/sentiment@champion", "fine").out
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize(("mode", "told"), [(0o777, ""), (0o755, "name a writable folder in SENTIMENT_TUNE_CACHE")])
def test_a_user_whom_the_system_does_not_know(mode: int, told: str) -> None:
    """One who may read everything, also where this Python lies, and write where others may."""
    shared = local.shared_temporary_folder()
    with tempfile.TemporaryDirectory(dir=shared) as place:  # pytest's own folders are closed to others
        folder = Path(place, "here")
        folder.mkdir()
        folder.chmod(mode)
        Path(place).chmod(0o755)
        nobody = ("setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups")
        reads = ("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search")
        variables = ("env", "-u", "HOME", "-u", "SENTIMENT_TUNE_STATE", f"SENTIMENT_TUNE_CACHE={folder}/cache")
        command = (sys.executable, "-m", "sentiment_tune", "train", "--model", "embedding", *TINY)
        answer = ended(started(folder, *nobody, *reads, *variables, *command, TMPDIR=str(shared)))
    assert told in (answer.refusal if told else answer.err), answer
    assert told or answer.code == 0, answer


def test_of_a_database_that_the_disk_does_not_take_nothing_is_left(bare: Path) -> None:
    load(DataConfig("sample"))  # into the cache, which is larger than the disk is to be
    train = ("-m", "sentiment_tune", "train", "--model", "embedding", *TINY)
    command = ("bash", "-c", 'ulimit -f 300; exec "$@"', "bash", sys.executable, *train)
    assert "disk I/O error" in ended(started(bare, *command)).refusal
    assert not list(bare.iterdir())
