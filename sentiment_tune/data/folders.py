"""Reviews in several files: a pattern of names, a folder of texts by class, a folder of tables, a saved data set.

A part of the data is named by a folder or by the beginning of a file's name: train, validation or test.
"""

import glob
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sentiment_tune.data.readers import Reading
from sentiment_tune.data.splits import PART_NAMES
from sentiment_tune.data.tables import Table, is_table, read_table
from sentiment_tune.errors import InputError

_PARTED = "split"  # the column that says which part of the data a row belongs to
_LEFT_OUT = ("unsup",)  # class folders of reviews without a label, as IMDB has them
_SAVED, _STATE = "dataset_dict.json", "state.json"  # of `save_to_disk` of Hugging Face's datasets


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


def files_in(folder: Path) -> list[Path]:
    """The files of a folder that its reviews come from; InputError where it is none that can be read."""
    files = _saved(folder) or list(_texts(folder)) or _tables(folder)
    if not files:
        raise InputError(
            f"{folder} holds no reviews: it needs folders of texts by class, such as train/pos and train/neg, or "
            "tables, such as train.csv and test.csv"
        )
    return files


def read_folder(folder: Path, reading: Reading) -> Table:
    """All reviews of a folder, with a column `split` where its names say which part each belongs to."""
    files = files_in(folder)
    if files[0].suffix == ".txt":
        return _read_texts(folder, files, reading)
    tables = [_read_arrow(file) if file.suffix == ".arrow" else read_table(file, reading) for file in files]
    parts = [_part_of(file, folder) for file in files]
    if all(parts):
        tables = [_with_part(table, str(part)) for table, part in zip(tables, parts, strict=True)]
    elif any(parts):
        unnamed = files[parts.index(None)].name
        raise InputError(f"{folder} holds {unnamed!r} beside files of a part: name it train, validation or test too")
    return merge(tables, folder)


def merge(tables: Sequence[Table], origin: Path) -> Table:
    """The rows of several tables, one after another; InputError where one has other columns than the first."""
    first, rows = tables[0], []
    for table in tables:
        other = set(table.columns) ^ set(first.columns)
        if other:
            raise InputError(
                f"{table.origin} and {first.origin} differ in {min(other)!r}: give tables of equal columns"
            )
        order = [table.columns.index(name) for name in first.columns]
        rows += [tuple(row[index] for index in order) for row in table.rows]
    return Table(origin if len(tables) > 1 else first.origin, first.columns, rows, first.found)


def _part_of(file: Path, folder: Path) -> str | None:
    """The part that a folder or the beginning of the file's name says, the innermost first."""
    for name in reversed(file.relative_to(folder).parts):
        start = name.lower().replace("_", "-").replace(".", "-").partition("-")[0]
        if start in PART_NAMES:
            return start
    return None


def _with_part(table: Table, part: str) -> Table:
    if _PARTED in table.columns:
        return table
    return Table(table.origin, (*table.columns, _PARTED), [(*row, part) for row in table.rows], table.found)


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


def _read_texts(folder: Path, files: Sequence[Path], reading: Reading) -> Table:
    """Texts of files, labelled by their folders."""
    parts = [_part_of(file.parent, folder) for file in files]
    rows: list[tuple[Any, ...]] = []
    for file, part in zip(files, parts, strict=True):
        lines = read_table(file, reading).column("text", "--text")
        row = ("\n".join(lines), file.parent.name)
        rows.append((*row, part) if all(parts) else row)
    columns = ("text", "label", _PARTED) if all(parts) else ("text", "label")
    left = [name for name in _LEFT_OUT if any(folder.glob(f"**/{name}"))]
    return Table(folder, columns, rows, tuple(f"without {name!r}" for name in left))


def _tables(folder: Path) -> list[Path]:
    """Tables in a folder, or in the folder `data` in it as data sets on a hub have it."""
    for place in (folder, folder / "data"):
        if place.is_dir():
            files = sorted(one for one in place.iterdir() if one.is_file() and is_table(one) and one.suffix != ".json")
            if files := [file for file in files if not file.name.startswith(".")]:
                return files
    return []


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


def _read_arrow(path: Path) -> Table:
    import pyarrow

    try:
        with pyarrow.memory_map(str(path)) as file, pyarrow.ipc.open_stream(file) as reader:
            table = reader.read_all()
        rows = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
    except (pyarrow.ArrowException, ValueError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"cannot read {path} ({reason}): it is no whole file of a saved data set") from None
    return Table(path, tuple(table.column_names), rows)
