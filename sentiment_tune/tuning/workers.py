"""Processes of this machine that work side by side on the same data."""

import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.process import BaseProcess

import torch

from sentiment_tune import signals
from sentiment_tune.data.corpus import Corpus
from sentiment_tune.data.load import DataConfig, load
from sentiment_tune.errors import InputError, OutageError
from sentiment_tune.events import Listener, WarningMessage
from sentiment_tune.process import importing_nothing_from_here, prepare
from sentiment_tune.tracking import server

Job = Callable[[Corpus, int], None]  # the data and the worker's number, from 0; travels to the process, so no lambda
RESTARTS = 3  # times that each worker is started again when it has died
GAVE_UP = 2  # exit code of a worker that has said why it cannot go on, and of which no restart would help
PATIENCE = 15  # seconds for a worker to end


def run_in_processes(
    count: int,
    source: DataConfig | Corpus,
    job: Job,
    lost: Callable[[], None],
    listener: Listener,
    meanwhile: Callable[[], None] | None = None,
) -> None:
    """Do the job in `count` processes, each with its share of the cores.

    One that dies is started again, up to a limit which the listener hears of; `lost` is called before, and `meanwhile`
    again and again. A worker loads the data by its source, which shares the cache's pages, or is handed a corpus that
    has none. InputError if none has come to its end. Whatever ends this process early ends them too.
    """
    crew = [_Worker(number, count, source, job) for number in range(count)]
    try:
        for worker in crew:
            worker.start()
        _wait(crew, lost, listener, meanwhile)
    except BaseException:
        _end(crew)
        with signals.unbroken(), suppress(Exception):  # who did not tell its end is told of here, if that can be
            lost()
        raise
    if not any(worker.is_done for worker in crew):
        ends = ", ".join(worker.end for worker in crew)
        raise InputError(
            f"every worker died ({ends}): see the messages above, or try --workers 1; the same command goes on with "
            "the study"
        )


class _Worker:
    """One of the processes, and those that took its place."""

    def __init__(self, number: int, count: int, source: DataConfig | Corpus, job: Job):
        threads = max(1, (os.cpu_count() or 1) // count)
        self._arguments = (source, server.tracking_uri(), job, number, threads)
        self._number = number
        self._restarts = RESTARTS
        self.process: BaseProcess | None = None

    def start(self) -> None:
        spawn = multiprocessing.get_context("spawn")  # a fork would copy torch's and MLflow's threads half
        work = pickle.dumps(partial(_work, *self._arguments))
        process = spawn.Process(target=signals.run_as_child, args=(os.getpid(), work), daemon=True)
        with signals.held_back(), signals.unbroken(), importing_nothing_from_here():  # one that is begun is known
            process.start()
            self.process = process

    def start_again(self, listener: Listener) -> bool:
        """Start it again if it may be, and tell what has happened."""
        fate = f"worker {self._number} died ({self.end})"
        if self._exit_code == GAVE_UP:
            return False
        if not self._restarts:
            listener(WarningMessage(f"{fate} once more and is not started again"))
            return False
        self._restarts -= 1
        listener(WarningMessage(f"{fate} and is started again; {self._restarts} restarts are left to it"))
        self.start()
        return True

    @property
    def is_alive(self) -> bool:
        return self.process is not None and self._exit_code is None

    @property
    def is_done(self) -> bool:
        return self._exit_code == 0

    @property
    def _exit_code(self) -> int | None:
        return self.process.exitcode if self.process else None

    @property
    def end(self) -> str:
        """How it ended, in words."""
        code = self._exit_code
        return f"exit code {code}" if code is None or code >= 0 else signal.Signals(-code).name


def _wait(
    crew: list[_Worker], lost: Callable[[], None], listener: Listener, meanwhile: Callable[[], None] | None
) -> None:
    alive = crew
    while alive:
        multiprocessing.connection.wait([worker.process.sentinel for worker in alive if worker.process], timeout=0.2)
        signals.end_if_asked()
        if meanwhile:
            meanwhile()
        ended = [worker for worker in alive if not worker.is_alive]  # asked once: it may end while this is done
        died = [worker for worker in ended if not worker.is_done]
        if died:
            lost()
        again = [worker for worker in died if worker.start_again(listener)]
        alive = [worker for worker in alive if worker not in ended] + again


def _end(crew: list[_Worker]) -> None:
    """End those that are alive: each has its run to tell of it."""
    processes = [worker.process for worker in crew if worker.process and worker.is_alive]
    with signals.unbroken():
        for process in processes:
            process.terminate()
        ends = time.monotonic() + PATIENCE
        for process in processes:
            process.join(timeout=max(0.0, ends - time.monotonic()))
            process.kill()
            process.join()


def _work(source: DataConfig | Corpus, address: str, job: Job, number: int, threads: int) -> None:
    """What a worker process does; its trainings are told and kept like any other's."""
    try:
        prepare()
        torch.set_num_threads(threads)
        server.configure(address)
        job(source if isinstance(source, Corpus) else load(source), number)
    except (InputError, OutageError) as error:
        print(f"sentiment-tune: {error}", file=sys.stderr)
        sys.exit(GAVE_UP)
