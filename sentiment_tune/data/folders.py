"""Reviews in several files: a pattern of names, a folder of texts by class, a folder of tables, a saved data set.

A part of the data is named by a folder or by the beginning of a file's name: train, validation or test. What is called
unsupervised is left out. Of a data set of a hub one configuration, a folder of its own, is read.
"""

import glob
import json
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

from sentiment_tune.data.parquet import cells_in
from sentiment_tune.data.readers import ClassNames, Reading, Row, class_names, class_names_in, is_litter
from sentiment_tune.data.splits import PART_NAMES
from sentiment_tune.data.tables import Table, is_table, open_table, read_table
from sentiment_tune.errors import InputError

_PART = re.compile(rf"({'|'.join(PART_NAMES)})([-_.]\d+(-of-\d+)?)?")  # what a table in JSON is called, and no note
_PARTED = "split"  # the column that says which part of the data a row belongs to
_LEFT_OUT = ("unsup", "unsupervised")  # folders and files of reviews without a label, as IMDB has them
# Of `save_to_disk` of Hugging Face's datasets.
_SAVED, _STATE, _INFO, _ARROW = "dataset_dict.json", "state.json", "dataset_info.json", ".arrow"


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


def descriptions_of(files: Sequence[Path]) -> list[Path]:
    """What stands beside the files of a saved data set and says how to read them."""
    beside = {file.with_name(_INFO) for file in files if file.suffix == _ARROW}
    return sorted(file for file in beside if file.is_file())


@dataclass(frozen=True)
class Contents:
    """What a folder holds: tables, or files of one text each, with the part of the data that each is of."""

    files: Mapping[Path, str | None]
    left: Sequence[str]  # names of what is left out
    are_texts: bool = False


def contents_of(folder: Path) -> Contents:
    """What reviews come from and what is left out; InputError where it is none that can be read."""
    saved = _saved(folder)
    if not saved and (texts := _texts(folder)) is not None:
        return texts
    tables = saved or _tables(folder)
    parts = {file: _part_of(file, folder) for file in tables}
    left = set[str | None]()
    if any(parts.values()):
        kinds = {file: _named(file, folder, (*PART_NAMES, *_LEFT_OUT)) for file in tables}
        parts = {file: part for file, part in parts.items() if kinds[file] not in _LEFT_OUT}
        left = {*kinds.values()} & {*_LEFT_OUT}
    elif within := _parts_within_names(tables):
        parts |= within
    if not parts:
        raise InputError(
            f"{folder} holds no reviews: it needs folders of texts by class, such as train/pos and train/neg, or "
            "tables, such as train.csv and test.csv"
        )
    return Contents(parts, [name for name in _LEFT_OUT if name in left])


@contextmanager
def open_folder(folder: Path, reading: Reading) -> Iterator[tuple[Table, Iterator[Row]]]:
    """A table of all reviews of a folder without its rows, and the rows, as of `open_table`.

    It has a column `split` where the folder's names say which part each review belongs to.
    """
    contents = contents_of(folder)
    left = [f"without {name!r}" for name in contents.left]
    if contents.are_texts:
        yield _text_files(folder, contents.files, reading, left)
        return
    files, parts = [*contents.files], [*contents.files.values()]
    if any(parts) and not all(parts):
        unnamed = files[parts.index(None)].name
        raise InputError(
            f"{folder} holds {unnamed!r} beside files of a part: name it train, validation or test too, or move it "
            "elsewhere"
        )
    openings = [partial(_open_part, *each, reading) for each in contents.files.items()]
    with _merged(openings, folder, left) as merged:
        yield merged


@contextmanager
def open_files(files: Sequence[Path], origin: Path, reading: Reading) -> Iterator[tuple[Table, Iterator[Row]]]:
    """The rows of several tables, one after another, as of `open_table`; InputError where their columns differ."""
    with _merged([partial(open_table, file, reading) for file in files], origin, []) as merged:
        yield merged


_Opening = Callable[[], AbstractContextManager[tuple[Table, Iterator[Row]]]]


@contextmanager
def _merged(openings: Sequence[_Opening], origin: Path, found: list[str]) -> Iterator[tuple[Table, Iterator[Row]]]:
    """Tables as one; each is opened when the rows of those before it have been read.

    What is found out of them comes behind what is there already.
    """
    with openings[0]() as (first, rows):
        if len(openings) == 1:
            yield replace(first, found=(*first.found, *found)), rows
            return
        several = _Several()
        table = replace(first, origin=origin, found=found, places=several.place)
        with closing(_all_rows(first, rows, openings[1:], several, found)) as every:
            yield table, every


@dataclass
class _Several:
    """Files that are read as one table, and how many rows stand before those of each."""

    tables: list[tuple[int, Table]] = field(default_factory=list)

    def place(self, number: int) -> str:
        """How errors call a row of all."""
        return next(table.place(number - before) for before, table in reversed(self.tables) if number > before)

    def found(self) -> Iterator[str]:
        """What was found out of how the files were saved, and of which of them."""
        of = dict[str, list[str]]()
        for _, table in self.tables:
            for one in table.found:
                of.setdefault(one, []).append(Path(table.origin).name)
        for one, names in of.items():
            some = names[0] if len(names) == 1 else f"{len(names):,} of {len(self.tables):,} files"
            yield one if len(names) == len(self.tables) else f"{one} in {some}"


def _all_rows(
    first: Table, rows: Iterator[Row], openings: Sequence[_Opening], several: _Several, found: list[str]
) -> Generator[Row]:
    """Rows of all tables; behind the last, what was found out of their files is known."""
    several.tables.append((0, first))
    count = 0
    for row in rows:
        count += 1
        yield row
    for opening in openings:
        with opening() as (table, others):
            _check_alike(first, table)
            several.tables.append((count, table))
            order = [table.columns.index(name) for name in first.columns]
            for row in others:
                count += 1
                yield tuple(row[index] for index in order)
    found.extend(several.found())


def _check_alike(first: Table, table: Table) -> None:
    """InputError where a table has other columns than the first, or calls their classes otherwise."""
    if other := set(table.columns) ^ set(first.columns):
        raise InputError(f"{table.origin} and {first.origin} differ in {min(other)!r}: give tables of equal columns")
    if table.class_names != first.class_names:
        raise InputError(
            f"{table.origin} and {first.origin} name the classes of their numbers differently: give tables that name "
            "the same ones in the same order"
        )


@contextmanager
def _open_part(file: Path, part: str | None, reading: Reading) -> Iterator[tuple[Table, Iterator[Row]]]:
    """One file of a folder, with the part that its name says in a column where it has none."""
    opening = _open_arrow(file) if file.suffix == _ARROW else open_table(file, reading)
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


def _parts_within_names(tables: Sequence[Path]) -> dict[Path, str]:
    """The part of each table, where a word anywhere in the name of each says one, and of some train, of some test."""
    words = {file: re.split(r"[\W_]+", file.name.lower()) for file in tables}
    parts = {file: next((word for word in words[file] if word in PART_NAMES), "") for file in tables}
    return parts if all(parts.values()) and {"train", "test"} <= {*parts.values()} else {}


def _texts(folder: Path) -> Contents | None:
    """Files of one text each, in folders of classes, which may be in folders of parts; None where there are none.

    InputError where a folder beside those of classes may be a part or a class.
    """
    here = _classes_in(folder)
    parts = {place.name: _classes_in(place) for place in _subfolders(folder) if place.name.lower() in PART_NAMES}
    if any(parts.values()):
        files: dict[Path, str | None] = {
            file: part for part, classes in parts.items() for some in classes.values() for file in some
        }
        left = [*here]
    else:
        files, left = dict.fromkeys(file for some in here.values() for file in some), []
        if here.keys() <= parts.keys():  # notes beside the tables of parts
            return None
        if doubtful := next((name for name in here if name in parts), None):
            raise InputError(
                f"{folder} holds {doubtful!r}, which may be a part of the data or a class: put folders of classes "
                f"into it, or call it otherwise, such as {doubtful}_class"
            )
    if not files:
        return None
    return Contents(files, [*(name for name in _LEFT_OUT if any(folder.glob(f"**/{name}"))), *left], are_texts=True)


def _classes_in(place: Path) -> dict[str, list[Path]]:
    """Files of texts by the folder that they are in, which names their class."""
    every = {one.name: sorted(one.glob("*.txt")) for one in _subfolders(place) if one.name.lower() not in _LEFT_OUT}
    kept = {name: [file for file in files if not is_litter(file.name)] for name, files in every.items()}
    return {name: files for name, files in kept.items() if files}


def _subfolders(folder: Path) -> list[Path]:
    return sorted(one for one in folder.iterdir() if one.is_dir() and not is_litter(f"{one.name}/"))


def _text_files(
    folder: Path, files: Mapping[Path, str | None], reading: Reading, found: list[str]
) -> tuple[Table, Iterator[Row]]:
    """Texts of files, labelled by their folders."""
    several, has_parts, paths = _Several(), all(files.values()), [*files]

    def rows() -> Iterator[Row]:
        for number, (file, part) in enumerate(files.items()):
            table = read_table(file, reading)
            several.tables.append((number, replace(table, rows=[])))
            row = ("\n".join(table.column("text", "--text")), file.parent.name)
            yield (*row, part) if has_parts else row
        found.extend(several.found())

    columns = ("text", "label", _PARTED) if has_parts else ("text", "label")
    return Table(folder, columns, [], found, places=lambda number: str(paths[number - 1])), rows()


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
    return [file for one in parts for file in _tables_in(one)]


def _tables_in(place: Path) -> list[Path]:
    """Tables in a folder; beside them texts are notes, and JSON without a part in its name describes the data."""
    files = sorted(one for one in place.iterdir() if one.is_file() and is_table(one) and not is_litter(one.name))
    kept = [file for file in files if not file.name.lower().endswith((".txt", ".txt.gz", ".txt.xz"))]
    return [file for file in kept if file.suffix.lower() != ".json" or _PART.fullmatch(file.stem.lower())]


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
            before = 0
            for batch in reader:
                columns = zip(batch.columns, reader.schema.names, strict=True)
                yield from zip(*(cells_in(*column, path, before) for column in columns), strict=True)
                before += len(batch)
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
