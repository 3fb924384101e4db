"""A user whom the system does not know, and a disk that takes no database."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

from sentiment_tune import local
from sentiment_tune.data.load import DataConfig, load
from support import ended, started

pytestmark = pytest.mark.chaos
TINY = ("--data", "sample", "--epochs", "1", "--vocabulary", "300", "--embedding", "8")


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
    load(DataConfig(data="sample"))  # which is to be in the cache
    train = ("-m", "sentiment_tune", "train", "--model", "embedding", *TINY)
    command = ("bash", "-c", 'ulimit -f 300; exec "$@"', "bash", sys.executable, *train)
    assert "disk I/O error" in ended(started(bare, *command)).refusal
    assert not list(bare.iterdir())
