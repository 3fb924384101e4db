"""Where the address of a model led the last time: with that, scoring again does without MLflow, which takes a second.

It holds only while nothing has changed that decides it: the address, the current folder, MLflow's variables, and by
its stamp the local database. What a server knows, or has the files of, is asked for each time.
"""

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from sentiment_tune import __version__
from sentiment_tune.errors import InputError
from sentiment_tune.inference.files import check_names, parse_json, read_file
from sentiment_tune.inference.package import ModelPackage, data_folder, load_package
from sentiment_tune.local import replacing, user_folder

_FILE, _MOST = "last_model.json", 2**20  # bytes
_SETTLED = 2  # seconds: a file that was written just now may be written again within the same stamp
_NAMES = ("question", "database", "stamp", "place")


@dataclass(frozen=True)
class Place:
    """Where a model's files are, what is recorded of them, and what is said of the model when nobody has named it."""

    folder: str
    digests: Mapping[str, str] | None  # of the data files, by name
    said: str


@dataclass(frozen=True)
class FoundModel:
    """A model, and what is said of it when nobody has named it."""

    package: ModelPackage
    said: str


def ask(uri: str | None, tracking_uri: str | None) -> str:
    """All but the database that decides where an address leads, as a digest: variables may hold passwords."""
    variables = sorted((name, value) for name, value in os.environ.items() if "MLFLOW" in name)
    has_older_runs = any(Path("mlruns").glob("*/meta.yaml"))  # of MLflow 2, which then looks for no database
    question = [__version__, str(Path.cwd()), uri, tracking_uri, variables, has_older_runs]
    return hashlib.sha256(json.dumps(question).encode("utf-8", "surrogatepass")).hexdigest()


def recall(question: str) -> FoundModel | None:
    """The model that it led to the last time, if it still does and the files are as recorded.

    Nothing where MLflow is loaded already: that may have been told more, and saves no time.
    """
    if "mlflow" in sys.modules:
        return None
    with contextlib.suppress(OSError, ValueError, TypeError, InputError):  # the longer way says what is wrong
        known = check_names(parse_json(read_file(user_folder() / _FILE, _MOST)), _NAMES, _FILE)
        if known["question"] == question and known["stamp"] == stamp(Path(known["database"])):
            place = Place(**known["place"])
            folder = data_folder(Path(place.folder), place.folder)
            return FoundModel(load_package(folder, digests=place.digests), place.said)
    return None


def remember(question: str, place: Place, database: Path, stamped: list[list[int]]) -> None:
    """Keep where a question has led, unless the database has changed since `stamped`, or only just before."""
    with contextlib.suppress(OSError, ValueError):  # a full disk: it is found out anew then
        newest = max(changed for _, _, changed in stamped) / 1e9
        if stamped != stamp(database) or abs(time.time() - newest) < _SETTLED:
            return
        known = {"question": question, "database": str(database), "stamp": stamped, "place": asdict(place)}
        with replacing(user_folder() / _FILE) as file:
            file.write(json.dumps(known).encode())


def stamp(database: Path) -> list[list[int]]:
    """What changes with a SQLite database: inode, bytes and nanoseconds of its file, and of its log if it has one."""
    paths = (database, database.with_name(f"{database.name}-wal"))
    found = [path.stat() for path in paths if path.exists()]
    return [[about.st_ino, about.st_size, about.st_mtime_ns] for about in found]
