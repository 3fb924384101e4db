"""What every source of reviews becomes: reviews as word ids, in three parts."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sentiment_tune.data.store import TEST, TRAIN, VALIDATION, Store
from sentiment_tune.data.text import Vocabulary


@dataclass(frozen=True, eq=False)
class Reviews:
    """Part of a corpus as word ids: every word has its own, none is cut to a vocabulary or a length."""

    ids: NDArray[np.int32]  # of all reviews of the store, one after another; memory-mapped
    offsets: NDArray[np.int64]  # [review of the store + 1]
    targets: NDArray[np.uint8]  # [review of the store], 1 is positive
    rows: NDArray[np.int64]  # [review], which of the store belong to this part, ascending
    digest: str  # over labels, lengths and ids: 16 hex digits

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, review: int) -> NDArray[np.int32]:
        row = self.rows[review]
        return self.ids[self.offsets[row] : self.offsets[row + 1]]

    @cached_property
    def labels(self) -> NDArray[np.uint8]:
        """Labels [review], 1 is positive."""
        return self.targets[self.rows]

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Places [review] in `ids` at which the reviews begin."""
        return self.offsets[self.rows]

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Lengths [review] in words, the start id included."""
        return self.offsets[self.rows + 1] - self.starts

    def union(self, other: "Reviews") -> "Reviews":
        """The reviews of two parts of one store as one part."""
        digest = hashlib.sha256(f"{self.digest} {other.digest}".encode()).hexdigest()[:16]
        return replace(self, rows=np.union1d(self.rows, other.rows), digest=digest)

    def containing_any(self, ids: Sequence[int]) -> NDArray[np.bool_]:
        """Whether each review holds one of the ids: [review]."""
        wanted = np.zeros(self.ids.max(initial=0) + 1, bool)
        wanted[[id for id in ids if id < len(wanted)]] = True
        places = np.flatnonzero(wanted[self.ids])  # np.isin does the same in four times the time
        before, until = (np.searchsorted(places, self.offsets[self.rows + end]) for end in (0, 1))
        found: NDArray[np.bool_] = until > before
        return found


@dataclass(frozen=True, eq=False)
class Corpus:
    """Reviews to train on, to choose by and to test once."""

    name: str  # imdb, sample, or the file's name without its ending
    source: str  # absolute path, URL, or sentiment_tune.sample
    digest: str  # over the parts' digests and the vocabulary: 16 hex digits
    vocabulary: Vocabulary
    train: Reviews
    validation: Reviews
    test: Reviews
    warning: str | None = None  # why it is not the corpus one would expect

    @classmethod
    def of(cls, name: str, source: str, store: Store, warning: str | None = None) -> "Corpus":
        train, validation, test = (
            Reviews(
                store.ids, store.offsets, store.targets, np.flatnonzero(store.part == number), store.digests[number]
            )
            for number in (TRAIN, VALIDATION, TEST)
        )
        return cls(name, source, store.digests[-1], Vocabulary(store.words), train, validation, test, warning)
