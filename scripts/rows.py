"""A file of rows, a line of JSON each, behind which a measurement that was cut off goes on."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

R = TypeVar("R")


def read_rows(path: Path, kind: Callable[..., R]) -> Iterator[R]:
    """The rows that a file holds, if it is there; a line that was cut off is told and left out."""
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            yield kind(**json.loads(line))
        except (ValueError, TypeError):
            print(f"{path}: a line is no row: {line:.60}", file=sys.stderr)


@contextmanager
def appending(path: Path) -> Iterator[Callable[[Any], None]]:
    """A function that writes a row, a dataclass, behind the others at once."""
    with path.open("a") as file:
        if path.stat().st_size and not path.read_bytes().endswith(b"\n"):
            file.write("\n")  # behind a line that was cut off

        def append(row: Any) -> None:
            file.write(json.dumps(asdict(row)) + "\n")
            file.flush()

        yield append
