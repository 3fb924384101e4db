"""What batch, rate and stop of training cost, and what they bring: the shortest way to an accuracy.

    python scripts/benchmark_schedules.py --data PATH/imdb.npz --networks embedding,cnn --seeds 5 \
        --way "" --way "epochs=3 schedule=linear" --way "batch=256 learning_rate=4e-3"

Each network is trained with each seed each way, ways and seeds in turn, and only validation is looked at: it is to
choose by. A way is settings of `train` with blanks between; the empty one is the defaults, and the first is what the
others are compared with. A training is a line of JSON in the file of rows as soon as it is finished; what stands there
already for the same data is not trained again, so that a measurement that was cut off goes on.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, product
from pathlib import Path
from statistics import fmean, median, stdev

import click
from rows import appending, read_rows

from sentiment_tune.build import build_network
from sentiment_tune.config import ExperimentConfig
from sentiment_tune.data.corpus import Corpus
from sentiment_tune.data.load import DataConfig, load
from sentiment_tune.models.registry import NETWORKS, parse_names
from sentiment_tune.training.loop import early_stopping, fit

GOALS = (0.88, 0.89)  # validation accuracies whose seconds are told
DEFAULTS = "defaults"


@dataclass(frozen=True)
class Task:
    """A training to be made."""

    network: str
    way: str  # settings, with blanks between
    seed: int
    digest: str  # of the data


@dataclass(frozen=True)
class Row(Task):
    """What a training has come to."""

    accuracies: list[float]  # of validation, by epoch
    losses: list[float]
    seconds: list[float]  # of each epoch

    @property
    def total(self) -> float:
        """Seconds of the whole training."""
        return sum(self.seconds)

    def seconds_to(self, accuracy: float) -> float | None:
        """Seconds until the end of the first epoch so accurate; None where there is none."""
        passed = zip(accumulate(self.seconds), self.accuracies, strict=True)
        return next((seconds for seconds, reached in passed if reached >= accuracy), None)


@click.command()
@click.option("--data", "source", default="imdb", show_default=True)
@click.option("--networks", default=",".join(NETWORKS), show_default=True)
@click.option("--seeds", default=5, show_default=True, help="trainings of each, with seeds from 1")
@click.option("--way", "ways", multiple=True, default=("",), help="settings, with blanks between; any number of times")
@click.option("--rows", "path", default="schedules.jsonl", show_default=True, type=click.Path(path_type=Path))
def main(source: str, networks: str, seeds: int, ways: Sequence[str], path: Path) -> None:
    """Train, and print Markdown tables."""
    corpus, chosen = load(DataConfig(source)), parse_names(networks)
    known = {_key(row): row for row in read_rows(path, Row)}
    tasks = [
        Task(network, way, seed, corpus.digest) for network, seed, way in product(chosen, range(1, seeds + 1), ways)
    ]
    with appending(path) as append:
        for task in tasks:
            if task not in known:
                known[task] = train(task, source, corpus)
                append(known[task])
    for network in chosen:
        show([known[task] for task in tasks if task.network == network])


def _key(task: Task) -> Task:
    return Task(task.network, task.way, task.seed, task.digest)


def train(task: Task, source: str, corpus: Corpus) -> Row:
    """Train as `sentiment-tune train` does, without a run of MLflow and without the test."""
    given = dict(setting.split("=", 1) for setting in task.way.split())
    config = ExperimentConfig.of(task.network, {"data": source, "seed": task.seed, **given})
    training = fit(
        build_network(config, corpus),
        corpus.train,
        corpus.validation,
        config.training,
        config.text,
        task.seed,
        threads=config.runtime.threads,
    )
    epochs = list(early_stopping(training, config.training.patience))
    print(f"{task.network} {task.way or DEFAULTS}, seed {task.seed}", file=sys.stderr, flush=True)
    accuracies, losses = [epoch.val_accuracy for epoch in epochs], [epoch.val_loss for epoch in epochs]
    return Row(**asdict(task), accuracies=accuracies, losses=losses, seconds=[epoch.seconds for epoch in epochs])


def show(rows: Sequence[Row]) -> None:
    """A row a way: accuracy of the best epoch, seconds of all, and seconds to each accuracy."""
    ways = list(dict.fromkeys(row.way for row in rows))
    usual = median(row.total for row in rows if row.way == ways[0])
    goals = " | ".join(f"seconds to {goal}" for goal in GOALS)
    print(f"\n| `{rows[0].network}` | validation accuracy | epochs | seconds | of the first | {goals} |")
    print("|---" * (5 + len(GOALS)) + "|")
    for way in ways:
        some = [row for row in rows if row.way == way]
        best, total = [max(row.accuracies) for row in some], [row.total for row in some]
        spread = f" ± {stdev(best):.4f}" if len(best) > 1 else ""
        cells = [
            f"`{way}`" if way else DEFAULTS,
            f"{fmean(best):.4f}{spread}",
            f"{fmean(len(row.seconds) for row in some):.1f}",
            f"{median(total):.1f} ({min(total):.1f} to {max(total):.1f})",
            f"{median(total) / usual:.2f}",
            *(reached([row.seconds_to(goal) for row in some]) for goal in GOALS),
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


def reached(seconds: Sequence[float | None]) -> str:
    """The median of those that got there, and how many did if not all."""
    there = [one for one in seconds if one is not None]
    if not there:
        return "none"
    return f"{median(there):.1f}{f' ({len(there)} of {len(seconds)})' if len(there) < len(seconds) else ''}"


if __name__ == "__main__":
    main()
