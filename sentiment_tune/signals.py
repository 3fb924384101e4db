"""How a process ends when it is told to: at its next safe point, and within ten seconds in any case.

A signal is only noted. Where nothing is open that has to be told of the end, KeyboardInterrupt is raised at once; while
something is (`last_words`), only a safe point raises it: a step, an epoch, a moment before or after a write. A second
signal, or no safe point for long, ends the process there and then, and the last words are said by threads of their own.

Without `listen_for_signals` nothing here does anything, and Ctrl-C is Python's own.
"""

import _thread
import atexit
import contextlib
import os
import pickle
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType

import psutil

from sentiment_tune.errors import TerminatedError

GRACE, LAST_WORDS = 6.5, 3.0  # seconds to end by itself, and then for what is still to be told
IMPORT_GRACE = 1.0  # to come to the end of imports, which can take very long on a busy machine
ONE_WISH = 0.3  # seconds within which signals are one: a terminal, make and `mlflow run` hand on the same
_POLL = 0.2  # seconds
_PROJECT_RUN = "MLFLOW_RUN_ID"  # set by `mlflow run` for its child
_SHELLS = ("bash", "sh", "dash", "zsh")
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@dataclass
class _Wish:
    """The wish that this process end, and what stands against it."""

    number: signal.Signals | None = None  # the first
    since: float = 0.0
    heard: int = 0  # signals, those that are one wish counted once
    own: int = 0  # signals with which this module woke the main thread, and that are still to come back to it
    raised: bool = False
    unbroken: int = 0
    last_words: dict[object, Callable[[], None]] = field(default_factory=dict)
    ends: list[Callable[[], None]] = field(default_factory=list)  # what is done behind the last words
    open: int = 0  # blocks that end at safe points only
    line: str | None = None  # for the standard error, once
    awake: threading.Event = field(default_factory=threading.Event)
    listening: bool = False
    parents: list[psutil.Process] = field(default_factory=list)  # that this process is not to outlive


_wish, _said = _Wish(), threading.Lock()


def listen_for_signals(line: str | None = None) -> None:
    """Have SIGINT, SIGTERM and a closing terminal end this process as told above; `line` is said at its end.

    What was ignored when the process began, as under nohup, stays so.
    """
    _wish.line, _wish.unbroken, _wish.parents = line, 0, []
    for number in _SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _note)
    if not _wish.listening:
        _wish.listening = True
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        threading.Thread(target=_watch, args=(reading,), name="signals", daemon=True).start()


def end_if_asked() -> None:
    """A safe point: KeyboardInterrupt, or TerminatedError, if this process has been told to end."""
    if _wish.number is not None and not _wish.unbroken and threading.current_thread() is threading.main_thread():
        raise _error()


def wait(seconds: float) -> None:
    """Wait so long, or until this process is told to end, which is a safe point."""
    end_if_asked()
    if _wish.unbroken:
        time.sleep(seconds)
    else:
        _wish.awake.wait(seconds)
    end_if_asked()


@contextlib.contextmanager
def last_words(tell: Callable[[], None], safe_points: bool = True) -> Iterator[None]:
    """A block that ends at safe points only; if the process has to end within it, `tell` is called by another thread.

    It may find that what it is to tell has been told. Without `safe_points` the block may end anywhere.
    """
    key = object()
    _wish.open += safe_points
    _wish.last_words[key] = tell
    try:
        yield
    finally:
        _wish.last_words.pop(key, None)
        _wish.open -= safe_points


def at_end(do: Callable[[], None]) -> None:
    """Have something done when this process ends, by itself or suddenly."""
    atexit.register(do)
    _wish.ends.append(do)


@contextlib.contextmanager
def saying_way_on(text: str) -> Iterator[None]:
    """A block whose end by a signal is said together with this way to go on."""
    line = _wish.line
    if line is not None:
        _wish.line = f"{line}; {text}"
    yield
    _wish.line = line


@contextlib.contextmanager
def unbroken() -> Iterator[None]:
    """A block without safe points, for writes that belong together and for what is done on the way out."""
    _wish.unbroken += 1
    try:
        yield
    finally:
        _wish.unbroken -= 1


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """A block that may end anywhere: one that only waits, for another process."""
    end_if_asked()
    opened, _wish.open = _wish.open, 0
    try:
        yield
    finally:
        _wish.open = opened


def stop_listening() -> None:
    """What is left of this process has no more safe points, and raises nothing: all is done."""
    _wish.unbroken += 1
    if _wish.number is not None:
        for number in _SIGNALS:  # else one that comes while Python takes itself down would decide the exit code
            signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """A block whose new processes do not hear Ctrl-C until they say so, since a terminal tells them too."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def exit_code(number: int | None = None) -> int:
    """What the process ends with: a closed terminal counts as SIGTERM."""
    number = number or _wish.number or signal.SIGINT
    return 128 + (signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)


def was_asked() -> bool:
    """Whether this process has been told to end."""
    return _wish.number is not None


def say_end() -> None:
    """Say the line of the end, once."""
    if _wish.line and _said.acquire(blocking=False):
        with contextlib.suppress(OSError):  # the terminal may be gone
            os.write(2, f"{_wish.line}\n".encode())


def run_as_child(parent: int, work: bytes) -> None:
    """What a process does first that another of this package has started: it ends with that one, whatever it loads.

    Ctrl-C is for its parent to hear, and to pass on. `work` is a pickled function, whose imports take seconds.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listen_for_signals()
    try:
        if os.getppid() != parent:
            raise TerminatedError("the process that began this one is gone")
        end_with([psutil.Process(parent)])
        pickle.loads(work)()
        end_if_asked()
    except KeyboardInterrupt:
        os._exit(exit_code(signal.SIGTERM))  # what it had to tell has been told
    finally:
        stop_listening()


def end_with_project() -> str | None:
    """Under `mlflow run`, end when that command does, which tells its child nothing of a signal; the id of its run."""
    run_id = os.environ.get(_PROJECT_RUN)
    if run_id:
        end_with(_project_processes())
    return run_id if _wish.parents else None


def end_with(processes: list[psutil.Process]) -> None:
    """End when any of these processes has."""
    _wish.parents += processes


def _project_processes() -> list[psutil.Process]:
    """`mlflow run`, and the shell between it and this process; this process itself if they are gone already."""
    own, found = psutil.Process(), []
    for process in own.parents():
        found.append(process)
        try:
            name, words = process.name(), process.cmdline()
        except psutil.AccessDenied:  # another user's, which has not begun this one
            return []
        except psutil.NoSuchProcess:  # or a zombie: it has ended while this one looked
            return [own]
        if name in _SHELLS:
            continue
        if any("mlflow" in word or "python" in word for word in words[:3]):
            return found
        # Who takes orphans in has been there for long; else it is a container's first process, and no orphan's.
        is_orphan = process.pid == 1 or name == "systemd"
        return [own] if is_orphan and own.create_time() - process.create_time() > 60 else []
    with contextlib.suppress(psutil.NoSuchProcess):
        if (found or [own])[-1].ppid() == 0:  # nobody is above it
            return []
    return [own]  # who was above has ended while this one looked


def _note(number: int, frame: FrameType | None) -> None:
    """What Python calls in the main thread, some time after the signal."""
    _ask(number)
    if not (_wish.raised or _wish.unbroken or _wish.open or _is_fragile(frame)):
        _wish.raised = True
        raise _error()


def _ask(number: int) -> None:
    if _wish.number is None:
        _wish.since = time.monotonic()
        _wish.number = signal.Signals(number)


def _error() -> KeyboardInterrupt:
    number = _wish.number or signal.SIGINT
    return KeyboardInterrupt() if number == signal.SIGINT else TerminatedError(number.name)


def _is_fragile(frame: FrameType | None) -> bool:
    """Whether an exception would get lost here: imports turn it into another, finalizers swallow it."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib") or frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


def _watch(pipe: int) -> None:
    """What a thread does that hears of signals even where the main thread does not get to it."""
    while True:
        if select.select([pipe], [], [], _POLL)[0]:
            for number in os.read(pipe, 4096):
                _hear(number)
        if _wish.number is None and any(map(_is_gone, _wish.parents)):
            _ask(signal.SIGTERM)
        if _wish.number is not None:
            _wish.awake.set()
            if _is_overdue():
                _end_suddenly(_wish.number)
            if not (_wish.raised or _wish.unbroken or _wish.open):
                _wish.own += 1
                _thread.interrupt_main(_wish.number)  # it may have been at a fragile place


def _hear(number: int) -> None:
    """Count a signal; those with which this thread wakes the main one come back to it."""
    if number not in _SIGNALS:
        return
    if _wish.own:
        _wish.own -= 1
        return
    _ask(number)
    if not _wish.heard or time.monotonic() - _wish.since > ONE_WISH:
        _wish.heard += 1


def _is_overdue() -> bool:
    busy = _wish.open or _wish.unbroken or _wish.raised
    main = sys._current_frames().get(threading.main_thread().ident or 0)
    grace = IMPORT_GRACE if not busy and _is_fragile(main) else GRACE
    return _wish.heard > 1 or time.monotonic() - _wish.since > grace


def _is_gone(process: psutil.Process) -> bool:
    if process.pid == os.getpid():  # stands for one that was gone before this one looked
        return True
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _end_suddenly(number: int) -> None:
    """Say all last words at once, pass the wish on to the processes of this one, and end it."""
    ends = time.monotonic() + LAST_WORDS if _wish.heard > 1 else _wish.since + GRACE + LAST_WORDS
    children = psutil.Process().children(recursive=True)
    for child in children:
        with contextlib.suppress(psutil.Error):
            child.terminate()
    speakers = [threading.Thread(target=_speak, args=(tell,), daemon=True) for tell in [*_wish.last_words.values()]]
    for speaker in speakers:
        speaker.start()
    for speaker in speakers:
        speaker.join(max(0.0, ends - time.monotonic()))
    psutil.wait_procs(children, max(0.0, ends - time.monotonic()))
    for do in _wish.ends:
        _speak(do)
    if sys.stderr.isatty():
        os.write(2, b"\r\x1b[K\x1b[?25h")  # a progress bar hides the cursor
    say_end()
    os._exit(exit_code(number))


def _speak(tell: Callable[[], None]) -> None:
    with contextlib.suppress(Exception):  # there is nobody left to tell
        tell()
