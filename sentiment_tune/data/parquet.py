"""Parquet files, read so that nothing in them changes: old timestamps, notes, and what Python has no value for."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sentiment_tune.data.packing import STREAMED
from sentiment_tune.errors import InputError

_GROUP, _GROUP_BYTES = 2**16, 2**26  # rows of a group that is written, and what they may take before there are as many
_LAST = (2**63 - 1) // 1000  # microseconds from 1970 to the last nanosecond of 64 bits, in 2262
_SCHEMA = b"ARROW:schema"


@contextmanager
def open_parquet(path: Path, origin: object) -> Iterator[Any]:
    """A `ParquetFile` whose timestamps are all exact; InputError where it is no whole one."""
    import pyarrow
    from pyarrow import parquet

    with ExitStack() as stack:
        with _explained(origin):
            bytes_of = stack.enter_context(pyarrow.OSFile(str(path)))  # a path stays open where it is refused
            file = stack.enter_context(parquet.ParquetFile(bytes_of, **STREAMED))
            if unit := _int96_unit(file, bytes_of, origin):
                file = parquet.ParquetFile(bytes_of, coerce_int96_timestamp_unit=unit, **STREAMED)
        yield file


def batches(file: Any, origin: object, rows: int) -> Iterator[Any]:
    """The batches of a file; InputError where it is damaged, which the file that is being written is not blamed for."""
    with _explained(origin):
        yield from file.iter_batches(rows)


def cells_in(column: Any, name: str, origin: object, before: int = 0) -> list[Any]:
    """Values of a column of a batch, which `before` rows are before; a text where Python has none, as for year 12000.

    InputError names the row whose cell can be given in no way.
    """
    import pyarrow

    try:
        return _values(column)
    except (pyarrow.ArrowException, ValueError, OverflowError):
        rows = range(len(column))
        return [_value(column.slice(row, 1), name, f"{origin}, row {before + row + 1}") for row in rows]


def _values(column: Any) -> list[Any]:
    import pyarrow

    if column.type == pyarrow.time64("ns"):
        column = column.cast(pyarrow.time64("us"))  # which refuses to cut off what Python's times have no place for
    return list(column.to_pylist())


def _value(cell: Any, name: str, place: str) -> Any:
    """The value of a column's single cell."""
    import pyarrow

    try:
        return _values(cell)[0]
    except (pyarrow.ArrowException, ValueError, OverflowError) as error:
        text, reason = _text(cell), str(error).partition("\n")[0]
    if text is None:
        is_text = pyarrow.types.is_string(cell.type) or pyarrow.types.is_large_string(cell.type)
        other = "" if is_text else ", or score it into a .parquet, in which it stays as it is"
        raise InputError(f"{place}: {name!r} cannot be read ({reason}); mend it, or leave the column out{other}")
    return text


def _text(cell: Any) -> str | None:
    """What Arrow writes for a date or a time, as far as it can; of one in a zone it is UTC."""
    import pyarrow

    kind, zone = cell.type, ""
    if not pyarrow.types.is_temporal(kind) or pyarrow.types.is_duration(kind):
        return None
    if pyarrow.types.is_timestamp(kind) and kind.tz:  # in a zone a year of five digits comes out as another
        cell, zone = cell.cast(pyarrow.timestamp(kind.unit)), "Z"
    text = f"{cell.cast(pyarrow.string())[0]}{zone}"
    return None if "out of range" in text else text


def _int96_unit(file: Any, bytes_of: Any, origin: object) -> str | None:
    """The unit in which old timestamps of 96 bits are exact, if there are any.

    Those are nanoseconds of any year, for which Arrow has no type. Spark writes microseconds in them.
    """
    from pyarrow import compute, parquet

    schema = file.metadata.schema
    columns = [schema.column(index) for index in range(len(schema))]
    has_nanoseconds = is_beyond = False
    for path in (column.path for column in columns if column.physical_type == "INT96"):
        fine, coarse = (
            parquet.ParquetFile(bytes_of, coerce_int96_timestamp_unit=unit, **STREAMED).iter_batches(columns=[path])
            for unit in ("ns", "us")
        )
        for some, same in zip(map(_timestamps, fine), map(_timestamps, coarse), strict=True):
            rest = compute.subtract(some, compute.multiply(same, 1000))  # right also where both have lost their top
            has_nanoseconds |= compute.any(compute.not_equal(rest, 0)).as_py() or False
            is_beyond |= compute.any(compute.greater(compute.abs(same), _LAST)).as_py() or False
    if has_nanoseconds and is_beyond:
        raise InputError(
            f"{origin} has timestamps of nanoseconds beside some before 1677 or after 2262, and no type holds both: "
            "write it anew with timestamps of microseconds"
        )
    has_any = any(column.physical_type == "INT96" for column in columns)
    return ("ns" if has_nanoseconds else "us") if has_any else None


def _timestamps(batch: Any) -> Any:
    """Numbers of the timestamps in a batch's only column, which may be lists or parts of structs."""
    import pyarrow

    column = batch.column(0)
    while pyarrow.types.is_nested(column.type):
        column = column.field(0) if pyarrow.types.is_struct(column.type) else column.values
    return column.cast(pyarrow.int64())


@contextmanager
def _explained(origin: object) -> Iterator[None]:
    """What the library says of a file that is damaged, as an InputError."""
    import pyarrow

    try:
        yield
    except InputError:
        raise
    except (pyarrow.ArrowException, ValueError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"cannot read {origin} ({reason}): it is no whole Parquet file") from None


def notes_beside(file: Any) -> dict[bytes, bytes]:
    """What is noted in a file, but not in the schema that Arrow has put there too and reads in its place."""
    noted = file.schema_arrow.metadata or {}
    return {
        name: note
        for name, note in (file.metadata.metadata or {}).items()
        if name != _SCHEMA and noted.get(name) != note
    }


def write_groups(writer: Any, tables: Iterable[Any]) -> None:
    """Write tables in groups of many rows, as few as are in each: every group costs a reader time and memory."""
    import pyarrow

    gathered: list[Any] = []
    for table in tables:
        gathered.append(table)
        if sum(map(len, gathered)) >= _GROUP or sum(one.nbytes for one in gathered) >= _GROUP_BYTES:
            writer.write_table(pyarrow.concat_tables(gathered))
            gathered.clear()
    if gathered:
        writer.write_table(pyarrow.concat_tables(gathered))
