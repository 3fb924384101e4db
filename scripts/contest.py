"""Train every network, one after another, and print the tables of the README and of docs/benchmarks.md.

    python scripts/contest.py --data PATH/imdb.npz                              # at the defaults, one seed
    python scripts/contest.py --data PATH/imdb.npz --recipes recipes --seeds 3 --ensemble
    python scripts/contest.py --data PATH/imdb.npz --recipes recipes --seeds 3 -- --vocabulary 10000 --length 500

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
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

import click
import mlflow
import numpy as np
from matplotlib.figure import Figure
from mlflow.entities import Run

from sentiment_tune.data import load as data
from sentiment_tune.evaluation.metrics import accuracy_by_length, is_correct
from sentiment_tune.models.registry import ENSEMBLE, NETWORKS, parse_names
from sentiment_tune.publish import register_run
from sentiment_tune.ranking import NOTEBOOK
from sentiment_tune.tracking import records, registry
from sentiment_tune.tracking import runs as tracking

# Highest test accuracies found for each kind of network, learnt from IMDB's labelled reviews alone (rnn: GloVe too).
KNOWN = {
    "feedforward": 0.88,  # word presence, two layers
    "embedding": 0.909,  # hashed bigrams
    "cnn": 0.9196,  # seq2-CNN (Johnson and Zhang 2015)
    "rnn": 0.884,  # UnICORNN (Rusch and Mishra 2021)
    "lstm": 0.9186,  # oh-2LSTMp (Johnson and Zhang 2016)
    "cnn_lstm": 0.8954,
    "linear": 0.9248,  # tri-grams of the full vocabulary, all 25,000 reviews: measured before there was this package
    ENSEMBLE: 0.9233,  # seq2-bown-CNN (Johnson and Zhang 2015)
}
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
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), help="draw the test accuracies there")
@click.argument("words", nargs=-1)
def main(
    source: str,
    networks: str,
    recipes: Path | None,
    seeds: int,
    any_commit: bool,
    ensemble: bool,
    picture: Path | None,
    words: tuple[str, ...],
) -> None:
    """Train NETWORKS, at their defaults or by their RECIPES, on DATA and print the results as a Markdown table."""
    wanted = parse_names(networks)
    tracking.connect()
    digest = data.load(data.DataConfig(source)).digest
    commit = None if any_commit else tracking.git_commit()
    print(HEADER, flush=True)
    by_contestant: dict[str, list[Run]] = {}
    for contestant in in_folder(recipes, words) if recipes else at_defaults(words):
        if contestant.network not in wanted:
            continue
        runs = [
            finished(contestant, seed, digest, commit) or trained(contestant, source, seed, digest)
            for seed in range(1, seeds + 1)
        ]
        print(row(contestant.name, runs), flush=True)
        by_contestant[contestant.name] = runs
    if ensemble:
        members = list(by_contestant.values())
        by_contestant[ENSEMBLE] = [together([runs[seed] for runs in members], source, digest) for seed in range(seeds)]
        print(row(ENSEMBLE, by_contestant[ENSEMBLE]))
    print("", *mistakes(by_contestant), sep="\n")
    if picture:
        drawn(by_contestant, picture)


def at_defaults(words: tuple[str, ...]) -> list[Contestant]:
    return [Contestant(name, name, ("--model", name, *words), " ".join(["defaults", *words])) for name in NETWORKS]


def in_folder(folder: Path, words: tuple[str, ...]) -> list[Contestant]:
    """One contestant a file, called after it."""
    found = []
    for path in sorted(folder.glob("*.json")):
        settings = path.read_bytes()
        told = " ".join([hashlib.sha256(settings).hexdigest()[:16], *words])
        found.append(Contestant(path.stem, json.loads(settings)["model"], ("--settings", str(path), *words), told))
    return found


def finished(contestant: Contestant, seed: int, digest: str, commit: str | None) -> Run | None:
    """The newest finished run of the contest with these settings, seed, data and code, measured whole."""
    tags = {"contestant": contestant.name, "contest_settings": contestant.settings, "seed": seed, "data_digest": digest}
    if commit is not None:
        tags["git_commit"] = commit
    conditions = [f"tags.{name} = '{value}'" for name, value in tags.items()]
    return newest([*conditions, "metrics.wall_seconds > 0", "attributes.status = 'FINISHED'"])


def newest(conditions: list[str]) -> Run | None:
    runs = mlflow.search_runs(
        experiment_names=["contest"], filter_string=" and ".join(conditions), max_results=1, output_format="list"
    )
    return runs[0] if runs else None


def trained(contestant: Contestant, source: str, seed: int, digest: str) -> Run:
    words = ("train", "--experiment", "contest", "--quiet", "--data", source, "--seed", str(seed), *contestant.words)
    run = measured(words, contestant.network, digest)
    client = mlflow.MlflowClient()
    client.set_tag(run.info.run_id, "contestant", contestant.name)
    client.set_tag(run.info.run_id, "contest_settings", contestant.settings)
    return client.get_run(run.info.run_id)


def measured(words: tuple[str, ...], network: str, digest: str) -> Run:
    """Run a command that makes a run, and add to it what only the outside sees: wall seconds and peak memory."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "sentiment_tune", *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    run = newest([f"tags.network = '{network}'", f"tags.data_digest = '{digest}'"])
    if status or run is None:
        sys.exit(f"{' '.join(words)}: exit code {os.waitstatus_to_exitcode(status)}")
    client = mlflow.MlflowClient()
    client.log_metric(run.info.run_id, "peak_memory_mib", usage.ru_maxrss / 1024)
    client.log_metric(run.info.run_id, "wall_seconds", seconds)
    return client.get_run(run.info.run_id)


def together(runs: list[Run], source: str, digest: str) -> Run:
    """The run of an ensemble of these runs, which are registered for it under names of their own."""
    names = []
    for run in runs:
        names.append(f"contest-{run.data.tags['contestant']}-{run.data.tags['seed']}")
        present = registry.champion(names[-1])
        if present is None or present.run_id != run.info.run_id:
            added = register_run(run.info.run_id, names[-1])[0]
            registry.promote(added.name, added.version)
    return measured(
        ("ensemble", "--experiment", "contest", "--data", source, "--members", ",".join(names)), ENSEMBLE, digest
    )


def row(name: str, runs: list[Run]) -> str:
    def middle(metric: str) -> float:
        return fmean(run.data.metrics[metric] for run in runs)

    def accuracy(metric: str) -> str:
        spread = f" ± {stdev(run.data.metrics[metric] for run in runs):.4f}" if len(runs) > 1 else ""
        return f"{middle(metric):.4f}{spread}"

    network = runs[0].data.tags["network"]
    cells = [
        f"`{name}`",
        accuracy("test_accuracy"),
        accuracy("best_val_accuracy"),
        "none" if network == ENSEMBLE else f"{middle('best_epoch'):.0f}",
        f"{int(runs[0].data.tags['parameters']):,}",
        f"{middle('train_seconds'):.0f}",
        f"{middle('package_seconds'):.1f}",
        f"{middle('wall_seconds'):.0f}",
        f"{middle('peak_memory_mib'):,.0f}",
        f"{NOTEBOOK[network]:.4f}" if network in NOTEBOOK else "none",
    ]
    return f"| {' | '.join(cells)} |"


def mistakes(by_contestant: dict[str, list[Run]]) -> list[str]:
    """What the test mistakes of each contestant are made of, in the mean of its runs: a Markdown table."""
    tests = {
        name: [records.read_test_predictions(run.info.run_id) for run in runs] for name, runs in by_contestant.items()
    }
    wrong = {name: [~is_correct(one["labels"], one["probabilities"]) for one in of] for name, of in tests.items()}
    everybodys = [np.all(of_seed, axis=0) for of_seed in zip(*wrong.values(), strict=True)]
    lines: list[str] = []
    for name, of in tests.items():
        cells: dict[str, list[float]] = {}
        for one, missed, shared in zip(of, wrong[name], everybodys, strict=True):
            shares = {
                "mistakes": missed.mean(),
                "of them made by all": shared.sum() / missed.sum(),
                "positive called negative": one["labels"][missed].mean(),
                "surer than 0.9": (abs(one["probabilities"] - 0.5)[missed] > 0.4).mean(),
                **{
                    f"{words} words": 1 - share.value
                    for words, share in accuracy_by_length(~missed, one["lengths"]).items()
                },
            }
            for title, share in shares.items():
                cells.setdefault(title, []).append(share)
        if not lines:
            lines = [f"| network | {' | '.join(cells)} |", "|---" * (1 + len(cells)) + "|"]
        lines.append(f"| `{name}` | {' | '.join(f'{fmean(values):.1%}' for values in cells.values())} |")
    return lines


def drawn(by_contestant: dict[str, list[Run]], path: Path) -> None:
    """Test accuracy of every run, beside the highest one known for the kind of network."""
    figure = Figure(figsize=(9, 0.45 * len(by_contestant) + 1.4), dpi=120, layout="constrained")
    axes = figure.subplots()
    networks = [runs[0].data.tags["network"] for runs in by_contestant.values()]
    ours = [(run.data.metrics["test_accuracy"], row) for row, runs in enumerate(by_contestant.values()) for run in runs]
    known = [(KNOWN[network], row) for row, network in enumerate(networks) if network in KNOWN]
    axes.plot(*zip(*known, strict=True), "D", color="#767676", markersize=7, label="highest known")
    axes.plot(*zip(*ours, strict=True), "o", color="#0072B2", markersize=7, alpha=0.7, label="ours, one mark a seed")
    axes.set(xlabel="test accuracy", yticks=range(len(networks)), yticklabels=list(by_contestant))
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    figure.savefig(path)


if __name__ == "__main__":
    main()
