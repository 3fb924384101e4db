"""The array store: every source is converted once and memory-mapped from then on, shared by all processes."""

import hashlib
import json
import os
import shutil
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import psutil
from numpy.typing import NDArray

from sentiment_tune import local
from sentiment_tune.data.labels import SENTIMENT, Classes
from sentiment_tune.errors import InputError

FORMAT = 4  # to be raised when the files below change, how labels and texts are read, checked or cut into parts
VARIABLE = "SENTIMENT_TUNE_CACHE"
PARTS = TRAIN, VALIDATION, TEST = 0, 1, 2
_ARRAYS = ("ids", "offsets", "targets", "part", "groups", "rows")
_FILES = (*(f"{name}.npy" for name in _ARRAYS), "words.txt")
_ABOUT = "about.json"
_BLOCK = 2**22  # bytes that have a checksum of their own
_WORDS = 2**20  # of reviews that are looked at together
_CLOCK = 2 * 10**9  # nanoseconds; no file system's clock is coarser


@dataclass(frozen=True, eq=False)
class Store:
    """All reviews of a corpus in flat arrays."""

    ids: NDArray[np.int32]  # ids of all reviews, one after another
    offsets: NDArray[np.int64]  # [review + 1], where each review starts in `ids`
    targets: NDArray[np.uint8]  # [review], the number of its class
    part: NDArray[np.uint8]  # [review], one of PARTS
    words: Sequence[str]
    digests: Sequence[str]  # of train, validation, test and the whole: 16 hex digits each
    remarks: Sequence[str] = ()  # what was found out of how the source was saved
    checks: Sequence[Mapping[str, Any]] = ()  # what is odd about its reviews, as of `data.checks`
    groups: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))  # [review]; empty of no groups
    classes: Classes = SENTIMENT
    # [review], of the source, from 0; empty where the reviews are all of its rows in their order
    rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    @classmethod
    def of(
        cls,
        ids: NDArray[np.int32],
        lengths: NDArray[np.int64],
        targets: NDArray[np.uint8],
        part: NDArray[np.uint8],
        words: Sequence[str],
        remarks: Sequence[str] = (),
        checks: Sequence[Mapping[str, Any]] = (),
        groups: NDArray[np.int64] | None = None,
        classes: Classes = SENTIMENT,
        rows: NDArray[np.int64] | None = None,
    ) -> "Store":
        """A store of reviews of the given lengths [review], in words, with its digests."""
        digests = [_digest_of_part(ids, lengths, targets, part == number) for number in PARTS]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        whole = _digest_of_whole(digests, words, classes)
        groups, rows = (np.zeros(0, np.int64) if some is None else some for some in (groups, rows))
        return cls(ids, offsets, targets, part, words, [*digests, whole], remarks, checks, groups, classes, rows)


def _digest_of_whole(digests: Sequence[str], words: Sequence[str], classes: Classes) -> str:
    """Digest over those of the parts, the words and what the classes are called, if not as they usually are."""
    names = (
        [] if classes == SENTIMENT else ["", *classes.names, str(classes.ordered)]
    )  # digests of before there were more
    return hashlib.sha256("\n".join([*digests, *words, *names]).encode()).hexdigest()[:16]


def _digest_of_part(
    ids: NDArray[np.int32], lengths: NDArray[np.int64], targets: NDArray[np.uint8], mask: NDArray[np.bool_]
) -> str:
    """Digest over labels, lengths and ids, in this order and little-endian on every machine; mask [review]."""
    digest = hashlib.sha256(targets[mask].astype("u1").tobytes())
    digest.update(lengths[mask].astype("<i8").tobytes())
    for rows, words in blocks(lengths):
        digest.update(ids[words][np.repeat(mask[rows], lengths[rows])].astype("<i4").tobytes())
    return digest.hexdigest()[:16]


def blocks(lengths: NDArray[np.int64]) -> Iterator[tuple[slice, slice]]:
    """Some reviews after others and their words, few enough that what is computed of them takes little memory."""
    ends, first = np.cumsum(lengths), 0
    while first < len(lengths):
        start = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, start + _WORDS, "right")))
        yield slice(first, last), slice(start, int(ends[last - 1]))
        first = last


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
    """The store in `folder`, its arrays memory-mapped; None where there is no whole one.

    What its files hold is compared with what was written, once per start of the machine and after every change of a
    file.
    """
    try:
        states = {name: _state(folder / name) for name in (*_FILES, _ABOUT)}
        description = json.loads((folder / _ABOUT).read_bytes())
        words = (folder / "words.txt").read_bytes().decode().split("\n")
        if not _was_checked(folder, states):
            if not _is_as_written(folder, description, words):
                return None
            _note_check(folder, states)
        # A view, because indexing a plain array is several times as fast as a np.memmap; the file stays mapped.
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r").view(np.ndarray) for name in _ARRAYS}
        return Store(
            **arrays,
            words=words,
            digests=description["digests"],
            remarks=description["remarks"],
            checks=description["checks"],
            classes=_classes_of(description),
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _classes_of(description: Mapping[str, Any]) -> Classes:
    """The classes that a store's description names; one of before there were others has the usual two."""
    about = description.get("classes")
    return Classes(tuple(about["names"]), about["ordered"]) if about else SENTIMENT


def _is_as_written(folder: Path, description: dict[str, Any], words: Sequence[str]) -> bool:
    """Whether the files hold what the description says, the description itself is whole and is of this store."""
    *parts, whole = description["digests"]
    return (
        description["key"] == folder.name
        and description.pop("checksum") == _checksum_of(description)
        and {name: (folder / name).stat().st_size for name in _FILES} == description["sizes"]
        and _digest_of_whole(parts, words, _classes_of(description)) == whole
        and all(_checksums(folder / name) == description["checksums"][name] for name in _FILES)
    )


def _checksums(path: Path) -> list[int]:
    """One a block, which several processors compute; no more of the file is in memory than each of them has read."""
    with path.open("rb") as file, ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        starts = range(0, path.stat().st_size, _BLOCK)
        return list(pool.map(lambda start: zlib.crc32(os.pread(file.fileno(), _BLOCK, start)), starts))


def _state(path: Path) -> list[int]:
    """What tells that a file was changed or replaced; the time of its last change can be set by nobody."""
    about = path.stat()
    return [about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns]


def _was_checked(folder: Path, states: Mapping[str, list[int]]) -> bool:
    """Whether the files in these states were found whole since the machine was started."""
    return _checks().get(str(folder.absolute())) == states


def _note_check(folder: Path, states: Mapping[str, list[int]]) -> None:
    """Note that the files in these states are whole; not of files just written, whose next change may look the same."""
    if time.time_ns() - max(max(state[-2:]) for state in states.values()) < _CLOCK:
        return
    noted = {"machine_start": _machine_start(), "stores": {**_checks(), str(folder.absolute()): states}}
    with suppress(OSError), local.replacing(_notes()) as file:  # else it is looked at again the next time
        file.write(json.dumps(noted).encode())


def _checks() -> dict[str, Any]:
    """The states of files found whole since the machine was started, by the folder of their store."""
    try:
        noted = json.loads(_notes().read_bytes())
        return dict(noted["stores"]) if noted["machine_start"] == _machine_start() else {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def _notes() -> Path:
    return local.user_folder("caches") / "checked.json"


def _machine_start() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return str(int(psutil.boot_time()))


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
            with _file_on_disk(partial / f"{name}.npy") as file:
                np.save(file, getattr(store, name))
        with _file_on_disk(partial / "words.txt") as file:
            file.write("\n".join(store.words).encode())
        with _file_on_disk(partial / _ABOUT) as file:
            file.write(json.dumps(_description(partial, folder.name, store)).encode())
        local.sync_folder(partial)
        shutil.rmtree(folder, ignore_errors=True)  # a damaged one
        try:
            partial.rename(folder)
        except OSError:
            if open_store(folder) is None:  # else another user who shares the cache was faster
                raise
        local.sync_folder(folder.parent)
    return open_store(folder) or store


def _description(folder: Path, key: str, store: Store) -> dict[str, Any]:
    """What `open_store` compares the files of that folder with, once it has the name `key`."""
    description = {
        "key": key,
        "sizes": {name: (folder / name).stat().st_size for name in _FILES},
        "checksums": {name: _checksums(folder / name) for name in _FILES},
        "digests": list(store.digests),
        "remarks": list(store.remarks),
        "checks": list(store.checks),
        "classes": asdict(store.classes),
    }
    return {**description, "checksum": _checksum_of(description)}


def _checksum_of(description: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(description, sort_keys=True).encode())


@contextmanager
def _file_on_disk(path: Path) -> Iterator[BinaryIO]:
    """A new file to write, which is on the disk when the block ends."""
    with path.open("xb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


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
