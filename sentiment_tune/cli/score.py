"""`sentiment-tune score`."""

import io
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, redirect_stderr
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sentiment_tune.cli import options
from sentiment_tune.errors import InputError

if TYPE_CHECKING:
    from sentiment_tune.api import Model
    from sentiment_tune.data.readers import Reading
    from sentiment_tune.data.text import Tally
    from sentiment_tune.display import ScoringDisplay
    from sentiment_tune.inference.bulk import ScoreAll, Scores


@click.command(cls=options.GroupedCommand, context_settings=options.NAMES)
@click.argument("texts", nargs=-1)
@options.option("--text", metavar="TEXT", help="a text to score, as `mlflow run -P` must give it")
@options.option(
    "--model",
    metavar="URI",
    help="models:/..., runs:/... or a folder  [default: models:/sentiment@champion for the newest run's data, else the "
    "newest run's]",
)
@options.option(
    "--input",
    "source",
    metavar="FILE",
    help="table of texts to score, a pattern of tables' names, or - for one text a line from stdin",
)
@options.option("--column", default="text", show_default=True, help="column of the texts in a table")
@options.option(
    "--missing",
    group="data",
    default="error",
    show_default=True,
    help="what becomes of a row without a text: error, skip, keep",
)
@options.reading_options
@options.option(
    "--output",
    metavar="FILE",
    help="table to write, or of several inputs the folder for theirs  [default: standard output]",
)
@options.switch("--all-probabilities", "also a column for each class")
@options.option("--shard", metavar="I/N", help="of several inputs every N-th from the I-th on, for N jobs side by side")
@options.option("--workers", type=int, default=1, show_default=True, help="processes that score side by side")
@options.switch("--quiet", "print no progress, and nothing of what was found")
@options.trust_code
@options.tracking_uri
def score(
    texts: tuple[str, ...],
    text: str | None,
    model: str | None,
    source: str | None,
    column: str,
    missing: str,
    output: str | None,
    shard: str | None,
    all_probabilities: bool,
    workers: int,
    quiet: bool,
    trust_code: bool,
    tracking_uri: str | None,
    **reading: str | None,
) -> None:
    """Score texts with a model: TEXTS given here, or the rows of a table."""
    from sentiment_tune.cli import console
    from sentiment_tune.data import folders
    from sentiment_tune.data.readers import Reading
    from sentiment_tune.data.tables import from_home
    from sentiment_tune.data.text import Tally
    from sentiment_tune.display import ScoringDisplay, warn
    from sentiment_tune.inference.bulk import check_missing

    texts, asked = _checked((*texts, text) if text else texts, source), Reading(**reading)
    check_missing(missing)
    target, tally = Path(output) if output else None, Tally()
    display = ScoringDisplay(quiet, is_shown=target is not None or not sys.stdout.isatty())
    with ExitStack() as stack:
        model_asked = _Model(model or None, trust_code, tracking_uri, all_probabilities)
        load = cache(partial(_load, stack, model_asked, workers))
        score_one = partial(_score_table, load, display, tally, reading=asked, column=column, missing=missing)
        if source in (None, "", "-"):
            _check_lines(source, asked, column)
        if source and folders.is_pattern(from_home(source)):
            _score_files(score_one, display, from_home(source), target, shard)
        elif shard:
            raise InputError(f"--shard {shard} goes with several inputs: give a pattern, as --input 'part-*.parquet'")
        elif source not in (None, "", "-"):
            score_one(from_home(source), target)
        elif source or target:
            _score_lines(load, display, tally, texts, target, missing, asked.encoding)
        else:
            answered = next(iter(load().score_all(iter([texts]))))
            tally.include(answered.tally)
            console.scores(texts, answered.rows, load().scores.scorer.classes.names)
    if tally.warning:
        warn(tally.warning)


@dataclass(frozen=True)
class _Model:
    """Which model scores, and what is asked of it."""

    uri: str | None
    trust_code: bool
    tracking_uri: str | None
    all_probabilities: bool

    def load(self) -> "Model":
        from sentiment_tune import api

        return api.load_model(self.uri, trust_code=self.trust_code, tracking_uri=self.tracking_uri)

    def load_scores(self) -> "Scores":
        """What scores texts with it, in a worker: which model it is has been said."""
        from sentiment_tune.inference.bulk import Scores

        with redirect_stderr(io.StringIO()):
            return Scores(self.load().package.scorer, self.all_probabilities)


@dataclass(frozen=True)
class _Loaded:
    """A model in this process, and what scores pieces of texts with it, perhaps in others."""

    scores: "Scores"
    score_all: "ScoreAll"


def _load(stack: ExitStack, model: _Model, workers: int) -> _Loaded:
    """What scores pieces of texts: this process, or several that are there until the stack is left."""
    from sentiment_tune.inference.bulk import Scores, load_scores
    from sentiment_tune.inference.crew import Crew

    loaded = model.load()
    scores = Scores(loaded.package.scorer, model.all_probabilities)
    if workers == 1:
        return _Loaded(scores, partial(map, scores))
    if model.trust_code:  # its code may be where it was logged only
        return _Loaded(scores, stack.enter_context(Crew(model.load_scores, workers)).map)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()), "model")  # what `champion` is may change
    loaded.write(folder)
    load = partial(load_scores, folder, model.all_probabilities)
    return _Loaded(scores, stack.enter_context(Crew(load, workers)).map)


def _checked(texts: tuple[str, ...], source: str | None) -> tuple[str, ...]:
    """The texts of the command line; InputError unless there are some, or else a file."""
    if bool(source) == any(texts):
        raise InputError("give either texts, or --input FILE, or --input - for one text a line from standard input")
    for number, text in enumerate(texts, 1):
        try:
            text.encode()  # what is not UTF-8 arrives as half characters, which nothing can be written with
        except UnicodeEncodeError:
            raise InputError(f"text {number} is not UTF-8: set the terminal to that encoding, or use a file") from None
    return texts


def _check_lines(source: str | None, reading: "Reading", column: str) -> None:
    """InputError for options of a table, where texts come as they are."""
    from sentiment_tune.data.readers import check_heeded

    if column != "text":
        raise InputError(f"--column {column} is of a table: give it with --input FILE")
    check_heeded(["-"] if source else [], "the standard input" if source else "texts that are given here", reading)


def _score_lines(
    load: Callable[[], _Loaded],
    display: "ScoringDisplay",
    tally: "Tally",
    texts: Sequence[str],
    target: Path | None,
    missing: str,
    encoding: str | None,
) -> None:
    """Score the texts of the command line, or else the lines of the standard input, into a table."""
    from sentiment_tune.data import tables
    from sentiment_tune.inference.bulk import Scoring

    loaded = load()  # before there are lines, which may be long in coming
    table, rows = tables.Table("text", ("text",), []), iter([(text,) for text in texts])
    if not texts:
        table, rows = tables.read_lines(encoding)
    if table.found:
        display.tell(f"standard input: {', '.join(table.found)}")
    with display.watching(None, len(texts)) as hear:
        scoring = Scoring(loaded.score_all, table, "text", missing, hear, loaded.scores.columns)
        tables.write_table(target, scoring.columns, scoring.rows(rows), scoring.kinds)
    tally.include(scoring.tally)


def _score_files(
    score_one: Callable[..., None],
    display: "ScoringDisplay",
    pattern: Path,
    folder: Path | None,
    shard: str | None,
) -> None:
    """Score each of several files into one of its own in a folder; those that are there already are finished."""
    from sentiment_tune.data import folders, tables
    from sentiment_tune.inference.bulk import shard_of, targets_in, without_scores

    found, root = folders.expand(pattern), folders.above(pattern)
    if folder in (None, tables.STANDARD):
        raise InputError(f"{len(found)} inputs need a folder for what comes of them: name it with --output")
    sources = without_scores(found, folder, root)
    if len(sources) < len(found):
        display.tell(f"{len(found) - len(sources)} of {len(found)} are scores, for they lie in {folder}")
    targets = shard_of(targets_in(folder, sources, root), shard)
    left = {source: target for source, target in targets.items() if not target.is_file()}
    if len(left) < len(targets):
        display.tell(f"{len(targets) - len(left)} of {len(targets)} are in {folder} already")
    for source, target in left.items():
        score_one(source, target, is_part=True)
        display.tell(f"{target} is finished")


def _score_table(
    load: Callable[[], _Loaded],
    display: "ScoringDisplay",
    tally: "Tally",
    source: Path,
    target: Path | None,
    *,
    reading: "Reading",
    column: str,
    missing: str,
    is_part: bool = False,
) -> None:
    """Score the rows of a file, which may be one of several; what was found and missing goes to the standard error."""
    from sentiment_tune.data import readers, tables
    from sentiment_tune.inference.bulk import Scoring, make_folder, open_part, rows_in, score_parquet

    readers.check_heeded([readers.form_of(source.name) or ".zip"], source, reading)
    opening = open_part(source, reading, column, missing) if is_part else tables.open_table(source, reading)
    with opening as (table, rows):
        used = table.name_of(column, "--column")  # before a model is loaded
        if found := [*table.found, *([] if used == column else [f"texts from {used!r}"])]:
            display.tell(f"{source}: {', '.join(found)}")
        loaded = load()
        with display.watching(source, rows_in(table.parquet or source)) as hear:
            scoring = Scoring(loaded.score_all, table, column, missing, hear, loaded.scores.columns)
            if is_part and target is not None:
                make_folder(target.parent)
            if target is not None and table.parquet is not None and readers.form_of(target.name) == ".parquet":
                score_parquet(scoring, table.parquet, target)
            else:
                tables.write_table(target, scoring.columns, scoring.rows(rows), scoring.kinds)
    tally.include(scoring.tally)
    if scoring.count.missing:
        became = "left out" if missing == "skip" else "kept without an answer"
        display.tell(
            f"{source}: {scoring.count.missing:,} of {scoring.count.rows:,} rows have no text, and are {became}"
        )
