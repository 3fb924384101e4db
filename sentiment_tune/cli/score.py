"""`sentiment-tune score`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sentiment_tune.cli import options
from sentiment_tune.errors import InputError

if TYPE_CHECKING:
    from sentiment_tune.data.readers import Reading
    from sentiment_tune.data.tables import Table


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
    "--input", "source", metavar="FILE", help="table of texts to score, or - for one text a line from stdin"
)
@options.option("--column", default="text", show_default=True, help="column of the texts in a table")
@options.reading_options
@options.option("--output", metavar="FILE", help="table to write  [default: standard output]")
@options.trust_code
@options.tracking_uri
def score(
    texts: tuple[str, ...],
    text: str | None,
    model: str | None,
    source: str | None,
    column: str,
    output: str | None,
    trust_code: bool,
    tracking_uri: str | None,
    **reading: str | None,
) -> None:
    """Score texts with a model: TEXTS given here, or the rows of a table."""
    from sentiment_tune import api
    from sentiment_tune.cli import console
    from sentiment_tune.data import tables

    table = _table((*texts, text) if text else texts, source, reading)
    reviews = table.texts(column if source not in (None, "", "-") else "text", "--column")
    scores = api.load_model(model or None, trust_code=trust_code, tracking_uri=tracking_uri).predict(reviews)
    if not source and not output:
        console.scores(reviews, scores)
        return
    scored = table.with_columns({name: scores[name].tolist() for name in ("probability", "label")})
    tables.write_table(Path(output) if output else None, scored.columns, scored.rows)


def _table(texts: tuple[str, ...], source: str | None, given: Mapping[str, str | None]) -> "Table":
    """The texts to score as a table: those of the command line, of the standard input, or of a file."""
    from sentiment_tune.data import readers, tables

    if bool(source) == any(texts):
        raise InputError("give either texts, or --input FILE, or --input - for one text a line from standard input")
    if source:
        path = Path(source)
        return tables.read_lines() if path == tables.STANDARD else _read(path, readers.Reading(**given))
    for number, text in enumerate(texts, 1):
        try:
            text.encode()  # what is not UTF-8 arrives as half characters, which nothing can be written with
        except UnicodeEncodeError:
            raise InputError(f"text {number} is not UTF-8: set the terminal to that encoding, or use a file") from None
    return tables.Table(tables.STANDARD, ("text",), [(text,) for text in texts])


def _read(path: Path, reading: "Reading") -> "Table":
    """The table of a file; how it was saved, where that is not as one would expect, goes to the standard error."""
    from sentiment_tune.data import tables
    from sentiment_tune.display import terminal

    table = tables.read_table(path, reading)
    if table.found:
        terminal(stderr=True).print(f"{path}: {', '.join(table.found)}")
    return table
