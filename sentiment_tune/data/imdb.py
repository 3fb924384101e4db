"""IMDB as Keras gives it: its download, and files in the layout of Keras' `imdb.npz`."""

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_tune.data.corpus import EncodedReviews, RawReviews
from sentiment_tune.data.packing import archive_size, too_large, unpack_limit
from sentiment_tune.data.splits import train_then_test
from sentiment_tune.data.store import TRAIN
from sentiment_tune.data.text import FIRST_WORD, START, UNKNOWN
from sentiment_tune.errors import InputError

FOLDER = "https://storage.googleapis.com/tensorflow/tf-keras-datasets"
ARCHIVE, WORD_INDEX = "imdb.npz", "imdb_word_index.json"
URL = f"{FOLDER}/{ARCHIVE}"
SHA256 = "69664113be75683a8fe16e3ed0ab59fda8886cb3cd7ada244f7d9544e4676b9f"  # of that file, as published in Keras
WORD_INDEX_SHA256 = "027313fe9a320280f3bf0fac5baf58c4a683cf39a7ed9c3d3d3912bde4284cf6"
SHUFFLE_SEED = 113  # of keras.datasets.imdb.load_data
VALIDATIONS = AUTO, RANDOM, FILMS = "auto", "random", "films"  # reviews, or films whole; auto: films if they are told
PATIENCE = 10.0  # seconds without an answer of the network after which a download has failed
MOST_WORDS = 10**8  # of a half; IMDB has 6 million

# Keras takes its backend from the environment, knows no timeout but the process's and prints to the standard output:
# so it downloads in a process of its own. Its progress goes to the standard error.
_DOWNLOAD = """
import contextlib, json, socket, sys
patience, files = json.load(sys.stdin)
socket.setdefaulttimeout(patience)
with contextlib.redirect_stdout(sys.stderr):
    try:
        from keras.utils import get_file
        answer = {"paths": [get_file(name, url, file_hash=digest) for name, url, digest in files]}
    except Exception as error:  # Keras raises bare ones, and the network anything
        answer = {"error": f"{type(error).__name__}: {error}"}
    except KeyboardInterrupt:  # which the caller hears, too
        sys.exit(130)
print(json.dumps(answer))
"""


def download() -> tuple[Path, Path]:
    """The archive and the word index in Keras' folder, fetched unless they are there; InputError if they cannot be."""
    files = [(ARCHIVE, URL, SHA256), (WORD_INDEX, f"{FOLDER}/{WORD_INDEX}", WORD_INDEX_SHA256)]
    finished = subprocess.run(
        [sys.executable, "-P", "-c", _DOWNLOAD],  # -P: nothing in the current folder is imported
        input=json.dumps([PATIENCE, files]),
        env=os.environ | {"KERAS_BACKEND": "torch"},  # Keras' own default is TensorFlow
        stdout=subprocess.PIPE,
        text=True,
    )
    answer = json.loads((finished.stdout.splitlines() or ["{}"])[-1])
    if "paths" in answer:
        archive, index = map(Path, answer["paths"])
        return archive, index
    reason = _in_a_line(answer.get("error", f"the download ended with {finished.returncode}"))
    folder = Path(os.environ.get("KERAS_HOME", "~/.keras"), "datasets").expanduser()
    raise InputError(
        f"no IMDB ({reason}): place {ARCHIVE} and {WORD_INDEX} in {folder}, or choose data=PATH.npz or data=sample"
    )


def read(path: Path, index: Path, most: str | int | None = None, validation: str = RANDOM) -> RawReviews:
    """What keras.datasets.imdb.load_data would make of such a file and its word index; nothing in them can run code.

    `most` is what the file may unpack to, as of `unpack_limit`. Unless `validation` is RANDOM what is of one film in
    train is a group; InputError with FILMS where the file's order does not tell them, a remark with AUTO.
    """
    try:
        words = _order_by_rank(json.loads(index.read_bytes()))
    except Exception as error:
        raise InputError(f"cannot read {index} ({_describe(error)}): fetch Keras' {WORD_INDEX} again") from error
    try:
        with zipfile.ZipFile(path) as archive:
            if archive_size(archive) > (limit := unpack_limit(path, most)):
                raise too_large(path, limit)
            rng = np.random.RandomState(SHUFFLE_SEED)
            halves = [_read_half(archive, name, rng, len(words)) for name in ("train", "test")]
    except InputError:
        raise
    except Exception as error:  # an archive, array headers and a pickle, perhaps hostile, can fail in any way
        raise InputError(
            f"cannot read {path} ({_describe(error)}): fetch {URL} (SHA-256 {SHA256}) again, or choose data=sample"
        ) from error
    ids, lengths, labels, order = (np.concatenate(arrays) for arrays in zip(*halves, strict=True))
    # The rarest word is unknown: Keras takes the largest id for the number of words, and drops it.
    ids[ids == ids.max(initial=UNKNOWN)] = UNKNOWN
    encoded = EncodedReviews(ids, np.cumsum(lengths) - lengths, lengths)
    part = train_then_test(*(len(half_labels) for _, _, half_labels, _ in halves))
    raw = RawReviews([], labels, part, encoded, words)
    if validation == RANDOM:
        return raw
    try:
        return _with_films(raw, encoded, order[part == TRAIN], path)
    except InputError as error:
        if validation == FILMS:
            raise InputError(f"{path}: {error}; leave out --validation films") from None
        return replace(raw, remarks=[f"{path.name}: {error}; validation is of random reviews"])


def _with_films(raw: RawReviews, encoded: EncodedReviews, order: NDArray[np.int64], path: Path) -> RawReviews:
    """The same, those of train grouped by films; order is the row of the file that each is of [review of train]."""
    from sentiment_tune.data.films import recover_films  # scipy.sparse is slow to import

    rows = np.argsort(order)
    films = recover_films(encoded.take(rows), raw.labels[rows])[order]
    others = films.max() + 1 + np.arange(len(raw.labels) - len(films))  # each of test alone
    sizes = np.bincount(films)
    found = f"{len(sizes):,} films in train's {len(films):,} reviews, of 1 to {sizes.max()}, each whole in one part"
    return replace(raw, groups=np.concatenate([films, others]), remarks=[f"{path.name}: {found}"])


def _order_by_rank(ranks: Mapping[str, int]) -> list[str]:
    """Words by rank; no text contains the empty one at index 0, whose id 3 Keras leaves out, since ranks start at 1."""
    words = ["", *sorted(ranks, key=ranks.__getitem__)]
    if any(ranks[word] != rank for rank, word in enumerate(words[1:], 1)):
        raise ValueError("its ranks are not 1, 2, 3 and so on")
    if "\n".join(words).encode().count(b"\n") != len(ranks):  # encode raises for what is no character
        raise ValueError("a line break is in a word")
    return words


def _read_half(
    archive: zipfile.ZipFile, name: str, rng: np.random.RandomState, words: int
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]:
    """Ids of one half, with lengths, labels and rows of the file [review]: in Keras' order, with its start id."""
    reviews, labels = _read_array(archive, f"x_{name}.npy"), _read_array(archive, f"y_{name}.npy")
    _check_reviews(reviews, labels)
    order = np.arange(len(reviews))
    rng.shuffle(order)
    reviews, labels = reviews[order], labels[order]
    lengths = np.fromiter(map(len, reviews), dtype=np.int64, count=len(reviews))
    ranks = np.fromiter(chain.from_iterable(reviews), dtype=np.int32, count=int(lengths.sum()))
    if ranks.size and not 1 <= ranks.min() <= ranks.max() < words:
        raise ValueError(f"x_{name} holds words that are not in {WORD_INDEX}")
    ids = np.insert(ranks + FIRST_WORD, np.cumsum(lengths) - lengths, START)
    return ids, lengths + 1, labels.astype(np.uint8), order


def _read_array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """An array of the archive; its header is checked before memory is taken by it."""
    size = archive.getinfo(name).file_size  # zipfile gives no byte more than this
    file = io.BytesIO(archive.read(name))
    shape, dtype = _read_header(file)
    if len(shape) != 1 or not (dtype.hasobject or shape[0] * dtype.itemsize == size - file.tell()):
        raise ValueError(f"{name} claims the shape {shape} and has {size:,} bytes")
    if dtype.hasobject:
        return _ArrayUnpickler(file).load()
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def _read_header(file: io.BytesIO) -> tuple[tuple[int, ...], "np.dtype[Any]"]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


class _ArrayUnpickler(pickle.Unpickler):
    """Makes arrays of lists and numbers, and refuses every other name: no code in a pickle can run.

    The names are those of keras.src.datasets.npz_utils, which cannot be imported without choosing Keras' backend for
    the whole process.
    """

    NAMES = (
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
    )

    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) not in self.NAMES:
            raise pickle.UnpicklingError(f"{module_name}.{global_name} is no part of an array")
        return super().find_class(module_name, global_name)


def _check_reviews(reviews: object, labels: object) -> None:
    """ValueError unless these are ragged lists of whole numbers and their labels, 0 or 1."""
    if not (isinstance(reviews, np.ndarray) and isinstance(labels, np.ndarray) and reviews.shape == labels.shape):
        raise ValueError("reviews and labels do not match")
    if labels.dtype.kind not in "iu" or not np.isin(labels, (0, 1)).all():
        raise ValueError("labels are not 0 and 1")
    if reviews.ndim != 1 or any(type(review) is not list for review in reviews):
        raise ValueError("reviews are not lists")
    if (total := sum(map(len, reviews))) > MOST_WORDS:  # a small pickle can hold the same long list thousands of times
        raise ValueError(f"{total:,} words are more than {MOST_WORDS:,}")
    if set(map(type, chain.from_iterable(reviews))) - {int}:
        raise ValueError("reviews are not lists of whole numbers")


def _describe(error: BaseException) -> str:
    return _in_a_line(f"{type(error).__name__}: {error}")


def _in_a_line(text: str) -> str:
    return f"{' '.join(text.split()).removesuffix(':'):.250}"
