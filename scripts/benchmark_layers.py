"""Seconds of a training epoch with each kernel for a CPU, against torch's own layer in its place.

    python scripts/benchmark_layers.py --data PATH/imdb.npz

Seconds of the processor, one thread, or of the clock with `--threads 2`; networks and training at their defaults, the
same weights. A row turns one kernel off, the others stay on, and the last rows turn all of them off; on and off take
turns, epoch by epoch, after one of each that does not count. A kernel that gains less than 1.15 times wherever it is
used has no place in the package, unless docs/benchmarks.md says why.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from statistics import median
from types import FunctionType, ModuleType, SimpleNamespace
from unittest.mock import patch

import click
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sentiment_tune.build import build_network
from sentiment_tune.config import ExperimentConfig
from sentiment_tune.data.corpus import Corpus, Reviews
from sentiment_tune.data.load import DataConfig, load
from sentiment_tune.models import convolutional, kernels, layers, recurrent
from sentiment_tune.models.kernels import filters, products
from sentiment_tune.models.kernels import recurrent as cells
from sentiment_tune.process import keep_freed_memory
from sentiment_tune.training.loop import fit

ALL = "all"
USERS: dict[str, tuple[str, ...]] = {  # the networks that use each kernel
    "sums of words": ("feedforward", "embedding"),
    "convolution": ("cnn", "cnn_lstm"),
    "recurrent cell": ("rnn", "lstm", "gru"),
    "products": ("cnn", "rnn", "lstm", "gru", "cnn_lstm"),
    "largest value": ("cnn", "rnn", "lstm", "gru", "cnn_lstm"),
    "dropout": ("feedforward", "embedding", "cnn", "rnn", "lstm", "gru", "cnn_lstm"),
    ALL: ("cnn", "rnn", "lstm", "gru", "cnn_lstm"),
}
CALLERS: dict[str, ModuleType] = {"sums of words": layers, "convolution": convolutional, "recurrent cell": recurrent}


@click.command()
@click.option("--data", "source", default="imdb", show_default=True)
@click.option("--reviews", default=1600, show_default=True, help="training reviews of an epoch")
@click.option("--rounds", default=3, show_default=True, help="epochs each way")
@click.option("--threads", default=1, show_default=True, help="with more than one, the clock's seconds count")
@click.option("--kernels", "chosen", default=",".join(USERS), show_default=True)
def main(source: str, reviews: int, rounds: int, threads: int, chosen: str) -> None:
    """Measure and print a Markdown table."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    corpus = load(DataConfig(source))
    corpus = replace(corpus, train=spread(corpus.train, reviews), validation=spread(corpus.validation, reviews // 10))
    print("| kernel | network | off, s | on, s | times faster |\n|---|---|---|---|---|")
    for kernel in chosen.split(","):
        for network in USERS[kernel]:
            print(row(kernel, network, corpus, rounds), flush=True)
    print(f"\nMedian of {rounds} epochs over {len(corpus.train):,} reviews (from, to).")


def spread(reviews: Reviews, count: int) -> Reviews:
    """So many of the reviews, spread over all."""
    return reviews.take(np.linspace(0, len(reviews) - 1, min(count, len(reviews))).astype(np.int64))


def row(kernel: str, network: str, corpus: Corpus, rounds: int) -> str:
    """A row of the table: the kernel off and on, in turns."""
    config = ExperimentConfig.of(network, {"epochs": 1})
    off, on = [], []
    for _ in range(rounds + 1):
        with turned_off(kernel):
            off.append(epoch_seconds(config, corpus))
        on.append(epoch_seconds(config, corpus))
    gain = median(off[1:]) / median(on[1:])
    return f"| {kernel} | `{network}` | {summary(off[1:])} | {summary(on[1:])} | {gain:.2f} |"


@contextmanager
def turned_off(kernel: str) -> Iterator[None]:
    """A block without this kernel, or without any."""
    if kernel == ALL:
        with kernels.disabled():
            yield
        return
    if kernel == "dropout":
        with patch.object(layers, "dropout", functional.dropout):
            yield
        return
    if kernel == "largest value":
        with patch.object(layers, "largest_in", largest_by_max), patch.object(filters, "largest_in", largest_by_max):
            yield
        return
    if kernel == "products":
        with (
            patch.object(products, "multiplied", products._by_torch),
            patch.object(products, "multiplied_and_added", products._added_by_torch),
            patch.object(cells, "_compiled", compiled_anew),
        ):
            yield
        return
    with patch.object(CALLERS[kernel], "kernels", SimpleNamespace(apply_to=lambda _: False)):
        yield


def largest_by_max(image: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """What `largest_in` finds, by torch's max."""
    height, width, features = image.shape
    windows = image.reshape(height // rows, rows, width // columns, columns, features).transpose(1, 2)
    largest, place = windows.reshape(-1, rows * columns, features).max(1)
    window = torch.arange(len(largest)).unsqueeze(1)
    row = window // (width // columns) * rows + place // columns
    return largest, row * width + window % (width // columns) * columns + place % columns


@cache
def compiled_anew(steps: FunctionType) -> Callable[..., None]:
    """A cell's steps with the products of now: torch keeps what it has compiled of a function."""
    copy = FunctionType(steps.__code__, steps.__globals__, steps.__name__)
    copy.__annotations__ = steps.__annotations__
    compiled: Callable[..., None] = torch.jit.script(copy)
    return compiled


def epoch_seconds(config: ExperimentConfig, corpus: Corpus) -> float:
    """Seconds that the first epoch of a training takes, validation included: of the processor for one thread."""
    network, threads = build_network(config, corpus), torch.get_num_threads()
    now = time.process_time if threads == 1 else time.perf_counter
    seed = config.runtime.seed
    epochs = fit(network, corpus.train, corpus.validation, config.training, config.text, seed, threads=threads)
    started = now()
    next(epochs)
    return now() - started


def summary(seconds: Sequence[float]) -> str:
    """Median, smallest and largest."""
    return f"{median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"


if __name__ == "__main__":
    main()
