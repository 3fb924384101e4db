"""Files that appear whole, private folders, processes and what they leave when they are killed."""

import os
import signal
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from sentiment_tune import local

WRITES = """
import pathlib, sys, time
from sentiment_tune.local import replacing
with replacing(pathlib.Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    time.sleep(60)
"""


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    path.write_text("before")
    with suppress(KeyboardInterrupt), local.replacing(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert (path.read_text(), list(tmp_path.iterdir())) == ("before", [path])
    with local.replacing(path) as file:
        file.write(b"whole")
    assert (path.read_text(), list(tmp_path.iterdir())) == ("whole", [path])


def test_a_killed_writers_partial_file_is_told_from_a_living_ones(tmp_path: Path) -> None:
    command = (sys.executable, "-c", WRITES, str(tmp_path / "checkpoint"))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        assert local.partial_paths_left(tmp_path) == []
        writer.send_signal(signal.SIGKILL)
    (left,) = local.partial_paths_left(tmp_path)
    assert left.read_bytes() == b"half"


def test_another_machines_partial_file_is_left_after_an_hour(tmp_path: Path) -> None:
    foreign = tmp_path / ".figures.json~elsewhere:12:34.00~0123abcd.partial"
    foreign.touch()
    assert local.partial_paths_left(tmp_path) == []
    os.utime(foreign, (time.time() - 4000,) * 2)
    assert local.partial_paths_left(tmp_path) == [foreign]


def test_what_grows_in_another_machines_partial_folder_is_no_leftover(tmp_path: Path) -> None:
    foreign = tmp_path / ".a.csv~elsewhere:12:34.00~0123abcd.partial"
    (foreign / "within").mkdir(parents=True)
    (foreign / "within" / "a.csv").touch()
    for folder in (foreign / "within", foreign):
        os.utime(folder, (time.time() - 4000,) * 2)
    assert local.partial_paths_left(tmp_path) == local.partial_paths_of(tmp_path / "a.csv") == []
    os.utime(foreign / "within" / "a.csv", (time.time() - 4000,) * 2)
    assert local.partial_paths_left(tmp_path) == local.partial_paths_of(tmp_path / "a.csv") == [foreign]


@pytest.mark.parametrize(
    "name", ["\u96fb" * 75 + ".csv", "a" + "\u96fb" * 83 + ".csv", "a" * 251 + ".csv", "caf\udce9.csv"]
)
def test_a_name_of_any_length_is_written_and_its_leftovers_found(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with local.replacing(path) as file:
        file.write(b"whole")
    assert path.read_bytes() == b"whole"
    left = local.partial_path(path)
    left = left.with_name(left.name.replace(f":{os.getpid()}:", ":99999999:"))
    left.touch()
    assert local.partial_paths_of(path) == [left]


def test_a_private_folder_is_closed_to_others_and_never_another_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "open"
    folder.mkdir(mode=0o777)
    assert stat.S_IMODE(local.private_folder(folder).stat().st_mode) == 0o700
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(PermissionError, match="somebody else"):
        local.private_folder(tmp_path / "link")
    another = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: another)
    with pytest.raises(PermissionError, match="somebody else"):
        local.private_folder(folder)


def test_a_user_without_a_home_has_a_folder_below_the_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(local.STATE_VARIABLE, "/proc/nowhere")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = local.user_folder("locks")
    assert folder == tmp_path / f"sentiment_tune-{os.getuid()}" / "locks"
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o700 for path in (folder, folder.parent))


FORGETS = """
import pathlib, sys, tempfile
from sentiment_tune import process
process.prepare()
pathlib.Path(tempfile.mkdtemp(), "forgotten").write_text("by a library")
print("there", flush=True)
sys.stdin.read()
"""


def test_what_a_command_forgets_in_the_temporary_folder_goes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    command, pipe = (sys.executable, "-c", FORGETS), subprocess.PIPE
    for kill in (False, True):
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            assert (len(list(tmp_path.iterdir())), local.temporary_folders_left()) == (1, [])
            if kill:
                process.kill()
        assert local.temporary_folders_left() == list(tmp_path.iterdir())
        assert len(list(tmp_path.iterdir())) == kill
