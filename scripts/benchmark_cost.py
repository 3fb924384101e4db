"""What a run costs beside its training, and scoring beside the network.

    python scripts/benchmark_cost.py --data PATH/imdb.npz
    python scripts/benchmark_cost.py --data PATH/imdb.npz --parts checkpoints

`commands`: for every network the command a user types, at the defaults, in a folder where MLflow's database and the
data's cache are there already: wall seconds, seconds from the start of the process to the first step, and the rest,
which is neither that nor an epoch nor reading the test reviews: tracking, figures, pictures, packaging. Then reviews
scored a second from their texts, with the logged model, against the bare network on the same reviews, encoded and in
batches; all at once on one machine, so in turn, several times.

`checkpoints`: the first epochs of a training at the defaults with checkpoints and without, in turn; seconds of the
whole loop, the wait for the last checkpoint included, and the size of one.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import click
import mlflow
import torch

from sentiment_tune.build import build_network
from sentiment_tune.config import ExperimentConfig
from sentiment_tune.data import load as data
from sentiment_tune.data.batches import evaluation_batches
from sentiment_tune.data.corpus import Corpus
from sentiment_tune.data.load import DataConfig
from sentiment_tune.models.registry import NETWORKS
from sentiment_tune.tracking import logged_models, records, server
from sentiment_tune.training.checkpoint import Checkpoints
from sentiment_tune.training.loop import BestWeights, fit

TEXTS = 2_000


class Cost(NamedTuple):
    """Of one training, from the start of its process to the end."""

    run_id: str
    wall: float  # seconds
    to_first_step: float  # seconds
    rest: float  # seconds that are neither before the first step nor training nor reading the test reviews


@click.command()
@click.option("--data", "source", default="imdb", show_default=True)
@click.option("--networks", default=",".join(NETWORKS), show_default=True)
@click.option("--rounds", default=3, show_default=True, help="of scoring, and with checkpoints")
@click.option("--epochs", default=3, show_default=True, help="of a training with checkpoints")
@click.option("--parts", default="commands", show_default=True, help="commands, checkpoints")
def main(source: str, networks: str, rounds: int, epochs: int, parts: str) -> None:
    """Measure and print Markdown tables."""
    corpus, chosen = data.load(DataConfig(source)), networks.split(",")
    if "commands" in parts:
        show_commands(corpus, source, chosen, rounds)
    if "checkpoints" in parts:
        show_checkpoints(corpus, source, chosen, rounds, epochs)


def show_commands(corpus: Corpus, source: str, networks: Sequence[str], rounds: int) -> None:
    """Print what whole commands and scoring cost."""
    print(
        "| network | whole command s | to the first step s | rest s | rest, share | texts scored a second "
        "| bare network, reviews a second |\n|---|---|---|---|---|---|---|",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        server.connect(f"sqlite:///{folder}/mlflow.db")
        for network in networks:
            cost = measure_command(Path(folder), source, network, len(corpus.test))
            scored, bare = measure_scoring(cost.run_id, corpus, rounds)
            print(
                f"| `{network}` | {cost.wall:.0f} | {cost.to_first_step:.1f} | {cost.rest:.1f} "
                f"| {cost.rest / cost.wall:.1%} | {scored:,.0f} | {bare:,.0f} |",
                flush=True,
            )
    print(f"\nScoring: {TEXTS:,} test reviews, median of {rounds}.")


def show_checkpoints(corpus: Corpus, source: str, networks: Sequence[str], rounds: int, epochs: int) -> None:
    """Print what checkpoints cost."""
    print("| network | without s | with checkpoints s | longer by (least to most) | MB each |\n|---|---|---|---|---|")
    for network in networks:
        config = ExperimentConfig.of(network, {"data": source, "epochs": epochs, "patience": epochs})
        pairs = [[train_seconds(config, corpus, kept) for kept in (False, True)] for _ in range(rounds)]
        longer = sorted(with_them[0] / without[0] - 1 for without, with_them in pairs)
        without, with_them = (median(pair[kept][0] for pair in pairs) for kept in (0, 1))
        print(
            f"| `{network}` | {without:.1f} | {with_them:.1f} "
            f"| {median(longer):.1%} ({longer[0]:.1%} to {longer[-1]:.1%}) | {pairs[0][1][1] / 1e6:.0f} |",
            flush=True,
        )


def train_seconds(config: ExperimentConfig, corpus: Corpus, kept: bool) -> tuple[float, int]:
    """Wall seconds of a training's epochs, and the bytes of its last checkpoint."""
    network, best = build_network(config, corpus), BestWeights()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:  # on the disk where checkpoints would be
        checkpoints = Checkpoints(Path(folder, "kept"), {}) if kept else None
        seed, started = config.runtime.seed, time.perf_counter()
        epochs = fit(
            network,
            corpus.train,
            corpus.validation,
            config.training,
            config.text,
            seed,
            checkpoints=checkpoints,
            best=best,
        )
        for epoch in epochs:
            best.update(epoch, network)
        seconds = time.perf_counter() - started
        return seconds, max((path.stat().st_size for path in Path(folder).glob("kept/*")), default=0)


def measure_command(folder: Path, source: str, network: str, test_reviews: int) -> Cost:
    """What a training costs, started as a user starts it."""
    command = [sys.executable, "-m", "sentiment_tune", "train", "--quiet", "--model", network, "--data", source]
    start_time, started = time.time(), time.perf_counter()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - started
    run_id = records.find_runs({"network": network}, newest=1)[0].run_id
    epochs = mlflow.MlflowClient().get_metric_history(run_id, "seconds")
    first = min(epochs, key=lambda point: point.step)
    to_first_step = first.timestamp / 1e3 - first.value - start_time
    metrics = records.read_run(run_id).metrics
    training = sum(point.value for point in epochs) + test_reviews / metrics["test_reviews_per_second"]
    return Cost(run_id, wall, to_first_step, wall - to_first_step - training)


def measure_scoring(run_id: str, corpus: Corpus, rounds: int) -> tuple[float, float]:
    """Texts a second with the logged model, reviews a second with its network alone."""
    package = logged_models.load(f"runs:/{run_id}/model")
    texts = [corpus.vocabulary.decode(corpus.test[row]) for row in range(min(TEXTS, len(corpus.test)))]
    reviews = corpus.test.take(slice(len(texts)))
    batches = [batch.ids for batch in evaluation_batches(reviews, package.text_config)]
    whole_seconds: list[float] = []
    bare_seconds: list[float] = []
    for _ in range(rounds):
        started = time.perf_counter()
        package.scorer.predict_proba(texts)
        whole_seconds.append(time.perf_counter() - started)
        started = time.perf_counter()
        with torch.inference_mode():
            for ids in batches:
                package.network(ids)
        bare_seconds.append(time.perf_counter() - started)
    return len(texts) / median(whole_seconds), len(texts) / median(bare_seconds)


if __name__ == "__main__":
    main()
