"""Seconds an epoch of every network on a GPU, against the least that torch's own layers need, and the contest of all.

    python scripts/benchmark_gpu.py --data PATH/imdb.npz --output FOLDER

First the contest: every network at its defaults, trained until validation stands still, then tested, one after another
in this process; without MLflow, which need not be installed. Then for each network, batch and precision the package's
training epoch and, in turn with it, a bare loop: the same sizes by torch's own layers (cuDNN's on a GPU), the same
optimizer, batches that lie padded on the device, no mask, no clipping, nothing random between steps, nothing measured.
In bfloat16 both leave recurrent cells in float32: automatic mixed precision would read them in float16.

The first epoch of each does not count. Rows are printed as they come and appended to FOLDER/gpu.jsonl; a network that
fails is told in its row, and the others go on. Without a GPU it runs on the CPU, where the figures mean little.
"""

import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
import psutil
import torch
from torch import Tensor, nn
from torch.nn import functional

from sentiment_tune.build import build_network
from sentiment_tune.config import ExperimentConfig
from sentiment_tune.data import load as data
from sentiment_tune.data.batches import evaluation_batches, make_batches, shuffle_by_length
from sentiment_tune.data.corpus import Corpus, Reviews
from sentiment_tune.data.text import PADDING
from sentiment_tune.evaluation.metrics import accuracy
from sentiment_tune.inference.predict import device_of, predict, resolve_device
from sentiment_tune.models.linear import Linear
from sentiment_tune.models.recurrent import Cell, split_into_segments
from sentiment_tune.models.registry import NETWORKS
from sentiment_tune.training.loop import BestWeights, EpochRecord, early_stopping, fit

CONTEST_GOAL = 120.0  # seconds, all networks
SHARE_GOALS = {512: 0.8}  # of the bare loop's speed, by batch
CELLS: Mapping[str, Cell] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
MOST, FEWEST = 7, 3  # epochs each way: so many, fewer where they take longer than `seconds`
Sizes = Mapping[str, Any]


@click.command()
@click.option("--data", "source", default="imdb", show_default=True)
@click.option("--networks", default=",".join(NETWORKS), show_default=True)
@click.option("--batches", default="512,64", show_default=True)
@click.option("--precisions", default="float32,bfloat16", show_default=True)
@click.option("--parts", default="contest,epochs", show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda")
@click.option("--reviews", default=25_000, show_default=True, help="of an epoch")
@click.option("--seconds", default=1.5, show_default=True, help="after which no further epochs are timed, each way")
@click.option("--epochs", type=int, help="at most, in the contest; by default the networks' own")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), help="folder of the rows as JSON")
def main(
    source: str,
    networks: str,
    batches: str,
    precisions: str,
    parts: str,
    device: str,
    reviews: int,
    seconds: float,
    epochs: int | None,
    output: Path | None,
) -> None:
    """Measure and print Markdown tables; the exit code is 1 if a network has failed."""
    shown, names, report = machine(resolve_device(device)), networks.split(","), Report(output)
    settings = {"data": source, "device": device}
    corpus = data.load(data.DataConfig(source))
    print(f"{shown}\n", flush=True)
    if "contest" in parts:
        run_contest(corpus, names, settings | ({"epochs": epochs} if epochs else {}), report)
    if "epochs" in parts:
        everything = spread(corpus.train.union(corpus.validation), reviews)
        corpus = replace(corpus, train=everything, validation=spread(corpus.validation, 1))
        cells = [(int(batch), precision) for batch in batches.split(",") for precision in precisions.split(",")]
        compare_epochs(corpus, names, settings, cells, seconds, report)
    sys.exit(report.failed)


def machine(device: torch.device) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "a CPU"
    return f"{name}, torch {torch.__version__}, CUDA {torch.version.cuda}"


def spread(reviews: Reviews, count: int) -> Reviews:
    """So many of the reviews, spread over all."""
    return reviews.take(np.linspace(0, len(reviews) - 1, min(count, len(reviews))).astype(np.int64))


Row = tuple[Mapping[str, object], Sequence[str]]  # figures, for the file, and cells, for the table


class Report:
    """Rows on their way to the terminal and to the file; what goes wrong in one is told in it."""

    def __init__(self, folder: Path | None):
        self.failed = False
        self._path = folder / "gpu.jsonl" if folder else None
        if folder:
            folder.mkdir(parents=True, exist_ok=True)

    def row(self, part: str, head: Mapping[str, object], measure: Callable[[], Row]) -> None:
        """A row of what is measured, or of why it is not."""
        try:
            figures, cells = measure()
        except Exception as error:  # whatever a network, a driver and a full GPU raise
            self.failed = True
            traceback.print_exc()
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            figures, cells = {"error": reason}, [f"failed: {reason:.200}"]
        print(f"| {' | '.join([*map(str, head.values()), *cells])} |", flush=True)
        self.write({"part": part, **head, **figures})

    def write(self, facts: Mapping[str, object]) -> None:
        if self._path:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(facts) + "\n")


def run_contest(corpus: Corpus, names: Sequence[str], settings: Mapping[str, Any], report: Report) -> None:
    """Train all networks to their end; print what each came to, and how long all took."""
    print("| network | epochs | s | of them building | test accuracy |\n|---|---|---|---|---|", flush=True)
    started = time.perf_counter()
    for name in names:
        report.row("contest", {"network": name}, partial(contestant, name, corpus, settings))
    spent, whole = time.perf_counter() - started, time.time() - psutil.Process().create_time()
    report.write({"part": "contest", "network": "all", "seconds": spent, "from_start": whole, "goal": CONTEST_GOAL})
    print(
        f"\nThe contest took {spent:.1f} s, {whole:.1f} s from the start of the process, its imports and reading the "
        f"data included; the goal is {CONTEST_GOAL:.0f} s.\n",
        flush=True,
    )


def contestant(name: str, corpus: Corpus, settings: Mapping[str, Any]) -> Row:
    """One network from its config to its test accuracy."""
    started = time.perf_counter()
    config = ExperimentConfig.of(name, settings)
    network = build_network(config, corpus)
    built = time.perf_counter() - started
    epochs = len(train_to_the_end(network, config, corpus))
    logits = predict(network, evaluation_batches(corpus.test, config.text, device_of(network)))
    tested, spent = accuracy(logits, corpus.test.labels), time.perf_counter() - started
    figures = {"epochs": epochs, "seconds": spent, "building": built, "test_accuracy": tested}
    return figures, [f"{epochs}", f"{spent:.1f}", f"{built:.1f}", f"{tested:.4f}"]


def train_to_the_end(network: nn.Module, config: ExperimentConfig, corpus: Corpus) -> list[EpochRecord]:
    """Train until validation stands still and put the best weights back; the epochs it took."""
    best, records = BestWeights(), []
    epochs = fit(network, corpus.train, corpus.validation, config.training, config.text, config.runtime.seed)
    for epoch in early_stopping(epochs, config.training.patience):
        best.update(epoch, network)
        records.append(epoch)
    best.restore(network)
    return records


def compare_epochs(
    corpus: Corpus,
    names: Sequence[str],
    settings: Mapping[str, Any],
    cells: Sequence[tuple[int, str]],
    seconds: float,
    report: Report,
) -> None:
    """A row a network, batch and precision: the package's epochs and the bare loop's, in turn."""
    print("| network | batch | precision | package s | bare s | bare/package | goal |\n|---|---|---|---|---|---|---|")
    build = cache(lambda name: build_network(ExperimentConfig.of(name, settings), corpus))  # n-grams take seconds
    for batch, precision in cells:
        for name in names:
            head = {"network": name, "batch": batch, "precision": precision}
            given = {**settings, "batch": batch, "precision": precision, "epochs": MOST + 1}
            report.row("epochs", head, partial(compare, build, name, given, corpus, seconds))
    print(
        f"\nSeconds for {len(corpus.train):,} reviews: median (from, to) of {FEWEST} to {MOST} epochs after one that "
        "does not count.",
        flush=True,
    )


def compare(
    build: Callable[[str], nn.Module], name: str, settings: Mapping[str, Any], corpus: Corpus, seconds: float
) -> Row:
    """Seconds of the package's epochs and of the bare loop's."""
    config, network = ExperimentConfig.of(name, settings), build(name)
    own = deepcopy(network).to(device_of(network))  # which puts a cell's weights in one piece again
    ours, bare = take_turns(package_epochs(own, config, corpus), bare_epochs(network, config, corpus), seconds)
    share, goal = median(bare) / median(ours), SHARE_GOALS.get(config.training.batch)
    cells = [spread_of(ours), spread_of(bare), f"{share:.0%}", f"{goal:.0%}" if goal else "none"]
    return {"package": ours, "bare": bare, "share": share, "goal": goal}, cells


def spread_of(seconds: Sequence[float]) -> str:
    return f"{median(seconds):.3f} ({min(seconds):.3f} to {max(seconds):.3f})"


def take_turns(ours: Iterator[None], bare: Iterator[None], seconds: float) -> tuple[list[float], list[float]]:
    """Seconds of each way's epochs, one of the one after one of the other."""
    taken: tuple[list[float], list[float]] = ([], [])
    for way in (ours, bare):
        timed(way)
    while len(taken[0]) < FEWEST or (len(taken[0]) < MOST and max(map(sum, taken)) < seconds):
        for way, each in zip((ours, bare), taken, strict=True):
            each.append(timed(way))
    return taken


def timed(epochs: Iterator[None]) -> float:
    """Wall seconds of the next epoch, to the end of all that the GPU was given to do."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    next(epochs)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def package_epochs(network: nn.Module, config: ExperimentConfig, corpus: Corpus) -> Iterator[None]:
    """The package's loop, with one review to validate."""
    for _ in fit(network, corpus.train, corpus.validation, config.training, config.text, config.runtime.seed):
        yield


def bare_epochs(trained: nn.Module, config: ExperimentConfig, corpus: Corpus) -> Iterator[None]:
    """The least that torch needs: forward, loss, gradient, step, over batches that lie on the device."""
    device = device_of(trained)
    network = bare_network(config.model, config.text.vocabulary, config.network, trained).to(device)
    batches = list(bare_batches(trained, config, corpus.train, device))
    optimizer = torch.optim.AdamW(network.parameters(), config.training.learning_rate, fused=True)
    mixed = config.training.precision == "bfloat16"
    while True:
        network.train()
        for ids, targets in batches:
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
                logits = network(ids)
            loss = functional.binary_cross_entropy_with_logits(logits.float(), targets)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        yield


def bare_batches(
    trained: nn.Module, config: ExperimentConfig, train: Reviews, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """What the bare network reads, made as the package makes its batches: ids, segments of them, or rows of n-grams."""
    order = shuffle_by_length(np.random.default_rng(config.runtime.seed))
    batches = make_batches(train, config.text, config.training.batch, order, device)
    for batch in batches:
        targets = torch.from_numpy(train.labels[batch.rows].astype(np.float32)).to(device)
        if isinstance(trained, Linear):
            rows, mask = trained.lookup(batch.ids)
            yield torch.where(mask, rows + 1, PADDING), targets
        else:
            words = int(config.network.get("segment", 0)) or batch.ids.shape[1]
            segments = split_into_segments(batch.ids, words).reshape(len(targets), -1, min(words, batch.ids.shape[1]))
            yield segments if config.model in CELLS else batch.ids.contiguous(), targets


def bare_network(model: str, vocabulary: int, sizes: Sizes, trained: nn.Module) -> nn.Module:
    """A network of the same sizes from torch's own layers."""
    if model == "feedforward":
        return BareFeedforward(vocabulary, sizes)
    if model == "embedding":
        words = nn.EmbeddingBag(vocabulary, sizes["embedding"], mode="mean", padding_idx=PADDING)
        return nn.Sequential(words, *head(sizes["embedding"], sizes["hidden"], sizes["dropout"]))
    if model == "linear":
        rows = len(trained.get_parameter("weights")) + 1
        return nn.Sequential(nn.EmbeddingBag(rows, 1, mode="sum", padding_idx=PADDING), nn.Flatten(0))
    if model == "cnn":
        return BareCNN(vocabulary, sizes)
    if model == "cnn_lstm":
        return BareCNNLSTM(vocabulary, sizes)
    return BareRecurrent(CELLS[model], vocabulary, sizes)


def head(features: int, hidden: int, dropout: float) -> list[nn.Module]:
    """A hidden layer and a logit."""
    last = nn.Linear(hidden, 1)
    return [nn.Dropout(dropout), nn.Linear(features, hidden), nn.ReLU(), nn.Dropout(dropout), last, nn.Flatten(0)]


class BareFeedforward(nn.Module):
    """Which words occur, into a hidden layer."""

    def __init__(self, vocabulary: int, sizes: Sizes):
        super().__init__()
        self.vocabulary = vocabulary
        self.layers = nn.Sequential(*head(vocabulary, sizes["hidden"], sizes["dropout"]))

    def forward(self, ids: Tensor) -> Tensor:
        present = torch.zeros(len(ids), self.vocabulary, device=ids.device).scatter_(1, ids, 1.0)
        logits: Tensor = self.layers(present)
        return logits


class BareCNN(nn.Module):
    def __init__(self, vocabulary: int, sizes: Sizes):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, sizes["embedding"], padding_idx=PADDING)
        self.dropout = nn.Dropout(sizes["dropout"])
        widths = range(sizes["shortest"], sizes["shortest"] + sizes["branches"])
        self.filters = nn.ModuleList(nn.Conv1d(sizes["embedding"], sizes["filters"], width) for width in widths)
        features = sizes["filters"] * sizes["branches"]
        self.layers = nn.Sequential(nn.ReLU(), *head(features, sizes["hidden"], sizes["dropout"]))

    def forward(self, ids: Tensor) -> Tensor:
        words = self.dropout(self.embedding(ids)).transpose(1, 2)
        logits: Tensor = self.layers(torch.cat([filters(words).max(2).values for filters in self.filters], 1))
        return logits


class BareRecurrent(nn.Module):
    def __init__(self, cell: Cell, vocabulary: int, sizes: Sizes):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, sizes["embedding"], padding_idx=PADDING)
        self.dropout = nn.Dropout(sizes["dropout"])
        self.cell = cell(sizes["embedding"], sizes["hidden"], batch_first=True)
        self.output = nn.Linear(sizes["hidden"], 1)

    def forward(self, ids: Tensor) -> Tensor:
        reviews, segments, _ = ids.shape
        states = in_float32(self.cell, self.dropout(self.embedding(ids.flatten(0, 1))))
        strongest = states.max(1).values.reshape(reviews, segments, -1).max(1).values
        logits: Tensor = self.output(self.dropout(strongest))
        return logits.squeeze(1)


class BareCNNLSTM(nn.Module):
    def __init__(self, vocabulary: int, sizes: Sizes):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, sizes["embedding"], padding_idx=PADDING)
        self.dropout = nn.Dropout(sizes["dropout"])
        self.filters = nn.Conv1d(sizes["embedding"], sizes["filters"], sizes["width"])
        self.pool = nn.MaxPool1d(sizes["pool"], ceil_mode=True)
        self.cell = nn.LSTM(sizes["filters"], sizes["hidden"], batch_first=True)
        self.output = nn.Linear(sizes["hidden"], 1)

    def forward(self, ids: Tensor) -> Tensor:
        phrases = self.pool(self.filters(self.dropout(self.embedding(ids)).transpose(1, 2)))
        states = in_float32(self.cell, self.dropout(functional.relu(phrases)).transpose(1, 2))
        logits: Tensor = self.output(self.dropout(states.max(1).values))
        return logits.squeeze(1)


def in_float32(cell: nn.RNNBase, features: Tensor) -> Tensor:
    """States of a cell whatever the precision of the rest, as in the package."""
    with torch.autocast(features.device.type, enabled=False):
        states: Tensor = cell(features.float())[0]
    return states


if __name__ == "__main__":
    main()
