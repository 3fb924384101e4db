"""Seconds an epoch of every network, against Keras on its three backends and the course notebook, and how accurate.

    python scripts/benchmark_speed.py --data PATH/imdb.npz               # seconds, and a picture of them
    python scripts/benchmark_speed.py --data PATH/imdb.npz --accuracy 5  # validation accuracy, so many seeds each

Equal sizes: 10,000 words, 500 tokens, batch 64, embedding 100, hidden 100, 200 filters of width 3, feedforward 250.
Keras as its users run it: padded to 500, `model.fit`; the notebook as in `notebook_peer.py`. All take turns, round after round, on the same reviews, so that
what else the machine does meets them alike; each turn is a process of its own whose first epoch, with what it compiles,
does not count. Keras is installed once, in an environment of its own in the cache folder.
"""

import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import geometric_mean, mean, median, stdev

import click
import numpy as np
import platformdirs

from sentiment_tune import data
from sentiment_tune.batches import in_order
from sentiment_tune.data import Reviews
from sentiment_tune.experiment import built
from sentiment_tune.plan import Plan
from sentiment_tune.text import PADDING, Reading
from sentiment_tune.training import fit

PEERS = ["tensorflow-cpu==2.21.0", "jax==0.10.2"]
SHARED = ("keras==", "torch==", "numpy==")  # with us, at the versions of constraints.txt
BACKENDS = ("tensorflow", "jax", "torch")
SIZES: dict[str, dict[str, int]] = {
    "feedforward": {},
    "embedding": {},
    "cnn": {"filters": 200, "shortest": 3, "branches": 1},
    "rnn": {},
    "lstm": {},
    "gru": {},
    "cnn_lstm": {"filters": 200, "width": 3},
}


@click.command()
@click.option("--data", "source", default="imdb", show_default=True)
@click.option("--networks", default=",".join(SIZES), show_default=True)
@click.option("--backends", default=",".join(BACKENDS), show_default=True)
@click.option("--reviews", default=3200, show_default=True, help="reviews of the epoch that is timed")
@click.option("--rounds", default=3, show_default=True)
@click.option("--accuracy", default=0, help="seeds; compares accuracies on all reviews instead")
@click.option("--epochs", default=5, show_default=True, help="for accuracy: the best of so many counts")
def main(source: str, networks: str, backends: str, reviews: int, rounds: int, accuracy: int, epochs: int) -> None:
    """Measure and print a Markdown table."""
    corpus = data.load(data.Source(source))
    names, peers = networks.split(","), backends.split(",")
    python = environment()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if accuracy:
            write(corpus.train, folder, "train")
            write(corpus.validation, folder, "val")
            accuracies(names, peers, python, folder, source, epochs, accuracy)
        else:
            write(some(corpus.train, reviews), folder, "train")
            seconds(names, peers, python, folder, source, reviews, rounds)


def some(part: Reviews, count: int) -> Reviews:
    """Reviews of the part, spread over all of it."""
    return replace(part, rows=part.rows[np.linspace(0, len(part) - 1, count).astype(int)])


def write(part: Reviews, folder: Path, name: str) -> None:
    """Ids padded on the left to 500, as Keras pads them, and labels."""
    ids = np.zeros((len(part), 500), np.int32)
    for batch in in_order(part, Reading()):
        for row, review in zip(batch.rows, batch.ids.numpy(), strict=True):
            words = review[review != PADDING]
            ids[row, 500 - len(words) :] = words
    np.save(folder / f"{name}_ids.npy", ids)
    np.save(folder / f"{name}_labels.npy", part.labels)


def environment() -> Path:
    """Python of the environment that holds Keras and its backends, made once."""
    folder = platformdirs.user_cache_path("sentiment_tune") / "peers"
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not (folder / "made").exists():
        venv.create(folder, clear=True, with_pip=True)
        pins = Path(__file__).parents[1].joinpath("constraints.txt").read_text(encoding="utf-8").split("\n")
        wanted = [*PEERS, *(pin for pin in pins if pin.startswith(SHARED))]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
        (folder / "made").touch()
    return python


def by_keras(python: Path, backend: str, network: str, folder: Path, epochs: int, seed: int) -> dict[str, list[float]]:
    command = [
        str(python),
        str(Path(__file__).with_name("keras_peer.py")),
        network,
        str(folder),
        str(epochs),
        str(seed),
    ]
    known = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    answer = subprocess.run(command, env=known, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    found: dict[str, list[float]] = json.loads(answer.stdout.splitlines()[-1])
    return found


def by_us(network: str, source: str, reviews: int, epochs: int, seed: int) -> dict[str, list[float]]:
    """The same of our network, in a process of its own: `reviews` of the training reviews, or all with 0."""
    command = [sys.executable, __file__, "ours", network, source, str(reviews), str(epochs), str(seed)]
    found: dict[str, list[float]] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def ours(network: str, source: str, reviews: int, epochs: int, seed: int) -> Iterator[tuple[float, float]]:
    """Seconds and validation accuracy of each epoch."""
    plan = Plan.of(network, {"data": source, "epochs": epochs, "seed": seed, **SIZES[network]})
    corpus = data.load(plan.source)
    train = some(corpus.train, reviews) if reviews else corpus.train
    held = some(corpus.validation, 1) if reviews else corpus.validation
    for epoch in fit(built(plan, corpus), train, held, plan.recipe, plan.reading, seed):
        yield epoch.seconds, epoch.val_accuracy


def seconds(
    names: list[str], peers: list[str], python: Path, folder: Path, source: str, reviews: int, rounds: int
) -> None:
    ways = [*peers, "ours"]
    taken: dict[tuple[str, str], list[float]] = {(name, way): [] for name in names for way in ways}
    for number in range(1, rounds + 1):
        for name in names:
            for way in ways:
                if way == "ours":
                    found = by_us(name, source, reviews, 2, number)
                else:
                    found = by_keras(python, way, name, folder, 2, number)
                taken[name, way].append(found["seconds"][1] * 25_000 / reviews)
            print(
                f"round {number}, {name}: {', '.join(f'{w} {taken[name, w][-1]:.1f}' for w in ways)}", file=sys.stderr
            )
    print(
        f"| network | {' | '.join(f'Keras on {peer}, s' for peer in peers)} | ours, s | times faster than the fastest |"
    )
    print("|---" * (len(ways) + 2) + "|")
    ratios = []
    for name in names:
        middle = {way: median(taken[name, way]) for way in ways}
        ratios.append(min(middle[peer] for peer in peers) / middle["ours"])
        cells = [f"{middle[way]:.1f} ({min(taken[name, way]):.1f} to {max(taken[name, way]):.1f})" for way in ways]
        print(f"| `{name}` | {' | '.join(cells)} | {ratios[-1]:.1f} |")
    print(
        f"\nSeconds for 25,000 reviews, median of {rounds} (from, to). "
        f"Geometric mean: {geometric_mean(ratios):.1f} times."
    )


def accuracies(
    names: list[str], peers: list[str], python: Path, folder: Path, source: str, epochs: int, seeds: int
) -> None:
    print(f"| network | {' | '.join(f'Keras on {peer}' for peer in peers)} | ours |")
    print("|---" * (len(peers) + 2) + "|")
    for name in names:
        cells = []
        for way in [*peers, "ours"]:
            best = [
                max(
                    (
                        by_us(name, source, 0, epochs, seed)
                        if way == "ours"
                        else by_keras(python, way, name, folder, epochs, seed)
                    )["accuracies"]
                )
                for seed in range(1, seeds + 1)
            ]
            cells.append(f"{mean(best):.4f} ± {stdev(best) if seeds > 1 else 0:.4f}")
        print(f"| `{name}` | {' | '.join(cells)} |", flush=True)
    print(f"\nBest validation accuracy of {epochs} epochs, mean and standard deviation over {seeds} seeds.")


if __name__ == "__main__":
    if sys.argv[1:2] == ["ours"]:
        network, source, reviews, epochs, seed = sys.argv[2:]
        found = list(ours(network, source, int(reviews), int(epochs), int(seed)))
        print(json.dumps({"seconds": [one for one, _ in found], "accuracies": [one for _, one in found]}))
    else:
        main()
