"""Reading what others may have written: plain files only, of bounded size, and JSON without surprises."""

import errno
import json
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO


def open_file(path: Path, most: int) -> BinaryIO:
    """A file to read; ValueError if it is a link, no plain file, or has more than so many bytes."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ValueError(f"{path.name} is a link, which is not followed") from None
        raise
    file = os.fdopen(descriptor, "rb")
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode):
        file.close()
        raise ValueError(f"{path.name} is no plain file")
    if about.st_size > most:
        file.close()
        raise ValueError(f"{path.name} has {about.st_size:,} bytes, more than {most:,}")
    return file


def read_file(path: Path, most: int) -> bytes:
    """The content of a file; ValueError as `open_file` has it."""
    with open_file(path, most) as file:
        return file.read(most)


def parse_json(content: bytes | str) -> Any:
    """What JSON says; ValueError for a name given twice, for NaN and infinities, and for what is nested too deep."""
    try:
        return json.loads(content, object_pairs_hook=_without_repetition, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _without_repetition(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        raise ValueError("a name is given twice")
    return names


def _refuse_constant(constant: str) -> float:
    raise ValueError(f"{constant} is no number of JSON")


def check_names(given: object, names: Sequence[str], kind: str) -> Mapping[str, Any]:
    """An object of JSON with just these names; ValueError if it is another."""
    if not isinstance(given, dict) or given.keys() != set(names):
        raise ValueError(f"{kind} must hold {', '.join(names)}")
    return given
