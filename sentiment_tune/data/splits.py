"""Which part of a corpus each review belongs to: train, validation or test."""

import warnings
from collections.abc import Iterable, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_tune.data.labels import SENTIMENT, Classes
from sentiment_tune.data.store import PARTS, TEST, TRAIN, VALIDATION
from sentiment_tune.errors import InputError

FEWEST = 20  # reviews to train on
TEST_SHARE, TEST_SEED = 0.2, 20110619
VALIDATION_SHARE, VALIDATION_SEED = 0.1, 20110620  # of its own: another training seed keeps the same validation split
_NAMES = ("train", "validation", "test")
_SPELLINGS = {"train": TRAIN, "test": TEST, **dict.fromkeys(("validation", "valid", "val", "dev"), VALIDATION)}
PART_NAMES = tuple(_SPELLINGS)


def parse_parts(cells: Sequence[Any], places: Iterable[object]) -> NDArray[np.uint8]:
    """Part [row] that each cell names; InputError names the place of the first row with another."""
    return np.array([_parse_part(*each) for each in zip(cells, places, strict=True)], dtype=np.uint8)


def _parse_part(cell: Any, place: object) -> int:
    spelling = str(cell).strip().lower()
    if spelling not in _SPELLINGS:
        raise InputError(f"{place}: no split {cell!r:.40}; choose from {', '.join(_SPELLINGS)}")
    return _SPELLINGS[spelling]


def train_then_test(train: int, test: int) -> NDArray[np.uint8]:
    """Part [review] of so many reviews to train on, followed by so many to test on."""
    return np.repeat(np.array([TRAIN, TEST], dtype=np.uint8), [train, test])


def draw_test(labels: NDArray[np.uint8], groups: NDArray[np.int64] | None = None) -> NDArray[np.uint8]:
    """Part [review]: a fifth of each label to test, the rest to train; of groups [review] each whole in one part."""
    part = np.full(len(labels), TRAIN, dtype=np.uint8)
    part[_draw(np.arange(len(labels)), labels, groups, TEST_SHARE, TEST_SEED)] = TEST
    return part


def draw_validation(
    part: NDArray[np.uint8], labels: NDArray[np.uint8], groups: NDArray[np.int64] | None = None
) -> NDArray[np.uint8]:
    """The same parts [review], but a tenth of each label of train for validation; of groups each whole in one part."""
    part = part.copy()
    part[_draw(np.flatnonzero(part == TRAIN), labels, groups, VALIDATION_SHARE, VALIDATION_SEED)] = VALIDATION
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


def _draw(
    rows: NDArray[np.int64], labels: NDArray[np.uint8], groups: NDArray[np.int64] | None, share: float, seed: int
) -> NDArray[np.int64]:
    if groups is None:
        return _draw_rows(rows, labels, share, seed)
    return _draw_groups(rows, labels, groups, share, seed)


def _draw_groups(
    rows: NDArray[np.int64], labels: NDArray[np.uint8], groups: NDArray[np.int64], share: float, seed: int
) -> NDArray[np.int64]:
    """Rows of whole groups, about that share, with each label as often as groups allow."""
    from sklearn.model_selection import StratifiedGroupKFold  # slow to import

    folds = min(round(1 / share), len(np.unique(groups[rows])))
    if folds < 2:
        raise InputError("all reviews are of one group: there is none to hold out; give another --group")
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of a label with fewer reviews than folds
        splits = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(rows, labels[rows], groups[rows])
        drawn = [rows[taken] for _, taken in splits]
    both = [some for some in drawn if len(np.unique(labels[some])) == len(np.unique(labels[rows]))]
    return min(both or drawn, key=lambda some: abs(len(some) - share * len(rows)))


def _draw_rows(rows: NDArray[np.int64], labels: NDArray[np.uint8], share: float, seed: int) -> NDArray[np.int64]:
    """Random rows, of each label the same share and at least one.

    RandomState, because its numbers stay the same in every version of NumPy; those of a Generator may change.
    """
    rng = np.random.RandomState(seed)
    groups = [rng.permutation(rows[labels[rows] == label]) for label in np.unique(labels[rows])] or [rows]
    return np.concatenate([group[: max(1, round(share * len(group)))] for group in groups])


def check_parts(
    part: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    origin: object,
    classes: Classes = SENTIMENT,
    wanted: Sequence[int] = PARTS,
) -> None:
    """InputError where train is too small or lacks a class, or one of the wanted parts has one class alone."""
    counts = np.stack([np.bincount(labels[part == number], minlength=len(classes)) for number in PARTS])
    for number in wanted:
        if classes.are_two and 0 in counts[number]:
            both = " and ".join(f"{count:,} {name}" for count, name in zip(counts[number], classes.names, strict=True))
            raise InputError(f"{origin}: {both} reviews in {_NAMES[number]}; each part needs both")
        if np.count_nonzero(counts[number]) < 2:
            raise InputError(f"{origin}: reviews of one class at most in {_NAMES[number]}; each part needs two or more")
    if missing := np.flatnonzero(counts[TRAIN] == 0).tolist():
        raise InputError(_missing_in_train(missing[0], labels, counts, origin, classes))
    if (size := int(np.sum(part == TRAIN))) < FEWEST:
        raise InputError(f"{origin}: {size} reviews to train on; at least {FEWEST} are needed besides the other parts")


def _missing_in_train(
    label: int, labels: NDArray[np.uint8], counts: NDArray[np.int64], origin: object, classes: Classes
) -> str:
    """What is said of a class that train does not have."""
    there = " and ".join(f"{counts[part, label]:,} in {_NAMES[part]}" for part in PARTS if counts[part, label])
    first = int(np.flatnonzero(labels == label)[0]) + 1
    return (
        f"{origin}: none of the reviews to train on is {classes.names[label]!r:.40}, {there} (the first is review "
        f"{first:,}): correct its label, give more such reviews, or leave them out with --labels"
    )
