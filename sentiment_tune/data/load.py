"""Loading a corpus is one walk: a source is read, split, encoded and stored; from then on its store is opened.

read     texts or ids, labels, and the parts that the source itself names
split    the parts that it does not name are drawn
encode   texts become ids, by the words of train
store    arrays in the cache, memory-mapped, shared by all processes
"""

import difflib
import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sentiment_tune.data import imdb
from sentiment_tune.data.checks import MARKUP, MOJIBAKE, check_reviews, check_words, is_in, review_keys
from sentiment_tune.data.corpus import Corpus, EncodedReviews, RawReviews
from sentiment_tune.data.folders import (
    Contents,
    above,
    contents_of,
    descriptions_of,
    expand,
    is_pattern,
    open_files,
    open_folder,
)
from sentiment_tune.data.imdb import AUTO, FILMS, RANDOM, VALIDATIONS
from sentiment_tune.data.labels import SENTIMENT, Classes, LabelMap, LabelReader, name_of_code
from sentiment_tune.data.readers import SUFFIXES, Reading, Row, check_heeded, form_of
from sentiment_tune.data.rules import KERAS, RULES, UNICODE
from sentiment_tune.data.splits import (
    check_enough_groups,
    check_groups,
    check_parts,
    draw_test,
    draw_validation,
    is_missing,
    is_part,
    parse_groups,
    parse_parts,
    train_then_test,
)
from sentiment_tune.data.store import (
    PARTS,
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
from sentiment_tune.data.tables import (
    Columns,
    Place,
    Table,
    check_is_file,
    from_home,
    is_folder,
    is_table,
    is_usual,
    stem,
    text_in,
)
from sentiment_tune.data.tokens import Tokens
from sentiment_tune.errors import InputError
from sentiment_tune.space import unknown_name

if TYPE_CHECKING:
    import pandas as pd

NAMES = ("auto", "imdb", "sample")  # of data that needs no path
DEFAULT_RULE = UNICODE  # that raw texts are read by

# What would be without effect where there is no table, and where there is one that is no file.
_OF_A_TABLE = ("text", "label", "split", "test", "group")
_OF_A_SAVED_TABLE = ("encoding", "delimiter", "columns", "sheet")
_OF_A_FILE = (*_OF_A_SAVED_TABLE, "unpack_limit")


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
    text_rule: str | None = None  # of `data.rules`, by which texts are read; None: keras for ids, else DEFAULT_RULE
    validation: str = AUTO  # what it is drawn by, one of VALIDATIONS

    def __post_init__(self) -> None:
        if self.text_rule is not None and self.text_rule not in RULES:
            raise unknown_name("text_rule", self.text_rule, RULES)
        self.reading  # noqa: B018  # refuses what is none
        if self.validation not in VALIDATIONS:
            raise unknown_name("validation", self.validation, VALIDATIONS)
        if self.labels is not None:
            LabelMap.of(self.labels)

    @property
    def reading(self) -> Reading:
        """How its tables are to be read."""
        return Reading(self.encoding, self.delimiter, self.columns, self.sheet, self.unpack_limit)

    @property
    def rule_of_texts(self) -> str:
        """The rule that raw texts are read by."""
        return self.text_rule or DEFAULT_RULE

    @property
    def has_usual_rule(self) -> bool:
        """Whether texts are read as if no rule was named; the sample, which `auto` may be, reads the same by both."""
        if self.data == "auto":
            return self.text_rule in (None, KERAS, DEFAULT_RULE)
        is_ids = self.data == "imdb" or self.data.lower().endswith(".npz")
        return self.text_rule in (None, KERAS if is_ids else DEFAULT_RULE)


def load(config: DataConfig, cache: Path | None = None) -> Corpus:
    """The corpus the user means, converted on first use into the folder `cache` (default: see `store_folder`).

    InputError, in one line, for whatever is wrong with the source.
    """
    source = _choose(config)
    if config.data != "auto" or config.validation == FILMS:
        return _load(source, cache, config)
    try:
        return _load(source, cache, config)
    except InputError as error:
        sample = _load(_sample(config.rule_of_texts), cache, config)
        return replace(sample, warning=f"the built-in sample stands in for IMDB: {error}")


def load_frame(frame: "pd.DataFrame", config: DataConfig | None = None, cache: Path | None = None) -> Corpus:
    """The corpus in a DataFrame, by the columns and the test table that `config` names; its `data` is not read.

    The same reviews have the same digests as in a file. InputError as of `load`.
    """
    config = config or DataConfig()
    check_names_films(config)
    if config.test is None:
        _refuse(config, _OF_A_FILE, "a DataFrame has been read")
    return _load(_frame(frame, config), cache, config)


def load_texts(
    texts: Iterable[str], labels: Iterable[Any], cache: Path | None = None, config: DataConfig | None = None
) -> Corpus:
    """The corpus of these texts and their labels, a fifth of it drawn for the test. InputError as of `load`.

    Of `config` counts how labels and texts are read, and whether what is tested too is left out.
    """
    config = config or DataConfig()
    check_names_films(config)
    _refuse(config, (*_OF_A_TABLE, *_OF_A_FILE), "texts and labels have no columns")
    return _load(_texts(texts, labels, config), cache, config)


def check_names_films(config: DataConfig) -> None:
    """InputError where films are asked for of data that do not tell them: all but IMDB."""
    if config.validation == FILMS:
        raise InputError(
            "validation=films is for IMDB, whose order tells them: leave it out, or name a table's column with group="
        )


def encode_training_texts(texts: Iterable[str], labels: Iterable[Any], config: DataConfig | None = None) -> Corpus:
    """A corpus to train on and to choose by, with an empty test part, that is kept in memory alone."""
    config = config or DataConfig()
    _refuse(config, (*_OF_A_TABLE, *_OF_A_FILE), "texts and labels have no columns")
    _refuse(config, ("labels",), "the labels that are given are learned as they are")
    _refuse(config, ("deduplicate",), "there is no test part here")
    _, raw = _read_texts(texts, labels, lambda labels: np.full(len(labels), TRAIN, dtype=np.uint8), LabelReader())
    part = draw_validation(raw.part, raw.labels)
    check_parts(part, raw, "texts", (TRAIN, VALIDATION), "give more of what is missing")
    reviews, words, _ = _encode(raw, part, config.rule_of_texts)
    store = Store.of(reviews.ids, reviews.lengths, raw.labels, part, words, classes=raw.classes)
    return Corpus.of("texts", "sentiment_tune.texts", store, config.rule_of_texts)


def _refuse(config: DataConfig, names: Iterable[str], why: str) -> None:
    """InputError where one of these was given and would be without effect."""
    for name in names:
        if getattr(config, name) != getattr(DataConfig, name):
            raise InputError(f"{name}={getattr(config, name)!r:.100} goes with a table: {why}, leave it out")


@dataclass(frozen=True)
class _Source:
    """Where reviews come from."""

    name: str
    address: str
    key: str  # of its store
    read: Callable[[], RawReviews]
    rule: str = KERAS  # that its texts are read by, or that its ids were made by
    path: str = ""  # as the user has written it


def _load(source: _Source, cache: Path | None, config: DataConfig) -> Corpus:
    """The corpus in the source's store, which is made if it is not there yet or damaged."""
    if config.text_rule not in (None, source.rule):
        raise InputError(
            f"text_rule cannot be {config.text_rule!r} for {source.name}, whose reviews are ids by the rule "
            f"{source.rule!r}: leave it out, or give texts"
        )
    # By Keras' rule the key is that of before there were others.
    key = source.key if source.rule == KERAS else store_key("rule", source.rule, source.key)
    folder = store_folder(store_key("deduplicated", key) if config.deduplicate else key, cache)
    store = open_store(folder)
    if store is None:
        with lock_store(folder):  # of several processes the first converts, and the others open what it wrote
            store = open_store(folder) or write_store(_convert(source, config.deduplicate), folder)
    return Corpus.of(source.name, source.address, store, source.rule)


def _convert(source: _Source, deduplicate: bool) -> Store:
    raw = source.read()
    origin = source.path or source.name
    part = _split(raw, origin)
    reviews, words, tokens = _encode(raw, part, source.rule)
    keys, keep = tokens.keys if tokens else review_keys(reviews.ids, reviews.lengths), np.ones(len(part), np.bool_)
    if deduplicate:
        keep = ~_is_tested(keys, part)
        reviews, part, left = reviews.where(keep), part[keep], _left(keep)
        raw = replace(raw.without_texts(keep), remarks=[*raw.remarks, left])
        check_parts(part, raw, origin, way_out=f"{left}; leave out --deduplicate, or test on other reviews")
    known = {MOJIBAKE: tokens.is_mojibake[keep], MARKUP: tokens.has_markup[keep]} if tokens else None
    checks = check_reviews(reviews.ids, reviews.lengths, raw.labels, part, words, known, keys[keep])
    if tokens:
        checks.append(check_words(tokens.lengths[keep], reviews.lengths, part))
    rows = [asdict(check) for check in checks]
    about = raw.remarks, rows, raw.groups, raw.classes, raw.rows
    return Store.of(reviews.ids, reviews.lengths, raw.labels, part, words, *about)


# ---- read


def _choose(config: DataConfig) -> _Source:
    path = from_home(config.data)
    if is_table(path) or (is_folder(path) and config.data not in ("", *NAMES)):
        check_names_films(config)
        return _table(path, config)
    is_npz = path.suffix.lower() == ".npz"
    if not is_npz and config.data not in NAMES:
        raise _unknown_data(config.data)
    _refuse(config, ("labels", *_OF_A_TABLE, *_OF_A_SAVED_TABLE), f"{config.data!r:.100} is none")
    if is_npz:
        return _npz(path, config)
    if config.data != "sample":
        return _imdb(config.validation)
    check_names_films(config)
    return _sample(config.rule_of_texts)


def _unknown_data(data: str) -> InputError:
    close = difflib.get_close_matches(data, NAMES, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ";"
    return InputError(f"no data {data!r}{hint} choose from {', '.join(NAMES)}, a file .npz or {', '.join(SUFFIXES)}")


def _sample(rule: str) -> _Source:
    from sentiment_tune.data.sample import reviews

    train, test = reviews()

    def read() -> RawReviews:
        texts, labels = zip(*train, *test, strict=True)
        return RawReviews(texts, np.array(labels, dtype=np.uint8), train_then_test(len(train), len(test)))

    return _Source("sample", "sentiment_tune.sample", store_key("sample", train, test), read, rule)


def _imdb(validation: str) -> _Source:
    validation = FILMS if validation == AUTO else validation  # which this very file is known to tell
    key = store_key("imdb", imdb.SHA256, *_drawn_by(validation))
    return _Source("imdb", imdb.URL, key, lambda: imdb.read(*imdb.download(), validation=validation))


def _drawn_by(validation: str) -> list[str]:
    """What tells a store whose validation part is not drawn by random reviews."""
    return [] if validation == RANDOM else [validation]


def _npz(path: Path, config: DataConfig) -> _Source:
    index = path.with_name(imdb.WORD_INDEX)
    if path.is_file() and not index.is_file():
        raise InputError(f"{path} needs the words of its ranks: place Keras' {index.name} in {path.parent}")
    key = store_key("npz", _hash_file(path), _hash_file(index), *_drawn_by(config.validation))

    def read() -> RawReviews:
        return imdb.read(path, index, config.unpack_limit, config.validation)

    return _Source(path.stem, str(path.absolute()), key, read, path=str(path))


def _table(path: Path, config: DataConfig) -> _Source:
    sources = [path, *_test_files(config)]
    found = [_contents(source) for source in sources]
    _check_heeded(path, found, config.reading)
    identities = [_identity(*each) for each in zip(sources, found, strict=True)]
    reading = asdict(config.reading) | {"unpack_limit": None}
    said = reading | {"group": config.group}
    if config.labels is not None:
        said |= {"labels": config.labels}
    told = [said] if any(said.values()) else []
    key = store_key("table", identities, config.text, config.label, config.split, *told)

    def read() -> RawReviews:
        return _read_sources(sources, config)

    return _Source(stem(path), str(path.absolute()), key, read, config.rule_of_texts, str(path))


def _frame(frame: "pd.DataFrame", config: DataConfig) -> _Source:
    columns = tuple(map(str, frame.columns))
    for name in (config.text, config.label, config.split):
        if columns.count(name) > 1:
            raise InputError(f"frame has more than one column {name!r}: rename all but one")
    texts, tables, labels = list[str](), list[Columns](), _label_reader(config)
    with ExitStack() as stack:
        opened = [(Table("frame", columns, []), frame.itertuples(index=False, name=None))]
        opened += [stack.enter_context(_open(source, config.reading)) for source in _test_files(config)]
        for table, rows in opened:
            kept, some = _columns(table, rows, labels, config)
            texts += some
            tables.append(kept)
    return _in_memory("frame", _read_tables(tables, texts, labels, config), texts, config.rule_of_texts)


def _texts(texts: Iterable[str], labels: Iterable[Any], config: DataConfig) -> _Source:
    kept, raw = _read_texts(texts, labels, draw_test, _label_reader(config))
    return _in_memory("texts", raw, kept, config.rule_of_texts)


def _read_texts(
    texts: Iterable[str],
    labels: Iterable[Any],
    draw: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
    reader: LabelReader,
) -> tuple[list[str], RawReviews]:
    """Texts whose labels are not left out, and the reviews of them, with the parts that are drawn of the labels."""
    if isinstance(texts, str):
        raise InputError(f"texts is one text, {texts!r:.40}: give a list of them")
    texts, labels = list(texts), list(labels)
    if len(texts) != len(labels):
        raise InputError(f"{len(texts):,} texts and {len(labels):,} labels: give one label a text")
    codes = [reader.code(label, f"texts, row {row}") for row, label in enumerate(labels, 1)]
    kept = [
        text_in(text, f"texts, row {row}", DataConfig.text)
        for row, (text, code) in enumerate(zip(texts, codes, strict=True), 1)
        if code is not None
    ]
    classes = reader.classes("texts")
    parsed = reader.numbers(np.array([code for code in codes if code is not None], np.int64), classes)
    told = reader.remark()
    rows = _unless_all(np.array([row for row, code in enumerate(codes) if code is not None], np.int64))
    return kept, RawReviews(kept, parsed, draw(parsed), classes=classes, remarks=[told] if told else [], rows=rows)


def _unless_all(rows: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Rows of a source [review], from 0; None where they are all that it has, one after another."""
    return None if np.array_equal(rows, np.arange(len(rows))) else rows


def _in_memory(name: str, raw: RawReviews, texts: Iterable[str], rule: str) -> _Source:
    """Reviews that were read already, known in the cache by their content."""
    groups = b"" if raw.groups is None else raw.groups.tobytes()
    digest = hashlib.sha256(raw.labels.tobytes() + raw.part.tobytes() + groups)
    if raw.rows is not None:
        digest.update(b"rows" + raw.rows.tobytes())
    if raw.classes != SENTIMENT:
        digest.update("\n".join(raw.classes.names).encode())
    for text in texts:
        digest.update(hashlib.sha256(text.encode()).digest())
    return _Source(name, f"sentiment_tune.{name}", store_key("memory", digest.hexdigest()), lambda: raw, rule)


def _test_files(config: DataConfig) -> list[Path]:
    """The second table, if there is one."""
    if config.test is None:
        return []
    if config.split != DataConfig.split:
        raise InputError(f"split={config.split} and test={config.test} both say what is tested on: leave one out")
    return [from_home(config.test)]


def _contents(source: Path) -> Contents:
    """The files that a table, a pattern of names or a folder stands for."""
    return contents_of(source) if is_folder(source) else Contents(dict.fromkeys(expand(source)), ())


def _identity(source: Path, contents: Contents) -> list[object]:
    """What tells a source from all that would be read otherwise: its form, and names and contents of its files.

    Folders' names are labels, files' names say which part of the data or which form they are.
    """
    files, is_several = [*contents.files], is_pattern(source)
    root = source if is_folder(source) else above(source) if is_several else source.parent
    hashes = [(str(file.relative_to(root)), _hash_file(file)) for file in (*files, *descriptions_of(files))]
    return [source.name, is_several, list(contents.left) if is_folder(source) else None, hashes]


def _check_heeded(source: Path, found: Sequence[Contents], reading: Reading) -> None:
    """InputError for what is said of how files are read that none of them leaves to be said."""
    forms = {"-" if one.are_texts else form_of(file.name) or "" for one in found for file in one.files}
    check_heeded(forms, source, reading)


def _open(source: Path, reading: Reading) -> AbstractContextManager[tuple[Table, Iterator[Row]]]:
    """The table of a source, which may be several files or a folder, as of `open_table`."""
    return open_folder(source, reading) if is_folder(source) else open_files(expand(source), source, reading)


def _read_sources(sources: Sequence[Path], config: DataConfig) -> RawReviews:
    """Reviews of one table, or of one to train on and one to test on, whose texts are not kept."""
    tables, labels = list[Columns](), _label_reader(config)

    def texts() -> Iterator[str]:
        for source in sources:
            with _open(source, config.reading) as (table, rows):
                kept, some = _columns(table, rows, labels, config)
                yield from some
                tables.append(kept)

    return _read_tables(tables, Tokens(texts(), config.rule_of_texts), labels, config)


def _label_reader(config: DataConfig) -> LabelReader:
    return LabelReader(LabelMap.of(config.labels) if config.labels else None)


def _columns(
    table: Table, rows: Iterable[Row], labels: LabelReader, config: DataConfig
) -> tuple[Columns, Iterator[str]]:
    """What is asked of a table beside its texts, which is filled while the texts are taken.

    Rows whose label is left out are passed over.
    """
    text = table.name_of(config.text, "--text or text=")
    label_name = table.name_of(config.label, "--label or label=")
    label, class_names = table.columns.index(label_name), table.class_names.get(label_name)
    names = [table.name_of(config.group, "--group or group=")] if config.group is not None else []
    names += [split] if (split := _split_column(table, config)) else []
    kept = Columns.of(table, names)
    places = [(table.columns.index(name), kept.cells[name]) for name in names]

    def texts(place: int) -> Iterator[str]:
        where = Place(table)
        for number, row in enumerate(rows, 1):
            where.number = number
            cell = row[label] if class_names is None else name_of_code(row[label], class_names, where)
            code = labels.code(cell, where)
            if code is None:
                continue
            yield text_in(row[place], where, text)
            kept.labels.append(code)
            kept.numbers.append(number)
            for index, column in places:
                cell = row[index]
                column.append(sys.intern(cell) if type(cell) is str else cell)  # once, however many rows have it

    return kept, texts(table.columns.index(text))


def _read_tables(
    tables: Sequence[Columns], texts: Sequence[str] | Tokens, reader: LabelReader, config: DataConfig
) -> RawReviews:
    """The reviews of these texts, by the other columns of their tables."""
    _check_class_names(tables, reader, config)
    classes = reader.classes(tables[0].origin)
    labels = [reader.numbers(np.array(table.labels, np.int64), classes) for table in tables]
    groups, cells, told = None, [], []
    if config.group is not None:
        cells = [cell for table in tables for cell in table.column(config.group, "--group or group=")]
        groups = parse_groups(cells)
        if missing := sum(map(is_missing, cells)):
            told.append(f"{config.group}: {missing:,} of {len(cells):,} rows have no value, each is a group of its own")
    parts = _read_parts(tables, labels, config, groups)
    if groups is not None:
        check_groups(parts, groups, cells, (Place(table, number) for table in tables for number in table.numbers))
    way_out = "leave it out with --labels" if groups is None else "leave out --group"
    _check_classes(tables, labels, parts, classes, way_out)
    told += [remark] if (remark := reader.remark()) else []
    remarks = [*_remarks(tables, config), *told]
    every, rows = np.concatenate(labels), np.concatenate([np.array(table.numbers, np.int64) - 1 for table in tables])
    return RawReviews(texts, every, parts, groups=groups, remarks=remarks, classes=classes, rows=_unless_all(rows))


def _check_class_names(tables: Sequence[Columns], reader: LabelReader, config: DataConfig) -> None:
    """InputError where a table has numbers for its labels beside one that tells the names of its own."""
    named = [table.class_names.get(table.name_of(config.label, "")) for table in tables]
    for table, names in zip(tables, named, strict=True):
        known = next(filter(None, named), None)
        if names is None and known and (bare := reader.numerals(table.labels) - set(known)):
            raise InputError(
                f"{table.origin}: the label {min(bare)!r} is none of the classes that the other table names, "
                f"{', '.join(map(repr, known[:5]))}: write the names in both"
            )


def _check_classes(
    tables: Sequence[Columns],
    labels: Sequence[NDArray[np.uint8]],
    part: NDArray[np.uint8],
    classes: Classes,
    way_out: str,
) -> None:
    """InputError naming the row of a class, of more than two, of which nothing would be left to train on."""
    needed = 1 if VALIDATION in part else 2  # one is drawn for validation
    every = np.concatenate(labels)
    in_train = np.bincount(every[part == TRAIN], minlength=len(classes))
    for rare in () if classes.are_two else np.flatnonzero(in_train < needed).tolist():
        table, places = next((one, some == rare) for one, some in zip(tables, labels, strict=True) if rare in some)
        number, count = table.numbers[int(np.flatnonzero(places)[0])], int((every == rare).sum())
        raise InputError(
            f"{table.place(number)}: {classes.names[rare]!r:.40} is the label of {count:,} "
            f"{'review' if count == 1 else 'reviews'}, of which too few are left to train on: correct it, give more, "
            f"or {way_out}"
        )


def _remarks(tables: Sequence[Table], config: DataConfig) -> Iterator[str]:
    """A line for each table of what was found out of it, where it was not as one would expect."""
    for table in tables:
        names = {"texts": config.text, "labels": config.label}
        columns = {what: table.name_of(name, "") for what, name in names.items()}
        taken = [f"{what} from {column!r}" for what, column in columns.items() if column != names[what]]
        if class_names := table.class_names.get(columns["labels"]):
            some = [f"{code} as {name!r:.40}" for code, name in enumerate(class_names[:5])]
            taken.append(f"labels by the names that it tells: {', '.join([*some, '...'][: len(class_names)])}")
        if found := [*table.found, *taken]:
            yield f"{Path(table.origin).name or table.origin}: {', '.join(found)}"


def _read_parts(
    tables: Sequence[Columns], labels: Sequence[NDArray[np.uint8]], config: DataConfig, groups: NDArray[np.int64] | None
) -> NDArray[np.uint8]:
    """Part [review] by the second table, else by the split column, else by drawing a share for the test."""
    if len(tables) == 2:
        return train_then_test(*map(len, labels))
    (table,) = tables
    column = _split_column(table, config)
    cells = table.column(column, "--split or split=") if column else []
    if column is None or (column != config.split and not all(map(is_part, cells))):  # it may mean something else
        check_enough_groups(groups, PARTS, table.origin)
        return draw_test(labels[0], groups)
    return parse_parts(cells, (Place(table, number) for number in table.numbers))


def _split_column(table: Table, config: DataConfig) -> str | None:
    """The column that says which part a row belongs to, found as those of texts and labels are, or None.

    InputError where one is named that is not there.
    """
    if config.split == DataConfig.split and not any(is_usual(column, config.split) for column in table.columns):
        return None
    return table.name_of(config.split, "--split or split=")


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
    part = raw.part
    if VALIDATION not in part:
        check_enough_groups(None if raw.groups is None else raw.groups[part == TRAIN], (TRAIN, VALIDATION), origin)
        part = draw_validation(part, raw.labels, raw.groups)
    way_out = "no group is cut; leave out --group, or give another" if raw.groups is not None else None
    check_parts(part, raw, origin, way_out=way_out)
    return part


def _is_tested(keys: NDArray[np.uint64], part: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether a review of train or validation is one of the test too [review]."""
    return is_in(keys, keys[part == TEST]) & (part != TEST)


def _left(keep: NDArray[np.bool_]) -> str:
    return f"{int(np.sum(~keep)):,} reviews that the test has too are left out"


# ---- encode


def _encode(raw: RawReviews, part: NDArray[np.uint8], rule: str) -> tuple[EncodedReviews, Sequence[str], Tokens | None]:
    """Ids of all reviews, and the words they stand for; of texts by the words of train, and what is known of them."""
    if raw.encoded is not None:
        return raw.encoded, raw.words, None
    tokens = raw.texts if isinstance(raw.texts, Tokens) else Tokens(raw.texts, rule)
    return *tokens.encode(part == TRAIN), tokens
