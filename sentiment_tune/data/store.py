"""The array store: every source is converted once and memory-mapped from then on, shared by all processes."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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
    ids: NDArray[np.int32], lengths: NDArray[np.int64], targets: NDArray[np.uint8], inside: NDArray[np.bool_]
) -> str:
    """Digest over labels, lengths and ids, in this order and little-endian on every machine."""
    digest = hashlib.sha256(targets[inside].astype("u1").tobytes())
    digest.update(lengths[inside].astype("<i8").tobytes())
    digest.update(ids[np.repeat(inside, lengths)].astype("<i4").tobytes())
    return digest.hexdigest()[:16]


def store_key(*facts: object) -> str:
    """Name of the store that was made from these facts: hashes of contents, and settings."""
    return hashlib.sha256(json.dumps([FORMAT, *facts]).encode()).hexdigest()[:32]


def load_or_convert(key: str, root: Path | None, convert: Callable[[], Store]) -> Store:
    """The store of that key, converted and written if it is not there yet or damaged.

    `root` is the cache folder, by default the one of the variable SENTIMENT_TUNE_CACHE or of the user's account.
    Processes that want the same one wait for the first of them. InputError where the folder cannot be written.
    """
    root = root or _default_root()
    return open_store(root / key) or _converted(key, root, convert)


def open_store(folder: Path) -> Store | None:
    """The store in `folder`, its arrays memory-mapped; None where there is no whole one."""
    try:
        about = json.loads((folder / "about.json").read_bytes())
        if {name: (folder / name).stat().st_size for name in _FILES} != about["sizes"]:
            return None
        # A view, because indexing a plain array is several times as fast as a np.memmap; the file stays mapped.
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r").view(np.ndarray) for name in _ARRAYS}
        words = (folder / "words.txt").read_bytes().decode().split("\n")
        return Store(**arrays, words=words, digests=about["digests"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _default_root() -> Path:
    import platformdirs

    named = os.environ.get(VARIABLE)
    return Path(named) if named else platformdirs.user_cache_path("sentiment_tune", appauthor=False)


def _converted(key: str, root: Path, convert: Callable[[], Store]) -> Store:
    folder = root / key
    with _locked(root, key):
        return open_store(folder) or _written(convert(), folder)


@contextmanager
def _locked(root: Path, key: str) -> Iterator[None]:
    from filelock import FileLock

    with _refused(root):
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / f"{key}.lock")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _written(store: Store, folder: Path) -> Store:
    """Write the store so that `folder` appears complete or not at all; the lock is held."""
    partial = folder.with_suffix(".partial")
    with _refused(folder.parent), _scratch(partial):
        for name in _ARRAYS:
            np.save(partial / f"{name}.npy", getattr(store, name))
        (partial / "words.txt").write_bytes("\n".join(store.words).encode())
        sizes = {name: (partial / name).stat().st_size for name in _FILES}
        (partial / "about.json").write_text(json.dumps({"sizes": sizes, "digests": list(store.digests)}))
        shutil.rmtree(folder, ignore_errors=True)  # a damaged one
        partial.rename(folder)
    return open_store(folder) or store


@contextmanager
def _scratch(folder: Path) -> Iterator[None]:
    """An empty folder that is gone afterwards, unless it was renamed."""
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
    folder.mkdir()
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _refused(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot keep data in {root} ({reason}): name a writable folder in {VARIABLE}") from error
