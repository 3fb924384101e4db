"""Loading a corpus is one walk: a source is read, split, encoded and stored; from then on its store is opened.

read     texts or ids, labels, and the parts that the source itself names
split    the parts that it does not name are drawn
encode   texts become ids, by the words of train
store    arrays in the cache, memory-mapped, shared by all processes
"""

import difflib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sentiment_tune.data import imdb
from sentiment_tune.data.checks import check_reviews, check_words, review_keys
from sentiment_tune.data.corpus import Corpus, EncodedReviews, RawReviews, encode_texts
from sentiment_tune.data.folders import expand, files_in, merge, read_folder
from sentiment_tune.data.labels import SENTIMENT, LabelMap, LabelReader, parse_labels
from sentiment_tune.data.packing import parse_size
from sentiment_tune.data.readers import SUFFIXES, Reading
from sentiment_tune.data.splits import (
    check_groups,
    check_parts,
    draw_test,
    draw_validation,
    parse_groups,
    parse_parts,
    train_then_test,
)
from sentiment_tune.data.store import (
    TEST,
    TRAIN,
    VALIDATION,
    Store,
    lock_store,
    open_store,
    store_folder,
    store_key,
    write_store,
)
from sentiment_tune.data.tables import Table, check_is_file, from_home, is_table, read_table, stem
from sentiment_tune.data.text import Vocabulary
from sentiment_tune.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

NAMES = ("auto", "imdb", "sample")  # of data that needs no path


@dataclass(frozen=True)
class DataConfig:
    """What the user says of the data."""

    data: str = "auto"  # auto, imdb, sample, or the path of an .npz or a table
    text: str = "text"  # columns of a table
    label: str = "label"
    split: str = "split"  # under this name a column need not exist: then a share is drawn for the test
    test: str | None = None  # path of a second table
    group: str | None = None  # column of a table: what stands in it stays in one part
    unpack_limit: str | int | None = None  # that a packed file may unpack to, as of `parse_size`; None: by its own size
    # How a table was saved; None: as is found out.
    encoding: str | None = None
    delimiter: str | None = None
    columns: str | None = None  # names with commas between, of a file whose first line names none
    sheet: str | None = None  # of a spreadsheet
    labels: str | None = None  # which labels are read as which classes, as of `LabelMap.of`; None: as they are written
    deduplicate: bool = False  # whether reviews that the test has too are left out of train and validation

    def __post_init__(self) -> None:
        if self.unpack_limit is not None:
            parse_size(self.unpack_limit)
        self.reading  # noqa: B018  # refuses what is none
        if self.labels is not None:
            LabelMap.of(self.labels)

    @property
    def reading(self) -> Reading:
        """How its tables are to be read."""
        return Reading(self.encoding, self.delimiter, self.columns, self.sheet, self.unpack_limit)


def load(config: DataConfig, cache: Path | None = None) -> Corpus:
    """The corpus the user means, converted on first use into the folder `cache` (default: see `store_folder`).

    InputError, in one line, for whatever is wrong with the source.
    """
    source = _choose(config)
    if config.data != "auto":
        return _load(source, cache, config.deduplicate)
    try:
        return _load(source, cache, config.deduplicate)
    except InputError as error:
        sample = _load(_sample(), cache, config.deduplicate)
        return replace(sample, warning=f"the built-in sample stands in for IMDB: {error}")


def load_frame(frame: "pd.DataFrame", config: DataConfig | None = None, cache: Path | None = None) -> Corpus:
    """The corpus in a DataFrame, by the columns and the test table that `config` names; its `data` is not read.

    The same reviews have the same digests as in a file. InputError as of `load`.
    """
    config = config or DataConfig()
    return _load(_frame(frame, config), cache, config.deduplicate)


def load_texts(texts: Iterable[str], labels: Iterable[Any], cache: Path | None = None) -> Corpus:
    """The corpus of these texts and their labels, a fifth of it drawn for the test. InputError as of `load`."""
    return _load(_texts(texts, labels), cache)


def encode_training_texts(texts: Iterable[str], labels: Iterable[Any]) -> Corpus:
    """A corpus to train on and to choose by, with an empty test part, that is kept in memory alone."""
    raw = _read_texts(texts, labels, lambda labels: np.full(len(labels), TRAIN, dtype=np.uint8))
    part = draw_validation(raw.part, raw.labels)
    check_parts(part, raw.labels, "texts", raw.classes, (TRAIN, VALIDATION))
    reviews, words = _encode(raw, part)
    store = Store.of(reviews.ids, reviews.lengths, raw.labels, part, words, classes=raw.classes)
    return Corpus.of("texts", "sentiment_tune.texts", store)


@dataclass(frozen=True)
class _Source:
    """Where reviews come from."""

    name: str
    address: str
    key: str  # of its store
    read: Callable[[], RawReviews]


def _load(source: _Source, cache: Path | None, deduplicate: bool = False) -> Corpus:
    """The corpus in the source's store, which is made if it is not there yet or damaged."""
    folder = store_folder(store_key("deduplicated", source.key) if deduplicate else source.key, cache)
    store = open_store(folder)
    if store is None:
        with lock_store(folder):  # of several processes the first converts, and the others open what it wrote
            store = open_store(folder) or write_store(_convert(source, deduplicate), folder)
    return Corpus.of(source.name, source.address, store)


def _convert(source: _Source, deduplicate: bool) -> Store:
    raw = source.read()
    part = _split(raw, source.address.removeprefix("sentiment_tune."))
    reviews, words = _encode(raw, part)
    if deduplicate:
        keep = ~_is_tested(reviews, part)
        raw = replace(
            raw, labels=raw.labels[keep], texts=[*compress(raw.texts, keep)], remarks=[*raw.remarks, _left(keep)]
        )
        reviews, part = EncodedReviews.of([reviews[int(row)] for row in np.flatnonzero(keep)]), part[keep]
    checks = check_reviews(reviews.ids, reviews.lengths, raw.labels, part, words)
    if raw.encoded is None:
        checks.append(check_words(raw.texts, reviews.lengths, part))
    rows = [asdict(check) for check in checks]
    return Store.of(reviews.ids, reviews.lengths, raw.labels, part, words, raw.remarks, rows, raw.classes)


# ---- read


def _choose(config: DataConfig) -> _Source:
    path = from_home(config.data)
    if is_table(path) or (path.is_dir() and config.data not in ("", *NAMES)):
        return _table(path, config)
    if config.test is not None:
        raise InputError(
            f"test={config.test} goes with a table; {config.data!r} is none, it has a test part of its own"
        )
    if config.labels is not None:
        raise InputError(f"labels={config.labels!r:.100} goes with a table; {config.data!r} is none, leave it out")
    if path.suffix.lower() == ".npz":
        return _npz(path, config.unpack_limit)
    if config.data not in NAMES:
        raise _unknown_data(config.data)
    return _sample() if config.data == "sample" else _imdb()


def _unknown_data(data: str) -> InputError:
    close = difflib.get_close_matches(data, NAMES, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ";"
    return InputError(f"no data {data!r}{hint} choose from {', '.join(NAMES)}, a file .npz or {', '.join(SUFFIXES)}")


def _sample() -> _Source:
    from sentiment_tune.data.sample import reviews

    train, test = reviews()

    def read() -> RawReviews:
        texts, labels = zip(*train, *test, strict=True)
        return RawReviews(texts, np.array(labels, dtype=np.uint8), train_then_test(len(train), len(test)))

    return _Source("sample", "sentiment_tune.sample", store_key("sample", train, test), read)


def _imdb() -> _Source:
    return _Source("imdb", imdb.URL, store_key("imdb", imdb.SHA256), lambda: imdb.read(*imdb.download()))


def _npz(path: Path, unpack_limit: str | int | None) -> _Source:
    index = path.with_name(imdb.WORD_INDEX)
    if path.is_file() and not index.is_file():
        raise InputError(f"{path} needs the words of its ranks: place Keras' {index.name} in {path.parent}")
    key = store_key("npz", _hash_file(path), _hash_file(index))
    return _Source(path.stem, str(path.absolute()), key, lambda: imdb.read(path, index, unpack_limit))


def _table(path: Path, config: DataConfig) -> _Source:
    sources = [path, *_test_files(config)]
    hashes = [_hash_file(file) for source in sources for file in _files(source)]
    reading = asdict(config.reading) | {"unpack_limit": None}
    said = reading | {"group": config.group}
    if config.labels is not None:
        said |= {"labels": config.labels}
    told = [said] if any(said.values()) else []  # keys of before there was anything to say
    key = store_key("table", hashes, config.text, config.label, config.split, *told)
    return _Source(stem(path), str(path.absolute()), key, lambda: _read_tables(_tables(sources, config), config))


def _frame(frame: "pd.DataFrame", config: DataConfig) -> _Source:
    columns = tuple(map(str, frame.columns))
    for name in (config.text, config.label, config.split):
        if columns.count(name) > 1:
            raise InputError(f"frame has more than one column {name!r}: rename all but one")
    rows = list(frame.itertuples(index=False, name=None))
    tables = [Table("frame", columns, rows), *_tables(_test_files(config), config)]
    return _in_memory("frame", _read_tables(tables, config))


def _texts(texts: Iterable[str], labels: Iterable[Any]) -> _Source:
    return _in_memory("texts", _read_texts(texts, labels, draw_test))


def _read_texts(
    texts: Iterable[str], labels: Iterable[Any], draw: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
) -> RawReviews:
    """Texts and their labels, with the parts that are drawn of the labels."""
    if isinstance(texts, str):
        raise InputError(f"texts is one text, {texts!r:.40}: give a list of them")
    texts, labels = list(texts), list(labels)
    if len(texts) != len(labels):
        raise InputError(f"{len(texts):,} texts and {len(labels):,} labels: give one label a text")
    table = Table("texts", (DataConfig.text, DataConfig.label), list(zip(texts, labels, strict=True)))
    parsed, classes = parse_labels(labels, "texts")
    return RawReviews(table.texts(DataConfig.text, "texts"), parsed, draw(parsed), classes=classes)


def _in_memory(name: str, raw: RawReviews) -> _Source:
    """Reviews that were read already, known in the cache by their content."""
    digest = hashlib.sha256(raw.labels.tobytes() + raw.part.tobytes())
    if raw.classes != SENTIMENT:
        digest.update("\n".join(raw.classes.names).encode())
    for text in raw.texts:
        digest.update(hashlib.sha256(text.encode()).digest())
    return _Source(name, f"sentiment_tune.{name}", store_key("memory", digest.hexdigest()), lambda: raw)


def _test_files(config: DataConfig) -> list[Path]:
    """The second table, if there is one."""
    if config.test is None:
        return []
    if config.split != DataConfig.split:
        raise InputError(f"split={config.split} and test={config.test} both say what is tested on: leave one out")
    return [from_home(config.test)]


def _files(path: Path) -> list[Path]:
    """The files that a table, a pattern of names or a folder stands for."""
    return files_in(path) if path.is_dir() else expand(path)


def _tables(sources: Iterable[Path], config: DataConfig) -> Iterator[Table]:
    """The table of each source, which may be several files or a folder."""
    for source in sources:
        if source.is_dir():
            yield read_folder(source, config.reading)
        else:
            yield merge([read_table(file, config.reading) for file in expand(source)], source)


def _read_tables(tables: Iterable[Table], config: DataConfig) -> RawReviews:
    """Reviews of one table, or of one to train on and one to test on."""
    tables = list(tables)
    texts = [text for table in tables for text in table.texts(config.text, "--text or text=")]
    reader = LabelReader(LabelMap.of(config.labels) if config.labels else None)
    codes = [reader.read(table.column(config.label, "--label or label="), table.origin) for table in tables]
    classes = reader.classes(tables[0].origin)
    numbers = [reader.numbers(some, classes) for some in codes]
    known, labels = [is_known for _, is_known in numbers], [some[is_known] for some, is_known in numbers]
    rows = np.flatnonzero(np.concatenate(known))
    groups, cells = None, []
    if config.group is not None:
        cells = [cell for table in tables for cell in table.column(config.group, "--group or group=")]
        groups = parse_groups(cells)[rows]
    parts = _read_parts(tables, labels, known, config.split, groups)
    if groups is not None:
        check_groups(parts, groups, rows, cells, tables[0].origin)
    told = reader.remark(np.concatenate(codes))
    remarks = [*_remarks(tables, config), *([told] if told else [])]
    texts = texts if len(rows) == len(texts) else [texts[row] for row in rows]
    return RawReviews(texts, np.concatenate(labels), parts, groups=groups, remarks=remarks, classes=classes)


def _remarks(tables: Sequence[Table], config: DataConfig) -> Iterator[str]:
    """A line for each table of what was found out of it, where it was not as one would expect."""
    for table in tables:
        names = {"texts": config.text, "labels": config.label}
        columns = {what: table.name_of(name, "") for what, name in names.items()}
        taken = [f"{what} from {column!r}" for what, column in columns.items() if column != names[what]]
        if found := [*table.found, *taken]:
            yield f"{table.origin}: {', '.join(found)}"


def _read_parts(
    tables: Sequence[Table],
    labels: Sequence[NDArray[np.uint8]],
    known: Sequence[NDArray[np.bool_]],
    column: str,
    groups: NDArray[np.int64] | None,
) -> NDArray[np.uint8]:
    """Part [review], of the rows whose label is known.

    It is read off the second table, else off the split column, else a share is drawn for the test.
    """
    if len(tables) == 2:
        return train_then_test(*map(len, labels))
    (table,) = tables
    if column == DataConfig.split and column not in table.columns:
        return draw_test(labels[0], groups)
    return parse_parts(table.column(column, "--split or split="), table.origin)[known[0]]


def _hash_file(path: Path) -> str:
    check_is_file(path)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None


# ---- split


def _split(raw: RawReviews, origin: str) -> NDArray[np.uint8]:
    """Part [review], a validation part drawn out of train unless the source names one; InputError if one is wanting."""
    part = raw.part if VALIDATION in raw.part else draw_validation(raw.part, raw.labels, raw.groups)
    check_parts(part, raw.labels, origin, raw.classes)
    return part


def _is_tested(reviews: EncodedReviews, part: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether a review of train or validation is one of the test too [review]."""
    keys = review_keys(reviews.ids, reviews.lengths)
    tested: NDArray[np.bool_] = np.isin(keys, keys[part == TEST]) & (part != TEST)
    return tested


def _left(keep: NDArray[np.bool_]) -> str:
    return f"{int(np.sum(~keep)):,} reviews that the test has too are left out"


# ---- encode


def _encode(raw: RawReviews, part: NDArray[np.uint8]) -> tuple[EncodedReviews, Sequence[str]]:
    """Ids of all reviews and the words they stand for; of texts, by the vocabulary of train."""
    if raw.encoded is not None:
        return raw.encoded, raw.words
    vocabulary = Vocabulary.of(text for text, number in zip(raw.texts, part, strict=True) if number == TRAIN)
    return encode_texts(raw.texts, vocabulary), vocabulary.words
