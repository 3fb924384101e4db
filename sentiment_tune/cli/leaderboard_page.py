"""The leaderboard as a page, with the picture of accuracy against training time."""

import base64
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from sentiment_tune import ranking
from sentiment_tune.evaluation import plots
from sentiment_tune.ranking import RankedRow


def render_page(leaderboard: Sequence[RankedRow]) -> str:
    """One HTML page that needs nothing else."""
    environment = Environment(
        loader=PackageLoader("sentiment_tune.cli"),
        undefined=StrictUndefined,
        autoescape=True,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("leaderboard.html.j2").render(
        columns=ranking.COLUMNS,
        rows=[(ranked.verdict.split()[0], ranking.cells(ranked)) for ranked in leaderboard],
        noise=f"{ranking.NOISE:g}",
        picture=base64.b64encode(_picture(leaderboard)).decode(),
    )


def _picture(leaderboard: Sequence[RankedRow]) -> bytes:
    rows = [ranked.row for ranked in leaderboard]
    figure = plots.accuracy_against_time(
        [row.train_seconds for row in rows],
        [row.test.value for row in rows],
        [row.network for row in rows],
        [row.champion_of for row in rows],
    )
    return plots.png(figure)
