"""Scoring tables of any length: rows go through in pieces, and come out as they went in, with two columns behind."""

import json
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from sentiment_tune.data import parquet
from sentiment_tune.data.readers import EmptyError, Reading, Row, form_of
from sentiment_tune.data.tables import WRITTEN, Place, Table, atomic_write, is_usual, open_table, stem, text_in
from sentiment_tune.data.text import Tally
from sentiment_tune.errors import InputError
from sentiment_tune.inference.package import load_package
from sentiment_tune.inference.scorer import Scorer
from sentiment_tune.space import unknown_name

if TYPE_CHECKING:
    import pyarrow as pa

ADDED = ("probability", "label")
ROWS = 2048  # that are scored together
ERROR, SKIP, KEEP = "error", "skip", "keep"  # what becomes of a row whose text is missing
MISSING = (ERROR, SKIP, KEEP)

_LABEL = ADDED.index("label")
_PANDAS = b"pandas"  # the name of its note
T = TypeVar("T")
Answer = tuple[Any, ...]  # what stands in the added columns of a row; None where there is no text


class Answered(NamedTuple):
    """What a model says of some texts."""

    rows: list[Answer]  # [text]
    tally: Tally  # how many of the texts' words it knows


# Pieces of texts, as they are asked for, to what is said of each piece's texts, in order.
ScoreAll = Callable[[Iterator[Sequence[str]]], Iterator[Answered]]


@dataclass(frozen=True)
class Scores:
    """A model's answers to texts: probability and label, and of `all_classes` the probability of each."""

    scorer: Scorer
    all_classes: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of what is answered."""
        each = (f"probability_{name}" for name in self.scorer.classes.names)
        return (*ADDED, *(each if self.all_classes else ()))

    def __call__(self, texts: Sequence[str]) -> Answered:
        """The answer to each text, in their order."""
        tally = Tally()
        answers = self.scorer.answers(self.scorer.predict_proba(texts, tally), self.all_classes)
        columns = (np.asarray(answers[name]).tolist() for name in self.columns)
        return Answered(list(zip(*columns, strict=True)), tally)


def load_scores(folder: Path, all_classes: bool) -> Scores:
    """What scores texts by the four files of a model."""
    return Scores(load_package(folder).scorer, all_classes)


def check_missing(missing: str) -> None:
    """InputError for what is no way with rows without a text."""
    if missing not in MISSING:
        raise unknown_name("way with what is missing", missing, MISSING)


@dataclass
class Count:
    """How many rows have gone through, and how many of them had no text."""

    rows: int = 0
    missing: int = 0


class Scoring:
    """The scoring of one table's rows by their cells of one column."""

    def __init__(
        self,
        score_all: ScoreAll,
        table: Table,
        column: str,
        missing: str = ERROR,
        listener: Callable[[int], None] | None = None,
        added: Sequence[str] = ADDED,
    ):
        """`missing` is what becomes of a row without a text; InputError for another word, and for no such column.

        The listener hears how many rows have been scored, now and then. `added` are the columns of what is answered.
        """
        check_missing(missing)
        self._score_all, self._table, self._missing, self._listener = score_all, table, missing, listener
        self.column, self.origin = table.name_of(column, "--column"), table.origin
        self.columns = (*table.columns, *table.unused(added))
        self.count, self.tally = Count(), Tally()

    @property
    def kinds(self) -> dict[str, type]:
        """What stands in the column of the texts and in those of what is answered: str or float."""
        added = enumerate(self.columns[len(self._table.columns) :])
        return {self.column: str, **{name: str if place == _LABEL else float for place, name in added}}

    def rows(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows, with probability and label behind each."""
        index, left = self._table.columns.index(self.column), iter(rows)
        pieces = iter(lambda: list(islice(left, ROWS)), [])
        for some, answers in self.answered(pieces, lambda some: [row[index] for row in some]):
            for row, answer in zip(some, answers, strict=True):
                if answer is not None:
                    yield (*row, *answer)

    def answered(
        self, pieces: Iterable[T], cells_of: Callable[[T], Sequence[Any]]
    ) -> Iterator[tuple[T, list[Answer | None]]]:
        """Pieces of a table, each with the answers to its rows; None for a row that is left out."""
        waiting: deque[tuple[T, list[str | None]]] = deque()

        def texts() -> Iterator[list[str]]:
            for piece in pieces:
                waiting.append((piece, self._texts(cells_of(piece))))
                yield [text for text in waiting[-1][1] if text is not None]

        scored = 0
        for answered in self._score_all(texts()):
            piece, of_rows = waiting.popleft()
            self.tally.include(answered.tally)
            yield piece, self._answers(of_rows, answered.rows)
            scored += len(of_rows)
            if self._listener:
                self._listener(scored)

    def _texts(self, cells: Sequence[Any]) -> list[str | None]:
        texts = [self._text(cell, self.count.rows + number) for number, cell in enumerate(cells, 1)]
        self.count.rows += len(cells)
        self.count.missing += texts.count(None)
        return texts

    def _answers(self, texts: Sequence[str | None], rows: Iterable[Answer]) -> list[Answer | None]:
        answers = iter(rows)
        absent = None if self._missing == SKIP else (None,) * (len(self.columns) - len(self._table.columns))
        return [absent if text is None else next(answers) for text in texts]

    def _text(self, cell: Any, row: int) -> str | None:
        """The text in a cell; None where it is missing, and that is no error."""
        if self._missing != ERROR and (cell is None or cell != cell):
            return None
        return text_in(cell, Place(self._table, row), self.column)


def targets_in(folder: Path, sources: Sequence[Path], root: Path) -> dict[Path, Path]:
    """Where each file's scores go in a folder: in its own form if that can be written, else as CSV.

    What lies in folders below the root, such as partitions do, goes into folders of the same names. InputError where
    two would go into one file, where that is an input, and where nothing can be written.
    """
    below = {source: source.parent.relative_to(root) for source in sources}
    targets = {
        source: folder
        / ("" if ".." in below[source].parts else below[source])  # nothing is written elsewhere
        / (source.name if source.name.lower().endswith(WRITTEN) else f"{stem(source)}.csv")
        for source in sources
    }
    inputs = {source.resolve() for source in sources}
    if own := next((target for target in targets.values() if target.resolve() in inputs), None):
        raise InputError(f"{own} is one of the inputs: give another folder with --output")
    named = Counter(targets.values())
    if twice := [target for target, times in named.items() if times > 1]:
        raise InputError(f"{twice[0]} would be of {named[twice[0]]} inputs: give names that differ")
    return targets


def make_folder(folder: Path) -> None:
    """Make a folder where it is not there; InputError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write into {folder}: {error.strerror or error}") from None


def without_scores(sources: Sequence[Path], folder: Path, root: Path) -> list[Path]:
    """The files that do not lie in the folder for what comes of them; all, where all that lie below the root do.

    InputError where none is left.
    """
    inner, above = folder.resolve(), root.resolve()
    if inner in (above, *above.parents):
        return [*sources]
    others = [source for source in sources if inner not in source.parent.resolve().joinpath(source.name).parents]
    if not others:
        raise InputError(f"all {len(sources)} inputs lie in {folder}: give another folder with --output")
    return others


@contextmanager
def open_part(source: Path, reading: Reading, column: str, missing: str) -> Iterator[tuple[Table, Iterator[Row]]]:
    """One of several tables, as of `open_table`: it may be empty, as programs that write many files leave some.

    One of JSON may lack the column where no row of it has a text, and rows without one are no error.
    """
    with ExitStack() as stack:
        try:
            table, rows = stack.enter_context(open_table(source, reading))
        except EmptyError:
            table, rows = Table(source, (column,), []), iter(())
        is_absent = column not in table.columns and not any(is_usual(one, column) for one in table.columns)
        if is_absent and missing != ERROR and form_of(source.name) in (".jsonl", ".json"):
            table, rows = replace(table, columns=(*table.columns, column)), ((*row, None) for row in rows)
        yield table, rows


def shard_of(targets: dict[Path, Path], shard: str | None) -> dict[Path, Path]:
    """Every n-th from the i-th on, of `i/n`; all of them for None."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", shard or "1/1")
    number, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= count:
        raise InputError(f"shard cannot be {shard!r:.40}: give a number out of how many, from 1/16 to 16/16")
    return dict(islice(targets.items(), number - 1, None, count))


def rows_in(source: Path) -> int | None:
    """How many rows a table has, where its file says so."""
    from pyarrow.parquet import read_metadata

    return read_metadata(source).num_rows if source.name.lower().endswith(".parquet") else None


def score_parquet(scoring: Scoring, source: Path, target: Path) -> None:
    """Score a Parquet file into another, whose other columns keep type, value and what is noted with them.

    The scoring's table may be an archive that it comes out of.
    """
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    origin = scoring.origin
    with parquet.open_parquet(source, origin) as file, atomic_write(target) as partial:
        index, schema = file.schema_arrow.names.index(scoring.column), _schema(file.schema_arrow, scoring.columns)
        pieces = scoring.answered(
            parquet.batches(file, origin, ROWS),
            lambda batch: parquet.cells_in(batch.column(index), scoring.column, origin, scoring.count.rows),
        )
        try:
            with partial.open("wb") as target_file, ParquetWriter(target_file, schema) as writer:
                writer.add_key_value_metadata(parquet.notes_beside(file))
                parquet.write_groups(writer, (_scored(batch, answers, schema) for batch, answers in pieces))
        except pa.ArrowException as error:
            raise InputError(f"cannot write {target}: {str(error).partition(chr(10))[0]}; write a .csv") from None


def _schema(schema: "pa.Schema", columns: Sequence[str]) -> "pa.Schema":
    """The schema of a file, with that of the answers behind it."""
    import pyarrow as pa

    for place, name in enumerate(columns[len(schema) :]):
        schema = schema.append(pa.field(name, pa.string() if place == _LABEL else pa.float64()))
    if note := (schema.metadata or {}).get(_PANDAS):
        return schema.with_metadata(schema.metadata | {_PANDAS: _with_further_names(note)})
    return schema


def _with_further_names(note: bytes) -> bytes:
    """What pandas notes of a table, without what it says of names that are no texts: those of the answers are some."""
    try:
        about = json.loads(note)
        kinds = [level["pandas_type"] for level in about["column_indexes"]]
    except (KeyError, TypeError, ValueError, RecursionError):
        return note
    return note if kinds == ["unicode"] else json.dumps(about | {"column_indexes": []}).encode()


def _scored(batch: "pa.RecordBatch", answers: Sequence[Answer | None], schema: "pa.Schema") -> "pa.Table":
    """A batch with the answers behind it, without the rows that are left out."""
    import pyarrow as pa

    kept = [answer for answer in answers if answer is not None]
    if len(kept) < len(answers):
        batch = batch.filter(pa.array([answer is not None for answer in answers]))
    types = schema.types[batch.num_columns :]
    columns = [pa.array([answer[place] for answer in kept], kind) for place, kind in enumerate(types)]
    return pa.Table.from_arrays([*batch.columns, *columns], schema=schema)
