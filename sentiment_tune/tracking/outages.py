"""Whether a server, a database or a disk is away: what says so, and what is seen before others try for minutes."""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from mlflow.exceptions import MlflowException
from sqlalchemy import exc
from sqlalchemy.engine import make_url

from sentiment_tune import signals
from sentiment_tune.errors import OutageError

T = TypeVar("T")
REACH = 5  # seconds for a database server to accept a connection
PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433, "redis": 6379, "http": 80, "https": 443}
# Of a database these say that what was asked is wrong, and not that the database is.
_ASKED_WRONGLY = (exc.IntegrityError, exc.DataError, exc.ProgrammingError, exc.NotSupportedError)
# What a server says of its database has lost its type on the way.
_DATABASE_IS_AWAY = re.compile(r"\(\w+(\.\w+)*\.(OperationalError|DatabaseError|InternalError|InterfaceError)\)")
# Libraries of stores and drivers, whose errors have no kind in common.
_STORES = {"azure", "boto3", "botocore", "google", "paramiko", "psycopg", "psycopg2", "pymysql", "sqlite3", "urllib3"}
_REFUSED = (401, 403, 404)  # by which a server says that the run, or who may write to it, is not what it was
_LOCKED = re.compile(r"database (\w+ )?is locked")


def is_outage(error: BaseException) -> bool:
    """Whether an error says that something is away that may be back, and not that what was asked for is wrong."""
    return any(map(_says_away, _chain(error)))


def cannot_be_taken(error: BaseException) -> bool:
    """Whether an error of a run's write says nothing against the write: MLflow is away, or no longer what it was."""
    refused = isinstance(error, MlflowException) and _status(error) in _REFUSED
    return refused or is_outage(error)


def is_locked(error: BaseException) -> bool:
    """Whether an error says that a SQLite database is in another's hands, which never lasts."""
    return any(_LOCKED.search(str(cause)) for cause in _chain(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those of which it was made."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _says_away(error: BaseException) -> bool:
    if isinstance(error, exc.DBAPIError):
        return not isinstance(error, _ASKED_WRONGLY)
    if isinstance(error, MlflowException):
        status = _status(error)
        return status >= 500 or status in (408, 429) or bool(_DATABASE_IS_AWAY.search(error.message))
    if type(error).__module__.partition(".")[0] in _STORES:
        return True
    # Those of requests are of the first kind; an address that is none is a ValueError too.
    return isinstance(error, OSError | OutageError | exc.TimeoutError) and not isinstance(error, ValueError)


def _status(error: MlflowException) -> int:
    return int(error.get_http_status_code())  # type: ignore[no-untyped-call]


def reason_of(error: BaseException) -> str:
    """In a few words what an error says, without the paragraphs of the libraries that it came through."""
    causes = list(_chain(error))
    for cause in causes:
        if isinstance(cause, exc.DBAPIError):
            return _first_line(cause.orig)
    for cause in reversed(causes):
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror + (f": {cause.filename}" if cause.filename else "")
    system = re.search(r"\[Errno -?\d+\] ([^'\")]+)", " ".join(map(str, causes)))
    return system[1] if system else _first_line(error)


def _first_line(error: BaseException | None) -> str:
    line = str(error).strip().partition("\n")[0].partition(". Response body: ")[0]
    return line[:200] or type(error).__name__


def reach(url: str) -> None:
    """OSError at once where no database server accepts a connection, instead of after minutes of retries."""
    address = make_url(url)
    port = address.port or PORTS.get(address.get_backend_name())
    if address.host and port:
        socket.create_connection((address.host, port), timeout=REACH).close()


class Attempt(Generic[T]):
    """A call in a thread of its own: whoever waits for it hears signals, and need not wait for ever.

    MLflow and the drivers below it wait where no signal is heard: SQLite for 20 s, a server that is away for minutes.
    """

    def __init__(self, call: Callable[[], T]):
        self._call = call
        self._done = threading.Event()
        self._answer: list[Any] = []
        self._error: BaseException | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            self._answer.append(self._call())
        except BaseException as error:  # told to who waits
            self._error = error
        self._done.set()

    @property
    def is_under_way(self) -> bool:
        """Whether there is no answer yet."""
        return not self._done.is_set()

    @property
    def error(self) -> BaseException | None:
        """What the call has raised, if it has."""
        return self._error

    def answer(self, seconds: float) -> T:
        """What the call returned, or raised; TimeoutError if it does neither for so long."""
        ends = time.monotonic() + seconds
        while not self._done.wait(0.1):
            signals.end_if_asked()
            if time.monotonic() > ends:
                raise TimeoutError(f"no answer in {seconds:g} s")
        if self._error is not None:
            raise self._error
        answer: T = self._answer[0]
        return answer


def patiently(call: Callable[[], T], seconds: float, locked: float | None = None) -> T:
    """What a call gives, tried again while something is away; what it raises after so many seconds.

    A locked database is waited for as long as `locked` says.
    """
    begun = time.monotonic()
    while True:
        try:
            return Attempt(call).answer(max(1.0, begun + max(seconds, locked or 0) - time.monotonic()))
        except Exception as error:
            limit = max(seconds, locked or 0) if is_locked(error) else seconds
            if not is_outage(error) or time.monotonic() - begun > limit:
                raise
        signals.wait(0.5)
