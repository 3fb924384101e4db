"""`sentiment-tune score`."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sentiment_tune.cli import options
from sentiment_tune.errors import InputError

if TYPE_CHECKING:
    from sentiment_tune.data.readers import Reading
    from sentiment_tune.inference.bulk import Scores


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
    trust_code: bool,
    tracking_uri: str | None,
    **reading: str | None,
) -> None:
    """Score texts with a model: TEXTS given here, or the rows of a table."""
    from sentiment_tune import api
    from sentiment_tune.cli import console
    from sentiment_tune.data import folders
    from sentiment_tune.data.readers import Reading
    from sentiment_tune.data.tables import from_home
    from sentiment_tune.inference.bulk import Scores

    texts, asked = _checked((*texts, text) if text else texts, source), Reading(**reading)

    @cache
    def load() -> api.Model:
        return api.load_model(model or None, trust_code=trust_code, tracking_uri=tracking_uri)

    def scores() -> Scores:
        return Scores(load().package.scorer, all_probabilities)

    target = Path(output) if output else None
    if source and folders.is_pattern(from_home(source)):
        score_one = partial(_score_table, scores, reading=asked, column=column, missing=missing)
        _score_files(score_one, folders.expand(from_home(source)), target, shard)
    elif shard:
        raise InputError(f"--shard {shard} goes with several inputs: give a pattern, such as --input 'part-*.parquet'")
    elif source not in (None, "", "-"):
        _score_table(scores, from_home(source), target, reading=asked, column=column, missing=missing)
    elif source or target:
        _score_lines(scores, texts, target, missing)
    else:
        console.scores(texts, load().predict(texts, all_probabilities), load().classes)


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


def _score_lines(load: "Callable[[], Scores]", texts: Sequence[str], target: Path | None, missing: str) -> None:
    """Score the texts of the command line, or else the lines of the standard input, into a table."""
    from sentiment_tune.data import tables
    from sentiment_tune.inference.bulk import Scoring

    table, rows = tables.Table("text", ("text",), []), iter([(text,) for text in texts])
    if not texts:
        table, rows = tables.read_lines()
    scoring = Scoring(load(), table, "text", missing)
    tables.write_table(target, scoring.columns, scoring.rows(rows))


def _score_files(
    score_one: Callable[[Path, Path], None], sources: Sequence[Path], folder: Path | None, shard: str | None
) -> None:
    """Score each of several files into one of its own in a folder; those that are there already are finished."""
    from sentiment_tune.display import terminal
    from sentiment_tune.inference.bulk import shard_of, targets_in

    if folder is None:
        raise InputError(f"{len(sources)} inputs need a folder for what comes of them: name it with --output")
    targets = shard_of(targets_in(folder, sources), shard)
    left = {source: target for source, target in targets.items() if not target.exists()}
    tell = terminal(stderr=True).print
    if len(left) < len(targets):
        tell(f"{len(targets) - len(left)} of {len(targets)} are in {folder} already")
    for source, target in left.items():
        score_one(source, target)
        tell(f"{target} is finished")


def _score_table(
    load: "Callable[[], Scores]",
    source: Path,
    target: Path | None,
    *,
    reading: "Reading",
    column: str,
    missing: str,
) -> None:
    """Score the rows of a file; how it was saved, and what was missing, goes to the standard error."""
    from sentiment_tune.data import readers, tables
    from sentiment_tune.display import terminal
    from sentiment_tune.inference.bulk import Scoring, score_parquet

    tell = terminal(stderr=True).print
    with tables.open_table(source, reading) as (table, rows):
        table.name_of(column, "--column")  # before a model is loaded
        if table.found:
            tell(f"{source}: {', '.join(table.found)}")
        scoring = Scoring(load(), table, column, missing)
        if target is not None and {readers.form_of(path.name) for path in (source, target)} == {".parquet"}:
            score_parquet(scoring, source, target)
        else:
            tables.write_table(target, scoring.columns, scoring.rows(rows))
    if scoring.count.missing:
        became = "left out" if missing == "skip" else "kept without an answer"
        tell(f"{source}: {scoring.count.missing:,} of {scoring.count.rows:,} rows have no text, and are {became}")
