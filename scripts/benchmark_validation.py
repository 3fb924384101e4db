"""What validation says of the test: by random reviews, and by films that are whole in one part.

    python scripts/benchmark_validation.py --data PATH/imdb.npz --rows validation.jsonl --picture docs/validation.png
    python scripts/benchmark_validation.py --data PATH/imdb.npz --networks linear,cnn --workers 4 --device cuda

Each network is trained at its defaults with each seed and each way to draw validation, as `train` does: the epoch that
is best on validation is tested, once. Nothing is logged to MLflow. A training is a line of JSON in the file of rows as
soon as it is finished; what stands there already for the same data is not trained again, so that a measurement that
was cut off goes on.
"""

import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import fmean, stdev

import click
from matplotlib.figure import Figure
from rows import appending, read_rows

from sentiment_tune.build import build_network, refit_network
from sentiment_tune.config import ExperimentConfig
from sentiment_tune.data.batches import evaluation_batches
from sentiment_tune.data.imdb import FILMS, RANDOM
from sentiment_tune.data.load import DataConfig, load
from sentiment_tune.evaluation.metrics import loss_and_accuracy
from sentiment_tune.inference.predict import device_of, predict
from sentiment_tune.models.registry import NETWORKS, parse_names
from sentiment_tune.training.loop import BestWeights, early_stopping, fit

POINTS = 100  # of a share


@dataclass(frozen=True)
class Task:
    """A training to be made."""

    network: str
    by: str  # RANDOM or FILMS
    seed: int
    digest: str  # of the data, which changes with how validation is drawn


@dataclass(frozen=True)
class Row(Task):
    """What a training has come to."""

    validation: float
    test: float
    epoch: int  # the best one by validation
    epochs: int
    seconds: float  # of its epochs
    device: str

    @property
    def difference(self) -> float:
        """Points that validation is above test."""
        return POINTS * (self.validation - self.test)


@click.command()
@click.option("--data", "source", default="imdb", show_default=True)
@click.option("--networks", default=",".join(NETWORKS), show_default=True)
@click.option("--seeds", default=3, show_default=True, help="trainings of each, with seeds from 1")
@click.option("--validation", "ways", default=f"{RANDOM},{FILMS}", show_default=True)
@click.option("--workers", default=1, show_default=True, help="processes that train at the same time")
@click.option("--device", default="auto", show_default=True)
@click.option("--rows", "path", default="validation.jsonl", show_default=True, type=click.Path(path_type=Path))
@click.option("--picture", "pictures", multiple=True, type=click.Path(path_type=Path), help=".png, .svg or .pdf")
def main(
    source: str,
    networks: str,
    seeds: int,
    ways: str,
    workers: int,
    device: str,
    path: Path,
    pictures: Sequence[Path],
) -> None:
    """Train, and print Markdown tables."""
    chosen = ways.split(",")
    digests = {by: load(DataConfig(source, validation=by)).digest for by in chosen}  # now every process finds it made
    drawn = product(range(1, seeds + 1), parse_names(networks), chosen)
    tasks = [Task(network, by, seed, digests[by]) for seed, network, by in drawn]
    known = {_key(row): row for row in read_rows(path, Row)}
    missing = [task for task in tasks if _key(task) not in known]
    with appending(path) as append:
        for row in train_all(missing, source, device, workers):
            known[_key(row)] = row
            append(row)
            print(
                f"{len(known)}: {row.network} {row.by} {row.seed}: {row.difference:+.2f}", file=sys.stderr, flush=True
            )
    rows = [known[_key(task)] for task in tasks if _key(task) in known]
    if not rows:
        sys.exit("nothing was trained")
    show_rows(rows)
    show_summary(rows)
    for picture in pictures:
        draw(rows).savefig(picture, dpi=150)
    if len(rows) < len(tasks):
        sys.exit(f"{len(tasks) - len(rows)} of {len(tasks)} trainings failed: start it again")


def _key(task: Task) -> Task:
    return Task(task.network, task.by, task.seed, task.digest)


def train_all(tasks: Sequence[Task], source: str, device: str, workers: int) -> Iterator[Row]:
    """Rows as they come; a training that fails is told and left out."""
    if workers == 1:
        yield from (train(task, source, device, 0) for task in tasks)
        return
    threads = max(1, (os.cpu_count() or 1) // workers)
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        begun = {pool.submit(train, task, source, device, threads): task for task in tasks}
        for future in as_completed(begun):
            error = future.exception()
            if error is None:
                yield future.result()
            else:
                print(f"{begun[future]}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)


def train(task: Task, source: str, device: str, threads: int) -> Row:
    """Train as `sentiment-tune train` does, without a run of MLflow, and read the test once."""
    given = {"data": source, "validation": task.by, "seed": task.seed, "device": device, "threads": threads}
    config = ExperimentConfig.of(task.network, given)
    corpus = load(config.data)
    network, best, epochs = build_network(config, corpus), BestWeights(), []
    training = fit(network, corpus.train, corpus.validation, config.training, config.text, task.seed)
    for epoch in early_stopping(training, config.training.patience):
        best.update(epoch, network)
        epochs.append(epoch)
    chosen = best.restore(network)
    if config.training.refit:
        network = refit_network(config, corpus, chosen.epoch)
    where = device_of(network)
    logits = predict(network, evaluation_batches(corpus.test, config.text, where))
    test = loss_and_accuracy(logits, corpus.test.labels)[1]
    seconds = sum(epoch.seconds for epoch in epochs)
    return Row(
        **asdict(task),
        validation=chosen.val_accuracy,
        test=test,
        epoch=chosen.epoch,
        epochs=len(epochs),
        seconds=seconds,
        device=where.type,
    )


def show_rows(rows: Sequence[Row]) -> None:
    print("| network | validation by | seed | validation | test | difference, points | best epoch | seconds |")
    print("|---" * 8 + "|")
    for row in rows:
        print(
            f"| `{row.network}` | {row.by} | {row.seed} | {row.validation:.4f} | {row.test:.4f} "
            f"| {signed(row.difference)} | {row.epoch} of {row.epochs} | {row.seconds:.0f} |"
        )


def show_summary(rows: Sequence[Row]) -> None:
    """Mean and standard deviation over the seeds, and what each way comes to over all networks."""
    print("\n| network | validation by | validation | test | difference, points |\n|---|---|---|---|---|")
    for network, by in product(dict.fromkeys(row.network for row in rows), dict.fromkeys(row.by for row in rows)):
        some = [row for row in rows if (row.network, row.by) == (network, by)]
        if some:
            shares = [spread([getattr(row, part) for row in some], ".4f") for part in ("validation", "test")]
            differences = spread([row.difference for row in some], ".2f")
            print(f"| `{network}` | {by} | {' | '.join(shares)} | {differences} |")
    print("\n| validation by | trainings | mean difference, points | mean absolute one |\n|---|---|---|---|")
    for by in dict.fromkeys(row.by for row in rows):
        points = [row.difference for row in rows if row.by == by]
        print(f"| {by} | {len(points)} | {signed(fmean(points))} | {fmean(map(abs, points)):.2f} |")


def signed(points: float) -> str:
    """Points with their sign, 0 without a wrong one."""
    return f"{round(points, 2) + 0.0:+.2f}"


def spread(values: Sequence[float], form: str) -> str:
    """Their mean, and of several their standard deviation."""
    deviation = f" ± {stdev(values):{form}}" if len(values) > 1 else ""
    return f"{fmean(values):{form}}{deviation}"


def draw(rows: Sequence[Row]) -> Figure:
    """Validation against test, a point a training, a colour for each way to draw validation."""
    figure = Figure(figsize=(5.5, 5), layout="constrained")
    axes = figure.subplots()
    values = [value for row in rows for value in (row.validation, row.test)]
    ends = (min(values) - 0.005, max(values) + 0.005)
    axes.plot(ends, ends, color="0.6", linewidth=1, zorder=0)
    start = (ends[0], ends[0])
    axes.annotate("validation = test", start, xytext=(24, 5), textcoords="offset points", color="0.4")
    for by in dict.fromkeys(row.by for row in rows):
        some = [row for row in rows if row.by == by]
        label = f"by {by}: {signed(fmean(row.difference for row in some))} points"
        axes.scatter([row.validation for row in some], [row.test for row in some], s=18, label=label)
    axes.set(xlim=ends, ylim=ends, xlabel="validation accuracy", ylabel="test accuracy", aspect="equal")
    axes.locator_params(nbins=5)
    axes.legend(frameon=False, loc="upper left")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main()
