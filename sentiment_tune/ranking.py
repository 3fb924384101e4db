"""The leaderboard: finished runs and champions side by side, with what their differences are worth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_tune.errors import InputError
from sentiment_tune.evaluation.finished_run import FinishedRun
from sentiment_tune.evaluation.metrics import ACCURACY, Proportion, is_correct, mcnemar_test, measured
from sentiment_tune.space import unknown_name
from sentiment_tune.tracking import records, registry, server
from sentiment_tune.tracking.schema import Metric, Stage, Tag

NOISE = 0.05  # probability of a difference by chance from which on it is called noise


@dataclass(frozen=True)
class Row:
    """A tested run."""

    run_id: str
    network: str
    data: str
    digest: str
    champion_of: tuple[str, ...]
    validation: float  # by the metric that judges; of repeats their mean
    test: Proportion
    parameters: int
    megabytes: float  # of the logged model
    train_seconds: float
    reviews_per_second: float
    correct: NDArray[np.bool_] = field(repr=False, compare=False)  # [test review]
    experiment_id: str = ""
    spread: float = 0.0  # standard deviation of validation over the seeds
    seeds: int = 1
    folds: int = 0  # in place of seeds
    metric: str = ACCURACY  # of validation
    accuracy: float = 0.0  # of validation; of repeats their mean
    mean_test: float | None = None  # accuracy of repeats that have all been tested, and its spread
    test_spread: float = 0.0

    @property
    def is_of_several(self) -> bool:
        """Whether it stands for trainings with several seeds or folds, of which `test` is the best one's."""
        return max(self.seeds, self.folds) > 1

    @property
    def tested(self) -> float:
        """Test accuracy; of repeats their mean, where all have been tested."""
        return self.test.value if self.mean_test is None else self.mean_test


@dataclass(frozen=True)
class RankedRow:
    """A row and how it stands to the leader of its data."""

    row: Row
    by_chance: float | None  # probability of so large a difference to the leader by chance; None for the leader

    @property
    def verdict(self) -> str:
        """How the row stands to the leader: leads, within noise, or behind."""
        if self.by_chance is None:
            return "leads"
        return "within noise" if self.by_chance >= NOISE else "behind"


SORTS: Mapping[str, Any] = {
    "validation": lambda row: -row.validation,
    "test": lambda row: -row.tested,
    "parameters": lambda row: row.parameters,
    "size": lambda row: row.megabytes,
    "seconds": lambda row: row.train_seconds,
    "speed": lambda row: -row.reviews_per_second,
}


def rank_runs(digest: str | None = None, sort: str = "validation", best_only: bool = True) -> list[RankedRow]:
    """Tested runs, of each network on each data only the best by validation and the champions unless told otherwise.

    One of several trainings that differ in their seed alone is ranked by the mean of them all. The leader is the best
    by validation, of those that were judged by the same metric; against it each other model's difference on the same
    test reviews is tested.
    InputError where there is nothing to compare.
    """
    if sort not in SORTS:
        raise unknown_name("order", sort, SORTS)
    above = records.find_runs({Tag.STAGE: Stage.REPEATS})
    repeats = {run.run_id: run.metrics for run in above}
    runs = _ranked(_tested_runs(digest, {run.run_id: run.tags[Tag.DATA_DIGEST] for run in above}), repeats)
    champions = registry.champions()
    chosen = [run for run in runs if run.run_id in champions or not best_only or run is _best_like(run, runs)]
    best_first = [_row(run, champions.get(run.run_id, []), repeats.get(str(run.parent), {})) for run in chosen]
    rows = sorted(best_first, key=SORTS[sort])
    leaders = {(row.digest, row.metric): row for row in reversed(best_first)}  # of equal means the first, not the last
    return [RankedRow(row, _by_chance(row, leaders[row.digest, row.metric])) for row in rows]


def _tested_runs(digest: str | None, above: Mapping[str, str]) -> list[FinishedRun]:
    """The tested runs, on the data of this name or digest, or its beginning.

    Repeats are of the data of the run above them: folds each have their own, and are compared by the mean of all.
    """
    tested = [run for run in records.find_runs({}) if Metric.TEST_ACCURACY in run.metrics]
    finished = map(records.finished_run, tested)
    runs = [
        run
        for run in (replace(each, data_digest=above.get(str(each.parent), each.data_digest)) for each in finished)
        if digest in (None, run.data) or run.data_digest.startswith(digest or "")
    ]
    if not runs:
        where = f" on data {digest!r}" if digest else ""
        raise InputError(f"no tested run{where} at {server.tracking_uri()}: train one first, or give --tracking-uri")
    return runs


def _ranked(runs: Sequence[FinishedRun], repeats: Mapping[str, Mapping[str, float]]) -> list[FinishedRun]:
    """The best by validation first: by the mean of its repeats, among them by its own; of equal ones the earlier.

    They come the newest first.
    """

    def key(run: FinishedRun) -> tuple[float, float]:
        return -_of_repeats(run, repeats.get(str(run.parent), {}), Metric.MEAN, run.score), -run.score

    earlier_first = runs[::-1]
    return sorted(earlier_first, key=key)


def _of_repeats(run: FinishedRun, repeats: Mapping[str, float], which: str, single: float) -> float:
    """A figure of a run's score over all that differ in their seed alone, or what holds for a single training."""
    name = Metric.BEST_VAL_ACCURACY if run.metric == ACCURACY else Metric.BEST_VAL_SCORE
    return repeats.get(which + name, single)


def _best_like(run: FinishedRun, ranked: Sequence[FinishedRun]) -> FinishedRun:
    """The best run of the same network on the same data, judged by the same metric."""

    def kind(one: FinishedRun) -> tuple[str, str, str]:
        return one.network, one.data_digest, one.metric

    return next(other for other in ranked if kind(other) == kind(run))


def _by_chance(row: Row, leader: Row) -> float | None:
    return None if row is leader else mcnemar_test(leader.correct, row.correct)


def _row(run: FinishedRun, names: Sequence[str], repeats: Mapping[str, float]) -> Row:
    test = records.read_test_predictions(run.run_id)
    correct = is_correct(test["labels"], test["probabilities"], float(test["threshold"]))
    return Row(
        run_id=run.run_id,
        network=run.network,
        data=run.data,
        digest=run.data_digest,
        champion_of=tuple(sorted(names)),
        validation=_of_repeats(run, repeats, Metric.MEAN, run.score),
        test=Proportion.of(correct),
        parameters=run.parameters,
        megabytes=run.model_bytes / 1e6,
        train_seconds=run.train_seconds + run.refit_seconds,
        reviews_per_second=run.test_reviews_per_second,
        correct=correct,
        experiment_id=run.experiment_id,
        spread=_of_repeats(run, repeats, Metric.SPREAD, 0.0),
        seeds=1 if Metric.FOLDS in repeats else int(repeats.get(Metric.REPEATS, 1)),
        folds=int(repeats.get(Metric.FOLDS, 0)),
        metric=run.metric,
        accuracy=repeats.get(Metric.MEAN + Metric.BEST_VAL_ACCURACY, run.best_val_accuracy),
        mean_test=repeats.get(Metric.MEAN + Metric.TEST_ACCURACY),
        test_spread=repeats.get(Metric.SPREAD + Metric.TEST_ACCURACY, 0.0),
    )


BEST_OF_SEVERAL = "Of several seeds or folds, interval and comparison with the leader are those of the best."
COLUMNS = (
    "network",
    "validation",
    "seeds",
    "test",
    "95 % interval",
    "to the leader",
    "parameters",
    "MB",
    "training s",
    "reviews/s",
    "champion of",
    "data",
    "run",
)


def cells(ranked: RankedRow) -> list[str]:
    """The row as texts, in the order of COLUMNS."""
    row = ranked.row
    low, high = row.test.interval
    chance = "" if ranked.by_chance is None else f" (p = {ranked.by_chance:.2g})"
    return [
        row.network,
        f"{measured(row.metric, row.validation):.4f}"
        + (f" ± {row.spread:.4f}" if row.is_of_several else "")
        + (f" {row.metric}" if row.metric != ACCURACY else ""),
        f"{row.folds} folds" if row.folds else str(row.seeds),
        _tested(row),
        f"{low:.4f} to {high:.4f}",
        ranked.verdict + chance,
        f"{row.parameters:,}",
        f"{row.megabytes:.1f}",
        f"{row.train_seconds:.0f}",
        f"{row.reviews_per_second:,.0f}",
        ", ".join(row.champion_of),
        f"{row.data} {row.digest}",
        row.run_id,
    ]


def _tested(row: Row) -> str:
    """Test accuracy with its spread over the seeds; of those of which only the best was tested, of that one."""
    if not row.is_of_several:
        return f"{row.tested:.4f}"
    return f"{row.tested:.4f} (best)" if row.mean_test is None else f"{row.tested:.4f} ± {row.test_spread:.4f}"


def record(ranked: RankedRow) -> dict[str, Any]:
    """The row as plain values by name, for a program to read."""
    row = ranked.row
    low, high = row.test.interval
    return {
        "network": row.network,
        "val_accuracy": row.accuracy,
        "metric": row.metric,
        "val_score": row.validation,
        "val_spread": row.spread,
        "seeds": row.seeds,
        "folds": row.folds,
        "test_accuracy": row.test.value,
        "mean_test_accuracy": row.tested,
        "test_spread": row.test_spread,
        "test_low": low,
        "test_high": high,
        "verdict": ranked.verdict,
        "p_by_chance": ranked.by_chance,
        "parameters": row.parameters,
        "model_megabytes": row.megabytes,
        "train_seconds": row.train_seconds,
        "reviews_per_second": row.reviews_per_second,
        "champion_of": " ".join(row.champion_of),
        "data": row.data,
        "data_digest": row.digest,
        "run_id": row.run_id,
    }
