"""The MLflow server or database: which one, whether it answers, and who may make what is not there."""

import hashlib
import os
import time
from pathlib import Path

import mlflow
import requests
from sqlalchemy import create_engine, inspect
from sqlalchemy.pool import NullPool

from sentiment_tune.errors import InputError
from sentiment_tune.local import lock, private_folder, user_folder
from sentiment_tune.tracking.outages import REACH, Attempt, patiently, reach, reason_of

FIRST_ANSWER = 30  # seconds for a server that accepts a connection to answer: it may just have been started
LOCKED = 60  # seconds for another process to let go of the database
_NOT_NOW = (500, 502, 503, 504)  # answers of a server that is starting, or of the proxy before it


def configure(uri: str | None = None) -> None:
    """Point MLflow at `uri`, or at what its own variables say; nothing is made or asked there yet."""
    if uri:
        mlflow.set_tracking_uri(uri)


def connect(uri: str | None = None, make: bool = True) -> None:
    """Point MLflow at `uri`, or at what its own variables say, and see that something answers there.

    A local database that is not there is made, under a lock, since processes that make one together leave it unusable;
    or is refused, where there is nothing to `make`. InputError where nothing answers.
    """
    configure(uri)
    uri = tracking_uri()
    if not make and is_missing():
        raise InputError(f"no finished run at {uri}: train one first, or give --tracking-uri or --model FOLDER")
    try:
        _reach(uri)
        with lock(uri):
            patiently(lambda: _open(uri), 0, LOCKED)
            patiently(lambda: mlflow.search_experiments(max_results=1), FIRST_ANSWER, LOCKED)
    except Exception as error:  # each kind of store raises what its own library does
        raise InputError(
            f"no MLflow tracking at {uri!r}: {reason_of(error)}; start it, or give another --tracking-uri"
        ) from None


def _reach(uri: str) -> None:
    """Raise at once where there is nothing; MLflow itself tries for minutes."""
    if uri.startswith("http"):
        Attempt(lambda: _await_answer(uri)).answer(REACH + FIRST_ANSWER)
    elif uri.startswith("sqlite:///"):
        check_database_path(Path(uri.removeprefix("sqlite:///")))
    elif "://" in uri:
        reach(uri)


def _open(uri: str) -> None:
    """Raise the database's own word where it lets nobody in; MLflow itself tries ten times."""
    if "://" in uri and not uri.startswith(("http", "file")) and not is_missing():
        engine = create_engine(uri, poolclass=NullPool)
        inspect(engine).get_table_names()


def _await_answer(uri: str) -> None:
    """Wait for the first answer of a server; ConnectionError if it is none that can be worked with."""
    ends = time.monotonic() + FIRST_ANSWER
    while (status := requests.head(uri, timeout=(REACH, FIRST_ANSWER)).status_code) in _NOT_NOW:
        if time.monotonic() > ends:
            raise ConnectionError(f"the server answers {status}")
        time.sleep(1)


def check_database_path(path: Path) -> None:
    """OSError at once where no database can be or be made; MLflow and SQLAlchemy try again for minutes."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise PermissionError(f"{path} cannot be written")


def tracking_uri() -> str:
    """Where the runs are."""
    uri: str = mlflow.get_tracking_uri()
    return uri


def state_folder() -> Path:
    """Where what belongs to the runs, but not into MLflow, is kept: beside a local database, else with the user."""
    beside = _beside_database()
    if beside:
        return private_folder(beside)
    return user_folder("servers", hashlib.sha256(tracking_uri().encode()).hexdigest()[:32])


def _beside_database() -> Path | None:
    kind, _, path = tracking_uri().partition(":///")
    return Path(path).absolute().parent / ".sentiment_tune" if kind == "sqlite" else None


def has_state() -> bool:
    """Whether there is such a folder beside a local database; elsewhere there always is."""
    beside = _beside_database()
    return beside is None or beside.is_dir()


def is_missing() -> bool:
    """Whether the runs are to be in a local database that nobody has made yet; asking MLflow would make it."""
    kind, _, path = tracking_uri().partition(":///")
    return kind == "sqlite" and not Path(path).exists()
