"""IMDB as Keras gives it: its download, or a file in the layout of Keras' `imdb.npz`."""

import io
import json
import os
import socket
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_tune.data.text import FIRST_WORD, START, UNKNOWN
from sentiment_tune.errors import InputError

URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/imdb.npz"
SHA256 = "69664113be75683a8fe16e3ed0ab59fda8886cb3cd7ada244f7d9544e4676b9f"  # of that file, as published in Keras
WORD_INDEX = "imdb_word_index.json"
BACKEND = "torch"  # of Keras, whose own default is TensorFlow
SHUFFLE_SEED = 113  # of keras.datasets.imdb.load_data
PATIENCE = 10.0  # seconds without an answer of the network after which a download has failed
LARGEST_MEMBER = 2**26  # bytes of an array in the file; the largest of IMDB has 14 million
MOST_WORDS = 10**8  # of a half; IMDB has 6 million


@dataclass(frozen=True, eq=False)
class Half:
    """The training or the test reviews."""

    ids: NDArray[np.int32]  # of all reviews, one after another
    lengths: NDArray[np.int64]  # [review]
    labels: NDArray[np.uint8]  # [review], 1 is positive


@dataclass(frozen=True, eq=False)
class Imdb:
    """Both halves, in the order and with the ids of keras.datasets.imdb.load_data."""

    halves: tuple[Half, Half]  # train, test
    words: Sequence[str]  # a word's id is its place + 3


def download() -> Imdb:
    """IMDB through Keras, which checks the hash and unpickles nothing but arrays and lists; InputError if it cannot."""
    os.environ.setdefault("KERAS_BACKEND", BACKEND)
    try:
        with _network():
            from keras.datasets import imdb

            train, test = imdb.load_data(num_words=None, start_char=START, oov_char=UNKNOWN, index_from=FIRST_WORD)
            return Imdb((_half(*train), _half(*test)), _words(imdb.get_word_index()))
    except Exception as error:  # Keras raises bare Exceptions, and the network anything
        folder = Path(os.environ.get("KERAS_HOME", "~/.keras"), "datasets").expanduser()
        raise InputError(
            f"no IMDB ({_in_a_line(error)}): place imdb.npz and {WORD_INDEX} in {folder}, or choose data=PATH.npz or "
            "data=sample"
        ) from error


def read(path: Path, index: Path) -> Imdb:
    """What keras.datasets.imdb.load_data would make of such a file and its word index; nothing in them can run code."""
    try:
        words = _words(json.loads(index.read_bytes()))
    except Exception as error:
        raise InputError(f"cannot read {index} ({_in_a_line(error)}): fetch Keras' {WORD_INDEX} again") from error
    try:
        with zipfile.ZipFile(path) as archive:
            chance = np.random.RandomState(SHUFFLE_SEED)
            train, test = (_shuffled(archive, name, chance, len(words)) for name in ("train", "test"))
    except Exception as error:  # an archive, array headers and a pickle, perhaps hostile, can fail in any way
        raise InputError(
            f"cannot read {path} ({_in_a_line(error)}): fetch {URL} (SHA-256 {SHA256}) again, or choose data=sample"
        ) from error
    return Imdb(_without_top(train, test), words)


@contextmanager
def _network() -> Iterator[None]:
    """Progress goes to the standard error, and a network that does not answer is given up soon."""
    waited = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)  # Keras offers no timeout of its own
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        socket.setdefaulttimeout(waited)


def _words(ranks: Mapping[str, int]) -> list[str]:
    """Words by rank; no text holds the empty one at place 0, whose id 3 Keras leaves out, since ranks start at 1."""
    words = ["", *sorted(ranks, key=ranks.__getitem__)]
    if any(ranks[word] != rank for rank, word in enumerate(words[1:], 1)):
        raise ValueError("its ranks are not 1, 2, 3 and so on")
    if "\n".join(words).encode().count(b"\n") != len(ranks):  # encode raises for what is no character
        raise ValueError("a line break is in a word")
    return words


def _half(reviews: Sequence[list[int]], labels: NDArray[np.integer]) -> Half:
    lengths = np.fromiter(map(len, reviews), dtype=np.int64, count=len(reviews))
    ids = np.fromiter(chain.from_iterable(reviews), dtype=np.int32, count=int(lengths.sum()))
    return Half(ids, lengths, labels.astype(np.uint8))


def _shuffled(archive: zipfile.ZipFile, name: str, chance: np.random.RandomState, words: int) -> Half:
    """One half in Keras' order, with Keras' start id and offset."""
    ranks, labels = _member(archive, f"x_{name}.npy"), _member(archive, f"y_{name}.npy")
    _check(ranks, labels)
    order = np.arange(len(ranks))
    chance.shuffle(order)
    half = _half(ranks[order].tolist(), labels[order])
    if half.ids.size and not 1 <= half.ids.min() <= half.ids.max() < words:
        raise ValueError(f"x_{name} holds words that are not in {WORD_INDEX}")
    return _started(half)


def _started(half: Half) -> Half:
    """Ranks as ids, with the start id before each review."""
    starts = np.cumsum(half.lengths + 1) - half.lengths - 1
    ids = np.full(half.ids.size + starts.size, START, dtype=np.int32)
    inside = np.ones(ids.size, dtype=np.bool_)
    inside[starts] = False
    ids[inside] = half.ids + FIRST_WORD
    return replace(half, ids=ids, lengths=half.lengths + 1)


def _without_top(train: Half, test: Half) -> tuple[Half, Half]:
    """The same, but the rarest word is unknown: Keras takes the largest id for the number of words, and drops it."""
    top = max(half.ids.max(initial=UNKNOWN) for half in (train, test))
    train, test = (replace(half, ids=np.where(half.ids == top, UNKNOWN, half.ids)) for half in (train, test))
    return train, test


def _member(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """An array of the archive; its header is checked before memory is taken by it."""
    os.environ.setdefault("KERAS_BACKEND", BACKEND)
    # Keras' restricted unpickler has no public name but load_data, which takes no file other than the published one.
    from keras.src.datasets.npz_utils import load_npy_member

    size = archive.getinfo(name).file_size  # zipfile gives no byte more than this
    if size > LARGEST_MEMBER:
        raise ValueError(f"{name} claims {size:,} bytes, more than {LARGEST_MEMBER:,}")
    file = io.BytesIO(archive.read(name))
    shape, dtype = _header(file)
    if len(shape) != 1 or not (dtype.hasobject or shape[0] * dtype.itemsize == size - file.tell()):
        raise ValueError(f"{name} claims the shape {shape} and has {size:,} bytes")
    file.seek(0)
    held: NDArray[Any] = load_npy_member(file)
    return held


def _header(file: io.BytesIO) -> tuple[tuple[int, ...], "np.dtype[Any]"]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def _check(ranks: object, labels: object) -> None:
    """ValueError unless these are ragged lists of whole numbers and their labels, 0 or 1."""
    if not (isinstance(ranks, np.ndarray) and isinstance(labels, np.ndarray) and ranks.shape == labels.shape):
        raise ValueError("reviews and labels do not match")
    if labels.dtype.kind not in "iu" or not np.isin(labels, (0, 1)).all():
        raise ValueError("labels are not 0 and 1")
    if ranks.ndim != 1 or any(type(review) is not list for review in ranks):
        raise ValueError("reviews are not lists")
    if (total := sum(map(len, ranks))) > MOST_WORDS:  # a small pickle can hold the same long list thousands of times
        raise ValueError(f"{total:,} words are more than {MOST_WORDS:,}")
    if set(map(type, chain.from_iterable(ranks))) - {int}:
        raise ValueError("reviews are not lists of whole numbers")


def _in_a_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text:.200}" if text else type(error).__name__
