"""The page of the leaderboard needs nothing else and shows names as they are."""

from dataclasses import replace

import numpy as np
import pytest

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
    assert page.count("<svg") == 1
    assert [word for word in ("src=", "<link", "@import", "base64") if word in page] == []  # it needs nothing else


def test_the_page_is_light_or_dark_and_a_phone_shows_what_matters() -> None:
    page = render_page([ranked("cnn", None)])
    assert 'content="light dark"' in page
    assert "prefers-color-scheme:dark" in page
    narrow = page[page.index("@media(max-width") : page.index("</style>")]
    hidden = [column for number, column in enumerate(COLUMNS, 1) if f"td:nth-child({number})" in narrow]
    assert [column for column in COLUMNS if column not in hidden] == [
        *("network", "validation", "test", "to the leader", "training s", "run")
    ]


def test_a_run_is_a_link_where_mlflow_is_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    row = replace(ranked("cnn", None).row, run_id="0123456789abcdef", experiment_id="7")
    assert "<a " not in render_page([RankedRow(row, None)])
    monkeypatch.setattr("sentiment_tune.tracking.server.tracking_uri", lambda: "http://ann:secret@host:5000/")
    page = render_page([RankedRow(row, None)])
    address = "host:5000/#/experiments/7/runs/0123456789abcdef?workflowType=machine_learning"
    assert f'{address}">01234567</a>' in page
    assert "secret" not in page
