"""How many of the CPU's threads a network uses, found out while it is at work.

A second thread makes a step of a training up to 1.6 times as fast while the machine is idle. Beside a busy program it
makes the step longer, up to several times: the threads meet after operations, and one that has a processor waits for
the one that has none. So steps are timed, with more threads and with fewer, all the time, and the fastest number is
taken. It changes no weight and no answer: the networks that take part compute the same with any number (see
`models.kernels`).
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from weakref import WeakKeyDictionary

import torch
from torch import nn

from sentiment_tune.models import kernels
from sentiment_tune.models.kernels.products import HAS_ONEDNN
from sentiment_tune.models.registry import NETWORKS

_FIRST = 3  # steps with each number, in turn, before one is taken
_REMEMBERED = 5  # of the latest steps with a number, whose median counts
_SHARE = 0.02  # of the time, that may go into trying numbers that take longer
_OFTEN, _SELDOM = 8, 512  # steps between two tries, at least and at most


class Threads:
    """The number of threads of each step: of a training, or of a network's answers to one batch after another."""

    def __init__(self, counts: tuple[int, ...], clock: Callable[[], float] = time.perf_counter):
        """`counts` are the numbers to choose from; those that come first are tried first."""
        self.allowed = torch.get_num_threads()
        self._counts, self._clock = counts, clock
        self._seconds = {count: deque[float](maxlen=_REMEMBERED) for count in counts}  # a word, of the latest steps
        self._due = dict.fromkeys(counts, 0)  # the step in which a number is tried next
        self._steps = 0

    @contextmanager
    def step(self, words: int) -> Iterator[None]:
        """A block that is a step over so many words, with as many threads as are best, or are to be tried."""
        if len(self._counts) == 1:
            yield
            return
        count = self._next()
        torch.set_num_threads(count)
        started = self._clock()
        yield
        self._seconds[count].append((self._clock() - started) / words)
        self._steps += 1
        best = min(self._counts, key=self._usual)
        ratio = self._seconds[count][-1] / self._usual(best) if self._seconds[best] else 1.0
        share = _SHARE / (len(self._counts) - 1)
        self._due[count] = self._steps + int(min(max((ratio - 1) / share, _OFTEN), _SELDOM))
        torch.set_num_threads(best)  # for what happens between steps

    def _next(self) -> int:
        least = min(self._counts, key=lambda count: len(self._seconds[count]))
        if len(self._seconds[least]) < _FIRST:
            return least
        best = min(self._counts, key=self._usual)
        return next((count for count in self._counts if count != best and self._due[count] <= self._steps), best)

    def _usual(self, count: int) -> float:
        """Seconds a word with so many threads; those of a number that was not tried yet are none."""
        return median(self._seconds[count]) if self._seconds[count] else 0.0

    def close(self) -> None:
        """Leave torch as it was."""
        if len(self._counts) > 1:
            torch.set_num_threads(self.allowed)


def choice_of(network: nn.Module, threads: int = 0) -> Threads:
    """The threads of a network's steps: as many as were asked for, or what is best of those that torch may use.

    There is no choice for a network of a user's own, whose weights may differ by the number of threads, none on a GPU,
    and none outside of the main thread, for the number is the whole process's.
    """
    allowed = torch.get_num_threads()
    built_in = type(network) in NETWORKS.values() and kernels.apply_to(next(network.parameters()))
    if threads or not built_in or not _is_main():
        return Threads((allowed,))
    halves = [allowed if HAS_ONEDNN else min(allowed, 2)]  # else more would cut sums at places of their own
    while halves[-1] > 1:
        halves.append(halves[-1] // 2)
    return Threads(tuple(halves))


def usual_threads(network: nn.Module) -> Threads:
    """The threads of a network's answers: what was found out with some batches is known with the next."""
    threads = _known.get(network) if _is_main() else None
    if threads is None or threads.allowed != torch.get_num_threads():
        threads = choice_of(network)
        if _is_main():
            _known[network] = threads
    return threads


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()


_known: WeakKeyDictionary[nn.Module, Threads] = WeakKeyDictionary()
