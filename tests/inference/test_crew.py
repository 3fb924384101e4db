"""Scoring in several processes: the same answers in the same order, and no end without a line."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from sentiment_tune.errors import InputError
from sentiment_tune.inference.crew import Crew, Score

T = TypeVar("T")
pytestmark = pytest.mark.slow  # each starts processes that import torch


def letters(texts: Sequence[str]) -> NDArray[np.float64]:
    if "die" in texts:
        os.kill(os.getpid(), signal.SIGKILL)
    if "refuse" in texts:
        raise InputError("refused")
    return np.array([len(text) / 10 for text in texts])


def threads_and_process(texts: Sequence[str]) -> NDArray[np.float64]:
    import torch

    return np.array([float(torch.get_num_threads()), float(os.getpid())])


def load(score: "Score[T]") -> "Score[T]":
    return score


def load_and_tell(loads: Path) -> "Score[NDArray[np.float64]]":
    (loads / f"{os.getpid()}-{time.monotonic_ns()}").touch()
    return letters


def workers() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children(recursive=True):
        if any("spawn_main" in word for word in child.cmdline()):
            found.append(child)
    return found


def test_pieces_keep_their_order_and_are_read_only_so_far_ahead() -> None:
    read = []

    def pieces() -> Iterator[list[str]]:
        for number in range(40):
            read.append(number)
            yield ["x" * number, ""]

    with Crew(partial(load, letters), 2) as crew:
        for number, answer in enumerate(crew.map(pieces())):
            assert answer.tolist() == [number / 10, 0]
            assert len(read) <= number + 4
    assert read == list(range(40))
    assert workers() == []


def test_each_worker_has_one_thread_and_is_another_process() -> None:
    with Crew(partial(load, threads_and_process), 2) as crew:
        answers = [answer.tolist() for answer in crew.map([[""]] * 8)]
    assert {threads for threads, _ in answers} == {1.0}
    assert os.getpid() not in {int(process) for _, process in answers}


def test_each_worker_loads_the_model_once(tmp_path: Path) -> None:
    with Crew(partial(load_and_tell, tmp_path), 2) as crew:
        assert len(list(crew.map([["some"]] * 20))) == 20
    processes = [path.name.partition("-")[0] for path in tmp_path.iterdir()]
    assert 1 <= len(processes) <= 2
    assert len(set(processes)) == len(processes)


@pytest.mark.parametrize(("text", "told"), [("die", "one of 2 workers died"), ("refuse", "^refused$")])
def test_a_worker_that_dies_or_refuses_ends_all(text: str, told: str) -> None:
    with pytest.raises(InputError, match=told), Crew(partial(load, letters), 2) as crew:
        list(crew.map([["fine"]] * 5 + [[text]] + [["fine"]] * 50))
    assert workers() == []


@pytest.mark.parametrize("count", [0, -1, 257])
def test_a_number_of_workers_that_is_none_is_refused(count: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="workers cannot be"):
        Crew(partial(load, letters), count)
