"""Which reviews go together: neighbours in length, so that little is padding."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sentiment_tune.data.corpus import EncodedReviews
from sentiment_tune.data.text import PADDING, UNKNOWN, TextConfig

SCORED_TOGETHER = 64  # reviews in a batch that is not trained on; larger ones take memory and save a CPU no time
SCORED_ON_GPU = 512  # of which a smaller batch would leave most idle
GRAIN = 16  # words; widths are multiples of it, since a CPU keeps a compiled convolution for each width it has seen
POOL = 50  # batches sorted by length together: enough to save the padding, few enough to keep the order random


@dataclass(frozen=True)
class Batch:
    """Reviews padded on the right, to the length of the longest and a little more."""

    ids: Tensor  # [batch, word]
    rows: NDArray[np.int64]  # [batch], which of the reviews they are


Order = Callable[[NDArray[np.int64], int], list[NDArray[np.int64]]]


def sort_by_length(lengths: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """Rows of each batch, shortest reviews first."""
    return _cut(np.argsort(lengths, kind="stable"), size)


def shuffle_by_length(generator: np.random.Generator) -> Order:
    """An order for training: random pools, batches of similar length within a pool, batches in random order."""

    def order(lengths: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
        pools = _cut(generator.permutation(len(lengths)), size * POOL)
        batches = [batch for pool in pools for batch in _cut(pool[np.argsort(lengths[pool], kind="stable")], size)]
        return [batches[index] for index in generator.permutation(len(batches))]

    return order


def _cut(rows: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


@dataclass(frozen=True)
class Batches:
    """The batches of one pass over the reviews; they can be iterated again, and counted."""

    reviews: EncodedReviews
    ids: Tensor  # of the reviews, on the device where the batches are made
    text_config: TextConfig
    rows: list[NDArray[np.int64]]  # of each batch

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Batch]:
        for rows in self.rows:
            ids = pad(self.ids, *self.text_config.crop(self.reviews.starts[rows], self.reviews.lengths[rows]))
            yield Batch(ids.masked_fill_(ids >= self.text_config.vocabulary, UNKNOWN), rows)

    def after(self, done: int) -> "Batches":
        """What is left of the pass when so many batches are done."""
        return replace(self, rows=self.rows[done:])

    def reordered(self, order: Order, size: int) -> "Batches":
        """Another pass over the same reviews."""
        return replace(self, rows=order(np.minimum(self.reviews.lengths, self.text_config.length), size))


def make_batches(
    reviews: EncodedReviews,
    text_config: TextConfig,
    size: int,
    order: Order = sort_by_length,
    device: torch.device | None = None,
) -> Batches:
    """One pass over all reviews in batches of `size`; the last of a pool may be smaller.

    A GPU takes all ids at once and keeps them; on a CPU they stay where they are, on disk if they are memory-mapped.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # and nobody writes
        ids = torch.from_numpy(reviews.ids).to(device)
    return Batches(reviews, ids, text_config, []).reordered(order, size)


def evaluation_batches(reviews: EncodedReviews, text_config: TextConfig, device: torch.device | None = None) -> Batches:
    """One pass for measuring or scoring: large batches, shortest reviews first."""
    size = SCORED_ON_GPU if device and device.type == "cuda" else SCORED_TOGETHER
    return make_batches(reviews, text_config, size, device=device)


def pad(ids: Tensor, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Tensor:
    """The ids of some reviews, of any lengths, filled up on the right: [review, word]."""
    longest = max(1, int(lengths.max()))
    column = torch.arange(longest + -longest % GRAIN, device=ids.device)
    start, length = to_device(np.stack([starts, lengths]), ids.device).unsqueeze(2)  # [review, 1] each
    mask, indices = column >= length, start + column  # [review, word]; the mask is true where padding goes
    return ids[indices.masked_fill_(mask, 0)].long().masked_fill_(mask, PADDING)


def to_device(numbers: NDArray[Any], device: torch.device) -> Tensor:
    """A small array as a tensor there, without waiting for what a GPU is still to do."""
    return torch.from_numpy(numbers).to(device, non_blocking=True)
