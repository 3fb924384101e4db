"""Whether time a review and memory stay as they are when there is more to read.

    python scripts/benchmark_scale.py --data PATH/imdb.npz --networks embedding,cnn

The training reviews once, 4 and 16 times over, one word in twenty of each copy replaced by another of the corpus, in
the memory-mapped form every corpus is kept in. For each size one epoch in a process of its own, the sizes in turn,
round after round; memory is the most that the process ever held, mapped pages included.
"""

import json
import resource
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median

import click
import numpy as np

from sentiment_tune.build import build_network
from sentiment_tune.config import ExperimentConfig
from sentiment_tune.data import load as data
from sentiment_tune.data import store as cache
from sentiment_tune.data.corpus import Corpus
from sentiment_tune.data.load import DataConfig
from sentiment_tune.training.loop import fit

SIZES = (1, 4, 16)


@click.command()
@click.option("--data", "source", default="imdb", show_default=True)
@click.option("--networks", default="embedding,cnn", show_default=True)
@click.option("--rounds", default=3, show_default=True)
def main(source: str, networks: str, rounds: int) -> None:
    """Measure and print a Markdown table."""
    names = networks.split(",")
    taken: dict[tuple[str, int], list[tuple[float, float]]] = {(name, size): [] for name in names for size in SIZES}
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            subprocess.run([sys.executable, __file__, "made", folder, source, str(size)], check=True)
        for _ in range(rounds):
            for name, size in taken:
                command = [sys.executable, __file__, "trained", folder, source, str(size), name]
                answer = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
                taken[name, size].append(tuple(json.loads(answer)))
    print("| network | reviews | ms a review | against once | peak memory MiB |\n|---|---|---|---|---|")
    for (name, size), found in taken.items():
        spent = [seconds * 1e3 for seconds, _ in found]
        ratio = median(spent) / median(seconds * 1e3 for seconds, _ in taken[name, 1])
        memory = max(held for _, held in found)
        print(
            f"| `{name}` | {size} x | {median(spent):.3f} ({min(spent):.3f} to {max(spent):.3f}) | {ratio:.2f} "
            f"| {memory:,.0f} |"
        )
    print(f"\nMedian of {rounds} (from, to).")


def stored(folder: Path, source: str, size: int) -> Corpus:
    """The corpus of that size, mapped from the folder, where it is made if it is not there yet."""
    corpus = data.load(DataConfig(source))
    store = cache.load_or_convert(f"times-{size}", folder, lambda: repeated(corpus, size))
    return Corpus.of(f"{corpus.name}-{size}", corpus.source, store)


def repeated(corpus: Corpus, size: int) -> cache.Store:
    """The training reviews so many times, each copy perturbed; the validation reviews once."""
    chance = np.random.default_rng(1)
    train, held = corpus.train, corpus.validation
    words = np.concatenate([train[row] for row in range(len(train))])
    copies = []
    for _ in range(size):
        other = np.where(chance.random(len(words)) < 0.05, chance.permutation(words), words)
        copies.append(other.astype(np.int32))
    ids = np.concatenate([*copies, *(held[row] for row in range(len(held)))])
    lengths = np.concatenate([*[train.lengths] * size, held.lengths])
    labels = np.concatenate([*[train.labels] * size, held.labels])
    part = np.repeat([cache.TRAIN, cache.VALIDATION], [size * len(train), len(held)]).astype(np.uint8)
    return cache.Store.of(ids, lengths, labels, part, corpus.vocabulary.words)


def trained(network: str, corpus: Corpus, source: str) -> tuple[float, float]:
    """Seconds a review of one epoch, and the process's peak memory in MiB."""
    config = ExperimentConfig.of(network, {"data": source, "epochs": 1})
    one = replace(corpus.validation, rows=corpus.validation.rows[:1])
    (epoch,) = fit(build_network(config, corpus), corpus.train, one, config.training, config.text, 1)
    return epoch.seconds / len(corpus.train), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["made"]:
        stored(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
    elif sys.argv[1:2] == ["trained"]:
        _, _, folder, source, size, network = sys.argv
        print(json.dumps(trained(network, stored(Path(folder), source, int(size)), source)))
    else:
        main()
