"""Tables of reviews, read and written row for row: CSV, TSV, JSONL and Parquet.

Cells stay as they stand in the file: `NA`, `null` and an empty cell of a CSV are texts like any other.
"""

import csv
import io
import json
import os
import stat
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentiment_tune.data.packing import DAMAGED, PACKINGS, check_packed, open_packed
from sentiment_tune.errors import InputError

STANDARD = Path("-")  # the standard input or output
LONGEST_CELL = 10_000_000  # characters of a CSV cell; a longer one comes from a quote that nobody closed
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (*(form + packing for form in (".csv", ".tsv", ".jsonl") for packing in ("", *PACKINGS)), ".parquet")

Row = tuple[Any, ...]  # texts from CSV and TSV; whatever JSON and Parquet hold from the others


@dataclass(frozen=True)
class Table:
    """Rows of cells in the order of the columns."""

    origin: Path | str  # the file, or what else the rows came from
    columns: tuple[str, ...]
    rows: list[Row]

    def column(self, name: str, flag: str) -> list[Any]:
        """Cells of one column; InputError names the existing columns, and `flag`, by which another can be chosen."""
        if name not in self.columns:
            shown = ", ".join(f"{column:.40}" for column in self.columns[:20])
            raise InputError(f"{self.origin} has no column {name!r}: name one with {flag}, it has {shown}")
        index = self.columns.index(name)
        return [row[index] for row in self.rows]

    def texts(self, name: str, flag: str) -> list[str]:
        """Cells of one column, each a text; InputError names the first row, counted from 1, that holds none."""
        cells = self.column(name, flag)
        for row, cell in enumerate(cells, 1):
            if not isinstance(cell, str):
                raise InputError(f"{self.origin}, row {row}: {name!r} is {cell!r:.40}, not a text; put it in quotes")
            if not _is_unicode(cell):
                raise InputError(f"{self.origin}, row {row}: half a surrogate pair is no character; remove it")
        return cells

    def with_columns(self, added: Mapping[str, Iterable[Any]]) -> "Table":
        """The same rows with columns behind them; `predicted_` stands before a name that is in use, once or more."""
        names = [_unused_name(name, self.columns) for name in added]
        rows = [(*row, *cells) for row, *cells in zip(self.rows, *added.values(), strict=True)]
        return Table(self.origin, (*self.columns, *names), rows)


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
    return path.name.lower().endswith(SUFFIXES)


def stem(path: Path) -> str:
    """The file's name without what tells that it is a table."""
    return next(path.name[: -len(suffix)] for suffix in SUFFIXES if path.name.lower().endswith(suffix))


def read_table(path: Path, unpack_limit: str | int | None = None) -> Table:
    """All of a table; InputError names the file, the line or row where there is one, and the way out.

    A packed one that unpacks to more than the limit is refused before any of it is kept.
    """
    form = _form(path)
    check_is_file(path)
    check_packed(path, unpack_limit)
    columns, rows = _READERS[form](path)
    if len(set(columns)) < len(columns):
        duplicate = min(column for column in columns if columns.count(column) > 1)
        raise InputError(f"{path} has more than one column {duplicate!r}: rename all but one")
    return Table(path, tuple(columns), rows)


def from_home(name: str) -> Path:
    """The path that a name means, `~` in it for a user's home; of a user who is not there it means itself."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def check_is_file(path: Path) -> None:
    """InputError where there is no file to read; to open a pipe that nobody writes would take for ever."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else getattr(error, "strerror", error)
        raise InputError(f"cannot read {path}: {reason}") from None
    if not stat.S_ISREG(mode):
        raise InputError(f"cannot read {path}: {'it is a folder' if stat.S_ISDIR(mode) else 'it is no plain file'}")


def read_lines() -> Table:
    """The lines of the standard input, as the column `text`; InputError names the line that is not UTF-8."""
    return Table(STANDARD, ("text",), [(line.rstrip("\r\n"),) for line in _lines(STANDARD)])


def write_table(path: Path | None, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table in the form that the suffix names, as CSV to the standard output for None and `-`.

    The file appears complete or not at all. InputError where it cannot be written.
    """
    if path is None or path == STANDARD:
        _write_stdout(columns, rows)
        return
    form = _form(path)
    with atomic_write(path) as partial:
        _WRITERS[form](partial, columns, rows)


def write_text(path: Path, text: str) -> None:
    """Write a text; the file appears complete or not at all. InputError where it cannot be written."""
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _form(path: Path) -> str:
    """The suffix without the packing's."""
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return suffix.removesuffix(".gz").removesuffix(".xz")
    raise InputError(f"cannot tell what {path} is: its name must end in one of {', '.join(SUFFIXES)}")


def _lines(path: Path) -> Iterator[str]:
    """Lines with their ends; decoded one by one, so that an error knows its line."""
    name, number = "standard input" if path == STANDARD else path, 0
    try:
        with open_packed(path, "rb") if path != STANDARD else nullcontext(sys.stdin.buffer) as file:
            for number, line in enumerate(file, 1):  # the handlers below tell the number
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{name}, line {number}: this is not UTF-8; save it in that encoding") from None
    except DAMAGED as error:
        raise InputError(f"{path} is damaged behind line {number} ({error}): pack or fetch it again") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None


def _read_csv(path: Path) -> tuple[list[str], list[Row]]:
    columns: list[str] = []
    rows: list[Row] = []
    gap = 0  # the first of the empty lines behind the last row; at the end of the file they are no rows
    with closing(_records(path)) as records:
        for line, cells in records:
            if not cells:
                gap = gap or line
                continue
            columns = columns or cells
            if gap or len(cells) != len(columns):
                raise InputError(
                    f"{path}, line {gap or line}: {0 if gap else len(cells)} cells, but {len(columns)} columns; quote "
                    "fields that hold a delimiter or a quote, and remove empty lines"
                )
            rows.append(tuple(cells))
    if not columns:
        raise InputError(f"{path} is empty: its first line must name the columns")
    return columns, rows[1:]


def _records(path: Path) -> Generator[tuple[int, list[str]]]:
    """Cells of each row, behind the number of the line it starts in."""
    reader = csv.reader(_lines(path), delimiter=_DELIMITERS[_form(path)], strict=True)
    line = 1
    limit = csv.field_size_limit(LONGEST_CELL)  # csv knows one limit for all its readers only
    try:
        for cells in reader:
            yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}, line {line}: {error}; quote fields, and double the quotes within") from None
    finally:
        csv.field_size_limit(limit)


def _read_jsonl(path: Path) -> tuple[list[str], list[Row]]:
    objects = [_parse_object(path, line, text) for line, text in enumerate(_lines(path), 1) if text.strip()]
    columns = list(dict.fromkeys(name for row in objects for name in row))
    if not columns:
        raise InputError(f"{path} is empty: each line must hold one JSON object")
    return columns, [tuple(row.get(name) for name in columns) for row in objects]


def _parse_object(path: Path, line: int, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
        representable = _is_unicode(json.dumps(value, ensure_ascii=False))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}, line {line}: not JSON ({error}); write one object a line") from None
    if not representable:
        raise InputError(f"{path}, line {line}: half a surrogate pair is no character; remove it")
    if not isinstance(value, dict):
        raise InputError(f"{path}, line {line}: {text.strip():.40} is no JSON object; write one a line")
    return value


def _read_parquet(path: Path) -> tuple[list[str], list[Row]]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            table = file.read()
        rows = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
    except (pyarrow.ArrowException, ValueError, OSError) as error:
        raise InputError(f"cannot read {path} ({_first_line(error)}): it is no whole Parquet file") from None
    if not table.column_names:
        raise InputError(f"{path} is empty: it has no columns")
    return table.column_names, rows


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A file to write beside `path`, which replaces it when all went well and vanishes otherwise."""
    partial = path.with_name(f".{os.getpid()}.{path.name}")  # its suffix still tells the form
    try:
        if path.is_dir():
            raise IsADirectoryError(None, "it is a folder")
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with open_packed(path, "wb") as file, io.TextIOWrapper(file, encoding="utf-8", newline="") as text:
        _write_records(csv.writer(text, delimiter=_DELIMITERS[_form(path)]), columns, rows)


def _write_stdout(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    text = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", newline="")
    try:
        _write_records(csv.writer(text), columns, rows)
    finally:
        text.detach()  # else the standard output closes with it


def _write_records(writer: Any, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    writer.writerow(columns)
    for row in rows:
        writer.writerow([json.dumps(cell, default=_plain) if isinstance(cell, dict | list) else cell for cell in row])


def _write_jsonl(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with open_packed(path, "wb") as file:
        for row in rows:
            record = dict(zip(columns, row, strict=True))
            file.write(json.dumps(record, ensure_ascii=False, default=_plain).encode() + b"\n")


def _write_parquet(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    import pyarrow
    from pyarrow import parquet

    cells = list(zip(*rows, strict=True)) or [()] * len(columns)
    try:
        parquet.write_table(pyarrow.table(dict(zip(columns, map(list, cells), strict=True))), path)
    except pyarrow.ArrowException as error:
        raise InputError(f"cannot write {path} ({_first_line(error)}): Parquet wants columns of one type") from None


def _plain(cell: Any) -> Any:
    """What JSON can hold of a cell: the number of a NumPy one, the text of a date."""
    return cell.item() if hasattr(cell, "item") else str(cell)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


_READERS = {".csv": _read_csv, ".tsv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
_WRITERS = {".csv": _write_csv, ".tsv": _write_csv, ".jsonl": _write_jsonl, ".parquet": _write_parquet}
