"""What acts on a whole process: for the command line and for worker processes, who own theirs.

Importing or calling the package changes nothing of this; a program of your own may call these functions too.
"""

import atexit
import contextlib
import ctypes
import functools
import gc
import getpass
import io
import logging
import os
import platform
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from sentiment_tune import local, signals
from sentiment_tune.errors import InputError, hide_passwords

IDLE_THREADS = {"GOMP_SPINCOUNT": "20000"}  # of GNU's OpenMP, with which torch comes; 300,000 by itself
_SAFE_PATH = "PYTHONSAFEPATH"


def prepare() -> None:
    """Everything below, for a process that does nothing but what the package is asked to do."""
    check_current_folder()
    give_a_home()
    remove_quoted_folder()
    keep_freed_memory()
    let_idle_threads_sleep()
    collect_garbage_seldom()
    quiet_mlflow()
    draw_without_a_screen()
    keep_passwords_secret()
    wait_for_servers_briefly()
    clear_temporary_files()


def open_standard_streams() -> None:
    """Let none of the three streams be closed, or stop at a character that the encoding of the output has not.

    In place of a closed one the system would give the next file that is opened, a database too, to whoever prints.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it takes the lowest number that is free, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


@functools.cache  # once a process
def clear_temporary_files() -> None:
    """Give this process a temporary folder of its own that goes when it ends.

    Libraries leave copies of what they download, which nobody would ever remove. A process below another, such as a
    study's worker, has its folder within that one's, so that it goes even where the worker was killed.
    """
    with signals.unbroken():  # whoever makes it has it removed
        try:
            folder = local.make_temporary_folder()
        except OSError:  # a full disk: whoever needs a file will say so
            return
        signals.at_end(functools.partial(shutil.rmtree, folder, ignore_errors=True))
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)


def keep_freed_memory() -> None:
    """Let this process keep freed memory for what asks next, 1 GiB and more; glibc only, elsewhere nothing happens.

    Else each step gets the memory of its large tensors from the system anew, page by page: a seventh of an LSTM's time.
    What other threads than the first free, glibc gives back all the same where it is a block of 64 MiB.
    """
    if platform.libc_ver()[0] == "glibc":
        trim_threshold, mmap_threshold, most_arenas = -1, -3, -8  # numbers of malloc.h
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(trim_threshold, 2**30)
        mallopt(mmap_threshold, 2**30) or mallopt(mmap_threshold, 2**25)  # the most before 2.35
        # Threads that share an arena wait for one another. At most eight, for each keeps what is freed of it.
        mallopt(most_arenas, 1 + min(os.cpu_count() or 1, 7))


def let_idle_threads_sleep() -> None:
    """Let a thread of torch's wait for its next work for some microseconds, not a millisecond; before torch is loaded.

    Waiting it keeps a processor, which the pieces of a network's work then lack, or another program.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ |= IDLE_THREADS | os.environ


def collect_garbage_seldom() -> None:
    """Look through objects less often: imports make a million that stay, which costs a second at start and end."""
    gc.set_threshold(1_000_000)
    atexit.register(gc.freeze)


def check_current_folder() -> None:
    """InputError where the current folder is gone; torch would end the process without a word of why."""
    try:
        Path.cwd()
    except OSError as error:
        raise InputError(f"the current folder cannot be used ({error.strerror}): work in another one") from None


def remove_quoted_folder() -> None:
    """Remove the empty folder that `mlflow run` makes where the current one's path holds blanks or the like.

    By its default MLflow makes `/my%20data` for a database that it then opens in `/my data`.
    """
    if "MLFLOW_RUN_ID" not in os.environ:
        return
    with contextlib.suppress(OSError, UnicodeEncodeError):  # gone already, or somebody's, who has something in it
        here = Path.cwd()
        quoted = Path(quote(str(here)))
        while quoted not in (here, *here.parents):
            quoted.rmdir()
            quoted = quoted.parent


def give_a_home() -> None:
    """Give a user whom the system does not know, as in a container, the home and name that MLflow and torch want."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = str(local.private_folder(local.temporary_folder()))
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = str(os.getuid())


def draw_without_a_screen() -> None:
    """Have matplotlib draw into files: the backend that a notebook's environment names may not be installed here."""
    os.environ["MPLBACKEND"] = "Agg"


def quiet_mlflow() -> None:
    """Keep MLflow from telling of every table, experiment and download it makes."""
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")  # for an MLflow that is imported later
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # Each write that fails would be told with 90 lines, each try of a server that is away with one: we tell it once.
    for name in ("mlflow.store.db.utils", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # a download here takes no time
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # after every run of a server


@functools.cache  # once a process
def keep_passwords_secret() -> None:
    """Let no log line and no traceback of this process show a password of an address, whichever library writes it."""
    logging.setLogRecordFactory(functools.partial(_make_record, logging.getLogRecordFactory()))
    sys.excepthook = _print_error


def _make_record(make: Callable[..., logging.LogRecord], *args: Any, **kwargs: Any) -> logging.LogRecord:
    record = make(*args, **kwargs)
    with contextlib.suppress(TypeError, ValueError):  # its arguments do not fit, which logging tells itself
        record.msg, record.args = hide_passwords(record.getMessage()), ()
    if record.exc_info and record.exc_info[0]:
        record.exc_text = hide_passwords("".join(traceback.format_exception(*record.exc_info)).rstrip())
    return record


def _print_error(kind: type[BaseException], error: BaseException, place: TracebackType | None) -> None:
    sys.stderr.write(hide_passwords("".join(traceback.format_exception(kind, error, place))))


@contextlib.contextmanager
def importing_nothing_from_here() -> Iterator[None]:
    """A block in which the Pythons that are started, such as a study's workers, import nothing from this folder.

    By themselves they look there first: a file called like a library would be taken for it.
    """
    before = os.environ.get(_SAFE_PATH)
    os.environ[_SAFE_PATH] = "1"
    try:
        yield
    finally:
        os.environ.pop(_SAFE_PATH)
        os.environ.update({} if before is None else {_SAFE_PATH: before})


def wait_for_servers_briefly() -> None:
    """Let MLflow give up a server that is away after half a minute and two retries; by itself it tries for minutes."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
