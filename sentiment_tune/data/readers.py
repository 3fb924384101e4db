"""How each form of a table is read: CSV, TSV, JSON, lines of JSON, lines of text, Parquet, spreadsheets, ZIP archives.

Cells stay as they stand in the file: `NA`, `null` and an empty cell of a CSV are texts like any other.
"""

import csv
import json
import re
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from functools import cached_property, partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import BadZipFile, ZipFile, ZipInfo

from sentiment_tune.data import delimiters, encodings, parquet
from sentiment_tune.data.packing import (
    DAMAGED,
    archive_size,
    check_packed,
    open_packed,
    parse_size,
    too_large,
    unpack_limit,
)
from sentiment_tune.errors import InputError

_ROWS = 2**14  # of a Parquet file, read together
_SEPARATOR = re.compile('"?sep=(.)"?[\\r\\n]*')
LONGEST_CELL = 10_000_000  # characters of a CSV cell; a longer one comes from a quote that nobody closed

Row = tuple[Any, ...]  # texts from CSV and TSV; whatever JSON, Parquet and spreadsheets hold from the others
ClassNames = dict[str, tuple[str, ...]]  # by column: what the numbers in it, from 0, stand for


@dataclass(frozen=True)
class Read:
    """A table of a file."""

    columns: Sequence[str]
    rows: Iterable[Row]  # which are read as they are asked for
    found: Sequence[str] = ()  # what was found out of how it was saved
    class_names: ClassNames = field(default_factory=dict)
    places: Callable[[int], str] | None = None  # of rows that are not to be found by their numbers, from 1
    parquet: Path | None = None  # the file, perhaps out of an archive, whose rows these are without their types


@dataclass(frozen=True)
class Reading:
    """What the user says of how a file is to be read; what is not said is found out."""

    encoding: str | None = None
    delimiter: str | None = None
    columns: str | None = None  # names with commas between, of a file whose first line names none
    sheet: str | None = None  # of a spreadsheet
    unpack_limit: str | int | None = None  # that a packed file may unpack to

    def __post_init__(self) -> None:
        if self.encoding is not None:
            encodings.known_encoding(self.encoding)
        if self.delimiter is not None:
            delimiters.parse_delimiter(self.delimiter)
        if self.columns is not None and not all(self.names):
            raise InputError(f"columns cannot be {self.columns!r:.60}: give names with commas between")
        if self.unpack_limit is not None:
            parse_size(self.unpack_limit)

    @property
    def names(self) -> list[str]:
        """The columns that the user names."""
        return [name.strip() for name in (self.columns or "").split(",")] if self.columns is not None else []


class EmptyError(InputError):
    """A file has nothing in it, neither rows nor names of columns."""


def check_heeded(forms: Iterable[str], origin: object, reading: Reading) -> None:
    """InputError for what the user says of files that their forms leave nothing to say of; lines have the form `-`."""
    heeded = {name for form in forms for name in _HEEDED.get(form, ())}
    for name in ("encoding", "delimiter", "columns", "sheet"):
        if getattr(reading, name) is not None and name not in heeded:
            raise InputError(f"--{name} has no effect on {origin}: leave it out")


@dataclass
class _Source:
    """A file while it is read, and what is found out of how it was saved."""

    path: Path
    origin: str  # as it is called in errors: the path, or the place within an archive
    reading: Reading
    stack: ExitStack  # of what is open until all rows are read
    found: dict[str, str] = field(default_factory=dict)  # for a line that says how it is read, by what is found
    class_names: ClassNames = field(default_factory=dict)
    has_quotes: bool = False  # around cells

    @property
    def opened(self) -> encodings.Opened:
        return partial(open_packed, self.path, "rb")

    @cached_property
    def encoding(self) -> str:
        """The encoding that was given or is found."""
        if self.reading.encoding:
            return encodings.known_encoding(self.reading.encoding)
        found = encodings.find_encoding(self.opened, self.origin)
        if shown := encodings.shown(found):
            self.found["encoding"] = shown
        return found

    def lines(self) -> Iterator[str]:
        """Its lines as texts, of a file that is closed with the source where they are not all asked for."""
        return self.stack.enter_context(closing(self._lines()))

    def _lines(self) -> Generator[str]:
        return encodings.decoded_lines(self.opened, self.encoding, self.origin, self._line_end)

    @cached_property
    def delimiter(self) -> str:
        """The delimiter that is found, or told in the file."""
        with closing(self._lines()) as lines:
            return self.told_delimiter or delimiters.find_delimiter(lines, self.origin)

    @cached_property
    def _line_end(self) -> str:
        if encodings.cr_ends_lines(self.opened, self.encoding, self.has_quotes):
            self.found["line ends"] = "CR"
            return "\r"
        return "\n"

    @cached_property
    def told_delimiter(self) -> str | None:
        """What a first line `sep=;` says, which spreadsheets write and do not show."""
        with closing(self._lines()) as lines:
            told = _SEPARATOR.fullmatch(next(lines, ""))
        return told[1] if told else None

    @property
    def above(self) -> int:
        """Lines above the table."""
        return int(self.told_delimiter is not None)


@contextmanager
def opened(path: Path, form: str, reading: Reading) -> Iterator[Read]:
    """The table of a file in that form; InputError says where it is not as it should be.

    Rows are read as they are asked for, within the block.
    """
    with ExitStack() as stack:
        source = _Source(path, str(path), reading, stack)
        read = _READERS[form](source)
        found = tuple(f"{what} {found}" for what, found in source.found.items())
        yield replace(read, found=found, class_names=source.class_names)


def _read_csv(source: _Source, delimiter: str | None = None) -> Read:
    source.has_quotes = True
    if source.reading.delimiter is not None:
        delimiter = delimiters.parse_delimiter(source.reading.delimiter)
    if delimiter is None:
        delimiter = source.delimiter
        if delimiter != delimiters.COMMA:
            source.found["delimiter"] = delimiters.shown(delimiter)
    return _table_of(source, _records(source, delimiter))


def _table_of(source: _Source, records: Generator[tuple[int, list[str]]]) -> Read:
    """Columns and rows of records, each behind the number of its line."""
    source.stack.enter_context(closing(records))
    names = source.reading.names
    if names:
        return Read(names, _rows(source, names, records))
    for line, cells in records:
        if cells and line > 1 + source.above:
            raise _ragged(source, 1, 0, len(cells))  # nothing stands above the names
        if cells:
            return Read(cells, _rows(source, cells, records))
    raise EmptyError(f"{source.origin} is empty: its first line must name the columns")


def _rows(source: _Source, columns: Sequence[str], records: Iterable[tuple[int, list[str]]]) -> Iterator[Row]:
    """Rows of as many cells as there are columns."""
    gap = 0  # the first of the empty lines behind the last row; at the end of the file they are no rows
    for line, cells in records:
        if not cells:
            gap = gap or line
        elif gap or len(cells) != len(columns):
            raise _ragged(source, gap or line, 0 if gap else len(cells), len(columns))
        else:
            yield tuple(cells)


def _ragged(source: _Source, line: int, cells: int, columns: int) -> InputError:
    return InputError(
        f"{source.origin}, line {line}: {cells} cells, but {columns} columns; quote fields that hold a delimiter or a "
        "quote, and remove empty lines"
    )


def _records(source: _Source, delimiter: str) -> Generator[tuple[int, list[str]]]:
    """Cells of each row, behind the number of the line it starts in."""
    reader = csv.reader(islice(source.lines(), source.above, None), delimiter=delimiter, strict=True)
    line = 1 + source.above
    limit = csv.field_size_limit(LONGEST_CELL)  # csv knows one limit for all its readers only
    try:
        for cells in reader:
            yield line, cells
            line = reader.line_num + 1 + source.above
    except csv.Error as error:
        reason = "a CR within a field" if "new-line" in str(error) else error
        raise InputError(
            f"{source.origin}, line {line}: {reason}; quote fields, and double the quotes within"
        ) from None
    finally:
        csv.field_size_limit(limit)


def _read_text(source: _Source) -> Read:
    """Lines of text, each a row of the column `text`."""
    names = source.reading.names or ["text"]
    if len(names) > 1:
        raise InputError(
            f"{source.origin} has a text a line and nothing else, but {len(names)} names in --columns: give one, or "
            "save it as a table, such as .tsv"
        )
    return Read(names, ((line.rstrip("\r\n"),) for line in source.lines()))


def _read_jsonl(source: _Source) -> Read:
    """An object a line; all are looked at for the columns before the first is a row."""
    columns = list(dict.fromkeys(name for row in _objects(source) for name in row))
    if not columns:
        raise EmptyError(f"{source.origin} is empty: each line must hold one JSON object")
    return Read(columns, (tuple(map(row.get, columns)) for row in _objects(source)))


def _objects(source: _Source) -> Iterator[dict[str, Any]]:
    for line, text in enumerate(source.lines(), 1):
        if text.strip():
            yield _parse_object(source.origin, line, text)


def _read_json(source: _Source) -> Read:
    """An array of objects, or an object a line."""
    text = "".join(source.lines())
    if not text.lstrip().startswith("["):
        return _read_jsonl(source)
    rows = _parse_json(source.origin, text)
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise InputError(f"{source.origin}, row {number}: {row!r:.40} is no JSON object; write an array of objects")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if not columns:
        raise EmptyError(f"{source.origin} is empty: the array must hold objects")
    return Read(columns, (tuple(map(row.get, columns)) for row in rows))


def _parse_object(origin: str, line: int, text: str) -> dict[str, Any]:
    value = _parse_json(f"{origin}, line {line}", text)
    if not isinstance(value, dict):
        raise InputError(f"{origin}, line {line}: {text.strip():.40} is no JSON object; write one a line")
    return value


def _parse_json(place: str, text: str) -> Any:
    try:
        value = _DECODER.decode(text)
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        raise InputError(f"{place}: half a surrogate pair is no character; remove it") from None
    except _DoubledError as error:
        raise InputError(f"{place}: an object has the name {error} twice; rename one, or leave it out") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: not JSON ({error}); write one object a line") from None
    return value


class ExactNumber(Decimal):
    """A number of JSON that no float holds."""


def _parse_number(literal: str) -> float | ExactNumber:
    """A float where it says what the literal says, as every one of 15 digits does."""
    number = float(literal)
    if (len(literal) < 17 and "e" not in literal and "E" not in literal) or literal in (repr(number), f"{number:.17g}"):
        return number
    try:
        exact = ExactNumber(literal)
    except InvalidOperation:
        raise ValueError(f"the exponent of {literal:.40} is beyond all numbers") from None
    return number if exact == Decimal(repr(number)) else exact


class _DoubledError(Exception):
    """A name that stands twice in an object, which keeps one of the values only."""


def _parse_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _DoubledError(repr(next(name for name in names if names.count(name) > 1)))
    return found


_DECODER = json.JSONDecoder(parse_float=_parse_number, object_pairs_hook=_parse_pairs)


def _read_parquet(source: _Source) -> Read:
    file = source.stack.enter_context(parquet.open_parquet(source.path, source.origin))
    if not file.schema_arrow.names:
        raise InputError(f"{source.origin} is empty: it has no columns")
    source.class_names |= class_names(file.schema_arrow.metadata)
    return Read(file.schema_arrow.names, _parquet_rows(source, file), parquet=source.path)


def _parquet_rows(source: _Source, file: Any) -> Iterator[Row]:
    before, names = 0, file.schema_arrow.names
    for batch in parquet.batches(file, source.origin, _ROWS):
        columns = zip(batch.columns, names, strict=True)
        yield from zip(*(parquet.cells_in(*column, source.origin, before) for column in columns), strict=True)
        before += len(batch)


def class_names(metadata: Mapping[bytes, bytes] | None) -> ClassNames:
    """What an Arrow schema says of the columns whose numbers Hugging Face's `datasets` wrote for names of classes."""
    try:
        info = json.loads((metadata or {}).get(b"huggingface", b"{}"))["info"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    return class_names_in(info)


def class_names_in(info: Any) -> ClassNames:
    """The same of the description of a data set, as `dataset_info.json` has it too."""
    features = info.get("features") if isinstance(info, dict) else None
    return {
        str(column): tuple(map(str, feature["names"]))
        for column, feature in (features.items() if isinstance(features, dict) else ())
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and isinstance(feature.get("names"), list)
    }


@contextmanager
def _explained(source: _Source, errors: tuple[type[Exception], ...], what: str) -> Iterator[None]:
    """What a library says of a file that is damaged, as an InputError."""
    try:
        yield
    except InputError:
        raise
    except errors as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"cannot read {source.origin} ({reason}): it is no whole {what}") from None


def _read_spreadsheet(source: _Source) -> Read:
    """The only sheet that holds anything, or the one that was named; its first row with cells names the columns."""
    from python_calamine import CalamineError, CalamineWorkbook

    check_archive(source.path, source.reading.unpack_limit)
    with _explained(source, (CalamineError, OSError), "spreadsheet"):
        book = source.stack.enter_context(closing(CalamineWorkbook.from_path(str(source.path))))
        sheets = {name: book.get_sheet_by_name(name).to_python(skip_empty_area=False) for name in book.sheet_names}
    name = _sheet(source, {name: rows for name, rows in sheets.items() if any(map(any, rows))}, list(sheets))
    first = min(place for row in sheets[name] for place, cell in enumerate(row) if cell != "")  # column with a cell
    rows = [tuple(map(_sheet_cell, row[first:])) for row in sheets[name]]
    filled = [number for number, row in enumerate(rows, 1) if any(cell is not None for cell in row)]
    columns = source.reading.names or ["" if cell is None else str(cell) for cell in rows[filled[0] - 1]]
    filled = filled if source.reading.columns is not None else filled[1:]
    table = [rows[number - 1] for number in filled]
    if table and len(table[0]) != len(columns):
        raise InputError(f"{source.origin}: {len(table[0])} columns, but {len(columns)} names in --columns")
    return Read(columns, table, places=lambda number: f"{source.origin}, row {filled[number - 1]} of the sheet")


def _sheet_cell(cell: Any) -> Any:
    """A cell as its sheet shows it: all numbers there are floats, of which those below 2**53 hold whole ones."""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return int(cell)
    return None if cell == "" else cell


def _sheet(source: _Source, filled: Mapping[str, object], every: Sequence[str]) -> str:
    given = source.reading.sheet
    if given is not None and given in filled:
        return given
    names = ", ".join(map(repr, filled if given in every else every))
    if given in every:
        other = f"choose from {names} with --sheet" if filled else "give a file with one that does"
        raise InputError(f"{source.origin}: the sheet {given!r} holds nothing; {other}")
    if given is not None:
        raise InputError(f"{source.origin} has no sheet {given!r}: choose from {names} with --sheet")
    if len(filled) != 1:
        reason = f"several sheets: choose from {names} with --sheet" if filled else "no cell that holds anything"
        raise InputError(f"{source.origin} has {reason}")
    if len(every) > 1:
        source.found["sheet"] = repr(next(iter(filled)))
    return next(iter(filled))


def _read_zip(source: _Source) -> Read:
    """The one table in an archive."""
    errors = (*DAMAGED, BadZipFile, NotImplementedError, RuntimeError, OSError)
    with _explained(source, errors, "ZIP archive that opens"), ZipFile(source.path) as archive:
        member, form = _member(source, archive.infolist())
        if archive_size(archive) > (limit := unpack_limit(source.path, source.reading.unpack_limit)):
            raise too_large(source.path, limit)
        folder = source.stack.enter_context(tempfile.TemporaryDirectory())
        unpacked = Path(folder, PurePosixPath(member.filename).name)
        unpacked.write_bytes(archive.read(member))
    check_packed(unpacked, source.reading.unpack_limit, source.path)
    source.found["file"] = repr(member.filename)
    origin = f"{source.origin}, {member.filename}"
    return _READERS[form](replace(source, path=unpacked, origin=origin))


def _member(source: _Source, members: Sequence[ZipInfo]) -> tuple[ZipInfo, str]:
    """The only table among the files of an archive, and its form."""
    named = [member for member in members if not member.is_dir() and not is_litter(member.filename)]
    tables = [(member, form) for member in named if (form := form_of(member.filename)) not in (None, ".zip")]
    if len(tables) == 1:
        member, form = tables[0]
        return member, str(form)
    shown = ", ".join(repr(member.filename) for member in named[:5])
    if not tables:
        raise InputError(f"{source.origin} holds 0 tables{f', but {shown}' if shown else ''}: pack one into it")
    raise InputError(f"{source.origin} holds {len(tables)} tables ({shown}): unpack it, and name the one that is meant")


def is_litter(name: str) -> bool:
    """Whether a name is one of what systems and spreadsheets put beside the files of an archive or a folder."""
    return name.startswith("__MACOSX/") or PurePosixPath(name).name.startswith((".", "~$"))


def check_archive(path: Path, given: str | int | None) -> None:
    """InputError where a file that is a ZIP archive within, as a spreadsheet is, unpacks to more than it may."""
    try:
        with ZipFile(path) as archive:
            size = archive_size(archive)
    except (BadZipFile, OSError, NotImplementedError):
        return  # it is for its reader to say what is wrong
    if size > (limit := unpack_limit(path, given)):
        raise too_large(path, limit)


_READERS: dict[str, Callable[[_Source], Read]] = {
    ".csv": _read_csv,
    ".tsv": partial(_read_csv, delimiter="\t"),
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".txt": _read_text,
    ".parquet": _read_parquet,
    ".xlsx": _read_spreadsheet,
    ".zip": _read_zip,
}
_HEEDED = {
    ".csv": ("encoding", "delimiter", "columns"),
    ".tsv": ("encoding", "delimiter", "columns"),
    ".jsonl": ("encoding",),
    ".json": ("encoding",),
    ".txt": ("encoding", "columns"),
    ".parquet": (),
    ".xlsx": ("columns", "sheet"),
    ".zip": ("encoding", "delimiter", "columns", "sheet"),
    "-": ("encoding",),
}
_HEADED = (".csv", ".tsv", ".txt", ".xlsx", ".zip")
_PACKED = (".csv", ".tsv", ".jsonl", ".json", ".txt")
SUFFIXES = (
    *(form + packing for form in _PACKED for packing in ("", ".gz", ".xz")),
    *(form for form in _READERS if form not in _PACKED),
)


def is_named_by_line(name: str) -> bool:
    """Whether the columns of a file of that name are named by its first line, which may be missing."""
    return form_of(name) in _HEADED


def form_of(name: str) -> str | None:
    """The form that a file's name tells, or None."""
    suffix = next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), None)
    return suffix.removesuffix(".gz").removesuffix(".xz") if suffix else None
