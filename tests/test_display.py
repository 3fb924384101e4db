"""What a terminal shows of a study while it runs; elsewhere it is plain lines."""

import io
from pathlib import Path

import pytest
from optuna.trial import TrialState, create_trial
from rich.console import Console
from rich.table import Table

from sentiment_tune import display
from sentiment_tune.config import ExperimentConfig
from sentiment_tune.display import ScoringDisplay, StudyDisplay
from sentiment_tune.tuning.campaign import ConfirmationEnd, FrontEnd, StudyEnd, StudyStart
from sentiment_tune.tuning.confirm import Confirmation
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


def test_a_loss_is_shown_as_it_is_and_what_has_no_value_stands_last(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    monkeypatch.setattr(display, "terminal", lambda stderr=False: Console(file=text, width=200))
    kept: list[Table] = []
    monkeypatch.setattr(display, "show_table", kept.append)
    show = StudyDisplay()
    show(TrialEnd(1, "COMPLETE", -0.65, 12.0, None, (-0.62, 0), {}, 29, 348.0, metric="log_loss"))
    trials = [
        create_trial(state=TrialState.PRUNED, value=None),
        create_trial(state=TrialState.COMPLETE, value=-0.65),
        create_trial(state=TrialState.COMPLETE, value=-0.62),
    ]
    for number, trial in enumerate(trials):
        trial.number = number
    show(StudyEnd("s", trials, True, metric="log_loss"))
    config = ExperimentConfig.of("cnn", {"data": "sample", "metric": "log_loss"})
    confirmed = Confirmation(2, config, (-0.61, -0.63), "run", {"size": 1e6})
    show(ConfirmationEnd([confirmed]))
    show(FrontEnd([confirmed], {"knee": confirmed}))
    assert "0.6500  best 0.6200 (trial 0)" in text.getvalue()
    columns = [[*map(str, column.cells)] for column in kept[0].columns]
    assert columns == [["2", "1", "0"], ["complete", "complete", "pruned"], ["0.6200", "0.6500", ""]]
    heads = [[str(column.header) for column in table.columns] for table in kept]
    assert heads[0][2] == "validation log loss"
    assert heads[1][1] == heads[2][1] == "mean validation log loss"
    assert [list(table.columns[1].cells) for table in kept[1:]] == [["0.6200"], ["0.6200"]]
    assert list(kept[1].columns[3].cells) == ["0.6100 0.6300"]


# ---- scoring


def bar(monkeypatch: pytest.MonkeyPatch, source: Path, rows: int | None, *, terminal: bool, quiet: bool = False) -> str:
    """What is shown while half of a file is read, and a line told."""
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, color_system=None, width=100)
    monkeypatch.setattr(display, "terminal", lambda stderr=False: console)
    shown = ScoringDisplay(quiet)
    with source.open("rb", buffering=0) as file, shown.watching(source, rows) as hear:
        file.read(source.stat().st_size // 2)
        hear(1_234)
        shown._bar.refresh()
        shown.tell("half of it is read")
    return text.getvalue()


@pytest.mark.parametrize("rows", [2_468, None])
def test_on_a_terminal_a_bar_says_how_many_rows_are_scored(
    rows: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "reviews.csv").write_text("fine\n" * 1_000)
    seen = bar(monkeypatch, tmp_path / "reviews.csv", rows, terminal=True)
    assert "reviews.csv" in seen
    assert "1,234 rows" in seen
    line = next(line for line in seen.splitlines() if "1,234 rows" in line)
    full = line.count("\u2501")  # without colours the rest of a bar is empty
    assert 15 <= full <= 25, line  # of 40
    assert "half of it is read" in seen


def test_elsewhere_there_is_no_bar_and_where_it_is_to_be_quiet_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "reviews.csv").write_text("fine\n")
    assert bar(monkeypatch, tmp_path / "reviews.csv", None, terminal=False) == "half of it is read\n"
    assert bar(monkeypatch, tmp_path / "reviews.csv", None, terminal=True, quiet=True) == ""
