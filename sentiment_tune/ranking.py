"""The leaderboard: finished runs and champions side by side, with what their differences are worth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_tune.errors import InputError
from sentiment_tune.evaluation.metrics import Proportion, is_correct, mcnemar_test
from sentiment_tune.space import unknown_name
from sentiment_tune.tracking import records, registry
from sentiment_tune.tracking import runs as tracking
from sentiment_tune.tracking.records import RunRecord

NOISE = 0.05  # probability of a difference by chance from which on it is called noise


@dataclass(frozen=True)
class Row:
    """A tested run."""

    run_id: str
    network: str
    data: str
    digest: str
    champion_of: tuple[str, ...]
    validation: float
    test: Proportion
    parameters: int
    megabytes: float  # of the logged model
    train_seconds: float
    reviews_per_second: float
    correct: NDArray[np.bool_] = field(repr=False, compare=False)  # [test review]


@dataclass(frozen=True)
class RankedRow:
    """A row and how it stands to the leader of its data."""

    row: Row
    by_chance: float | None  # probability of so large a difference to the leader by chance; None for the leader

    @property
    def verdict(self) -> str:
        if self.by_chance is None:
            return "leads"
        return "within noise" if self.by_chance >= NOISE else "behind"


SORTS: Mapping[str, Any] = {
    "validation": lambda row: -row.validation,
    "test": lambda row: -row.test.value,
    "parameters": lambda row: row.parameters,
    "size": lambda row: row.megabytes,
    "seconds": lambda row: row.train_seconds,
    "speed": lambda row: -row.reviews_per_second,
}


def rank_runs(digest: str | None = None, sort: str = "validation", best_only: bool = True) -> list[RankedRow]:
    """Tested runs, of each network on each data only the best by validation and the champions unless told otherwise.

    The leader is the best by validation; against it each other model's difference on the same test reviews is tested.
    InputError where there is nothing to compare.
    """
    if sort not in SORTS:
        raise unknown_name("order", sort, SORTS)
    runs = [run for run in records.find_runs({}) if "test_accuracy" in run.metrics]
    if digest is not None:
        runs = [run for run in runs if run.tags["data_digest"].startswith(digest)]
    if not runs:
        held = f" on data {digest!r}" if digest else ""
        raise InputError(f"no tested run{held} at {tracking.tracking_uri()}: train one first, or give --tracking-uri")
    champions = registry.champions()
    runs.sort(key=lambda run: -run.metrics["best_val_accuracy"])
    chosen = [run for run in runs if run.run_id in champions or not best_only or run is _best_like(run, runs)]
    rows = sorted((_row(run, champions.get(run.run_id, [])) for run in chosen), key=SORTS[sort])
    leaders = {row.digest: row for row in sorted(rows, key=lambda row: row.validation)}
    return [RankedRow(row, _by_chance(row, leaders[row.digest])) for row in rows]


def _best_like(run: RunRecord, ranked: Sequence[RunRecord]) -> RunRecord:
    """The best run of the same network on the same data."""
    alike = ("network", "data_digest")
    return next(other for other in ranked if all(other.tags[name] == run.tags[name] for name in alike))


def _by_chance(row: Row, leader: Row) -> float | None:
    return None if row is leader else mcnemar_test(leader.correct, row.correct)


def _row(run: RunRecord, names: Sequence[str]) -> Row:
    test = records.read_test_predictions(run.run_id)
    correct = is_correct(test["labels"], test["probabilities"])
    return Row(
        run.run_id,
        run.tags["network"],
        run.tags["data"],
        run.tags["data_digest"],
        tuple(sorted(names)),
        run.metrics["best_val_accuracy"],
        Proportion(int(correct.sum()), len(correct)),
        int(run.tags["parameters"]),
        run.metrics["model_bytes"] / 1e6,
        run.metrics["train_seconds"] + run.metrics.get("refit_seconds", 0.0),
        run.metrics["test_reviews_per_second"],
        correct,
    )


COLUMNS = (
    "network",
    "validation",
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
        f"{row.validation:.4f}",
        f"{row.test.value:.4f}",
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


def record(ranked: RankedRow) -> dict[str, Any]:
    """The row as plain values by name, for a program to read."""
    row = ranked.row
    low, high = row.test.interval
    return {
        "network": row.network,
        "val_accuracy": row.validation,
        "test_accuracy": row.test.value,
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
