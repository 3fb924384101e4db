"""What a run could not write to MLflow, kept on this machine in the order in which it is to be made up for.

A journal is a folder of the run's id: a line of JSON a write, on the disk before the training goes on; files and models
beside them; and the numbers of the writes that MLflow has taken since. Where one disk is full the next is tried, and
at last memory, which ends with the process.
"""

import json
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any

from sentiment_tune.local import (
    delete,
    is_process_gone,
    partial_path,
    private_folder,
    private_folders,
    process_id,
    replacing,
    sync_folder,
)
from sentiment_tune.tracking import server

_FOLDER, _WRITES, _TAKEN, _FILES = "journal", "writes.jsonl", "taken", "files"


class Kind(StrEnum):
    """What a write is of."""

    VALUES = "values"  # params, metrics and tags
    DATASETS = "datasets"
    FILE = "file"
    MODEL = "model"
    FIGURES = "figures"  # of a model, which the run has logged before
    END = "end"


@dataclass(eq=False)
class Write:
    """A write of a run, in a form that can be made again."""

    kind: Kind
    values: dict[str, Any]
    content: bytes | None = None  # of a file, while it is in memory
    path: Path | None = None  # of a file, or of a model's folder
    uri: str | None = None  # of a model that MLflow has taken
    is_in_doubt: bool = False  # it was tried, and nobody knows what became of it
    is_new: bool = False  # it was in doubt, and MLflow had nothing of it
    number: int = 0
    journal: Path | None = None  # where it is kept, if it is

    @property
    def location(self) -> str:
        """Where its model is: in MLflow, or in a folder of the journal."""
        return self.uri or str(self.path)


class Journal:
    """The writes of one run that MLflow has not taken."""

    def __init__(self, run_id: str):
        self.run_id = run_id
        self._places = [(root, (*names, _FOLDER, run_id)) for root, names in server.state_folders()]
        places = [Path(root, *names) for root, names in self._places]
        self.folders = [place for place in places if _is_kept_in(place)]
        self._lines = sorted(
            ({**json.loads(line), "journal": folder} for folder in self.folders for line in _lines(folder / _WRITES)),
            key=lambda line: line["number"],
        )
        self._taken = {int(number) for place in places for number in _lines(place / _TAKEN)}
        self._last = max([0, *self._taken, *(line["number"] for line in self._lines)])

    @property
    def is_left(self) -> bool:
        """Whether the process that kept it last is gone."""
        return bool(self._lines) and is_process_gone(self._lines[-1]["process"])

    def pending(self) -> list[Write]:
        """The writes that MLflow has not taken, in their order."""
        return [_write_of(line) for line in self._lines if line["number"] not in self._taken]

    def keep(self, write: Write) -> bool:
        """Have a write on a disk; False if there is none that takes it."""
        for root, names in self._places:
            with suppress(OSError):  # the next one has another disk
                folder = private_folders(root, *names)
                _keep(folder, self._last + 1, write)
                self._last = write.number
                if folder not in self.folders:
                    self.folders.append(folder)
                return True
        return False

    def delete(self) -> None:
        """Leave nothing of it, once MLflow has taken all."""
        for folder in self.folders:
            with suppress(OSError):  # all is noted as taken
                (folder / _WRITES).unlink()  # the first to go: what it names has to be there
                delete(folder)
        self.folders, self._lines = [], []


def journals() -> list[Journal]:
    """The journals of runs at MLflow's address, those too that a living process keeps."""
    roots = [Path(root, *names, _FOLDER) for root, names in server.state_folders()]
    names = {folder.name for root in roots if root.is_dir() for folder in root.iterdir() if _is_kept_in(folder)}
    return [Journal(name) for name in sorted(names)]


def _is_kept_in(folder: Path) -> bool:
    """Whether a folder holds a journal of this user's: nobody else's is replayed."""
    writes = folder / _WRITES
    return writes.is_file() and not writes.is_symlink() and writes.stat().st_uid == os.getuid()


def note_taken(write: Write) -> None:
    """Note that MLflow has taken a write; without the note it is made again, which changes nothing."""
    if write.journal is not None:
        with suppress(OSError):
            _append(write.journal / _TAKEN, str(write.number))


def _keep(folder: Path, number: int, write: Write) -> None:
    """The line comes last: where it is, the files are."""
    line = {"number": number, "process": process_id(), "kind": str(write.kind), "values": write.values}
    path = write.path
    if write.content is not None or path is not None:
        name = PurePosixPath(write.values.get("path", "model")).name
        path = _keep_files(private_folder(private_folder(folder / _FILES) / str(number)) / name, write)
        line["path"] = path.relative_to(folder).as_posix()
    _append(folder / _WRITES, json.dumps(line))
    write.number, write.journal, write.path, write.content = number, folder, path, None


def _keep_files(path: Path, write: Write) -> Path:
    """Bring a write's file or folder to `path`, where it appears whole."""
    if write.content is not None:
        with replacing(path) as file:
            file.write(write.content)
        return path
    partial = partial_path(path)
    try:
        shutil.copytree(write.path or path, partial)
        for copy in partial.rglob("*"):
            sync_folder(copy)
        partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    sync_folder(path.parent)
    return path


def _write_of(line: dict[str, Any]) -> Write:
    folder = line["journal"]
    path = folder / line["path"] if "path" in line else None
    kind, number = Kind(line["kind"]), line["number"]
    return Write(kind, line["values"], path=path, is_in_doubt=True, number=number, journal=folder)


def _append(path: Path, line: str) -> None:
    """Add a line that is on the disk when this returns, or is not there at all."""
    with path.open("a+b") as file:
        whole = _whole(file)
        file.truncate(whole)  # half a line of a process that was killed
        try:
            file.write(f"{line}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                os.truncate(path, whole)
            raise
    if not whole:
        sync_folder(path.parent)


def _whole(file: Any) -> int:
    """Bytes of a file's whole lines."""
    file.seek(0)
    return file.read().rfind(b"\n") + 1


def _lines(path: Path) -> list[str]:
    """The whole lines of a file, if there is one."""
    text = path.read_bytes() if path.is_file() else b""
    return text[: text.rfind(b"\n") + 1].decode().splitlines()
