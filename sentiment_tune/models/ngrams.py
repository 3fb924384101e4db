"""Phrases of one to three words, found in the training reviews and looked up exactly."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sentiment_tune.data.text import PADDING
from sentiment_tune.models.layers import word_vectors


class NGrams(nn.Module):
    """The phrases of one to `order` words that the training reviews hold, and which of them a review holds.

    An n-gram's key is its ids read as the digits of one number, so a lookup is exact and no two n-grams share a row.

    Args:
        vocabulary: how many word ids there are.
        order: words of the longest n-gram.
        rarest: training reviews that must hold an n-gram for it to have a row.
        classes: how many a review may be of.

    Raises:
        ValueError: the keys would not fit into 64 bits.
    """

    def __init__(self, vocabulary: int, order: int, rarest: int, classes: int):
        super().__init__()
        if vocabulary**order > 2**63:
            raise ValueError(f"{order} of {vocabulary} words do not fit into one key of 64 bits; choose fewer")
        self.vocabulary = vocabulary
        self.order = order
        self.rarest = rarest
        self.classes = classes
        self._resize(1)

    def _resize(self, ngrams: int) -> None:
        self.register_buffer("keys", torch.zeros(ngrams, dtype=torch.int64))

    def prepare(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
        """Take the n-grams from the training reviews: pairs of ids [batch, word], labels [batch].

        An n-gram found in fewer than `rarest` reviews is left out. Returns how many reviews of each class hold each
        that is kept: [class, n-gram].
        """
        keys_of_class: list[list[Tensor]] = [[] for _ in range(self.classes)]
        for ids, labels in batches:
            keys = self._keys(ids)
            for number, of_class in enumerate(keys_of_class):
                of_class.append(keys[labels == number].flatten())
        keys, reviews_with = _count([torch.cat(of_class) for of_class in keys_of_class])
        frequent = (reviews_with.sum(0) >= self.rarest) & (keys != PADDING)
        keys, reviews_with = keys[frequent], reviews_with[:, frequent]
        self._resize(max(1, len(keys)))
        if len(keys):
            self.keys = keys
        return reviews_with

    def _keys(self, ids: Tensor) -> Tensor:
        """Keys of a review's n-grams, ascending, each once: ids [batch, word] -> [batch, n-gram], 0 where none is."""
        longer, keys_by_length = ids, [ids]
        for _ in range(1, self.order):
            after = functional.pad(ids, (0, len(keys_by_length)))[:, len(keys_by_length) :]
            longer = torch.where(after == PADDING, PADDING, longer * self.vocabulary + after)
            keys_by_length.append(longer)
        keys = torch.cat(keys_by_length, 1).sort(1).values
        repeated = functional.pad(keys[:, 1:] == keys[:, :-1], (1, 0))
        return keys.masked_fill(repeated, PADDING)

    def lookup(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of a review's n-grams in the table, and a mask of those that are in it: both [batch, n-gram]."""
        keys = self._keys(ids)
        rows = torch.searchsorted(self.keys, keys).clamp(max=self.keys.shape[0] - 1)
        return rows, (self.keys[rows] == keys) & (keys != PADDING)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Take the table's size from what is loaded: it is a fact of the training data."""
        device = self.keys.device
        self._resize(len(state[f"{prefix}keys"]))
        self.to(device)
        super()._load_from_state_dict(state, prefix, *rest)


class NGramVectors(NGrams):
    """A vector for each n-gram, in place of one for each word.

    Args:
        vocabulary: how many word ids there are.
        order: words of the longest n-gram.
        rarest: training reviews that must hold an n-gram for it to have a vector.
        size: numbers of a vector.
        classes: how many a review may be of.
    """

    def __init__(self, vocabulary: int, order: int, rarest: int, size: int, classes: int):
        self.size = size  # before the first table is made
        super().__init__(vocabulary, order, rarest, classes)

    def _resize(self, ngrams: int) -> None:
        super()._resize(ngrams)
        self.vectors = word_vectors(ngrams + 1, self.size)  # row 0 is padding's

    def forward(self, ids: Tensor) -> tuple[nn.Embedding, Tensor]:
        """The vectors and their rows for each review, 0 where there is none: [batch, n-gram]."""
        rows, mask = self.lookup(ids)
        return self.vectors, torch.where(mask, rows + 1, PADDING)


def _count(keys_of_class: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """All keys, ascending, and the number of reviews of each class that hold them: [n-gram], [class, n-gram]."""
    keys, rows = torch.unique(torch.cat(list(keys_of_class)), return_inverse=True)
    rows_of_class = rows.split([len(of_class) for of_class in keys_of_class])
    return keys, torch.stack([torch.bincount(one, minlength=len(keys)) for one in rows_of_class])
