"""Reviews in several files: a pattern of names, a folder of texts by class, a folder of tables, a saved data set.

A part of the data is named by a folder or by the beginning of a file's name: train, validation or test. What is called
unsupervised is left out. Of a data set of a hub one configuration, a folder of its own, is read.
"""

import glob
import json
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain, takewhile
from pathlib import Path
from typing import Any

from sentiment_tune.data.readers import ClassNames, Reading, Row, class_names, class_names_in
from sentiment_tune.data.splits import PART_NAMES
from sentiment_tune.data.tables import Table, is_table, open_table, read_table
from sentiment_tune.errors import InputError

_PARTED = "split"  # the column that says which part of the data a row belongs to
_LEFT_OUT = ("unsup", "unsupervised")  # folders and files of reviews without a label, as IMDB has them
# Of `save_to_disk` of Hugging Face's datasets.
_SAVED, _STATE, _INFO = "dataset_dict.json", "state.json", "dataset_info.json"


def is_pattern(path: Path) -> bool:
    """Whether a path stands for all files whose names fit it; one that is there stands for itself."""
    return glob.has_magic(str(path)) and not path.exists()


def expand(path: Path) -> list[Path]:
    """The files that a path means: itself, or where it is a pattern those that it fits, by name.

    InputError where it fits none.
    """
    if not is_pattern(path):
        return [path]
    root = Path(path.anchor)
    files = sorted(root.glob(str(path.relative_to(root) if path.anchor else path)))
    if not files:
        raise InputError(f"cannot read {path}: no file's name fits this pattern")
    return files


def above(pattern: Path) -> Path:
    """The folder that all files lie below that a pattern can fit."""
    fixed = takewhile(lambda part: not glob.has_magic(part), pattern.parts)
    return Path(*fixed)


def files_in(folder: Path) -> list[Path]:
    """The files of a folder that its reviews come from; InputError where it is none that can be read."""
    return _files_and_left(folder)[0]


def _files_and_left(folder: Path) -> tuple[list[Path], list[str]]:
    """The same, and the names of what is left out since its reviews have no label."""
    if not (tables := _saved(folder)) and (texts := list(_texts(folder))):
        return texts, [name for name in _LEFT_OUT if any(folder.glob(f"**/{name}"))]
    tables = tables or _tables(folder)
    if not any(_part_of(file, folder) for file in tables):
        files, left = tables, set[str | None]()
    else:
        kinds = {file: _named(file, folder, (*PART_NAMES, *_LEFT_OUT)) for file in tables}
        files, left = [file for file in tables if kinds[file] not in _LEFT_OUT], {*kinds.values()} & {*_LEFT_OUT}
    if not files:
        raise InputError(
            f"{folder} holds no reviews: it needs folders of texts by class, such as train/pos and train/neg, or "
            "tables, such as train.csv and test.csv"
        )
    return files, [name for name in _LEFT_OUT if name in left]


@contextmanager
def open_folder(folder: Path, reading: Reading) -> Iterator[tuple[Table, Iterator[Row]]]:
    """A table of all reviews of a folder without its rows, and the rows, as of `open_table`.

    It has a column `split` where the folder's names say which part each review belongs to.
    """
    files, left = _files_and_left(folder)
    found = tuple(f"without {name!r}" for name in left)
    if files[0].suffix == ".txt":
        table, rows = _text_files(folder, files, reading)
        yield replace(table, found=found), rows
        return
    parts = [_part_of(file, folder) for file in files]
    if any(parts) and not all(parts):
        unnamed = files[parts.index(None)].name
        raise InputError(f"{folder} holds {unnamed!r} beside files of a part: name it train, validation or test too")
    openings = [partial(_open_part, *each, reading) for each in zip(files, parts, strict=True)]
    with _merged(openings, folder) as (table, rows):
        yield replace(table, found=(*table.found, *found)), rows


@contextmanager
def open_files(files: Sequence[Path], origin: Path, reading: Reading) -> Iterator[tuple[Table, Iterator[Row]]]:
    """The rows of several tables, one after another, as of `open_table`; InputError where their columns differ."""
    with _merged([partial(open_table, file, reading) for file in files], origin) as merged:
        yield merged


_Opening = Callable[[], AbstractContextManager[tuple[Table, Iterator[Row]]]]


@contextmanager
def _merged(openings: Sequence[_Opening], origin: Path) -> Iterator[tuple[Table, Iterator[Row]]]:
    """Tables as one; each is opened when the rows of those before it have been read."""
    with openings[0]() as (first, rows), closing(_rows_like(first, openings[1:])) as others:
        table = replace(first, origin=origin if len(openings) > 1 else first.origin)
        yield table, chain(rows, others)


def _rows_like(first: Table, openings: Sequence[_Opening]) -> Generator[Row]:
    for opening in openings:
        with opening() as (table, rows):
            other = set(table.columns) ^ set(first.columns)
            if other:
                raise InputError(
                    f"{table.origin} and {first.origin} differ in {min(other)!r}: give tables of equal columns"
                )
            if table.class_names != first.class_names:
                raise InputError(
                    f"{table.origin} and {first.origin} name the classes of their numbers differently: give tables "
                    "that name the same ones in the same order"
                )
            order = [table.columns.index(name) for name in first.columns]
            yield from (tuple(row[index] for index in order) for row in rows)


@contextmanager
def _open_part(file: Path, part: str | None, reading: Reading) -> Iterator[tuple[Table, Iterator[Row]]]:
    """One file of a folder, with the part that its name says in a column where it has none."""
    opening = _open_arrow(file) if file.suffix == ".arrow" else open_table(file, reading)
    with opening as (table, rows):
        if part is None or _PARTED in table.columns:
            yield table, rows
        else:
            yield replace(table, columns=(*table.columns, _PARTED)), ((*row, part) for row in rows)


def _part_of(file: Path, folder: Path) -> str | None:
    """The part that a folder or the beginning of the file's name says, the innermost first."""
    return _named(file, folder, PART_NAMES)


def _named(file: Path, folder: Path, names: Sequence[str]) -> str | None:
    """Which of these names a file or the innermost folder begins with."""
    for name in reversed(file.relative_to(folder).parts):
        start = name.lower().replace("_", "-").replace(".", "-").partition("-")[0]
        if start in names:
            return start
    return None


def _texts(folder: Path) -> Iterator[Path]:
    """Files of one text each, in folders of classes, which may be in folders of parts."""
    for place in (folder, *_subfolders(folder)):
        if place != folder and place.name.lower() not in PART_NAMES:
            continue
        classes = [one for one in _subfolders(place) if one.name.lower() not in (*PART_NAMES, *_LEFT_OUT)]
        for one in classes:
            yield from sorted(one.glob("*.txt"))


def _subfolders(folder: Path) -> list[Path]:
    return sorted(one for one in folder.iterdir() if one.is_dir() and not one.name.startswith("."))


def _text_files(folder: Path, files: Sequence[Path], reading: Reading) -> tuple[Table, Iterator[Row]]:
    """Texts of files, labelled by their folders."""
    parts = [_part_of(file.parent, folder) for file in files]
    columns = ("text", "label", _PARTED) if all(parts) else ("text", "label")

    def rows() -> Iterator[Row]:
        for file, part in zip(files, parts, strict=True):
            row = ("\n".join(read_table(file, reading).column("text", "--text")), file.parent.name)
            yield (*row, part) if all(parts) else row

    return Table(folder, columns, []), rows()


def _tables(folder: Path) -> list[Path]:
    """Tables in a folder, or in the folder `data` or that of the one configuration, as data sets on a hub have it.

    InputError where there are several configurations.
    """
    places = [place for place in (folder, folder / "data") if place.is_dir()]
    for place in places:
        if files := _tables_of(place):
            return files
    found = {one: _tables_of(one) for place in places for one in _subfolders(place)}
    found = {one: files for one, files in found.items() if any(_part_of(file, one) for file in files)}
    if len(found) > 1:
        names = ", ".join(repr(str(one.relative_to(folder))) for one in found)
        raise InputError(f"{folder} holds several data sets: give the folder of one, {names}")
    return next(iter(found.values()), [])


def _tables_of(place: Path) -> list[Path]:
    """Tables that stand in a folder, or in folders of parts in it."""
    if files := _tables_in(place):
        return files
    parts = [one for one in _subfolders(place) if _named(one, place, (*PART_NAMES, *_LEFT_OUT))]
    return [file for one in parts for file in _tables_in(one) if file.suffix != ".txt"]


def _tables_in(place: Path) -> list[Path]:
    files = sorted(one for one in place.iterdir() if one.is_file() and is_table(one) and one.suffix != ".json")
    return [file for file in files if not file.name.startswith(".")]


def _saved(folder: Path) -> list[Path]:
    """The Arrow files of a data set, or of several as parts, that Hugging Face's `datasets` has saved."""
    splits = [folder / str(name) for name in _json(folder / _SAVED).get("splits", ())] or [folder]
    return [
        place / str(file["filename"])
        for place in splits
        for file in _json(place / _STATE).get("_data_files", ())
        if isinstance(file, dict) and "filename" in file
    ]


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


@contextmanager
def _open_arrow(path: Path) -> Iterator[tuple[Table, Iterator[Row]]]:
    import pyarrow

    damaged = pyarrow.ArrowException, ValueError, OSError

    def rows() -> Iterator[Row]:
        try:
            for batch in reader:
                yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
        except damaged as error:
            raise _no_arrow(path, error) from None

    with ExitStack() as stack:
        try:
            file = stack.enter_context(pyarrow.memory_map(str(path)))
            reader = stack.enter_context(pyarrow.ipc.open_stream(file))
        except damaged as error:
            raise _no_arrow(path, error) from None
        yield Table(path, tuple(reader.schema.names), [], class_names=_class_names(path, reader.schema)), rows()


def _class_names(path: Path, schema: Any) -> ClassNames:
    """What the file of a saved data set tells of its classes, else what stands beside it."""
    return class_names(schema.metadata) or class_names_in(_json(path.with_name(_INFO)))


def _no_arrow(path: Path, error: Exception) -> InputError:
    reason = str(error).partition("\n")[0]
    return InputError(f"cannot read {path} ({reason}): it is no whole file of a saved data set")
