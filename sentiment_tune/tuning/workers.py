"""Processes of this machine that work side by side on the same data."""

import multiprocessing
import multiprocessing.connection
import os
import signal
from collections.abc import Callable
from multiprocessing.process import BaseProcess

import torch

from sentiment_tune.data.corpus import Corpus
from sentiment_tune.data.load import DataConfig, load
from sentiment_tune.errors import InputError
from sentiment_tune.process import prepare
from sentiment_tune.tracking import server

Job = Callable[[Corpus, int], None]  # the data and the worker's number, from 0; travels to the process, so no lambda


def run_in_processes(count: int, source: DataConfig | Corpus, job: Job, lost: Callable[[], None]) -> None:
    """Do the job in `count` processes, each with its share of the cores; `lost` is called when one has died.

    A worker loads the data by its source, which shares the cache's pages, or is handed a corpus that has none.
    InputError if all have died. Whatever ends this process early ends them too.
    """
    processes = _start(count, source, job)
    try:
        _wait(processes, lost)
    finally:
        _end(processes)
    exit_codes = [process.exitcode for process in processes]
    if all(exit_codes):
        raise InputError(f"every worker died (exit codes {exit_codes}): see the messages above, or try --workers 1")


def _start(count: int, source: DataConfig | Corpus, job: Job) -> list[BaseProcess]:
    spawn = multiprocessing.get_context("spawn")  # a fork would copy torch's and MLflow's threads half
    threads = max(1, (os.cpu_count() or 1) // count)
    processes: list[BaseProcess] = [
        spawn.Process(target=_worker, args=(source, server.tracking_uri(), job, number, threads), daemon=True)
        for number in range(count)
    ]
    for process in processes:
        process.start()
    return processes


def _wait(processes: list[BaseProcess], lost: Callable[[], None]) -> None:
    alive = set(processes)
    while alive:
        multiprocessing.connection.wait([process.sentinel for process in alive])
        ended = {process for process in alive if process.exitcode is not None}
        alive -= ended
        if any(process.exitcode for process in ended):
            lost()


def _end(processes: list[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(timeout=15)
        process.kill()
        process.join()


def _worker(source: DataConfig | Corpus, address: str, job: Job, number: int, threads: int) -> None:
    """What a worker process does; its trainings are told and kept like any other's."""
    prepare()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal interrupts all; the owner ends its workers itself
    torch.set_num_threads(threads)
    server.configure(address)
    try:
        job(source if isinstance(source, Corpus) else load(source), number)
    except KeyboardInterrupt:
        os._exit(128 + signal.SIGTERM)  # its run has been told
