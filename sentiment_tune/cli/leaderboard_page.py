"""The leaderboard as a page, with the picture of accuracy against training time."""

from collections.abc import Sequence
from typing import Any

from sentiment_tune import ranking
from sentiment_tune.evaluation import pages, plots
from sentiment_tune.ranking import RankedRow
from sentiment_tune.tracking import ui

_FIRST = ("network", "validation", "test", "to the leader", "training s", "run")  # what a phone has room for


def render_page(leaderboard: Sequence[RankedRow]) -> str:
    """One HTML page that needs nothing else."""
    later = [number for number, column in enumerate(ranking.COLUMNS, 1) if column not in _FIRST]
    hidden = ",".join(f"th:nth-child({number}),td:nth-child({number})" for number in later)
    return pages.render(
        "leaderboard.html.j2",
        "sentiment_tune: leaderboard",
        narrow=f"{hidden}{{display:none}}",
        columns=ranking.COLUMNS,
        rows=[_shown(ranked) for ranked in leaderboard],
        noise=f"{ranking.NOISE:g}",
        best_of_several=ranking.BEST_OF_SEVERAL,
        picture=_picture(leaderboard),
    )


def _shown(ranked: RankedRow) -> dict[str, Any]:
    row = ranked.row
    page = ui.run_page(row.experiment_id, row.run_id) if row.experiment_id and ui.is_served() else None
    return {
        "verdict": ranked.verdict.split()[0],
        "cells": ranking.cells(ranked),
        "run_id": row.run_id,
        "page": page and ui.link(page),
    }


def _picture(leaderboard: Sequence[RankedRow]) -> str:
    rows = [ranked.row for ranked in leaderboard]
    figure = plots.accuracy_against_time(
        [row.train_seconds for row in rows],
        [row.tested for row in rows],
        [row.network for row in rows],
        [row.champion_of for row in rows],
    )
    return plots.svg(figure)
