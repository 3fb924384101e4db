"""Whether time a review and memory stay as they are when there is more to read.

    python scripts/benchmark_scale.py --data PATH/imdb.npz --networks embedding,cnn

The training reviews once, 4 and 16 times over, one word in twenty of each copy replaced by another of the corpus, in
the memory-mapped form of every corpus. For each size one epoch in a process of its own, the sizes in turn,
round after round; memory is the peak of the process, mapped pages included.

    python scripts/benchmark_scale.py --convert 300000,600000

Instead, tables of so many reviews of ten words, by chance, each read and converted in a process of its own.
"""

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import click
import numpy as np

from sentiment_tune.build import build_network
from sentiment_tune.config import ExperimentConfig
from sentiment_tune.data import load as data
from sentiment_tune.data.corpus import Corpus
from sentiment_tune.data.load import DataConfig
from sentiment_tune.data.store import TRAIN, VALIDATION, Store, open_store, write_store
from sentiment_tune.process import IDLE_THREADS, keep_freed_memory
from sentiment_tune.training.loop import fit

SIZES = (1, 4, 16)


@click.command()
@click.option("--data", "source", default="imdb", show_default=True)
@click.option("--networks", default="embedding,cnn", show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--convert", metavar="ROWS", help="numbers of rows, with commas between: tables to convert instead")
def main(source: str, networks: str, rounds: int, convert: str | None) -> None:
    """Measure and print a Markdown table."""
    if convert:
        show_conversions([int(rows) for rows in convert.split(",")])
        return
    names = networks.split(",")
    costs: dict[tuple[str, int], list[tuple[float, float]]] = {(name, size): [] for name in names for size in SIZES}
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            subprocess.run([sys.executable, __file__, "write", folder, source, str(size)], check=True)
        for _ in range(rounds):
            for name, size in costs:
                command = [sys.executable, __file__, "train", folder, source, str(size), name]
                environment = IDLE_THREADS | os.environ  # as the command has it
                answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout
                costs[name, size].append(tuple(json.loads(answer)))
    print("| network | reviews | ms a review | against once | peak memory MiB |\n|---|---|---|---|---|")
    for (name, size), rounds_measured in costs.items():
        times = [seconds * 1e3 for seconds, _ in rounds_measured]
        ratio = median(times) / median(seconds * 1e3 for seconds, _ in costs[name, 1])
        memory = max(mebibytes for _, mebibytes in rounds_measured)
        print(
            f"| `{name}` | {size} x | {median(times):.3f} ({min(times):.3f} to {max(times):.3f}) | {ratio:.2f} "
            f"| {memory:,.0f} |"
        )
    print(f"\nMedian of {rounds} (from, to).")


def show_conversions(sizes: list[int]) -> None:
    """Print what memory and time it takes to read tables of so many rows and to convert them."""
    print("| reviews | table MB | peak memory MiB | processor s |\n|---|---|---|---|")
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder, "reviews.csv")
            write_short_reviews(table, size)
            command = [sys.executable, __file__, "convert", str(table), folder]
            answer = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
            seconds, mebibytes = json.loads(answer)
            print(f"| {size:,} | {table.stat().st_size / 1e6:,.0f} | {mebibytes:,.0f} | {seconds:.0f} |", flush=True)


def write_short_reviews(path: Path, count: int) -> None:
    """A table of reviews of ten words, of which some are frequent and most are rare."""
    rng = np.random.default_rng(1)
    share = 1 / np.arange(5, 20_005)
    words = np.array([f"w{number:x}" for number in range(20_000)])
    drawn = words[rng.choice(len(words), size=2_000_000, p=share / share.sum())]
    with path.open("w") as file:
        file.write("text,label\n")
        for row, start in enumerate(rng.integers(len(drawn) - 10, size=count).tolist()):
            file.write(f"{' '.join(drawn[start : start + 10])},{row % 2}\n")


def convert_table(path: Path, folder: Path) -> tuple[float, float]:
    """Seconds of the processor to convert a table, and the process's peak memory in MiB."""
    started = time.process_time()
    data.load(DataConfig(str(path)), folder / "cache")
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())  # ru_maxrss counts who began it too
    return time.process_time() - started, int(peak[1]) / 1024 if peak else 0.0


def write_corpus(folder: Path, source: str, size: int) -> None:
    """Write the store of the corpus of that size into the folder."""
    write_store(repeat(data.load(DataConfig(source)), size), folder / str(size))


def read_corpus(folder: Path, size: int) -> Corpus:
    """The corpus of that size, mapped from the folder."""
    store = open_store(folder / str(size))
    if store is None:
        raise SystemExit(f"no corpus of size {size} in {folder}")
    return Corpus.of(str(size), str(folder), store)


def repeat(corpus: Corpus, size: int) -> Store:
    """The training reviews so many times, each copy perturbed; the validation reviews once."""
    rng = np.random.default_rng(1)
    train, validation = corpus.train, corpus.validation
    words = np.concatenate([train[row] for row in range(len(train))])
    copies = []
    for _ in range(size):
        copy = np.where(rng.random(len(words)) < 0.05, rng.permutation(words), words)
        copies.append(copy.astype(np.int32))
    ids = np.concatenate([*copies, *(validation[row] for row in range(len(validation)))])
    lengths = np.concatenate([*[train.lengths] * size, validation.lengths])
    labels = np.concatenate([*[train.labels] * size, validation.labels])
    part = np.repeat([TRAIN, VALIDATION], [size * len(train), len(validation)]).astype(np.uint8)
    return Store.of(ids, lengths, labels, part, corpus.vocabulary.words)


def train_one_epoch(network: str, corpus: Corpus, source: str) -> tuple[float, float]:
    """Seconds a review of one epoch, and the process's peak memory in MiB."""
    keep_freed_memory()  # as the command does
    config = ExperimentConfig.of(network, {"data": source, "epochs": 1})
    one = corpus.validation.take(slice(1))
    (epoch,) = fit(build_network(config, corpus), corpus.train, one, config.training, config.text, 1)
    return epoch.seconds / len(corpus.train), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["write"]:
        write_corpus(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
    elif sys.argv[1:2] == ["convert"]:
        print(json.dumps(convert_table(Path(sys.argv[2]), Path(sys.argv[3]))))
    elif sys.argv[1:2] == ["train"]:
        _, _, folder, source, size, network = sys.argv
        print(json.dumps(train_one_epoch(network, read_corpus(Path(folder), int(size)), source)))
    else:
        main()
