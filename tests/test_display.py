"""What a terminal shows of a study while it runs; elsewhere it is plain lines."""

import io

import pytest
from rich.console import Console

from sentiment_tune import display
from sentiment_tune.display import StudyDisplay
from sentiment_tune.tuning.campaign import StudyStart
from sentiment_tune.tuning.search import StudyConfig
from sentiment_tune.tuning.trials import TrialEnd


def shown(monkeypatch: pytest.MonkeyPatch, objectives: tuple[str, ...], *, terminal: bool) -> list[str]:
    """The lines of a study of three trials."""
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, color_system=None, soft_wrap=True, highlight=False)
    monkeypatch.setattr(display, "terminal", lambda stderr=False: console)
    show = StudyDisplay()
    fixed = {"data": "sample"}
    show(StudyStart(StudyConfig("films", ("cnn",), fixed, trials=30, storage="", objectives=objectives)))
    costs = dict(zip(objectives[1:], (12_345.0, 3.21), strict=False))
    show(TrialEnd(0, "COMPLETE", 0.85, 12.0, None, (0.85, 0), costs, 29, 348.0))
    show(TrialEnd(1, "PRUNED", None, 3.0, None, (0.85, 0), {}, 28, 210.0))
    show(TrialEnd(2, "FAIL", None, 1.0, "ValueError: no", None, {}, 27, 0.0))
    return text.getvalue().splitlines()


def test_on_a_terminal_the_trials_are_a_table_that_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    _, head, *rows = shown(monkeypatch, ("accuracy",), terminal=True)
    ends = {name: head.index(name) + len(name) for name in ("trial", "validation", "of trial", "duration", "time left")}
    cells = [[row[: ends[name]].split()[-1] for name in ends] for row in rows[:2]]
    assert cells[0] == ["0", "0.8500", "0", "s", "min"]
    assert rows[0][: ends["duration"]].endswith("12 s")
    assert rows[0][: ends["time left"]].endswith("6 min")
    assert rows[1].split()[:3] == ["1", "pruned", "0.8500"]
    assert rows[2].endswith("ValueError: no")


def test_other_objectives_are_columns_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, head, first, *_ = shown(monkeypatch, ("accuracy", "parameters", "latency"), terminal=True)
    for name, value in (("parameters", "12,345"), ("latency", "3.21 ms")):
        assert first[: head.index(name) + len(name)].endswith(f" {value}")


def test_elsewhere_each_trial_is_a_line_that_stands_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    _, *lines = shown(monkeypatch, ("accuracy",), terminal=False)
    assert [line.split()[:3] for line in lines] == [
        ["trial", "0", "complete"],
        ["trial", "1", "pruned"],
        ["trial", "2", "fail"],
    ]
    assert "best 0.8500 (trial 0)" in lines[0]
