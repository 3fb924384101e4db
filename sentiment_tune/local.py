"""What belongs to this machine and this user: private folders, files that appear whole, processes and their life."""

import contextlib
import functools
import hashlib
import os
import re
import secrets
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import platformdirs
import psutil
from filelock import FileLock

STATE_VARIABLE = "SENTIMENT_TUNE_STATE"
_HOST = socket.gethostname()
_WRITER = re.compile(r"~([^~]*:\d+:\d+\.\d\d)~[0-9a-f]{8}\.partial$")
_TEMPORARY = "sentiment_tune"
_FORGOTTEN = 3600  # seconds after which what a process of another machine has not gone on writing is left


def process_id() -> str:
    """The name of this process, which no other one of any machine has ever had; a fork has one of its own."""
    return _name(os.getpid())


@functools.cache
def _name(pid: int) -> str:
    return f"{_HOST}:{pid}:{psutil.Process(pid).create_time():.2f}"


def is_process_gone(process: str | None) -> bool:
    """Whether a process of this machine, named as above, is no more; of other machines nothing is known."""
    if process is None:
        return False
    if not is_of_this_machine(process):
        return False
    _, pid, started = process.rsplit(":", 2)
    try:
        found = psutil.Process(int(pid))
        return f"{found.create_time():.2f}" != started or found.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def is_of_this_machine(process: str) -> bool:
    """Whether a process, named as above, is or was one of this machine's."""
    return process.rsplit(":", 2)[0] == _HOST


def user_folder(*names: str) -> Path:
    """A folder that only this user can enter, made where it is not there: for locks, journals and unfinished files.

    It is below the folder of the variable SENTIMENT_TUNE_STATE, or of the user's account; where the account has none
    that can be written, below one of the temporary folder that is this user's own.
    """
    *others, last = user_folders()
    for folder in others:
        with contextlib.suppress(OSError):
            return private_folders(folder, *names)
    return private_folders(last, *names)


def user_folders() -> list[Path]:
    """Where folders of this user can be, the best first; none is made."""
    return [*_state_folders(), temporary_folder()]


def private_folders(folder: Path, *names: str) -> Path:
    """The folder below `folder`, each made and looked at: what lies in one of another user is not this user's alone."""
    private_folder(folder)
    for name in names:
        folder = private_folder(folder / name)
    return folder


def _state_folders() -> list[Path]:
    named = os.environ.get(STATE_VARIABLE)
    if named:
        return [Path(named).absolute()]
    try:
        return [platformdirs.user_state_path("sentiment_tune", appauthor=False)]
    except (KeyError, RuntimeError):  # a user without an entry in passwd, and without HOME
        return []


def temporary_folder() -> Path:
    """The folder of this user's own that stands in where the account has none."""
    return shared_temporary_folder() / f"sentiment_tune-{os.getuid()}"


def shared_temporary_folder() -> Path:
    """The temporary folder of all processes, also where this one has one of its own within it."""
    folder = Path(tempfile.gettempdir())
    while folder.name.startswith(f"{_TEMPORARY}~"):
        folder = folder.parent
    return folder


def private_folder(path: Path) -> Path:
    """The folder, made with mode 0700 where it is not there; PermissionError if it is another user's."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = path.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
        raise PermissionError(f"{path} belongs to somebody else")
    if about.st_mode & 0o077:
        path.chmod(0o700)
    return path


def lock(*names: str) -> FileLock:
    """A lock that this user's processes on this machine hold one after another, by what it is for."""
    name = hashlib.sha256("\n".join(names).encode()).hexdigest()[:32]
    return FileLock(user_folder("locks") / f"{name}.lock")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the place of `path` when the block ends: whole and on the disk, or not at all."""
    partial = partial_path(path)
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def partial_path(path: Path) -> Path:
    """A name beside `path` for what is still being written: nobody can guess it, and it tells whose process writes."""
    return path.with_name(f"{_partial_start(path)}{process_id()}~{secrets.token_hex(4)}.partial")


def partial_paths_left(folder: Path) -> list[Path]:
    """Files and folders below `folder` that a process was writing which is gone, by their names or their age."""
    return [path for path in folder.rglob(".*.partial") if _is_left(path)]


def partial_paths_of(path: Path) -> list[Path]:
    """What processes that are gone have left of writing this very file."""
    start = _partial_start(path)
    return [left for left in path.parent.glob(".*.partial") if left.name.startswith(start) and _is_left(left)]


def _partial_start(path: Path) -> str:
    """What a name for `path` begins with while it is written: its own name, as far as there is room for more."""
    return f".{os.fsencode(path.name)[:100].decode(errors='ignore')}~"


def _is_left(path: Path) -> bool:
    writer = _WRITER.search(path.name)
    try:
        if writer and is_of_this_machine(writer[1]):
            return is_process_gone(writer[1])
        changed = (one.lstat().st_mtime for one in (path, *path.rglob("*")))  # a folder is older than what grows in it
        return time.time() - max(changed) > _FORGOTTEN
    except FileNotFoundError:
        return False


def make_temporary_folder() -> Path:
    """A temporary folder for all that this process puts there and forgets; its name tells whose it is."""
    return Path(tempfile.mkdtemp(prefix=f"{_TEMPORARY}~{process_id()}~"))


def temporary_folders_left() -> list[Path]:
    """Temporary folders of this user's processes of this machine that are gone."""
    folders = shared_temporary_folder().glob(f"{_TEMPORARY}~*~*")
    return [path for path in folders if is_process_gone(path.name.split("~")[1]) and path.lstat().st_uid == os.getuid()]


def share_read(path: Path) -> float | None:
    """How much of a file, from 0 to 1, this process has read where it has it open now; None where none can tell."""
    try:
        real, size = os.path.realpath(path), path.stat().st_size
        places = [os.lseek(file.fd, 0, os.SEEK_CUR) for file in psutil.Process().open_files() if file.path == real]
    except (OSError, psutil.Error):
        return None
    return max(places) / size if places and size else None


def delete(path: Path) -> None:
    """Delete a file, or a folder with all that is in it; it may be gone already."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk, where the system has folders that can be opened."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
