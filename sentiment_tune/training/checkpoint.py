"""Checkpoints: what a training that is cut off goes on from.

Each is one file of data, tensors by name and the rest as JSON (safetensors), and appears whole or not at all. Its name
holds how far the training was, and the SHA-256 of its content: what the disk gives back changed is not used.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor

from sentiment_tune.errors import InputError
from sentiment_tune.events import Listener, WarningMessage, ignore
from sentiment_tune.local import private_folder, replacing

FORMAT = 1
KEPT = 2  # the last ones; the older of them is there for the case that the newer cannot be read
MINUTES = 10.0  # between two of the same epoch
_JSON = "training"  # in the header of the file
_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """A training as it was between two steps."""

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]  # what JSON can say


class Checkpoints:
    """The checkpoints of one training, in a folder of their own, written beside the training.

    A checkpoint that is due while the one before is still being written is left out: a training does not wait for the
    disk. So is one that would come so soon behind it that they take more than `share` of the time: not each epoch of a
    second has one. What cannot be written is told once, and the training goes on.

    Args:
        folder: made when it is needed; the training's alone.
        origin: everything that decides the training, by name, as JSON can say it; one of another origin is refused.
        minutes: between two checkpoints within an epoch; 0 for none but at its end.
        listener: hears of what goes wrong.
    """

    share = 0.02

    def __init__(
        self, folder: Path, origin: Mapping[str, Any], minutes: float = MINUTES, listener: Listener = ignore
    ) -> None:
        self.listener = listener
        self.epochs_behind = 0  # of the training, when it went on
        self._folder = folder
        self._origin = json.loads(json.dumps(dict(origin)))
        self._minutes = minutes
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None
        self._told = False
        self._last = time.monotonic()
        self._cost = 0.0  # seconds that the last one took

    def is_due(self) -> bool:
        """Whether so many minutes have passed since the last one."""
        return bool(self._minutes) and time.monotonic() - self._last >= self._minutes * 60

    def save(self, epochs: int, steps: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Keep a training that has so many epochs behind it, and so many steps of the next one."""
        now = time.monotonic()
        if (self._writing and not self._writing.done()) or now - self._last < self._cost / self.share:
            return
        copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
        about = {"format": FORMAT, "origin": self._origin, "torch": torch.__version__, "facts": facts}
        self._writing = self._writer.submit(self._write, f"{epochs:05}-{steps:08}", copies, json.dumps(about), now)
        self._last = now

    def _write(self, name: str, tensors: Mapping[str, Tensor], about: str, begun: float) -> None:
        try:
            content = save_tensors(dict(tensors), {_JSON: about})
            path = private_folder(self._folder) / f"{name}.{_digest(content)}{_SUFFIX}"
            with replacing(path) as file:
                file.write(content)
            for old in self._files()[KEPT:]:
                old.unlink()
        except OSError as error:
            if not self._told:
                text = f"no checkpoint at {self._folder}: {error.strerror or error}; the training goes on without"
                self.listener(WarningMessage(text))
            self._told = True
        self._cost = time.monotonic() - begun

    def latest(self) -> Checkpoint | None:
        """The newest that can be read; InputError naming the first difference if it is one of another training."""
        for left in self._folder.glob(".*.partial"):  # of the process that was cut off: the folder is this one's now
            left.unlink(missing_ok=True)
        for path in self._files():
            try:
                checkpoint, about = _read(path)
            except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
                self.listener(WarningMessage(f"{path} is no whole checkpoint: {error}; the one before is taken"))
                continue
            self._check_origin(about)
            self.epochs_behind = int(path.name.partition("-")[0])
            return checkpoint
        return None

    def _check_origin(self, about: Mapping[str, Any]) -> None:
        origin, now = about["origin"], self._origin
        for name in (*origin, *now):
            if origin.get(name) != now.get(name):
                raise InputError(
                    f"{name} is {origin.get(name)!r} in the checkpoints at {self._folder}, not {now.get(name)!r}: "
                    "train anew, or give what it was begun with"
                )
        if about["torch"] != torch.__version__:
            text = f"the training was begun with torch {about['torch']}: its end may differ in the last digits"
            self.listener(WarningMessage(text))

    def _files(self) -> list[Path]:
        """The newest first."""
        return sorted(self._folder.glob(f"*-*{_SUFFIX}"), reverse=True)

    def close(self) -> None:
        """Wait for the last one to be on the disk."""
        self._writer.shutdown()


def _read(path: Path) -> tuple[Checkpoint, dict[str, Any]]:
    """A checkpoint and what its header says of it; whatever is wrong with it raises an error of its kind."""
    if _digest(path.read_bytes()) != path.name.split(".")[1]:
        raise ValueError("its SHA-256 is not that of its name")
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()[_JSON])
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - it is no dict
    if about["format"] != FORMAT:
        raise ValueError(f"its format is {about['format']}, and this version reads {FORMAT}")
    return Checkpoint(tensors, about["facts"]), about


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
