"""The array store: every source is converted once and memory-mapped from then on, shared by all processes."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sentiment_tune import local
from sentiment_tune.errors import InputError

FORMAT = 1  # to be raised when the files below, the split of texts into words or the cut into parts change
VARIABLE = "SENTIMENT_TUNE_CACHE"
PARTS = TRAIN, VALIDATION, TEST = 0, 1, 2
_ARRAYS = ("ids", "offsets", "targets", "part")
_FILES = (*(f"{name}.npy" for name in _ARRAYS), "words.txt")


@dataclass(frozen=True, eq=False)
class Store:
    """All reviews of a corpus in flat arrays."""

    ids: NDArray[np.int32]  # ids of all reviews, one after another
    offsets: NDArray[np.int64]  # [review + 1], where each review starts in `ids`
    targets: NDArray[np.uint8]  # [review], 1 is positive
    part: NDArray[np.uint8]  # [review], one of PARTS
    words: Sequence[str]
    digests: Sequence[str]  # of train, validation, test and the whole: 16 hex digits each

    @classmethod
    def of(
        cls,
        ids: NDArray[np.int32],
        lengths: NDArray[np.int64],
        targets: NDArray[np.uint8],
        part: NDArray[np.uint8],
        words: Sequence[str],
    ) -> "Store":
        """A store of reviews of the given lengths [review], in words, with its digests."""
        digests = [_digest_of_part(ids, lengths, targets, part == number) for number in PARTS]
        whole = hashlib.sha256("\n".join([*digests, *words]).encode()).hexdigest()[:16]
        return cls(ids, np.concatenate([[0], np.cumsum(lengths)]), targets, part, words, [*digests, whole])


def _digest_of_part(
    ids: NDArray[np.int32], lengths: NDArray[np.int64], targets: NDArray[np.uint8], mask: NDArray[np.bool_]
) -> str:
    """Digest over labels, lengths and ids, in this order and little-endian on every machine; mask [review]."""
    digest = hashlib.sha256(targets[mask].astype("u1").tobytes())
    digest.update(lengths[mask].astype("<i8").tobytes())
    digest.update(ids[np.repeat(mask, lengths)].astype("<i4").tobytes())
    return digest.hexdigest()[:16]


def store_key(*facts: object) -> str:
    """Name of the store that was made from these facts: hashes of contents, and settings."""
    return hashlib.sha256(json.dumps([FORMAT, *facts]).encode()).hexdigest()[:32]


def store_folder(key: str, cache: Path | None = None) -> Path:
    """Where the store of that key is, or would be.

    `cache` is the folder of all stores, by default the one of the variable SENTIMENT_TUNE_CACHE or of the user's
    account.
    """
    return (cache or cache_folder()) / key


def cache_folder() -> Path:
    """The folder of all stores, which the variable SENTIMENT_TUNE_CACHE names, or one of the user's account."""
    import platformdirs

    folder = os.environ.get(VARIABLE)
    return Path(folder) if folder else platformdirs.user_cache_path("sentiment_tune", appauthor=False)


def open_store(folder: Path) -> Store | None:
    """The store in `folder`, its arrays memory-mapped; None where there is no whole one."""
    try:
        description = json.loads((folder / "about.json").read_bytes())
        if {name: (folder / name).stat().st_size for name in _FILES} != description["sizes"]:
            return None
        # A view, because indexing a plain array is several times as fast as a np.memmap; the file stays mapped.
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r").view(np.ndarray) for name in _ARRAYS}
        words = (folder / "words.txt").read_bytes().decode().split("\n")
        return Store(**arrays, words=words, digests=description["digests"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def lock_store(folder: Path) -> Iterator[None]:
    """A block that one process at a time is in, for one store; InputError where the cache cannot be written."""
    with _naming_the_variable(folder.parent):
        _make_cache(folder.parent)
    with local.lock("store", str(folder.absolute())):  # in a folder of this user: nobody else can hold it
        yield


def write_store(store: Store, folder: Path) -> Store:
    """Write the store so that `folder` appears complete or not at all, and open it; the lock must be taken."""
    for left in local.partial_paths_left(folder.parent):  # by processes that were killed
        shutil.rmtree(left, ignore_errors=True)
    partial = local.partial_path(folder)
    with _naming_the_variable(folder.parent), _scratch_folder(partial):
        for name in _ARRAYS:
            np.save(partial / f"{name}.npy", getattr(store, name))
        (partial / "words.txt").write_bytes("\n".join(store.words).encode())
        sizes = {name: (partial / name).stat().st_size for name in _FILES}
        (partial / "about.json").write_text(json.dumps({"sizes": sizes, "digests": list(store.digests)}))
        shutil.rmtree(folder, ignore_errors=True)  # a damaged one
        try:
            partial.rename(folder)
        except OSError:
            if open_store(folder) is None:  # else another user who shares the cache was faster
                raise
    return open_store(folder) or store


def _make_cache(cache: Path) -> None:
    """Make the folder of all stores: for this user alone, unless the user has named another."""
    if os.environ.get(VARIABLE) or cache != cache_folder():
        cache.mkdir(parents=True, exist_ok=True)
    else:
        local.private_folder(cache)


@contextmanager
def _scratch_folder(folder: Path) -> Iterator[None]:
    """An empty folder that is gone afterwards, unless it was renamed."""
    folder.mkdir()
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _naming_the_variable(cache: Path) -> Iterator[None]:
    """Turn what the file system refuses into an InputError that says how to choose another folder."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot keep data in {cache} ({reason}): name a writable folder in {VARIABLE}") from error
