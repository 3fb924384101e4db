"""Where reviews come from: Keras' IMDB, a file in its layout, a table of your own, or the built-in sample."""

import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sentiment_tune.data import imdb
from sentiment_tune.data.corpus import Corpus
from sentiment_tune.data.splits import check_parts, draw_test, draw_validation, encode_texts, parse_labels, parse_parts
from sentiment_tune.data.store import TEST, TRAIN, VALIDATION, Store, load_or_convert, store_key
from sentiment_tune.data.tables import SUFFIXES, Table, is_table, read_table, stem
from sentiment_tune.errors import InputError


@dataclass(frozen=True)
class DataConfig:
    """What the user says of the data."""

    data: str = "auto"  # auto, imdb, sample, or the path of an .npz or a table
    text: str = "text"  # columns of a table
    label: str = "label"
    split: str = "split"  # under this name a column need not exist: then a share is drawn for the test
    test: str | None = None  # path of a second table


def load(source: DataConfig, cache: Path | None = None) -> Corpus:
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
    key = store_key("sample", train, test)
    texts = [text for text, _ in train + test]
    labels = np.array([label for _, label in train + test], dtype=np.uint8)
    store = load_or_convert(key, cache, lambda: _cut("sample", texts, labels, _train_and_test(len(train), len(test))))
    return Corpus.of("sample", "sentiment_tune.sample", store)


def _cut(name: object, texts: Sequence[str], labels: NDArray[np.uint8], part: NDArray[np.uint8]) -> Store:
    part = part if VALIDATION in part else draw_validation(part, labels)
    check_parts(name, part, labels)
    return encode_texts(texts, labels, part)


def _table(path: Path, source: DataConfig, cache: Path | None) -> Corpus:
    test = Path(source.test).expanduser() if source.test is not None else None
    if test is not None and source.split != DataConfig.split:
        raise InputError(f"split={source.split} and test={test} both say what is tested on: leave one out")
    hashes = [_hash(file) for file in (path, test) if file is not None]
    key = store_key("table", hashes, source.text, source.label, source.split)
    store = load_or_convert(key, cache, lambda: _convert_table(path, test, source))
    return Corpus.of(stem(path), str(path.absolute()), store)


def _convert_table(path: Path, test: Path | None, source: DataConfig) -> Store:
    tables = [read_table(file) for file in (path, test) if file is not None]
    texts = [text for table in tables for text in table.texts(source.text, "--text")]
    labels = [parse_labels(table, source.label) for table in tables]
    part = _parts(tables, labels, source.split)
    return _cut(path, texts, np.concatenate(labels), part)


def _parts(tables: Sequence[Table], labels: Sequence[NDArray[np.uint8]], split: str) -> NDArray[np.uint8]:
    """Part [review] by the second table, else by the split column, else by drawing a share for the test."""
    if len(tables) == 2:
        return _train_and_test(*(len(table.rows) for table in tables))
    if split == DataConfig.split and split not in tables[0].columns:
        return draw_test(labels[0])
    return parse_parts(tables[0], split)


def _imdb(cache: Path | None) -> Corpus:
    return Corpus.of(
        "imdb",
        imdb.URL,
        load_or_convert(store_key("imdb", imdb.SHA256), cache, lambda: _halves("imdb", imdb.download())),
    )


def _npz(path: Path, cache: Path | None) -> Corpus:
    index = path.with_name(imdb.WORD_INDEX)
    if path.is_file() and not index.is_file():
        raise InputError(f"{path} needs the words of its ranks: place Keras' {index.name} in {path.parent}")
    key = store_key("npz", _hash(path), _hash(index))
    return Corpus.of(
        path.stem, str(path.absolute()), load_or_convert(key, cache, lambda: _halves(path, imdb.read(path, index)))
    )


def _halves(name: object, found: imdb.Imdb) -> Store:
    """Train and test as Keras cuts them, the validation out of train."""
    part = _train_and_test(*(len(half.labels) for half in found.halves))
    targets = np.concatenate([half.labels for half in found.halves])
    part = draw_validation(part, targets)
    check_parts(name, part, targets)
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
