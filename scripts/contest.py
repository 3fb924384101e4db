"""Train every network, one after another, and print the tables of the README and of docs/benchmarks.md.

    python scripts/contest.py --data PATH/imdb.npz                              # at the defaults, one seed
    python scripts/contest.py --data PATH/imdb.npz --recipes sentiment_tune/recipes --seeds 3 --ensemble
    python scripts/contest.py --data PATH/imdb.npz --recipes sentiment_tune/recipes -- --vocabulary 10000 --length 500

With a folder of recipes, each file of settings in it is a contestant; further words are options of `train` for all.
Each training is the command a user types, in a process of its own, so wall seconds and memory are those a user sees.
The runs stand in the MLflow experiment `contest`; what stands there already for the same settings, data, seed and code
is not trained again, so the hours can be spread.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import click
import mlflow
import numpy as np
from matplotlib.figure import Figure
from mlflow.entities import Run
from numpy.typing import NDArray

from sentiment_tune.data import load as data
from sentiment_tune.data.imdb import AUTO
from sentiment_tune.evaluation.metrics import accuracy_by_length, is_correct
from sentiment_tune.models.registry import ENSEMBLE, NETWORKS, parse_names
from sentiment_tune.publish import register_run
from sentiment_tune.tracking import records, registry, server
from sentiment_tune.tracking import runs as tracking
from sentiment_tune.tracking.schema import Metric, Tag

# Test accuracies of the course notebook "IMDB Review Classification Battlefield"; its LSTM stopped after one epoch.
NOTEBOOK = {
    "feedforward": 0.5000,
    "embedding": 0.8596,
    "cnn": 0.4999,
    "rnn": 0.7673,
    "lstm": 0.6061,
    "cnn_lstm": 0.4999,
}
# Highest test accuracies known of each kind of network, learnt from IMDB's labelled reviews alone (rnn: GloVe too).
HIGHEST = {
    "feedforward": 0.88,  # word presence, two layers
    "embedding": 0.909,  # hashed bigrams
    "cnn": 0.9196,  # seq2-CNN (Johnson and Zhang 2015)
    "rnn": 0.884,  # UnICORNN (Rusch and Mishra 2021)
    "lstm": 0.9186,  # oh-2LSTMp (Johnson and Zhang 2016)
    "cnn_lstm": 0.8954,
    "linear": 0.9248,  # tri-grams of the full vocabulary, all 25,000 reviews: measured before there was this package
    ENSEMBLE: 0.9233,  # seq2-bown-CNN (Johnson and Zhang 2015)
}
CONTESTANT, CONTEST_SETTINGS = "contestant", "contest_settings"  # tags of the contest's runs
WALL_SECONDS, PEAK_MEMORY = "wall_seconds", "peak_memory_mib"  # metrics that only the outside sees
HEADER = (
    "| network | test accuracy | validation accuracy | best epoch | parameters | training s | logging the model s "
    "| whole command s | peak memory MiB | the notebook |\n" + "|---" * 10 + "|"
)


@dataclass(frozen=True)
class Contestant:
    """A network with its settings, as the words of a command."""

    name: str
    network: str
    words: tuple[str, ...]
    settings: str  # what tells these settings from others


@click.command()
@click.option("--data", "source", default="imdb", show_default=True)
@click.option("--networks", default=",".join(NETWORKS), show_default=True)
@click.option("--recipes", type=click.Path(exists=True, file_okay=False, path_type=Path), help="folder of settings")
@click.option("--seeds", default=1, show_default=True, help="trainings of each, with seeds from 1")
@click.option("--any-commit", is_flag=True, help="take runs of other commits for finished too")
@click.option("--ensemble", is_flag=True, help="then put the contestants of each seed together as one model")
@click.option("--validation", default=AUTO, show_default=True, help="as of `train`")
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), help="draw the test accuracies there")
@click.argument("words", nargs=-1)
def main(
    source: str,
    networks: str,
    recipes: Path | None,
    seeds: int,
    any_commit: bool,
    ensemble: bool,
    validation: str,
    picture: Path | None,
    words: tuple[str, ...],
) -> None:
    """Train NETWORKS, at their defaults or by their RECIPES, on DATA and print the results as a Markdown table."""
    chosen = parse_names(networks)
    server.connect()
    digest = data.load(data.DataConfig(source, validation=validation)).digest
    words += () if validation == AUTO else ("--validation", validation)
    commit = None if any_commit else tracking.git_commit()
    print(HEADER, flush=True)
    by_contestant: dict[str, list[Run]] = {}
    for contestant in contestants_by_recipe(recipes, words) if recipes else contestants_at_defaults(words):
        if contestant.network not in chosen:
            continue
        runs = [
            find_finished(contestant, seed, digest, commit) or train(contestant, source, seed, digest)
            for seed in range(1, seeds + 1)
        ]
        print(row(contestant.name, runs), flush=True)
        by_contestant[contestant.name] = runs
    if ensemble:
        members = list(by_contestant.values())
        by_contestant[ENSEMBLE] = [
            build_ensemble(runs, source, digest, validation) for runs in zip(*members, strict=True)
        ]
        print(row(ENSEMBLE, by_contestant[ENSEMBLE]))
    print("", *mistakes_table(by_contestant), sep="\n")
    if picture:
        draw_accuracies(by_contestant, picture)


def contestants_at_defaults(words: tuple[str, ...]) -> list[Contestant]:
    return [Contestant(name, name, ("--model", name, *words), " ".join(["defaults", *words])) for name in NETWORKS]


def contestants_by_recipe(folder: Path, words: tuple[str, ...]) -> list[Contestant]:
    """One contestant a file, called after it."""
    contestants = []
    for path in sorted(folder.glob("*.json")):
        settings = path.read_bytes()
        network, key = json.loads(settings)["model"], " ".join([hashlib.sha256(settings).hexdigest()[:16], *words])
        contestants.append(Contestant(path.stem, network, ("--settings", str(path), *words), key))
    return contestants


def find_finished(contestant: Contestant, seed: int, digest: str, commit: str | None) -> Run | None:
    """The newest finished run of the contest with these settings, seed, data and code, measured whole."""
    tags = {CONTESTANT: contestant.name, CONTEST_SETTINGS: contestant.settings, Tag.SEED: seed, Tag.DATA_DIGEST: digest}
    if commit is not None:
        tags[Tag.GIT_COMMIT] = commit
    conditions = [f"tags.{name} = '{value}'" for name, value in tags.items()]
    return find_newest([*conditions, f"metrics.{WALL_SECONDS} > 0", "attributes.status = 'FINISHED'"])


def find_newest(conditions: list[str]) -> Run | None:
    runs = mlflow.search_runs(
        experiment_names=["contest"], filter_string=" and ".join(conditions), max_results=1, output_format="list"
    )
    return runs[0] if runs else None


def train(contestant: Contestant, source: str, seed: int, digest: str) -> Run:
    words = ("train", "--experiment", "contest", "--quiet", "--data", source, "--seed", str(seed), *contestant.words)
    run = run_measured(words, contestant.network, digest)
    client = mlflow.MlflowClient()
    client.set_tag(run.info.run_id, CONTESTANT, contestant.name)
    client.set_tag(run.info.run_id, CONTEST_SETTINGS, contestant.settings)
    return client.get_run(run.info.run_id)


def run_measured(words: tuple[str, ...], network: str, digest: str) -> Run:
    """Run a command that makes a run, and add to it what only the outside sees: wall seconds and peak memory."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "sentiment_tune", *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    run = find_newest([f"tags.{Tag.NETWORK} = '{network}'", f"tags.{Tag.DATA_DIGEST} = '{digest}'"])
    if status or run is None:
        sys.exit(f"{' '.join(words)}: exit code {os.waitstatus_to_exitcode(status)}")
    client = mlflow.MlflowClient()
    client.log_metric(run.info.run_id, PEAK_MEMORY, usage.ru_maxrss / 1024)
    client.log_metric(run.info.run_id, WALL_SECONDS, seconds)
    return client.get_run(run.info.run_id)


def build_ensemble(runs: Sequence[Run], source: str, digest: str, validation: str) -> Run:
    """The run of an ensemble of these runs, which are registered for it under names of their own."""
    names = []
    for run in runs:
        names.append(f"contest-{run.data.tags[CONTESTANT]}-{run.data.tags[Tag.SEED]}")
        champion = registry.champion(names[-1])
        if champion is None or champion.run_id != run.info.run_id:
            version = register_run(run.info.run_id, names[-1])[0]
            registry.promote(version.name, version.version)
    words = ("ensemble", "--experiment", "contest", "--data", source, "--validation", validation)
    return run_measured((*words, "--members", ",".join(names)), ENSEMBLE, digest)


def row(name: str, runs: list[Run]) -> str:
    def average(metric: str) -> float:
        return fmean(run.data.metrics[metric] for run in runs)

    def accuracy(metric: str) -> str:
        spread = f" ± {stdev(run.data.metrics[metric] for run in runs):.4f}" if len(runs) > 1 else ""
        return f"{average(metric):.4f}{spread}"

    network = runs[0].data.tags[Tag.NETWORK]
    cells = [
        f"`{name}`",
        accuracy(Metric.TEST_ACCURACY),
        accuracy(Metric.BEST_VAL_ACCURACY),
        "none" if network == ENSEMBLE else f"{average(Metric.BEST_EPOCH):.0f}",
        f"{int(runs[0].data.tags[Tag.PARAMETERS]):,}",
        f"{average(Metric.TRAIN_SECONDS):.0f}",
        f"{average(Metric.PACKAGE_SECONDS):.1f}",
        f"{average(WALL_SECONDS):.0f}",
        f"{average(PEAK_MEMORY):,.0f}",
        f"{NOTEBOOK[network]:.4f}" if network in NOTEBOOK else "none",
    ]
    return f"| {' | '.join(cells)} |"


def mistakes_table(by_contestant: dict[str, list[Run]]) -> list[str]:
    """What the test mistakes of each contestant are made of, in the mean of its runs: a Markdown table."""
    tests = {
        name: [records.read_test_predictions(run.info.run_id) for run in runs] for name, runs in by_contestant.items()
    }
    wrong = {
        name: [~is_correct(test["labels"], test["probabilities"]) for test in of_name]
        for name, of_name in tests.items()
    }
    wrong_by_all = [np.all(of_seed, axis=0) for of_seed in zip(*wrong.values(), strict=True)]
    lines: list[str] = []
    for name in by_contestant:
        shares = [mistake_shares(*seed) for seed in zip(tests[name], wrong[name], wrong_by_all, strict=True)]
        titles = list(shares[0])
        if not lines:
            lines = [f"| network | {' | '.join(titles)} |", "|---" * (1 + len(titles)) + "|"]
        cells = [f"{fmean(of_seed[title] for of_seed in shares):.1%}" for title in titles]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return lines


def mistake_shares(
    test: Mapping[str, NDArray[Any]], wrong: NDArray[np.bool_], wrong_by_all: NDArray[np.bool_]
) -> dict[str, float]:
    """Share of mistakes among the test reviews, and shares among the mistakes, by the title of their column."""
    return {
        "mistakes": wrong.mean(),
        "of them made by all": wrong_by_all.sum() / wrong.sum(),
        "positive called negative": test["labels"][wrong].mean(),
        "surer than 0.9": (abs(test["probabilities"] - 0.5)[wrong] > 0.4).mean(),
        **{f"{words} words": 1 - right.value for words, right in accuracy_by_length(~wrong, test["lengths"]).items()},
    }


def draw_accuracies(by_contestant: dict[str, list[Run]], path: Path) -> None:
    """Test accuracy of every run, beside the highest one known of the kind of network."""
    figure = Figure(figsize=(9, 0.45 * len(by_contestant) + 1.4), dpi=120, layout="constrained")
    axes = figure.subplots()
    networks = [runs[0].data.tags[Tag.NETWORK] for runs in by_contestant.values()]
    ours = [
        (run.data.metrics[Metric.TEST_ACCURACY], row) for row, runs in enumerate(by_contestant.values()) for run in runs
    ]
    highest = [(HIGHEST[network], row) for row, network in enumerate(networks) if network in HIGHEST]
    axes.plot(*zip(*highest, strict=True), "D", color="#767676", markersize=7, label="highest known")
    axes.plot(*zip(*ours, strict=True), "o", color="#0072B2", markersize=7, alpha=0.7, label="ours, one mark a seed")
    axes.set(xlabel="test accuracy", yticks=range(len(networks)), yticklabels=list(by_contestant))
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    figure.savefig(path)


if __name__ == "__main__":
    main()
