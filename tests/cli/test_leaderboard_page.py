"""The page of the leaderboard needs nothing else and shows names as they are."""

import numpy as np

from sentiment_tune.cli.leaderboard_page import render_page
from sentiment_tune.evaluation.metrics import Proportion
from sentiment_tune.ranking import COLUMNS, RankedRow, Row


def ranked(network: str, by_chance: float | None) -> RankedRow:
    row = Row(
        run_id="0123",
        network=network,
        data="films",
        digest="abcd",
        champion_of=("sentiment",) if by_chance is None else (),
        validation=0.9,
        test=Proportion(80, 100),
        parameters=1_234_567,
        megabytes=2.5,
        train_seconds=61.0,
        reviews_per_second=12_345.0,
        correct=np.ones(100, dtype=np.bool_),
    )
    return RankedRow(row, by_chance)


def test_each_run_is_a_row_with_its_verdict() -> None:
    page = render_page([ranked("cnn", None), ranked("rnn", 0.2), ranked("gru", 0.001)])
    assert [page.count(f'<tr class="{verdict}"><td>') for verdict in ("leads", "within", "behind")] == [1, 1, 1]
    assert "".join(f"<th>{column}</th>" for column in COLUMNS) in page
    assert "<td>1,234,567</td><td>2.5</td><td>61</td><td>12,345</td><td>sentiment</td>" in page
    assert "the notebook" not in page


def test_a_name_is_no_html() -> None:
    page = render_page([ranked("nets:<script>", None)])
    assert "<td>nets:&lt;script&gt;</td>" in page
    assert "<script>" not in page


def test_the_page_holds_its_picture() -> None:
    page = render_page([ranked("cnn", None)])
    assert 'src="data:image/png;base64,iVBOR' in page
    assert "http" not in page.split("base64,")[0]
