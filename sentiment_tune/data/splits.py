"""Which part of a corpus each review belongs to: train, validation or test."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import chain
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_tune.data.corpus import RawReviews
from sentiment_tune.data.store import PARTS, TEST, TRAIN, VALIDATION
from sentiment_tune.errors import InputError

FEWEST = 20  # reviews to train on
TEST_SHARE, TEST_SEED = 0.2, 20110619
VALIDATION_SHARE, VALIDATION_SEED = 0.1, 20110620  # of its own: another training seed keeps the same validation split
_NAMES = ("train", "validation", "test")
_SPELLINGS = {"train": TRAIN, "test": TEST, **dict.fromkeys(("validation", "valid", "val", "dev"), VALIDATION)}
PART_NAMES = tuple(_SPELLINGS)
_MORE = "give more of what is missing"


def parse_parts(cells: Sequence[Any], places: Iterable[object]) -> NDArray[np.uint8]:
    """Part [row] that each cell names; InputError names the place of the first row with another."""
    return np.array([_parse_part(*each) for each in zip(cells, places, strict=True)], dtype=np.uint8)


def is_part(cell: Any) -> bool:
    """Whether a cell names a part."""
    return str(cell).strip().lower() in _SPELLINGS


def _parse_part(cell: Any, place: object) -> int:
    if not is_part(cell):
        raise InputError(f"{place}: no split {cell!r:.40}; choose from {', '.join(_SPELLINGS)}")
    return _SPELLINGS[str(cell).strip().lower()]


def train_then_test(train: int, test: int) -> NDArray[np.uint8]:
    """Part [review] of so many reviews to train on, followed by so many to test on."""
    return np.repeat(np.array([TRAIN, TEST], dtype=np.uint8), [train, test])


def draw_test(labels: NDArray[np.uint8], groups: NDArray[np.int64] | None = None) -> NDArray[np.uint8]:
    """Part [review]: a fifth of each label to test, the rest to train; of groups [review] each whole in one part."""
    part = np.full(len(labels), TRAIN, dtype=np.uint8)
    # Of two classes validation needs both too.
    left = 2 if len(np.unique(labels)) == 2 else 1
    part[_draw(np.arange(len(labels)), labels, groups, TEST_SHARE, TEST_SEED, left)] = TEST
    return part


def draw_validation(
    part: NDArray[np.uint8], labels: NDArray[np.uint8], groups: NDArray[np.int64] | None = None
) -> NDArray[np.uint8]:
    """The same parts [review], but a tenth of each label of train for validation; of groups each whole in one part."""
    part = part.copy()
    rows = np.flatnonzero(part == TRAIN)
    part[_draw(rows, labels, groups, VALIDATION_SHARE, VALIDATION_SEED, 1)] = VALIDATION
    return part


def parse_groups(cells: Sequence[Any]) -> NDArray[np.int64]:
    """A number for each row [row], the same where the cells read the same; of one without a value its own."""
    numbers: dict[str | int, int] = {}
    keys = (row if is_missing(cell) else str(cell) for row, cell in enumerate(cells))
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def is_missing(cell: Any) -> bool:
    """Whether a cell holds no value: nothing, blanks, what is no number."""
    if isinstance(cell, str):
        return not cell.strip()
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):  # of pandas
        return True
    return isinstance(cell, Real | Decimal) and bool(cell != cell)


def check_groups(
    part: NDArray[np.uint8], groups: NDArray[np.int64], cells: Sequence[Any], places: Iterable[object]
) -> None:
    """InputError naming the first group that stands in two parts [review], by its cell and its place."""
    first: dict[int, int] = {}
    for place, cell, group, one in zip(places, cells, groups.tolist(), part.tolist(), strict=True):
        other = first.setdefault(group, one)
        if other != one:
            raise InputError(
                f"{place}: {cell!r:.40} is in {_NAMES[other]} and in {_NAMES[one]}: leave out "
                "the column of parts or that of groups"
            )


def check_enough_groups(groups: NDArray[np.int64] | None, parts: Sequence[int], origin: object) -> None:
    """InputError where groups [review] are fewer than the parts that they are to be drawn into."""
    if groups is None or (count := len(np.unique(groups))) >= len(parts):
        return
    names = [_NAMES[part] for part in parts]
    raise InputError(
        f"{origin}: {count} {'group' if count == 1 else 'groups'} for {', '.join(names[:-1])} and {names[-1]}, each of "
        f"which needs one of its own: give at least {len(parts)}"
        f"{', or name a file to test on with --test' if TEST in parts else ''}, or leave out --group"
    )


def _draw(
    rows: NDArray[np.int64],
    labels: NDArray[np.uint8],
    groups: NDArray[np.int64] | None,
    share: float,
    seed: int,
    left: int,
) -> NDArray[np.int64]:
    if groups is None:
        return _draw_rows(rows, labels, share, seed)
    return _draw_groups(rows, labels, groups, share, seed, left)


def _draw_groups(
    rows: NDArray[np.int64],
    labels: NDArray[np.uint8],
    groups: NDArray[np.int64],
    share: float,
    seed: int,
    left: int,
) -> NDArray[np.int64]:
    """Rows of whole groups, about that share, with each label as often as groups allow.

    So many groups of each label are left, if there are rows that leave them.
    """
    kinds, size = np.unique(labels[rows]), share * len(rows)

    def rank(some: NDArray[np.int64]) -> tuple[bool, bool, float]:
        held = len(np.unique(labels[some]))
        return held < len(kinds), held < 2, abs(len(some) - size)

    def leaves(some: NDArray[np.int64]) -> bool:
        rest = np.setdiff1d(rows, some)
        return all(len(np.unique(groups[rest[labels[rest] == kind]])) >= left for kind in kinds)

    def of_spare_groups() -> Iterator[NDArray[np.int64]]:
        spare = rows[~np.isin(groups[rows], _largest_groups(rows, labels, groups))]
        if len(spare):
            yield from sorted(_cut(spare, labels, groups, round(len(spare) / size), seed), key=rank)

    drawn = sorted(_cut(rows, labels, groups, round(1 / share), seed), key=rank)
    return next(filter(leaves, chain(drawn, of_spare_groups())), drawn[0])


def _cut(
    rows: NDArray[np.int64], labels: NDArray[np.uint8], groups: NDArray[np.int64], folds: int, seed: int
) -> list[NDArray[np.int64]]:
    """The rows in so many parts of whole groups, or as many as there are groups."""
    from sklearn.model_selection import StratifiedGroupKFold  # slow to import

    folds = min(folds, len(np.unique(groups[rows])))
    if folds < 2:
        return [rows]
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of a label with fewer reviews than folds
        splits = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(rows, labels[rows], groups[rows])
        return [rows[taken] for _, taken in splits]


def _largest_groups(rows: NDArray[np.int64], labels: NDArray[np.uint8], groups: NDArray[np.int64]) -> list[np.intp]:
    """Of each label the group that has the most of it."""
    return [np.bincount(groups[rows[labels[rows] == label]]).argmax() for label in np.unique(labels[rows])]


def _draw_rows(rows: NDArray[np.int64], labels: NDArray[np.uint8], share: float, seed: int) -> NDArray[np.int64]:
    """Random rows, of each label the same share and at least one.

    RandomState, because its numbers stay the same in every version of NumPy; those of a Generator may change.
    """
    rng = np.random.RandomState(seed)
    groups = [rng.permutation(rows[labels[rows] == label]) for label in np.unique(labels[rows])] or [rows]
    return np.concatenate([group[: max(1, round(share * len(group)))] for group in groups])


def check_parts(
    part: NDArray[np.uint8],
    raw: RawReviews,
    origin: object,
    wanted: Sequence[int] = PARTS,
    way_out: str | None = None,
) -> None:
    """InputError where train is too small or lacks a class, or one of the wanted parts has one class alone."""
    labels, classes = raw.labels, raw.classes
    counts = np.stack([np.bincount(labels[part == number], minlength=len(classes)) for number in PARTS])
    if TEST in wanted and counts[TRAIN].any() and not counts[TEST].any():
        raise InputError(f"{origin}: no reviews to test on: name their file with --test")
    for number in wanted:
        if classes.are_two and 0 in counts[number]:
            both = " and ".join(f"{count:,} {name}" for count, name in zip(counts[number], classes.names, strict=True))
            raise InputError(f"{origin}: {both} reviews in {_NAMES[number]}; each part needs both: {way_out or _MORE}")
        if np.count_nonzero(counts[number]) < 2:
            raise InputError(
                f"{origin}: reviews of one class at most in {_NAMES[number]}; each part needs two or more: "
                f"{way_out or _MORE}"
            )
    if missing := np.flatnonzero(counts[TRAIN] == 0).tolist():
        raise InputError(f"{origin}: {_missing_in_train(missing[0], raw, counts, way_out)}")
    if (size := int(np.sum(part == TRAIN))) < FEWEST:
        raise InputError(
            f"{origin}: {size} reviews to train on; at least {FEWEST} are needed besides the other parts: "
            f"{way_out or 'give more'}"
        )


def _missing_in_train(label: int, raw: RawReviews, counts: NDArray[np.int64], way_out: str | None) -> str:
    """What is said of a class that train does not have."""
    there = " and ".join(f"{counts[part, label]:,} in {_NAMES[part]}" for part in PARTS if counts[part, label])
    found = np.flatnonzero(raw.labels == label)
    first = int(found[0] if raw.rows is None else raw.rows[found[0]]) + 1 if len(found) else 0
    return (
        f"none of the reviews to train on is {raw.classes.names[label]!r:.40}"
        f"{f', {there} (the first is review {first:,})' if there else ''}: "
        f"{way_out or 'correct its label, give more such reviews, or leave them out with --labels'}"
    )
