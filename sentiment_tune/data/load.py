"""Where reviews come from: Keras' IMDB, a file in its layout, a table of your own, or the built-in sample."""

import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sentiment_tune.data import imdb
from sentiment_tune.data.splits import check, labels_of, parts_of, store_of, with_test, with_validation
from sentiment_tune.data.store import TEST, TRAIN, VALIDATION, Store, kept, key_of
from sentiment_tune.data.tables import SUFFIXES, Table, is_table, read_table, stem
from sentiment_tune.data.text import Vocabulary
from sentiment_tune.errors import InputError


@dataclass(frozen=True)
class Source:
    """What the user says of the data."""

    data: str = "auto"  # auto, imdb, sample, or the path of an .npz or a table
    text: str = "text"  # columns of a table
    label: str = "label"
    split: str = "split"  # under this name a column need not exist: then a share is drawn for the test
    test: str | None = None  # path of a second table


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

    def and_those_of(self, other: "Reviews") -> "Reviews":
        """The reviews of two parts of one store as one part."""
        digest = hashlib.sha256(f"{self.digest} {other.digest}".encode()).hexdigest()[:16]
        return replace(self, rows=np.union1d(self.rows, other.rows), digest=digest)

    def with_any_of(self, ids: Sequence[int]) -> NDArray[np.bool_]:
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


def load(source: Source, cache: Path | None = None) -> Corpus:
    """The corpus the user means, converted on first use into the folder `cache` (default: see `cache.kept`).

    InputError, in one line, for whatever is wrong with the source.
    """
    path = Path(source.data).expanduser()
    if is_table(path):
        return _table(path, source, cache)
    if source.test is not None:
        raise InputError(
            f"test={source.test} goes with a table; {source.data!r} is none, it has a test part of its own"
        )
    if path.suffix.lower() == ".npz":
        return _npz(path, cache)
    if source.data not in _NAMED:
        raise _unknown(source.data)
    return _NAMED[source.data](cache)


def _unknown(data: str) -> InputError:
    close = difflib.get_close_matches(data, _NAMED, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ";"
    return InputError(f"no data {data!r}{hint} choose from {', '.join(_NAMED)}, a file .npz or {', '.join(SUFFIXES)}")


def _auto(cache: Path | None) -> Corpus:
    try:
        return _imdb(cache)
    except InputError as error:
        return replace(_sample(cache), warning=f"the built-in sample stands in for IMDB: {error}")


def _sample(cache: Path | None) -> Corpus:
    from sentiment_tune.data.sample import reviews

    train, test = reviews()
    key = key_of("sample", train, test)
    texts = [text for text, _ in train + test]
    labels = np.array([label for _, label in train + test], dtype=np.uint8)
    store = kept(key, cache, lambda: _cut("sample", texts, labels, _train_and_test(len(train), len(test))))
    return Corpus.of("sample", "sentiment_tune.sample", store)


def _cut(name: object, texts: Sequence[str], labels: NDArray[np.uint8], part: NDArray[np.uint8]) -> Store:
    part = part if VALIDATION in part else with_validation(part, labels)
    check(name, part, labels)
    return store_of(texts, labels, part)


def _table(path: Path, source: Source, cache: Path | None) -> Corpus:
    test = Path(source.test).expanduser() if source.test is not None else None
    if test is not None and source.split != Source.split:
        raise InputError(f"split={source.split} and test={test} both say what is tested on: leave one out")
    hashes = [_hash(file) for file in (path, test) if file is not None]
    key = key_of("table", hashes, source.text, source.label, source.split)
    store = kept(key, cache, lambda: _convert_table(path, test, source))
    return Corpus.of(stem(path), str(path.absolute()), store)


def _convert_table(path: Path, test: Path | None, source: Source) -> Store:
    tables = [read_table(file) for file in (path, test) if file is not None]
    texts = [text for table in tables for text in table.texts(source.text, "--text")]
    labels = [labels_of(table, source.label) for table in tables]
    part = _parts(tables, labels, source.split)
    return _cut(path, texts, np.concatenate(labels), part)


def _parts(tables: Sequence[Table], labels: Sequence[NDArray[np.uint8]], split: str) -> NDArray[np.uint8]:
    """Part [review] by the second table, else by the split column, else by drawing a share for the test."""
    if len(tables) == 2:
        return _train_and_test(*(len(table.rows) for table in tables))
    if split == Source.split and split not in tables[0].columns:
        return with_test(labels[0])
    return parts_of(tables[0], split)


def _imdb(cache: Path | None) -> Corpus:
    return Corpus.of(
        "imdb", imdb.URL, kept(key_of("imdb", imdb.SHA256), cache, lambda: _halves("imdb", imdb.download()))
    )


def _npz(path: Path, cache: Path | None) -> Corpus:
    index = path.with_name(imdb.WORD_INDEX)
    if path.is_file() and not index.is_file():
        raise InputError(f"{path} needs the words of its ranks: place Keras' {index.name} in {path.parent}")
    key = key_of("npz", _hash(path), _hash(index))
    return Corpus.of(path.stem, str(path.absolute()), kept(key, cache, lambda: _halves(path, imdb.read(path, index))))


def _halves(name: object, found: imdb.Imdb) -> Store:
    """Train and test as Keras cuts them, the validation out of train."""
    part = _train_and_test(*(len(half.labels) for half in found.halves))
    targets = np.concatenate([half.labels for half in found.halves])
    part = with_validation(part, targets)
    check(name, part, targets)
    ids = np.concatenate([half.ids for half in found.halves])
    lengths = np.concatenate([half.lengths for half in found.halves])
    return Store.of(ids, lengths, targets, part, found.words)


def _train_and_test(train: int, test: int) -> NDArray[np.uint8]:
    """Part [review] of so many reviews to train on, followed by so many to test on."""
    return np.repeat(np.array([TRAIN, TEST], dtype=np.uint8), [train, test])


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None


_NAMED = {"auto": _auto, "imdb": _imdb, "sample": _sample}
