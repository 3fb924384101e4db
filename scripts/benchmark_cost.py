"""What a run costs beside its training, and scoring beside the network.

    python scripts/benchmark_cost.py --data PATH/imdb.npz

For every network the command a user types, at the defaults, in a folder where MLflow's database and the data's cache
are there already: wall seconds, seconds from the start of the process to the first step, and the rest, which is neither
that nor an epoch nor reading the test reviews: tracking, figures, pictures, packaging. Then reviews scored a second
from their texts, with the logged model, against the bare network on the same reviews, encoded and in batches; all at
once on one machine, so in turn, several times.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import click
import mlflow
import torch

from sentiment_tune.data import load as data
from sentiment_tune.data.batches import evaluation_batches
from sentiment_tune.data.corpus import Corpus
from sentiment_tune.data.load import DataConfig
from sentiment_tune.models.registry import NETWORKS
from sentiment_tune.tracking import logged_models, records, server

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
@click.option("--rounds", default=3, show_default=True, help="of scoring")
def main(source: str, networks: str, rounds: int) -> None:
    """Measure and print a Markdown table."""
    corpus = data.load(DataConfig(source))
    print(
        "| network | whole command s | to the first step s | rest s | rest, share | texts scored a second "
        "| bare network, reviews a second |\n|---|---|---|---|---|---|---|",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        server.connect(f"sqlite:///{folder}/mlflow.db")
        for network in networks.split(","):
            cost = measure_command(Path(folder), source, network, len(corpus.test))
            scored, bare = measure_scoring(cost.run_id, corpus, rounds)
            print(
                f"| `{network}` | {cost.wall:.0f} | {cost.to_first_step:.1f} | {cost.rest:.1f} "
                f"| {cost.rest / cost.wall:.1%} | {scored:,.0f} | {bare:,.0f} |",
                flush=True,
            )
    print(f"\nScoring: {TEXTS:,} test reviews, median of {rounds}.")


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
