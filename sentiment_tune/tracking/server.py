"""The MLflow server or database: which one, whether it answers, and who may make what is not there."""

import hashlib
import os
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote

import mlflow
import requests
from filelock import FileLock
from mlflow import environment_variables
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import get_uri_scheme
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import NullPool

from sentiment_tune.errors import InputError
from sentiment_tune.local import lock, private_folder, user_folder, user_folders
from sentiment_tune.tracking.outages import REACH, Attempt, patiently, reach, reason_of

FIRST_ANSWER = 30  # seconds for a server that accepts a connection to answer: it may just have been started
LOCKED = 60  # seconds for another process to let go of the database
_NOT_NOW = (500, 502, 503, 504)  # answers of a server that is starting, or of the proxy before it
_ARTIFACT_ROOT = "_MLFLOW_SERVER_ARTIFACT_ROOT"  # from which MLflow takes the address of `mlruns`


def configure(uri: str | None = None) -> None:
    """Point MLflow at `uri`, or at what its own variables say; nothing is made or asked there yet."""
    _check_variables()
    if uri:
        around = mlflow.active_run()
        if around is not None and uri != tracking_uri():
            raise InputError(f"run {around.info.run_id!r} is under way at {tracking_uri()}: end it, or train there too")
        mlflow.set_tracking_uri(uri)
    path = database_path()
    if path is not None:
        _allow_any_folder(path)


def _check_variables() -> None:
    """InputError if a variable of MLflow's holds what MLflow cannot read; it would say so in the middle of a run."""
    for variable in vars(environment_variables).values():
        if not isinstance(variable, environment_variables._EnvironmentVariable) or variable.name not in os.environ:
            continue
        try:
            variable.get()  # type: ignore[no-untyped-call]
        except ValueError as error:
            value = os.environ[variable.name]
            raise InputError(f"{variable.name}={value!r} in the environment: {error}; mend or unset it") from None


def _allow_any_folder(database: Path) -> None:
    """Have MLflow find its database and its artifacts in a folder whose path holds blanks, quotes or percent signs.

    By its own default MLflow names `/my%20data/mlflow.db`, opens `/my data/mlflow.db`, and makes both folders.
    """
    uri = database_uri(database)
    if "%" in uri and database.parent == Path.cwd():
        uri = database_uri(Path(database.name))
    if "?" not in tracking_uri() and tracking_uri() != uri:
        mlflow.set_tracking_uri(uri)
    artifacts = Path("mlruns").absolute()
    if unquote(str(artifacts)) != str(artifacts) and os.environ.get("MLFLOW_RUN_ID") and database.exists():
        _mend_project_run(uri, artifacts)
    if artifacts.as_uri() != f"file://{artifacts}":
        # Where an artifact's path stands as it is, MLflow reads `%20` in it as a blank, and two quotes as SQL.
        os.environ.setdefault(_ARTIFACT_ROOT, artifacts.as_uri())


def _mend_project_run(uri: str, artifacts: Path) -> None:
    """Let the run that `mlflow run` has begun find its artifacts here: its path stands as it is, with `%20` in it.

    MLflow has no call for it. Nothing was written there yet; other runs keep their files where they are.
    """
    given = {"path": f"{artifacts}/", "uri": f"{artifacts.as_uri()}/", "run": os.environ["MLFLOW_RUN_ID"]}
    moved = "SET {0} = :uri || substr({0}, length(:path) + 1) WHERE substr({0}, 1, length(:path)) = :path"
    engine = create_engine(uri, poolclass=NullPool)
    with engine.begin() as database, suppress(DBAPIError):
        database.execute(text(f"UPDATE experiments {moved.format('artifact_location')}"), given)
        database.execute(text(f"UPDATE runs {moved.format('artifact_uri')} AND run_uuid = :run"), given)


def connect(uri: str | None = None, make: bool = True, way_out: str = "--tracking-uri") -> None:
    """Point MLflow at `uri`, or at what its own variables say, and see that something answers there.

    A local database that is not there is made, under a lock, since processes that make one together leave it unusable;
    or is refused, where there is nothing to `make`, with the `way_out`. InputError where nothing answers.
    """
    configure(uri)
    uri = tracking_uri()
    try:
        _refuse_folder(uri)
        if not make and is_missing():
            raise InputError(f"no finished run at {uri}: train one first, or give {way_out}")
        _reach(uri)
        with database_lock(), _whole_or_none() as is_new:
            patiently(lambda: _open(uri), 0, LOCKED)
            patiently(lambda: mlflow.search_experiments(max_results=1), 0 if is_new else FIRST_ANSWER, LOCKED)
        if mlflow.get_registry_uri() != uri:
            mlflow.search_registered_models(max_results=1)
    except InputError:
        raise
    except Exception as error:  # each kind of store raises what its own library does
        raise InputError(
            f"no MLflow tracking at {uri!r}: {reason_of(error)}; start it, or give another --tracking-uri"
        ) from None


@contextmanager
def _whole_or_none() -> Iterator[bool]:
    """A block in which a local database may be made, and whether it is: half of one, as a full disk leaves, goes again.

    Nobody could ever open that: MLflow would say that its tables exist already.
    """
    path = database_path() if is_missing() else None
    try:
        yield path is not None
    except BaseException:
        for half in (path, Path(f"{path}-journal")) if path else ():
            half.unlink(missing_ok=True)
        raise


def _reach(uri: str) -> None:
    """Raise at once where there is nothing; MLflow itself tries for minutes."""
    if uri.startswith("http"):
        Attempt(lambda: _await_answer(uri)).answer(REACH + FIRST_ANSWER)
    elif (path := database_path()) is not None:
        check_database_path(path)
    elif uri.startswith(("sqlite:", "sqlite+")):
        raise ValueError("it names no file, and what is in memory ends with the process")
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


def _refuse_folder(uri: str) -> None:
    """InputError where the runs are to be in a folder, as MLflow 2 kept them; it says how to go on with them."""
    scheme: str = get_uri_scheme(uri)  # type: ignore[no-untyped-call]
    if scheme not in ("", "file") or os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() in ("1", "true"):
        return
    folder = Path(local_file_uri_to_path(uri)).absolute()  # type: ignore[no-untyped-call]
    if not any(folder.glob("*/meta.yaml")):
        raise InputError(
            f"no MLflow tracking at {uri!r}: a folder holds no runs; give --tracking-uri sqlite:///FILE.db"
        )
    migrate = f"mlflow migrate-filestore --source {shlex.quote(str(folder))} --target sqlite:///mlflow.db"
    copying = "" if Path("mlflow.db").exists() else f"copy them into a database with {migrate}, and from then on "
    raise InputError(
        f"{folder} holds runs of MLflow 2, which MLflow 3 opens no more: {copying}give --tracking-uri "
        "sqlite:///mlflow.db, or set MLFLOW_TRACKING_URI to it"
    )


def check_database_path(path: Path) -> None:
    """OSError at once where no database can be or be made; MLflow and SQLAlchemy try again for minutes."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise PermissionError(f"{path} cannot be written")


def tracking_uri() -> str:
    """Where the runs are; InputError where MLflow's default is to be in a folder that it cannot name."""
    try:
        uri: str = mlflow.get_tracking_uri()
    except (OSError, UnicodeEncodeError) as error:
        reason = "its path is not UTF-8" if isinstance(error, ValueError) else error.strerror
        raise InputError(f"no MLflow tracking in the current folder ({reason}): work in another one") from None
    return uri


def database_path(uri: str | None = None) -> Path | None:
    """The file of the local database at `uri`, by default MLflow's, as SQLAlchemy reads it; None of anything else."""
    address = uri or tracking_uri()
    if not address.startswith(("sqlite:", "sqlite+")):
        return None
    try:
        name = make_url(address).database
    except ArgumentError:
        return None
    return Path(name) if name and name != ":memory:" else None


def database_uri(path: Path) -> str:
    """The address of a SQLite file: with percent signs for what SQLAlchemy would else read as no part of its name."""
    return f"sqlite:///{path}".replace("%", "%25").replace("?", "%3F")


def database_lock() -> FileLock:
    """The lock of what only one of this user's processes may do at a time where the runs are."""
    path = database_path()
    return lock(tracking_uri() if path is None else str(path.absolute()))


def state_folder() -> Path:
    """Where what belongs to the runs, but not into MLflow, is kept: beside a local database, else with the user."""
    beside = _beside_database()
    return private_folder(beside) if beside else user_folder(*_names())


def state_folders() -> list[tuple[Path, Sequence[str]]]:
    """Where the state folder is, and where others can be for when its disk is full, best first; none is made.

    Each is a folder that has to be this user's alone, and the names of those below it that have to be too.
    """
    beside = _beside_database()
    return [*([(beside, ())] if beside else []), *((folder, _names()) for folder in user_folders())]


def _names() -> tuple[str, str]:
    """Names of the folder of MLflow's address among those of this user."""
    return "servers", hashlib.sha256(tracking_uri().encode()).hexdigest()[:32]


def _beside_database() -> Path | None:
    path = database_path()
    return None if path is None else path.absolute().parent / ".sentiment_tune"


def has_state() -> bool:
    """Whether there is such a folder beside a local database; elsewhere there always is."""
    beside = _beside_database()
    return beside is None or beside.is_dir()


def is_missing() -> bool:
    """Whether the runs are to be in a local database that nobody has made yet; asking MLflow would make it."""
    path = database_path()
    return path is not None and not path.exists()
