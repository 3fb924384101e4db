"""Scoring in several processes: each scores a piece of the texts on one thread, and the pieces keep their order."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing import connection
from types import TracebackType
from typing import Any, Generic, TypeVar

import torch

from sentiment_tune import process, signals
from sentiment_tune.errors import InputError

T = TypeVar("T")  # what is said of some texts
Score = Callable[[Sequence[str]], T]
MOST = 256
_AHEAD = 2  # pieces of each worker that are on their way: one is scored, one waits
_POLL = 0.2  # seconds


class Crew(Generic[T]):
    """Processes that score side by side. Whatever ends this one ends them, and one that dies ends the scoring."""

    def __init__(self, load: Callable[[], Score[T]], count: int):
        """`load` is called once in each of the processes; it travels there, so it is no lambda."""
        if not 1 <= count <= MOST:
            raise InputError(f"workers cannot be {count}: give a number from 1 to {MOST}")
        self._count = count
        self._others = multiprocessing.active_children()
        spawn = multiprocessing.get_context("spawn")  # a fork would copy torch's and MLflow's threads half
        self._pool = ProcessPoolExecutor(count, spawn, initializer=_begin, initargs=(load,))

    def __enter__(self) -> "Crew[T]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with signals.unbroken():
            if kind is not None:
                for one in {*multiprocessing.active_children()} - {*self._others}:
                    one.kill()
            self._pool.shutdown(cancel_futures=True)

    def map(self, pieces: Iterable[Sequence[str]]) -> Iterator[T]:
        """What is said of each piece's texts, in the order of the pieces, a few of which are read ahead."""
        waiting: deque[Future[T]] = deque()
        for piece in pieces:
            waiting.append(self._begin(piece))
            if len(waiting) >= _AHEAD * self._count:
                yield self._end(waiting.popleft())
        while waiting:
            yield self._end(waiting.popleft())

    def _begin(self, piece: Sequence[str]) -> Future[T]:
        try:
            with signals.held_back(), signals.unbroken(), process.importing_nothing_from_here():
                return self._pool.submit(_score, piece)
        except BrokenProcessPool:
            raise self._death() from None

    def _end(self, piece: Future[T]) -> T:
        while True:
            try:
                return piece.result(timeout=_POLL)
            except TimeoutError:
                signals.end_if_asked()
            except BrokenProcessPool:
                raise self._death() from None

    def _death(self) -> InputError:
        return InputError(
            f"one of {self._count} workers died, of which the system kills some where memory is short: try fewer with "
            "--workers; what was being scored is not written"
        )


_own = list[Callable[[], Score[Any]]]()  # of a worker: what has loaded the model once it has been called


def _score(texts: Sequence[str]) -> Any:
    return _own[0]()(texts)


def _begin(load: Callable[[], Score[Any]]) -> None:
    """What a worker does first: it leaves Ctrl-C to the process that began it, and ends with that one.

    The model is loaded for the first piece: an error here would be told by nobody.
    """
    _own.append(cache(load))
    for name in ("SIGINT", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import pyarrow  # slow to import, for those who score without workers

    process.prepare()
    torch.set_num_threads(1)
    pyarrow.set_cpu_count(1)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
