"""Labelled texts, cut into parts: train, validation and test."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_tune.data.store import PARTS, TEST, TRAIN, VALIDATION, Store
from sentiment_tune.data.tables import Table
from sentiment_tune.data.text import Vocabulary
from sentiment_tune.errors import InputError

FEWEST = 20  # reviews to train on
TEST_SHARE, TEST_SEED = 0.2, 20110619
VALIDATION_SHARE, VALIDATION_SEED = 0.1, 20110620  # of its own: another training seed keeps the same validation split
_NAMES = ("train", "validation", "test")
_LABELS = {"0": 0, "neg": 0, "negative": 0, "1": 1, "pos": 1, "positive": 1}
_PARTS = {"train": TRAIN, "test": TEST, **dict.fromkeys(("validation", "valid", "val", "dev"), VALIDATION)}


def parse_labels(table: Table, column: str) -> NDArray[np.uint8]:
    """Labels [row], 0 or 1; InputError names the first row, counted from 1, with another one."""
    cells = table.column(column, "--label")
    return np.array([_label(table.path, row, cell) for row, cell in enumerate(cells, 1)], dtype=np.uint8)


def _label(path: Path, row: int, cell: Any) -> int:
    word = cell.strip().lower() if isinstance(cell, str) else str(int(cell)) if cell in (0, 1) else None
    if word not in _LABELS:
        raise InputError(f"{path}, row {row}: no label {cell!r:.40}; choose from {', '.join(_LABELS)}")
    return _LABELS[word]


def parse_parts(table: Table, column: str) -> NDArray[np.uint8]:
    """Part [row] that the column names; InputError names the first row, counted from 1, with another value."""
    cells = table.column(column, "--split")
    return np.array([_part(table.path, row, cell) for row, cell in enumerate(cells, 1)], dtype=np.uint8)


def _part(path: Path, row: int, cell: Any) -> int:
    word = str(cell).strip().lower()
    if word not in _PARTS:
        raise InputError(f"{path}, row {row}: no split {cell!r:.40}; choose from {', '.join(_PARTS)}")
    return _PARTS[word]


def draw_test(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Part [review]: a fifth of each label to test, the rest to train."""
    part = np.full(len(labels), TRAIN, dtype=np.uint8)
    part[_share(np.arange(len(labels)), labels, TEST_SHARE, TEST_SEED)] = TEST
    return part


def draw_validation(part: NDArray[np.uint8], labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same parts [review], but a tenth of each label of train for validation."""
    part = part.copy()
    part[_share(np.flatnonzero(part == TRAIN), labels, VALIDATION_SHARE, VALIDATION_SEED)] = VALIDATION
    return part


def _share(rows: NDArray[np.int64], labels: NDArray[np.uint8], share: float, seed: int) -> NDArray[np.int64]:
    """Random rows, of each label the same share and at least one.

    RandomState, because its numbers stay the same in every version of NumPy; those of a Generator may change.
    """
    chance = np.random.RandomState(seed)
    groups = [chance.permutation(rows[labels[rows] == label]) for label in (0, 1)]
    return np.concatenate([group[: max(1, round(share * len(group)))] for group in groups])


def check_parts(name: object, part: NDArray[np.uint8], labels: NDArray[np.uint8]) -> None:
    """InputError where train is too small or a part lacks one of the labels."""
    for number in PARTS:
        counts = np.bincount(labels[part == number], minlength=2)
        if 0 in counts:
            raise InputError(
                f"{name}: {counts[0]:,} negative and {counts[1]:,} positive reviews in {_NAMES[number]}; "
                "each part needs both"
            )
    if (size := int(np.sum(part == TRAIN))) < FEWEST:
        raise InputError(f"{name}: {size} reviews to train on; at least {FEWEST} are needed besides the other parts")


def encode_texts(texts: Sequence[str], labels: NDArray[np.uint8], part: NDArray[np.uint8]) -> Store:
    """Texts [review] as ids, by the vocabulary of the training part."""
    vocabulary = Vocabulary.of(text for text, number in zip(texts, part, strict=True) if number == TRAIN)
    reviews = [np.array(vocabulary.encode(text), dtype=np.int32) for text in texts]
    lengths = np.array([len(review) for review in reviews], dtype=np.int64)
    return Store.of(np.concatenate(reviews), lengths, labels, part, vocabulary.words)
