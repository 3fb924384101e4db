"""Which reviews go together: neighbours in length, so that little is padding."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sentiment_tune.text import PADDING, UNKNOWN, Reading

SCORED_TOGETHER = 64  # reviews in a batch that is not trained on; larger ones take memory and save no time
GRAIN = 16  # words; widths are multiples of it, since a CPU keeps a compiled convolution for each width it has seen
POOL = 50  # batches sorted by length together: enough to save the padding, few enough to keep the order random


@dataclass(frozen=True)
class Batch:
    """Reviews padded on the right, to the length of the longest and a little more."""

    ids: Tensor  # [batch, word]
    rows: NDArray[np.int64]  # [batch], their places among the reviews batched


Order = Callable[[NDArray[np.int64], int], list[NDArray[np.int64]]]


def by_length(lengths: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """Rows of each batch, shortest reviews first."""
    return _cut(np.argsort(lengths, kind="stable"), size)


def shuffled(generator: np.random.Generator) -> Order:
    """An order for training: random pools, batches of similar length within a pool, batches in random order."""

    def order(lengths: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
        pools = _cut(generator.permutation(len(lengths)), size * POOL)
        batches = [batch for pool in pools for batch in _cut(pool[np.argsort(lengths[pool], kind="stable")], size)]
        return [batches[place] for place in generator.permutation(len(batches))]

    return order


def _cut(rows: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


class Encoded(Protocol):
    """Reviews as word ids of any length and rarity, and their lengths [review] in words."""

    @property
    def lengths(self) -> NDArray[np.int64]: ...
    def __getitem__(self, row: int, /) -> NDArray[np.integer]: ...


@dataclass(frozen=True)
class Batches:
    """The batches of one pass over the reviews; they can be passed again, and counted."""

    reviews: Encoded
    reading: Reading
    rows: list[NDArray[np.int64]]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Batch]:
        for rows in self.rows:
            ids = padded([self.reading.cut(self.reviews[int(row)]) for row in rows])
            yield Batch(ids.masked_fill_(ids >= self.reading.vocabulary, UNKNOWN), rows)


def batches(reviews: Encoded, reading: Reading, size: int, order: Order = by_length) -> Batches:
    """One pass over all reviews in batches of `size`; the last of a pool may be smaller."""
    return Batches(reviews, reading, order(np.minimum(reviews.lengths, reading.length), size))


def in_order(reviews: Encoded, reading: Reading) -> Batches:
    """One pass for measuring or scoring: large batches, shortest reviews first."""
    return batches(reviews, reading, SCORED_TOGETHER)


def padded(reviews: Sequence[NDArray[np.integer]]) -> Tensor:
    """Ids of one review or more, of any lengths, filled up on the right: [batch, word]."""
    longest = max(1, *map(len, reviews))
    ids = np.full((len(reviews), longest + -longest % GRAIN), PADDING, dtype=np.int64)
    for row, review in zip(ids, reviews, strict=True):
        row[: len(review)] = review
    return torch.from_numpy(ids)
