"""`sentiment-tune compare`."""

from pathlib import Path

import click

from sentiment_tune.cli import options


@click.command(cls=options.GroupedCommand, context_settings=options.NAMES)
@options.option("--data", metavar="NAME|DIGEST", help="only runs on this data; of a digest its beginning will do")
@options.option(
    "--sort", default="validation", show_default=True, help="validation, test, parameters, size, seconds, speed"
)
@options.switch("--every", "all tested runs, not only the best of each network and the champions")
@options.option("--csv", metavar="FILE", help="table to write, in the form of its suffix")
@options.option("--html", metavar="FILE", help="page to write, with the picture of accuracy against training time")
@options.tracking_uri
def compare(
    data: str | None, sort: str, every: bool, csv: str | None, html: str | None, tracking_uri: str | None
) -> None:
    """Rank finished runs and champions, and say which differences are noise."""
    from sentiment_tune import ranking
    from sentiment_tune.cli import console
    from sentiment_tune.data import tables
    from sentiment_tune.display import warn
    from sentiment_tune.tracking import leftovers, server

    server.connect(tracking_uri, make=False)
    rows = ranking.rank_runs(data or None, sort, best_only=not every)
    console.leaderboard(rows)
    if left := leftovers.notice():
        warn(left)
    if csv:
        records = [ranking.record(ranked) for ranked in rows]
        tables.write_table(Path(csv), list(records[0]), [list(record.values()) for record in records])
    if html:
        from sentiment_tune.cli.leaderboard_page import render_page

        tables.write_text(Path(html), render_page(rows))
