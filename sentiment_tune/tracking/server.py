"""The MLflow server or database: which one, whether it answers, and who may make what is not there."""

import hashlib
import os
from pathlib import Path

import mlflow
import requests

from sentiment_tune.errors import InputError
from sentiment_tune.local import lock, private_folder, user_folder

TIMEOUT = 5  # seconds for a server to answer


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
    if not make and _is_missing():
        raise InputError(f"no finished run at {uri}: train one first, or give --tracking-uri or --model FOLDER")
    try:
        if uri.startswith("http"):
            requests.head(uri, timeout=TIMEOUT)  # MLflow itself tries for minutes where no server answers
        if uri.startswith("sqlite:///"):
            check_database_path(Path(uri.removeprefix("sqlite:///")))
        with lock(uri):
            mlflow.search_experiments(max_results=1)
    except Exception as error:  # each kind of store raises what its own library does
        reason = str(error).partition("\n")[0]
        raise InputError(f"no MLflow tracking at {uri!r}: {reason}; start it, or give another --tracking-uri") from None


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
    kind, _, path = tracking_uri().partition(":///")
    if kind == "sqlite":
        return private_folder(Path(path).absolute().parent / ".sentiment_tune")
    return user_folder("servers", hashlib.sha256(tracking_uri().encode()).hexdigest()[:32])


def _is_missing() -> bool:
    """Whether the runs are to be in a local database that nobody has made yet; asking MLflow would make it."""
    kind, _, path = tracking_uri().partition(":///")
    return kind == "sqlite" and not Path(path).exists()
