"""Which part of a corpus each review belongs to: train, validation or test."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_tune.data.store import PARTS, TEST, TRAIN, VALIDATION
from sentiment_tune.errors import InputError

FEWEST = 20  # reviews to train on
TEST_SHARE, TEST_SEED = 0.2, 20110619
VALIDATION_SHARE, VALIDATION_SEED = 0.1, 20110620  # of its own: another training seed keeps the same validation split
_NAMES = ("train", "validation", "test")
_SPELLINGS = {"train": TRAIN, "test": TEST, **dict.fromkeys(("validation", "valid", "val", "dev"), VALIDATION)}
PART_NAMES = tuple(_SPELLINGS)


def parse_parts(cells: Sequence[Any], origin: object) -> NDArray[np.uint8]:
    """Part [row] that each cell names; InputError names the origin and the first row, counted from 1, with another."""
    return np.array([_parse_part(cell, row, origin) for row, cell in enumerate(cells, 1)], dtype=np.uint8)


def _parse_part(cell: Any, row: int, origin: object) -> int:
    spelling = str(cell).strip().lower()
    if spelling not in _SPELLINGS:
        raise InputError(f"{origin}, row {row}: no split {cell!r:.40}; choose from {', '.join(_SPELLINGS)}")
    return _SPELLINGS[spelling]


def train_then_test(train: int, test: int) -> NDArray[np.uint8]:
    """Part [review] of so many reviews to train on, followed by so many to test on."""
    return np.repeat(np.array([TRAIN, TEST], dtype=np.uint8), [train, test])


def draw_test(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Part [review]: a fifth of each label to test, the rest to train."""
    part = np.full(len(labels), TRAIN, dtype=np.uint8)
    part[_draw(np.arange(len(labels)), labels, TEST_SHARE, TEST_SEED)] = TEST
    return part


def draw_validation(part: NDArray[np.uint8], labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same parts [review], but a tenth of each label of train for validation."""
    part = part.copy()
    part[_draw(np.flatnonzero(part == TRAIN), labels, VALIDATION_SHARE, VALIDATION_SEED)] = VALIDATION
    return part


def _draw(rows: NDArray[np.int64], labels: NDArray[np.uint8], share: float, seed: int) -> NDArray[np.int64]:
    """Random rows, of each label the same share and at least one.

    RandomState, because its numbers stay the same in every version of NumPy; those of a Generator may change.
    """
    rng = np.random.RandomState(seed)
    groups = [rng.permutation(rows[labels[rows] == label]) for label in (0, 1)]
    return np.concatenate([group[: max(1, round(share * len(group)))] for group in groups])


def check_parts(
    part: NDArray[np.uint8], labels: NDArray[np.uint8], origin: object, wanted: Sequence[int] = PARTS
) -> None:
    """InputError where train is too small or one of the wanted parts lacks one of the labels."""
    for number in wanted:
        counts = np.bincount(labels[part == number], minlength=2)
        if 0 in counts:
            raise InputError(
                f"{origin}: {counts[0]:,} negative and {counts[1]:,} positive reviews in {_NAMES[number]}; "
                "each part needs both"
            )
    if (size := int(np.sum(part == TRAIN))) < FEWEST:
        raise InputError(f"{origin}: {size} reviews to train on; at least {FEWEST} are needed besides the other parts")
