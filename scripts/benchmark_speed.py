"""Seconds an epoch of every network, against Keras on its three backends and the course notebook, and how accurate.

    python scripts/benchmark_speed.py --data PATH/imdb.npz --picture docs/speed.png
    python scripts/benchmark_speed.py --data PATH/imdb.npz --accuracy 5  # validation accuracy, so many seeds each
    python scripts/benchmark_speed.py --data PATH/imdb.npz --neighbours 0,1,2,4 --reviews 800

Equal sizes: 10,000 words, 500 tokens, batch 64, embedding 100, hidden 100, 200 filters of width 3, feedforward 250.
Keras as its users run it: padded to 500, `model.fit`; the notebook as in `notebook_peer.py`; ours at its defaults,
which cut reviews into segments for `rnn`, `lstm` and `gru`, and `whole` without that. All take turns, round after
round, on the same reviews, so that what else the machine does meets them alike; each turn is a process of its own whose
first epoch, with what it compiles, does not count. Keras is installed once, in an environment of its own in the cache
folder.

`--neighbours` measures ours alone, at the defaults, beside so many programs that do nothing but compute: with the
threads that a training chooses while it runs, with one, and with all, in turn.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import geometric_mean, mean, median, stdev

import click
import numpy as np
import platformdirs
import torch
from matplotlib.figure import Figure

from sentiment_tune.build import build_network
from sentiment_tune.config import ExperimentConfig
from sentiment_tune.data import load as data
from sentiment_tune.data.batches import evaluation_batches
from sentiment_tune.data.corpus import Reviews
from sentiment_tune.data.text import PADDING, TextConfig
from sentiment_tune.process import IDLE_THREADS, keep_freed_memory
from sentiment_tune.training.loop import fit

BACKENDS = ["tensorflow-cpu==2.21.0", "jax==0.10.2"]
SHARED = ("keras==", "torch==", "numpy==")  # with us, at the versions of constraints.txt
OURS, WHOLE, NOTEBOOK = "ours", "whole", "notebook"
KERAS = ("tensorflow", "jax", "torch")
BEST, EPOCHS_TO_BEST = 0.8596, 50  # of the notebook, on test, by its embedding network
ONLY = {  # the networks of a way that has not all
    NOTEBOOK: ("feedforward", "embedding", "cnn", "rnn", "lstm", "cnn_lstm"),
    WHOLE: ("rnn", "lstm", "gru"),
}
SIZES: dict[str, dict[str, int]] = {
    "feedforward": {},
    "embedding": {},
    "cnn": {"filters": 200, "shortest": 3, "branches": 1},
    "rnn": {},
    "lstm": {},
    "gru": {},
    "cnn_lstm": {"filters": 200, "width": 3},
}

AS_PEERS = {"schedule": "constant", "learning_rate": 2e-3}  # how ours are trained here, whatever the defaults are
CNN_RATE = 1e-3


@click.command()
@click.option("--data", "source", default="imdb", show_default=True)
@click.option("--networks", default=",".join(SIZES), show_default=True)
@click.option("--peers", default=",".join((*KERAS, NOTEBOOK, WHOLE)), show_default=True)
@click.option("--reviews", default=3200, show_default=True, help="reviews of the epoch that is timed")
@click.option("--rounds", default=3, show_default=True)
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), help="PNG to draw the seconds into")
@click.option("--neighbours", metavar="COUNTS", help="busy programs beside ours, which is compared with itself")
@click.option("--accuracy", default=0, help="seeds; compares accuracies on all reviews instead")
@click.option("--epochs", default=5, show_default=True, help="for accuracy: the best of so many counts")
def main(
    source: str,
    networks: str,
    peers: str,
    reviews: int,
    rounds: int,
    picture: Path | None,
    neighbours: str | None,
    accuracy: int,
    epochs: int,
) -> None:
    """Measure and print a Markdown table."""
    if neighbours:
        if not IDLE_THREADS.keys() <= os.environ.keys():  # which is read when torch is loaded, as it has been
            os.execve(sys.executable, [sys.executable, *sys.argv], IDLE_THREADS | os.environ)
        measure_beside(networks.split(","), source, reviews, rounds, [int(count) for count in neighbours.split(",")])
        return
    corpus, names, ways = data.load(data.DataConfig(source)), networks.split(","), [*peers.split(","), OURS]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if accuracy:
            write_arrays(corpus.train, folder, "train")
            write_arrays(corpus.validation, folder, "val")
            compare_accuracies(names, [way for way in ways if way != NOTEBOOK], folder, source, epochs, accuracy)
            return
        write_arrays(spread_sample(corpus.train, reviews), folder, "train")
        taken = measure_seconds(names, ways, folder, source, reviews, rounds)
    print_speed_table(taken, ways, rounds)
    if NOTEBOOK in taken.get("embedding", {}):
        race(source, median(taken["embedding"][NOTEBOOK]), rounds)
    if picture:
        draw_seconds(taken, picture)


def spread_sample(part: Reviews, count: int) -> Reviews:
    """Reviews of the part, spread over all of it."""
    return part.take(np.linspace(0, len(part) - 1, count).astype(int))


def write_arrays(part: Reviews, folder: Path, name: str) -> None:
    """Ids padded on the left to 500, as Keras pads them, and labels."""
    ids = np.zeros((len(part), 500), np.int32)
    for batch in evaluation_batches(part, TextConfig()):
        for row, review in zip(batch.rows, batch.ids.numpy(), strict=True):
            words = review[review != PADDING]
            ids[row, 500 - len(words) :] = words
    np.save(folder / f"{name}_ids.npy", ids)
    np.save(folder / f"{name}_labels.npy", part.labels)


def peers_python() -> Path:
    """Python of the environment that holds Keras and its backends, made once."""
    folder = platformdirs.user_cache_path("sentiment_tune") / "peers"
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not (folder / "made").exists():
        venv.create(folder, clear=True, with_pip=True)
        pins = Path(__file__).parents[1].joinpath("constraints.txt").read_text(encoding="utf-8").split("\n")
        requirements = [*BACKENDS, *(pin for pin in pins if pin.startswith(SHARED))]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)
        (folder / "made").touch()
    return python


def run_turn(
    way: str, network: str, folder: Path, source: str, reviews: int, epochs: int, seed: int
) -> dict[str, list[float]]:
    """Seconds and accuracies by epoch of one training in a process of its own; `reviews` is 0 for all."""
    words, python, environment = [str(epochs), str(seed)], sys.executable, dict(os.environ)
    if way in (OURS, WHOLE):
        script, environment = [__file__, way, network, source, str(reviews)], IDLE_THREADS | environment
    elif way == NOTEBOOK:
        script = [str(Path(__file__).with_name("notebook_peer.py")), network, str(folder)]
    else:
        script, python = [str(Path(__file__).with_name("keras_peer.py")), network, str(folder)], str(peers_python())
        environment |= {"KERAS_BACKEND": way, "TF_CPP_MIN_LOG_LEVEL": "3"}
    answer = subprocess.run(
        [python, *script, *words], env=environment, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    by_epoch: dict[str, list[float]] = json.loads(answer.stdout.splitlines()[-1])
    return by_epoch


def train_ours(
    way: str, network: str, source: str, reviews: int, epochs: int, seed: int
) -> Iterator[tuple[float, float]]:
    """Seconds and validation accuracy of each epoch."""
    keep_freed_memory()  # as the command does
    sizes = SIZES[network] | ({"segment": 0} if way == WHOLE else {})
    training = AS_PEERS | ({"learning_rate": CNN_RATE} if network == "cnn" else {})
    config = ExperimentConfig.of(network, {**training, "data": source, "epochs": epochs, "seed": seed, **sizes})
    corpus = data.load(config.data)
    train = spread_sample(corpus.train, reviews) if reviews else corpus.train
    validation = spread_sample(corpus.validation, 1) if reviews else corpus.validation
    for epoch in fit(build_network(config, corpus), train, validation, config.training, config.text, seed):
        yield epoch.seconds, epoch.val_accuracy


Seconds = dict[str, dict[str, list[float]]]  # seconds for 25,000 reviews by network and way, those of all rounds


def measure_seconds(names: list[str], ways: list[str], folder: Path, source: str, reviews: int, rounds: int) -> Seconds:
    taken: Seconds = {name: {} for name in names}
    for number in range(1, rounds + 1):
        for name in names:
            measured = []
            for way in ways:
                if name not in ONLY.get(way, names):
                    continue
                spent = run_turn(way, name, folder, source, reviews, 2, number)["seconds"][1] * 25_000 / reviews
                taken[name].setdefault(way, []).append(spent)
                measured.append(f"{way} {spent:.1f}")
            print(f"round {number}, {name}: {', '.join(measured)}", file=sys.stderr, flush=True)
    return taken


def label(way: str) -> str:
    return f"Keras on {way}" if way in KERAS else way


def print_speed_table(taken: Seconds, ways: list[str], rounds: int) -> None:
    compared = ("ours than the fastest Keras", "whole than the fastest Keras", "ours than the notebook")
    print(f"| network | {' | '.join(map(label, ways))} | times faster: {' | '.join(compared)} |")
    print("|---" * (len(ways) + 1 + len(compared)) + "|")
    ratios: dict[str, list[float]] = {each: [] for each in compared}
    for name, by_way in taken.items():
        middle = {way: median(spent) for way, spent in by_way.items()}
        keras = min((middle[way] for way in KERAS if way in middle), default=None)
        pairs = ((keras, middle[OURS]), (keras, middle.get(WHOLE)), (middle.get(NOTEBOOK), middle[OURS]))
        cells = []
        for way in ways:
            spent = by_way.get(way)
            cells.append(f"{middle[way]:.1f} ({min(spent):.1f} to {max(spent):.1f})" if spent else "none")
        for each, (slower, faster) in zip(compared, pairs, strict=True):
            ratios[each] += [slower / faster] if slower and faster else []
            cells.append(f"{slower / faster:.1f}" if slower and faster else "none")
        print(f"| `{name}` | {' | '.join(cells)} |")
    means = ", ".join(f"{each} {geometric_mean(values):.1f}" for each, values in ratios.items() if values)
    print(f"\nSeconds for 25,000 reviews, median of {rounds} (from, to). Times faster, geometric mean: {means}.")


def measure_beside(names: list[str], source: str, reviews: int, rounds: int, neighbours: list[int]) -> None:
    """Print what an epoch takes beside busy programs, with the chosen number of threads and with each fixed one."""
    keep_freed_memory()  # as the command does
    corpus, every = data.load(data.DataConfig(source)), torch.get_num_threads()
    train, validation = spread_sample(corpus.train, reviews), spread_sample(corpus.validation, 1)
    ways = {"chosen": 0, "one thread": 1} | ({f"{every} threads": every} if every > 1 else {})
    print(f"| network | busy programs | {' | '.join(ways)} | chosen: times the best fixed |")
    print("|---" * (len(ways) + 3) + "|")
    for name in names:
        config = ExperimentConfig.of(name, {"data": source, "epochs": 2})
        for count in neighbours:
            taken: dict[int, list[float]] = {threads: [] for threads in ways.values()}
            with busy(count):
                for seed in range(1, rounds + 1):
                    for threads, seconds in taken.items():
                        torch.set_num_threads(threads or every)
                        network = build_network(config, corpus)
                        training = fit(network, train, validation, config.training, config.text, seed, threads=threads)
                        last = list(training)[-1]
                        seconds.append(last.seconds * 25_000 / reviews)
            chosen, *fixed = (median(seconds) for seconds in taken.values())
            cells = [f"{median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f})" for seconds in taken.values()]
            print(f"| `{name}` | {count} | {' | '.join(cells)} | {chosen / min(fixed):.2f} |", flush=True)
    print(f"\nSeconds for 25,000 reviews, the second epoch of {reviews:,}, median of {rounds} (from, to).")


@contextmanager
def busy(count: int) -> Iterator[None]:
    """A block beside which so many programs compute without a pause."""
    programs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def race(source: str, epoch_seconds: float, rounds: int) -> None:
    """Seconds from the start of a process to the notebook's best test accuracy, which took it 50 epochs."""
    wall = []
    for _ in range(rounds):
        started = time.perf_counter()
        subprocess.run([sys.executable, __file__, "race", source], env=IDLE_THREADS | os.environ, check=True)
        wall.append(time.perf_counter() - started)
    theirs = EPOCHS_TO_BEST * epoch_seconds
    print(
        f"\nFrom start to a test accuracy of {BEST}: ours {median(wall):.1f} s ({min(wall):.1f} to {max(wall):.1f}), "
        f"{EPOCHS_TO_BEST} epochs of the notebook {theirs:,.0f} s, {theirs / median(wall):.0f} times as long."
    )


def train_to_best(source: str) -> None:
    """Train until the test accuracy, looked at after each epoch as the notebook did, is the notebook's best."""
    keep_freed_memory()  # as the command does
    config = ExperimentConfig.of("embedding", {"data": source})
    corpus = data.load(config.data)
    for epoch in fit(build_network(config, corpus), corpus.train, corpus.test, config.training, config.text, 1):
        if epoch.val_accuracy >= BEST:
            return
    raise SystemExit(f"{BEST} was not reached")


def draw_seconds(taken: Seconds, path: Path) -> None:
    """Seconds of every network and way, on a logarithmic axis."""
    figure = Figure(figsize=(9, 0.55 * len(taken) + 1.6), dpi=120, layout="constrained")
    axes = figure.subplots()
    for way, mark in zip((OURS, WHOLE, *KERAS, NOTEBOOK), "op^sDx", strict=True):
        points = [(median(by_way[way]), row) for row, by_way in enumerate(taken.values()) if way in by_way]
        if points:
            axes.plot(*zip(*points, strict=True), mark, label=label(way), markersize=9 if way == OURS else 6)
    axes.set(xscale="log", xlabel="seconds for 25,000 reviews", yticks=range(len(taken)), yticklabels=list(taken))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.invert_yaxis()
    axes.grid(axis="x", which="both", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=6, frameon=False)
    figure.savefig(path)


def compare_accuracies(names: list[str], ways: list[str], folder: Path, source: str, epochs: int, seeds: int) -> None:
    print(f"| network | {' | '.join(map(label, ways))} |")
    print("|---" * (len(ways) + 1) + "|")
    for name in names:
        cells = []
        for way in ways:
            if name not in ONLY.get(way, names):
                cells.append("none")
                continue
            best = []
            for seed in range(1, seeds + 1):
                best.append(max(run_turn(way, name, folder, source, 0, epochs, seed)["accuracies"]))
                print(f"{name}, {way}, seed {seed}: {best[-1]:.4f}", file=sys.stderr, flush=True)
            cells.append(f"{mean(best):.4f} ± {stdev(best) if seeds > 1 else 0:.4f}")
        print(f"| `{name}` | {' | '.join(cells)} |", flush=True)
    print(f"\nBest validation accuracy of {epochs} epochs, mean and standard deviation over {seeds} seeds.")


if __name__ == "__main__":
    if sys.argv[1:2] == ["race"]:
        train_to_best(sys.argv[2])
    elif sys.argv[1:2] in ([OURS], [WHOLE]):
        way, network, source, reviews, epochs, seed = sys.argv[1:]
        by_epoch = list(train_ours(way, network, source, int(reviews), int(epochs), int(seed)))
        print(json.dumps({"seconds": [one for one, _ in by_epoch], "accuracies": [one for _, one in by_epoch]}))
    else:
        main()
