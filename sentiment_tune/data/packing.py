"""Packed files: how they are opened, and how much they may unpack to."""

import gzip
import lzma
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Literal
from zipfile import ZipFile

from sentiment_tune.errors import InputError

PACKINGS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open}
# What reading a packed file raises that is not whole.
DAMAGED = (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile)
LEAST = 2**26  # bytes that every file may unpack to
RATIO = 20  # times its own size that a larger one may; reviews pack to a third or a quarter
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?))?b?", re.IGNORECASE)
_BLOCK = 2**20
_ROW = 64  # bytes that a row takes beside its content, and more: of rows of two letters these are most
_ROWS, _TOGETHER = 2**14, 2**22  # rows of a Parquet file that are looked at together, and bytes of their texts
# How a Parquet file is opened whose pages are read as they are asked for, not all of a row group at once.
STREAMED: dict[str, Any] = {"pre_buffer": False, "buffer_size": 2**20}


def open_packed(path: Path, mode: Literal["rb", "wb"]) -> IO[bytes]:
    """The file, unpacked or packed on the way as its suffix says."""
    packing: Callable[..., IO[bytes]] = PACKINGS.get(path.suffix.lower(), Path.open)
    return packing(path, mode)


def parse_size(size: str | int, name: str = "unpack_limit") -> int:
    """Bytes of a size such as 500MB, 2GiB or a bare number; InputError for what is none, naming what was to have it."""
    match = _SIZE.fullmatch(str(size).strip())
    number = float(match[1]) if match else 0
    if match and match[2]:
        number *= (1024 if match[3] else 1000) ** ("kmgt".index(match[2].lower()) + 1)
    if not 1 <= number < 2**63:
        raise InputError(f"{name} cannot be {size!r:.40}: give a size such as 500MB or 2GiB")
    return int(number)


def unpack_limit(path: Path, given: str | int | None) -> int:
    """Bytes that a file may unpack to: what was given, else by its own size."""
    return parse_size(given) if given is not None else max(LEAST, RATIO * path.stat().st_size)


def too_large(path: Path, limit: int) -> InputError:
    """What is said of a file that unpacks to more than it may."""
    return InputError(
        f"{path} has {path.stat().st_size:,} bytes and unpacks to more than {limit:,}, with {_ROW} for each row: if it "
        "is what you expect, allow more with --unpack-limit or unpack_limit=, such as 2GiB"
    )


def check_packed(path: Path, given: str | int | None, archive: Path | None = None) -> None:
    """InputError where a packed table unpacks to more than it may; it is looked at in pieces, before it is read.

    One out of an archive may unpack to what the archive may. What is wrong with it otherwise is for its reader to say.
    """
    suffix = path.suffix.lower()
    if suffix != ".parquet" and suffix not in PACKINGS:
        return
    try:
        limit = unpack_limit(archive or path, given)
        exceeds = _parquet_exceeds if suffix == ".parquet" else _exceeds
        too_much = exceeds(path, limit)
    except (*DAMAGED, OSError):
        return
    if too_much:
        raise too_large(archive or path, limit)


def archive_size(archive: ZipFile) -> int:
    """Bytes that all members of a ZIP archive unpack to; reading one gives no more than it claims here."""
    return sum(member.file_size for member in archive.infolist())


def _exceeds(path: Path, limit: int) -> bool:
    left = limit
    with open_packed(path, "rb") as file:
        while block := file.read(_BLOCK):
            left -= len(block) + _ROW * max(block.count(b"\n"), block.count(b"\r"))
            if left < 0:
                return True
    return False


def _parquet_exceeds(path: Path, limit: int) -> bool:
    """The same of a Parquet file, which can say in a few bytes that a long text stands in a million rows."""
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path, **STREAMED) as file:
            about, left = file.metadata, limit
            groups = range(about.num_row_groups)
            size = sum(about.row_group(group).total_byte_size for group in groups)
            if max(size, _ROW * about.num_rows) > limit:
                return True
            left -= _ROW * about.num_rows
            for group in groups:
                longest = _longest(path, about, group)
                others = [name for name in file.schema_arrow.names if name not in longest]
                for columns, size in ((others, 1), *(([name], size) for name, size in longest.items())):
                    rows = min(_ROWS, max(1, _TOGETHER // max(1, size)))
                    for batch in file.iter_batches(rows, row_groups=[group], columns=columns):
                        left -= sum(map(_decoded_size, batch.columns))
                        if left < 0:
                            return True
    except (pyarrow.ArrowException, ValueError):  # it is for its reader to say what is wrong
        pass
    return False


def _longest(path: Path, about: Any, group: int) -> dict[str, int]:
    """Bytes of the longest text of a row group that is written once for any number of rows, by its column.

    The first batch has all of them. All that it takes is the dictionaries, while later ones gather every text.
    """
    from pyarrow import compute, parquet

    columns = [about.schema.column(index) for index in range(about.num_columns)]
    texts = [column.path for column in columns if column.physical_type == "BYTE_ARRAY" and column.path == column.name]
    with parquet.ParquetFile(path, metadata=about, read_dictionary=texts, **STREAMED) as file:
        batch = next(file.iter_batches(1, row_groups=[group], columns=texts), None)
    named = zip(batch.schema.names, batch.columns, strict=True) if batch else ()
    return {
        name: compute.max(_lengths(column.dictionary)).as_py() or 0
        for name, column in named
        if _is_of_texts(column.type)
    }


def _decoded_size(column: Any) -> int:
    """Bytes of a column of a batch; of texts their own alone, each as often as it occurs."""
    from pyarrow import compute

    if _is_of_texts(column.type):
        column = compute.take(_lengths(column.dictionary), column.indices)
    elif _is_text(column.type):
        column = _lengths(column)
    else:
        return int(column.nbytes)
    return compute.sum(column).as_py() or 0


def _is_of_texts(kind: Any) -> bool:
    """Whether a column has texts by their numbers in a dictionary."""
    from pyarrow import types

    return types.is_dictionary(kind) and _is_text(kind.value_type)


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    plain = types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind) or types.is_large_binary(kind)
    return plain or _is_view(kind)


def _is_view(kind: Any) -> bool:
    from pyarrow import types

    return types.is_string_view(kind) or types.is_binary_view(kind)


def _lengths(texts: Any) -> Any:
    """Bytes of each text."""
    import pyarrow
    from pyarrow import compute

    return compute.binary_length(texts.cast(pyarrow.large_binary()) if _is_view(texts.type) else texts)
