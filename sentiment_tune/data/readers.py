"""How each form of a table is read: CSV, TSV, JSON, lines of JSON, lines of text, Parquet, spreadsheets, ZIP archives.

Cells stay as they stand in the file: `NA`, `null` and an empty cell of a CSV are texts like any other.
"""

import csv
import json
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import BadZipFile, ZipFile, ZipInfo

from sentiment_tune.data import delimiters, encodings
from sentiment_tune.data.packing import DAMAGED, archive_size, open_packed, too_large, unpack_limit
from sentiment_tune.errors import InputError

LONGEST_CELL = 10_000_000  # characters of a CSV cell; a longer one comes from a quote that nobody closed

Row = tuple[Any, ...]  # texts from CSV and TSV; whatever JSON, Parquet and spreadsheets hold from the others
Read = tuple[list[str], list[Row]]  # columns and rows


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

    @property
    def names(self) -> list[str]:
        """The columns that the user names."""
        return [name.strip() for name in (self.columns or "").split(",")] if self.columns is not None else []


@dataclass
class _Source:
    """A file while it is read, and what is found out of how it was saved."""

    path: Path
    origin: str  # as it is called in errors: the path, or the place within an archive
    reading: Reading
    found: dict[str, str] = field(default_factory=dict)  # for a line that says how it is read, by what is found

    @property
    def opened(self) -> encodings.Opened:
        return partial(open_packed, self.path, "rb")

    def lines(self) -> Iterator[str]:
        """Its lines as texts, in the encoding that was given or is found."""
        given = self.reading.encoding
        encoding = encodings.known_encoding(given) if given else encodings.find_encoding(self.opened, self.origin)
        if given is None and (shown := encodings.shown(encoding)):
            self.found["encoding"] = shown
        return encodings.decoded_lines(self.opened, encoding, self.origin)


def read(path: Path, form: str, reading: Reading, origin: str | None = None) -> tuple[list[str], list[Row], list[str]]:
    """Columns, rows and what was found out of a file in that form; InputError says where it is not as it should be."""
    source = _Source(path, origin or str(path), reading)
    columns, rows = _READERS[form](source)
    return columns, rows, [f"{what} {found}" for what, found in source.found.items()]


def _read_csv(source: _Source, delimiter: str | None = None) -> Read:
    if source.reading.delimiter is not None:
        delimiter = delimiters.parse_delimiter(source.reading.delimiter)
    if delimiter is None:
        delimiter = delimiters.find_delimiter(source.lines(), source.origin)
        if delimiter != delimiters.COMMA:
            source.found["delimiter"] = delimiters.shown(delimiter)
    return _table_of(source, _records(source, delimiter))


def _table_of(source: _Source, records: Generator[tuple[int, list[str]]]) -> Read:
    """Columns and rows of records of equally many cells, each behind the number of its line."""
    columns: list[str] = source.reading.names
    rows: list[Row] = []
    gap = 0  # the first of the empty lines behind the last row; at the end of the file they are no rows
    with closing(records):
        for line, cells in records:
            if not cells:
                gap = gap or line
                continue
            if not columns:
                columns = cells
                if not gap:
                    continue
            if gap or len(cells) != len(columns):
                raise InputError(
                    f"{source.origin}, line {gap or line}: {0 if gap else len(cells)} cells, but {len(columns)} "
                    "columns; quote fields that hold a delimiter or a quote, and remove empty lines"
                )
            rows.append(tuple(cells))
    if not columns:
        raise InputError(f"{source.origin} is empty: its first line must name the columns")
    return columns, rows


def _records(source: _Source, delimiter: str) -> Generator[tuple[int, list[str]]]:
    """Cells of each row, behind the number of the line it starts in."""
    reader = csv.reader(source.lines(), delimiter=delimiter, strict=True)
    line = 1
    limit = csv.field_size_limit(LONGEST_CELL)  # csv knows one limit for all its readers only
    try:
        for cells in reader:
            yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{source.origin}, line {line}: {error}; quote fields, and double the quotes within") from None
    finally:
        csv.field_size_limit(limit)


def _read_text(source: _Source) -> Read:
    """Lines of text, each a row of the column `text`."""
    return source.reading.names or ["text"], [(line.rstrip("\r\n"),) for line in source.lines()]


def _read_jsonl(source: _Source) -> Read:
    objects = [_parse_object(source.origin, line, text) for line, text in enumerate(source.lines(), 1) if text.strip()]
    return _table_of_objects(source, objects, "each line must hold one JSON object")


def _read_json(source: _Source) -> Read:
    """An array of objects, or an object a line."""
    text = "".join(source.lines())
    if not text.lstrip().startswith("["):
        return _read_jsonl(source)
    rows = _parse_json(source.origin, 1, text)
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise InputError(f"{source.origin}, row {number}: {row!r:.40} is no JSON object; write an array of objects")
    return _table_of_objects(source, rows, "the array must hold objects")


def _table_of_objects(source: _Source, objects: Sequence[Mapping[str, Any]], way_out: str) -> Read:
    columns = list(dict.fromkeys(name for row in objects for name in row))
    if not columns:
        raise InputError(f"{source.origin} is empty: {way_out}")
    return columns, [tuple(row.get(name) for name in columns) for row in objects]


def _parse_object(origin: str, line: int, text: str) -> dict[str, Any]:
    value = _parse_json(origin, line, text)
    if not isinstance(value, dict):
        raise InputError(f"{origin}, line {line}: {text.strip():.40} is no JSON object; write one a line")
    return value


def _parse_json(origin: str, line: int, text: str) -> Any:
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InputError(f"{origin}, line {line}: half a surrogate pair is no character; remove it") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{origin}, line {line}: not JSON ({error}); write one object a line") from None
    return value


def _read_parquet(source: _Source) -> Read:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(source.path) as file:
            table = file.read()
        rows = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
    except (pyarrow.ArrowException, ValueError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"cannot read {source.origin} ({reason}): it is no whole Parquet file") from None
    if not table.column_names:
        raise InputError(f"{source.origin} is empty: it has no columns")
    return table.column_names, rows


def _read_spreadsheet(source: _Source) -> Read:
    """The only sheet that holds anything, or the one that was named; its first row with cells names the columns."""
    from python_calamine import CalamineError, CalamineWorkbook

    check_archive(source.path, source.reading.unpack_limit)
    try:
        book = CalamineWorkbook.from_path(str(source.path))
        sheets = {name: book.get_sheet_by_name(name).to_python() for name in book.sheet_names}
    except (CalamineError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"cannot read {source.origin} ({reason}): it is no whole spreadsheet") from None
    name = _sheet(source, {name: rows for name, rows in sheets.items() if any(map(any, rows))}, list(sheets))
    rows = [tuple(None if cell == "" else cell for cell in row) for row in sheets[name]]
    filled = [row for row in rows if any(cell is not None for cell in row)]
    columns = source.reading.names or ["" if cell is None else str(cell) for cell in filled[0]]
    table = filled if source.reading.columns is not None else filled[1:]
    if table and len(table[0]) != len(columns):
        raise InputError(f"{source.origin}: {len(table[0])} columns, but {len(columns)} names in --columns")
    return columns, table


def _sheet(source: _Source, filled: Mapping[str, object], every: Sequence[str]) -> str:
    given = source.reading.sheet
    if given is not None and given in every:
        return given
    names = ", ".join(map(repr, every))
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
    try:
        with ZipFile(source.path) as archive:
            member, form = _member(source, archive.infolist())
            if archive_size(archive) > (limit := unpack_limit(source.path, source.reading.unpack_limit)):
                raise too_large(source.path, limit)
            with tempfile.TemporaryDirectory() as folder:
                unpacked = Path(folder, PurePosixPath(member.filename).name)
                unpacked.write_bytes(archive.read(member))
                source.found["file"] = repr(member.filename)
                inner = _Source(unpacked, f"{source.origin}, {member.filename}", source.reading, source.found)
                return _READERS[form](inner)
    except (*DAMAGED, BadZipFile, NotImplementedError, RuntimeError, OSError) as error:
        raise InputError(f"cannot read {source.origin} ({error}): it is no whole ZIP archive that opens") from None


def _member(source: _Source, members: Sequence[ZipInfo]) -> tuple[ZipInfo, str]:
    """The only table among the files of an archive, and its form."""
    named = [member for member in members if not member.is_dir() and not _is_litter(member.filename)]
    tables = [(member, form) for member in named if (form := form_of(member.filename)) not in (None, ".zip")]
    if len(tables) == 1:
        member, form = tables[0]
        return member, str(form)
    shown = ", ".join(repr(member.filename) for member in named[:5])
    raise InputError(f"{source.origin} holds {len(tables)} tables ({shown}): unpack it, and name the one that is meant")


def _is_litter(name: str) -> bool:
    """Whether a name is one of what systems put beside the files of an archive."""
    return name.startswith("__MACOSX/") or PurePosixPath(name).name.startswith(".")


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
_PACKED = (".csv", ".tsv", ".jsonl", ".json", ".txt")
SUFFIXES = (
    *(form + packing for form in _PACKED for packing in ("", ".gz", ".xz")),
    *(form for form in _READERS if form not in _PACKED),
)


def form_of(name: str) -> str | None:
    """The form that a file's name tells, or None."""
    suffix = next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), None)
    return suffix.removesuffix(".gz").removesuffix(".xz") if suffix else None
