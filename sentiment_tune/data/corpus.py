"""Reviews on their way from a source into a corpus: as they were read, as word ids, and as a part with labels."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sentiment_tune.data.checks import Check
from sentiment_tune.data.labels import SENTIMENT, Classes
from sentiment_tune.data.rules import KERAS
from sentiment_tune.data.store import TEST, TRAIN, VALIDATION, Store
from sentiment_tune.data.text import PADDING, Tally, Vocabulary

if TYPE_CHECKING:
    from sentiment_tune.data.tokens import Tokens


def _none() -> NDArray[np.int64]:
    return np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False)
class EncodedReviews:
    """Reviews as word ids: every word has its own, none is cut to a vocabulary or a length."""

    ids: NDArray[np.int32]  # of all reviews, and perhaps of others, one after another; not empty
    starts: NDArray[np.int64]  # [review], where in `ids` each begins
    lengths: NDArray[np.int64]  # [review], in words, the start id included

    @classmethod
    def of(cls, reviews: Sequence[NDArray[np.integer]]) -> "EncodedReviews":
        """Reviews given one by one, each as its ids."""
        lengths = np.array([len(review) for review in reviews], dtype=np.int64)
        filler = np.full(int(not lengths.any()), PADDING)  # padding a batch reads an id, whichever
        ids = np.concatenate([*reviews, filler], dtype=np.int32)
        return EncodedReviews(ids, np.cumsum(lengths) - lengths, lengths)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, review: int) -> NDArray[np.int32]:
        start = self.starts[review]
        return self.ids[start : start + self.lengths[review]]

    def take(self, reviews: NDArray[np.integer] | slice) -> "EncodedReviews":
        """Some of the reviews, in that order."""
        return EncodedReviews(self.ids, self.starts[reviews], self.lengths[reviews])

    def where(self, kept: NDArray[np.bool_]) -> "EncodedReviews":
        """The reviews `kept` [review], of reviews that stand one after another."""
        lengths = self.lengths[kept]
        ids = self.ids[: int(self.lengths.sum())][np.repeat(kept, self.lengths)]
        return EncodedReviews(ids if len(ids) else self.ids[:1], np.cumsum(lengths) - lengths, lengths)

    def containing_any(self, ids: Sequence[int]) -> NDArray[np.bool_]:
        """Whether each review contains one of the ids: [review]."""
        listed = np.zeros(self.ids.max(initial=0) + 1, bool)
        listed[[id for id in ids if id < len(listed)]] = True
        positions = np.flatnonzero(listed[self.ids])  # np.isin does the same in four times the time
        first, end = (np.searchsorted(positions, edge) for edge in (self.starts, self.starts + self.lengths))
        contained: NDArray[np.bool_] = end > first
        return contained


def encode_texts(texts: Iterable[str], vocabulary: Vocabulary, tally: Tally | None = None) -> EncodedReviews:
    """Texts as ids; words that are not in the vocabulary are dropped, and counted by the tally."""
    return EncodedReviews.of(list(vocabulary.encode_all(texts, tally)))


@dataclass(frozen=True, eq=False)
class RawReviews:
    """What a source holds, before a validation part is drawn and texts are encoded."""

    texts: "Sequence[str] | Tokens"  # what was read of them where they are not kept; empty where ids come along
    labels: NDArray[np.uint8]  # [review], the number of its class
    part: NDArray[np.uint8]  # [review], one of store.PARTS; validation may be missing
    encoded: EncodedReviews | None = None  # in place of texts
    words: Sequence[str] = ()  # of the ids
    groups: NDArray[np.int64] | None = None  # [review], of those that are to stay in one part
    rows: NDArray[np.int64] | None = None  # [review], from 0, where the source has others that were left out
    remarks: Sequence[str] = ()  # what was found out of how the source was saved
    classes: Classes = SENTIMENT

    def without_texts(self, kept: NDArray[np.bool_]) -> "RawReviews":
        """What is known of the reviews `kept` [review] beside their texts and ids, which stay as they are."""
        return replace(
            self,
            labels=self.labels[kept],
            part=self.part[kept],
            groups=None if self.groups is None else self.groups[kept],
            rows=np.flatnonzero(kept) if self.rows is None else self.rows[kept],
        )


@dataclass(frozen=True, eq=False)
class Reviews(EncodedReviews):
    """Reviews with their labels: a part of a corpus, its ids memory-mapped."""

    labels: NDArray[np.uint8]  # [review], the number of its class
    digest: str = ""  # over labels, lengths and ids: 16 hex digits
    # Of the source [review], from 0, of several tables each by its own; empty where nobody knows.
    rows: NDArray[np.int64] = field(default_factory=_none)
    # of those that are to stay in one part [review]; empty where there are none
    groups: NDArray[np.int64] = field(default_factory=_none)
    classes: Classes = SENTIMENT

    def union(self, other: "Reviews") -> "Reviews":
        """The reviews of two parts of one corpus as one part, in the order of the source."""
        both = np.concatenate([self.starts, other.starts])
        order = np.argsort(both)
        return replace(
            self,
            starts=both[order],
            lengths=np.concatenate([self.lengths, other.lengths])[order],
            labels=np.concatenate([self.labels, other.labels])[order],
            rows=_reordered(np.concatenate([self.rows, other.rows]), order),
            groups=_reordered(np.concatenate([self.groups, other.groups]), order),
            digest=hashlib.sha256(f"{self.digest} {other.digest}".encode()).hexdigest()[:16],
        )

    def take(self, reviews: NDArray[np.integer] | slice) -> "Reviews":
        """Some of the reviews, without a digest."""
        return Reviews(
            self.ids,
            self.starts[reviews],
            self.lengths[reviews],
            self.labels[reviews],
            rows=_reordered(self.rows, reviews),
            groups=_reordered(self.groups, reviews),
            classes=self.classes,
        )


@dataclass(frozen=True, eq=False)
class Corpus:
    """Reviews to train on, to choose by and to test once."""

    name: str  # imdb, sample, frame, texts, or the file's name without its ending
    source: str  # absolute path, URL, or the Python object that the reviews come from
    digest: str  # over the parts' digests and the vocabulary: 16 hex digits
    vocabulary: Vocabulary
    train: Reviews
    validation: Reviews
    test: Reviews
    warning: str | None = None  # why it is not the corpus one would expect
    remarks: Sequence[str] = ()  # what was found out of how its source was saved, a line each
    checks: Sequence[Check] = ()  # what is odd about its reviews, and what is not

    @property
    def classes(self) -> Classes:
        """What its reviews can be."""
        return self.train.classes

    @property
    def majority(self) -> float:
        """Accuracy on test of who always says the most frequent class of train; 0 without a test part."""
        most = np.bincount(self.train.labels, minlength=len(self.classes)).argmax()
        return float((self.test.labels == most).mean()) if len(self.test) else 0.0

    @classmethod
    def of(cls, name: str, source: str, store: Store, rule: str = KERAS) -> "Corpus":
        """The corpus in a store, whose texts were read by a rule."""
        train, validation, test = (_reviews_of(store, part) for part in (TRAIN, VALIDATION, TEST))
        vocabulary, checks = Vocabulary(store.words, rule), [Check(**check) for check in store.checks]
        return cls(
            name=name,
            source=source,
            digest=store.digests[-1],
            vocabulary=vocabulary,
            train=train,
            validation=validation,
            test=test,
            remarks=store.remarks,
            checks=checks,
        )


def _reviews_of(store: Store, part: int) -> Reviews:
    rows = np.flatnonzero(store.part == part)
    starts = store.offsets[rows]
    lengths, groups = store.offsets[rows + 1] - starts, _reordered(store.groups, rows)
    digest = store.digests[part]
    in_source = _reordered(store.rows, rows) if len(store.rows) else rows
    return Reviews(store.ids, starts, lengths, store.targets[rows], digest, in_source, groups, store.classes)


def _reordered(values: NDArray[np.int64], reviews: NDArray[np.integer] | slice) -> NDArray[np.int64]:
    """Those of these reviews, where there are any."""
    return values[reviews] if len(values) else values
