"""Tables of reviews, read and written row for row.

Cells stay as they stand in the file: `NA`, `null` and an empty cell of a CSV are texts like any other.
"""

import io
import json
import os
import re
import shutil
import stat
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import chain, islice
from pathlib import Path
from typing import Any

from sentiment_tune import local
from sentiment_tune.data import encodings, readers
from sentiment_tune.data.packing import check_packed, open_packed
from sentiment_tune.data.readers import SUFFIXES, Reading, Row
from sentiment_tune.errors import InputError

STANDARD = Path("-")  # the standard input or output
_TOGETHER = 2**14  # rows of a Parquet file that are written together
_QUOTE = '"'
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
# Columns by the names that people give them, in place of one of our own that is not there.
USUAL = {
    "text": ("review", "text", "sentence", "content", "body"),
    "label": ("label", "sentiment", "rating", "stars", "target", "class"),
    "split": ("split",),
}


def _shown(name: str) -> str:
    """A column's name as errors list it: in quotes where a blank or a comma may hide in it."""
    return f"{name:.40}" if re.fullmatch(r"[^\s,]+( [^\s,]+)*", str(name)) else f"{name!r:.40}"


def is_usual(column: str, name: str) -> bool:
    """Whether a column is called by a name that people give to what is asked for by one of our own."""
    return column.strip().lower() in USUAL.get(name, ())


@dataclass(frozen=True)
class Table:
    """Rows of cells in the order of the columns."""

    origin: Path | str  # the file, or what else the rows came from
    columns: tuple[str, ...]
    rows: list[Row]
    found: Sequence[str] = ()  # what was found out of how the file was saved, for who asks
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # that the numbers of a column stand for
    places: Callable[[int], str] | None = None  # of rows, where their numbers do not tell it
    parquet: Path | None = None  # the file that has the rows with their types, while it is open

    def place(self, number: int) -> str:
        """How errors call a row, counted from 1: by the file and the number that its user finds it under."""
        return self.places(number) if self.places else f"{self.origin}, row {number}"

    def name_of(self, name: str, flag: str) -> str:
        """The column of that name, or where `text` or `label` is not there the one that people call otherwise.

        InputError where there is none, naming the columns that there are, or where several would do.
        """
        if self.columns.count(name) > 1:
            raise InputError(f"{self.origin} has more than one column {name!r}: rename all but one")
        if name in self.columns:
            return name
        usual = [column for column in self.columns if is_usual(column, name)]
        if len(usual) == 1:
            return usual[0]
        if len(set(usual)) == 1:
            raise InputError(f"{self.origin} has more than one column {usual[0]!r}: rename all but one")
        if usual:
            both = " and ".join(repr(column) for column in usual)
            raise InputError(f"{self.origin} has no column {name!r}, but {both}: name one with {flag}")
        shown = ", ".join(map(_shown, self.columns[:20]))
        way_out = f"name one with {flag}, it has {shown}"
        if isinstance(self.origin, Path) and readers.is_named_by_line(self.origin.name):
            way_out += "; or, where its first line names none, name all with --columns, or remove what stands above"
        raise InputError(f"{self.origin} has no column {name!r}: {way_out}")

    def column(self, name: str, flag: str) -> list[Any]:
        """Cells of one column, found as `name_of` finds it; `flag` is how another can be chosen."""
        index = self.columns.index(self.name_of(name, flag))
        return [row[index] for row in self.rows]

    def texts(self, name: str, flag: str) -> list[str]:
        """Cells of one column, each a text; InputError names the first row, counted from 1, that holds none."""
        column = self.name_of(name, flag)
        cells = self.column(name, flag)
        return [text_in(cell, Place(self, row), column) for row, cell in enumerate(cells, 1)]

    def unused(self, names: Iterable[str]) -> list[str]:
        """Names for columns behind those that there are; `predicted_` stands before one in use, once or more."""
        return [_unused_name(name, self.columns) for name in names]


@dataclass(frozen=True)
class Columns(Table):
    """Some columns of a table, in place of all of its cells, of the rows that are kept.

    Attributes:
        cells: of the columns that are kept, by name.
        labels: codes of a `LabelReader`.
        numbers: of the rows in the table, from 1.
    """

    cells: dict[str, list[Any]] = field(default_factory=dict)
    labels: "array[int]" = field(default_factory=lambda: array("q"))
    numbers: "array[int]" = field(default_factory=lambda: array("q"))

    @classmethod
    def of(cls, table: Table, names: Iterable[str]) -> "Columns":
        """The columns of these names, still empty."""
        kept = {name: list[Any]() for name in names}
        return cls(table.origin, table.columns, [], table.found, table.class_names, table.places, cells=kept)

    def column(self, name: str, flag: str) -> list[Any]:
        """Cells of one column, found as `name_of` finds it."""
        return self.cells[self.name_of(name, flag)]


@dataclass
class Place:
    """A row of a table, which is put into words only where an error names it."""

    table: Table
    number: int = 0  # from 1

    def __str__(self) -> str:
        return self.table.place(self.number)


def text_in(cell: Any, place: object, column: str) -> str:
    """The text in a cell; InputError names the place and what is there instead."""
    if cell is None or cell != cell:
        raise InputError(f"{place}: the text in {column!r} is missing; fill it in, or remove the row")
    if not isinstance(cell, str):
        raise InputError(f"{place}: {column!r} is {cell!r:.40}, not a text; {_way_out_of(cell)}")
    if not _is_unicode(cell):
        raise InputError(f"{place}: half a surrogate pair is no character; remove it")
    return cell


def _way_out_of(cell: Any) -> str:
    """What makes a text of a cell that is none, as far as that can be told."""
    is_plain = isinstance(cell, bool | int | float | Decimal)
    return "put it in quotes" if is_plain else "write a text there, or name another column"


def _unused_name(name: str, used: Sequence[str]) -> str:
    while name in used:
        name = f"predicted_{name}"
    return name


def _is_unicode(text: str) -> bool:
    """Whether a file can hold the text; half a surrogate pair passes JSON and Python, but no encoding."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_table(path: Path) -> bool:
    """Whether the file's name says that it is a table that can be read."""
    return readers.form_of(path.name) is not None


def stem(path: Path) -> str:
    """The file's name without what tells that it is a table."""
    return next((path.name[: -len(suffix)] for suffix in SUFFIXES if path.name.lower().endswith(suffix)), path.name)


def read_table(path: Path, reading: Reading | None = None) -> Table:
    """All of a table; InputError names the file, the line or row where there is one, and the way out.

    What is not said of how it was saved is found out. A packed one that unpacks to more than the limit is refused
    before any of it is kept.
    """
    reading = reading or Reading()
    form = _check_table(path, reading)
    with readers.opened(path, form, reading) as read:
        return Table(path, tuple(read.columns), list(read.rows), read.found, read.class_names, read.places)


@contextmanager
def open_table(path: Path, reading: Reading | None = None) -> Iterator[tuple[Table, Iterator[Row]]]:
    """A table without its rows, and the rows, which are read as they are asked for within the block; else as above."""
    reading = reading or Reading()
    form = _check_table(path, reading)
    with readers.opened(path, form, reading) as read:
        about = (read.found, read.class_names, read.places, read.parquet)
        yield Table(path, tuple(read.columns), [], *about), iter(read.rows)


def _check_table(path: Path, reading: Reading) -> str:
    """The form of a file that can be read as a table."""
    form = readers.form_of(path.name)
    if form is None:
        raise InputError(f"cannot tell what {path} is: its name must end in one of {', '.join(SUFFIXES)}")
    check_is_file(path)
    check_packed(path, reading.unpack_limit)
    return form


def from_home(name: str) -> Path:
    """The path that a name means, `~` in it for a user's home; of a user who is not there it means itself."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def is_folder(path: Path) -> bool:
    """Whether there is a folder of that name, which may be one that no file can have."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def check_is_file(path: Path) -> None:
    """InputError where there is no file to read; to open a pipe that nobody writes would take for ever."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else getattr(error, "strerror", error)
        raise InputError(f"cannot read {path}: {reason}") from None
    if not stat.S_ISREG(mode):
        raise InputError(f"cannot read {path}: {'it is a folder' if stat.S_ISDIR(mode) else 'it is no plain file'}")


def read_lines(encoding: str | None = None) -> tuple[Table, Iterator[Row]]:
    """The lines of the standard input, as rows of a column `text`; InputError names a line that is not so encoded."""
    known = encodings.known_encoding(encoding) if encoding else encodings.UTF8
    start, file = encodings.beginning_of(sys.stdin.buffer)
    is_cr = encodings.cr_ends_lines(lambda: io.BytesIO(start), known, has_quotes=False)
    end = "\r" if is_cr else "\n"
    lines = encodings.decoded_lines(lambda: nullcontext(file), known, "standard input", end)
    found = ("line ends CR",) if is_cr else ()
    return Table(STANDARD, ("text",), [], found), ((line.rstrip("\r\n"),) for line in lines)


def write_table(
    path: Path | None, columns: Sequence[str], rows: Iterable[Sequence[Any]], kinds: Mapping[str, type] | None = None
) -> None:
    """Write a table in the form that the suffix names, as CSV to the standard output for None and `-`.

    The file appears complete or not at all. InputError where it cannot be written. `kinds` of columns, str or float,
    are those that they have without a cell that tells it.
    """
    if path is None or path == STANDARD:
        _write_stdout(columns, rows)
        return
    form = _form(path)
    with atomic_write(path) as partial:
        try:
            _WRITERS[form](partial, columns, rows, kinds or {})
        except _UnfitError as error:
            raise InputError(f"cannot write {path}: {error}") from None


class _UnfitError(Exception):
    """Why a form cannot hold what is to be written in it."""


def write_text(path: Path, text: str) -> None:
    """Write a text; the file appears complete or not at all. InputError where it cannot be written."""
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _form(path: Path) -> str:
    """The form that a file's name tells; InputError where it tells none that can be written."""
    form = readers.form_of(path.name)
    if form not in _WRITERS:
        raise InputError(f"cannot tell what to write to {path}: its name must end in one of {', '.join(WRITTEN)}")
    return form


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A file to write beside `path`, which replaces it when all went well and vanishes otherwise."""
    folder = local.partial_path(path)  # in which the file has its own name, that tells the form
    try:
        if path.is_dir():
            raise IsADirectoryError(None, "it is a folder")
        for left in local.partial_paths_of(path):  # by processes that were killed
            local.delete(left)
        folder.mkdir()
        partial = folder / path.name
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]], _: Mapping[str, type]) -> None:
    with open_packed(path, "wb") as file, io.TextIOWrapper(file, encoding="utf-8", newline="") as text:
        text.writelines(_records(columns, rows, _DELIMITERS[_form(path)], "\r\n"))


def _write_stdout(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    text = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", newline="")
    try:
        text.writelines(_records(columns, rows, ",", "\n"))
    finally:
        text.detach()  # else the standard output closes with it


def _records(columns: Sequence[str], rows: Iterable[Sequence[Any]], delimiter: str, line_end: str) -> Iterator[str]:
    """Lines of CSV, as `csv.writer` has them at a tenth of the speed: it looks at each character by itself."""
    needs_quotes = re.compile(f'[{delimiter}"\r\n]').search
    for row in chain([columns], rows):
        texts = [cell if isinstance(cell, str) else _csv_text(cell) for cell in row]
        cells = [f'"{text.replace(_QUOTE, 2 * _QUOTE)}"' if needs_quotes(text) else text for text in texts]
        yield ('""' if cells == [""] else delimiter.join(cells)) + line_end


def _csv_text(cell: Any) -> str:
    """What stands in a table of text for a cell that is none."""
    if isinstance(cell, dict | list):
        return _json(cell, _ENCODE_ASCII)
    return "" if cell is None else str(cell)


def _write_jsonl(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]], _: Mapping[str, type]) -> None:
    if len(set(columns)) < len(columns):
        raise _UnfitError("two columns have one name, which JSON cannot hold; write a .csv")
    with open_packed(path, "wb") as file:
        for row in rows:
            record = dict(zip(columns, row, strict=True))
            file.write(_json(record, _ENCODE).encode() + b"\n")


def _write_parquet(
    path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]], kinds: Mapping[str, type]
) -> None:
    """Write rows piece by piece; what columns are of whose first rows are no texts and decimals, all rows tell."""
    import pyarrow
    from pyarrow import parquet

    left = iter(rows)
    try:
        first = _arrow(list(islice(left, _TOGETHER)), columns)
        pieces = iter(lambda: list(islice(left, _TOGETHER)), [])
        if set(first.schema.types) <= {pyarrow.string(), pyarrow.float64()}:
            schema = first.schema
            tables: Iterator[Any] = chain([first], (_arrow(some, columns, schema.types) for some in pieces))
        else:
            every = chain([first], (_arrow(some, columns) for some in pieces))
            schema, tables = _of_one_schema(every, path.with_name("pieces"), kinds)
        with path.open("wb") as file, parquet.ParquetWriter(file, schema) as writer:
            for table in tables:
                writer.write_table(table)
    except (pyarrow.ArrowException, OverflowError) as error:  # the second of a whole number of more than 64 bits
        raise _UnfitError(f"Parquet wants columns of one type ({_first_line(error)}); write a .csv or .jsonl") from None


def _of_one_schema(tables: Iterable[Any], kept: Path, kinds: Mapping[str, type]) -> tuple[Any, Iterator[Any]]:
    """The schema that all tables fit into, and the tables in it, which are kept in a file until it is known."""
    import pyarrow
    from pyarrow import ipc

    schema: Any = None
    with kept.open("wb") as file:
        for table in tables:
            schema = _unified(schema or table.schema, table.schema)
            with ipc.new_stream(file, table.schema) as writer:
                writer.write_table(table)
    schema = _without_nulls(schema, kinds)

    def promoted() -> Iterator[Any]:
        with kept.open("rb") as file:
            while file.tell() < kept.stat().st_size:
                with ipc.open_stream(file) as reader:
                    parts = [schema.empty_table(), reader.read_all()]
                yield pyarrow.concat_tables(parts, promote_options="permissive")

    return schema, promoted()


def _unified(schema: Any, other: Any) -> Any:
    """The schema that tables of both fit into without losing anything."""
    import pyarrow

    unified = pyarrow.unify_schemas([schema, other], promote_options="permissive")
    for kind, *both in zip(unified.types, schema.types, other.types, strict=True):
        if pyarrow.types.is_floating(kind) and any(map(pyarrow.types.is_decimal, both)):
            raise pyarrow.ArrowTypeError("a number that no float holds among floats")
    return unified


def _without_nulls(schema: Any, kinds: Mapping[str, type]) -> Any:
    """The schema with the types of columns whose cells told none."""
    import pyarrow

    types = {str: pyarrow.string(), float: pyarrow.float64()}
    known = {name: types[kind] for name, kind in kinds.items()}
    fields = (
        one.with_type(known.get(one.name, one.type)) if pyarrow.types.is_null(one.type) else one for one in schema
    )
    return pyarrow.schema(fields)


def _arrow(rows: Sequence[Sequence[Any]], columns: Sequence[str], types: Sequence[Any] | None = None) -> Any:
    """Rows as an Arrow table, of these types where they are known."""
    import pyarrow

    cells = list(zip(*rows, strict=True)) or [()] * len(columns)
    known = types or [None] * len(columns)
    arrays = [pyarrow.array(list(column), kind) for column, kind in zip(cells, known, strict=True)]
    for column, converted in zip(cells, arrays, strict=True):
        _check_numbers(column, converted.type)
    return pyarrow.Table.from_arrays(arrays, columns)


def _check_numbers(cells: Iterable[Any], kind: Any) -> None:
    """ArrowTypeError where a boolean among floats became one, as none does among whole numbers."""
    from pyarrow import ArrowTypeError, types

    if types.is_floating(kind) and bool in map(type, cells):
        raise ArrowTypeError("a boolean among numbers")
    if types.is_list(kind):
        _check_numbers(chain.from_iterable(filter(None, cells)), kind.value_type)
    if types.is_struct(kind):
        structs = [cell for cell in cells if cell is not None]
        for field in kind:
            _check_numbers([struct.get(field.name) for struct in structs], field.type)


class _ExactError(Exception):
    """The library writes no number by its digits."""


def _json(cell: Any, encode: Callable[[Any], str]) -> str:
    """JSON of a cell, in which a number that no float holds stands as it was read."""
    try:
        return encode(cell)
    except _ExactError:
        if isinstance(cell, dict):
            return f"{{{', '.join(f'{encode(name)}: {_json(value, encode)}' for name, value in cell.items())}}}"
        return f"[{', '.join(_json(value, encode) for value in cell)}]" if isinstance(cell, list) else str(cell)


def _plain(cell: Any) -> Any:
    """What JSON can hold of a cell: the number of a NumPy one, the text of a date."""
    if isinstance(cell, readers.ExactNumber):
        raise _ExactError
    return cell.item() if hasattr(cell, "item") else str(cell)


_ENCODE = json.JSONEncoder(ensure_ascii=False, default=_plain).encode
_ENCODE_ASCII = json.JSONEncoder(default=_plain).encode


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


_WRITERS = {".csv": _write_csv, ".tsv": _write_csv, ".jsonl": _write_jsonl, ".parquet": _write_parquet}
WRITTEN = tuple(suffix for suffix in SUFFIXES if readers.form_of(suffix) in _WRITERS)
