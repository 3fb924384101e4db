"""What the terminal shows: progress while a network trains, results, and what to do next."""

import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from sentiment_tune.display import StudyDisplay, show_table, terminal
from sentiment_tune.errors import OutageError, hide_passwords

if TYPE_CHECKING:
    from pandas import DataFrame

    from sentiment_tune.api import Inspection, StudyResult, TrainedRun
    from sentiment_tune.ensembling import EnsembleResult
    from sentiment_tune.events import Event
    from sentiment_tune.inference.bulk import Answer
    from sentiment_tune.ranking import RankedRow
    from sentiment_tune.recovery import Finding
    from sentiment_tune.space import Value
    from sentiment_tune.tracking.registry import Registration

ACCURACIES = ("best_val_accuracy", "test_accuracy")


def trained(run: "TrainedRun", **given: "Value | None") -> None:
    """The figures of a finished run, and three lines that say what to do next, as was `given` beside settings."""
    from sentiment_tune import notes  # loads torch, which a ranking does not need
    from sentiment_tune.tracking import ui

    model, metrics = run.settings["model"], run.metrics
    once_more = ", then on train and validation," if run.settings["refit"] else ""
    best = ""
    if run.repeats is not None:
        _repeated(run.repeats, str(run.repeats_run_id), str(run.settings["metric"]))
        best = _which(run)
    seconds = f"trained{once_more} in {metrics['train_seconds']:.0f} s"
    terminal().print(
        f"\n{best}{model} on {run.data}: test accuracy {metrics['test_accuracy']:.4f} (the most frequent class "
        f"{metrics['test_majority_accuracy']:.4f}), validation {metrics['best_val_accuracy']:.4f} in epoch "
        f"{metrics['best_epoch']}{_judged(run)}, {run.parameters:,} parameters, {seconds}\n"
        f"run {run.run_id}, model {run.model_uri}\n",
        style="bold",
    )
    say(f"compare the runs   {_ui(ui.runs_page(run.experiment_id))}")
    say(f'score a text       {_command("sentiment-tune")} score --model {run.model_uri} "a fine film" "a dull one"')
    say(f"train another      {_command('sentiment-tune')} train {notes.options(_another(run, given))}")


def _which(run: "TrainedRun") -> str:
    """Which of several trainings it is."""
    if run.out_of_fold is None or run.repeats is None:
        return f"the best, with seed {run.settings['seed']}: "
    (fold,) = run.repeats["fold"][run.repeats["run_id"] == run.run_id]
    return f"the best, validated by fold {fold}: "


def _judged(run: "TrainedRun") -> str:
    """By what the epoch was chosen, and what that came to, where it was not accuracy."""
    if "best_val_score" not in run.metrics:
        return ""
    from sentiment_tune.evaluation.metrics import measured, words_for

    metric = str(run.settings["metric"])
    test = run.metrics.get(f"test_{metric}")
    tested = "" if test is None else f", test {test:.4f}"
    return f" by {words_for(metric)} (validation {measured(metric, run.metrics['best_val_score']):.4f}{tested})"


def _repeated(repeats: "DataFrame", run_id: str, metric: str) -> None:
    """What trainings with several seeds or folds came to, each and together."""
    from sentiment_tune.evaluation.metrics import measured, words_for

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    kind = "fold" if "fold" in repeats else "seed"
    shown = {"validation": ACCURACIES[0], "test": ACCURACIES[1]}
    if metric != "accuracy":
        shown |= {f"{words_for(metric)}, validation": "best_val_score", f"{words_for(metric)}, test": f"test_{metric}"}
    shown = {title: name for title, name in shown.items() if name in repeats}
    figures = repeats[list(shown.values())].copy()
    if "best_val_score" in figures:
        figures["best_val_score"] = measured(metric, figures["best_val_score"])
    for column in (kind, *shown, "run"):
        table.add_column(column, justify="right", no_wrap=True)
    for place, repeat in enumerate(repeats.to_dict("records")):
        table.add_row(str(repeat[kind]), *(f"{value:.4f}" for value in figures.iloc[place]), repeat["run_id"][:8])
    means = (f"{figures[name].mean():.4f} ± {figures[name].std():.4f}" for name in figures)
    table.add_row("mean", *means, run_id[:8], style="bold")
    show_table(table)


def uploaded(runs: Sequence[str]) -> None:
    """A line a run that is whole now."""
    for run in runs:
        say(f"run {run} is whole in MLflow now")
    if not runs:
        from sentiment_tune.tracking import server

        say(f"nothing is kept for {server.tracking_uri()}")


def say(text: str) -> None:
    """Print a line as it is."""
    terminal().print(text)


def ensembled(result: "EnsembleResult") -> None:
    """What came of putting champions together."""
    from sentiment_tune.evaluation.metrics import ACCURACY, measured, words_for

    table, metric = Table(box=box.SIMPLE_HEAD, pad_edge=False), result.metric
    validation = "validation" if metric == ACCURACY else f"validation {words_for(metric)}"
    for column in ("member", "weight", validation):
        table.add_column(column, justify="left" if column == "member" else "right", no_wrap=True)
    for member, weight, score in zip(result.members, result.weights, result.alone, strict=True):
        table.add_row(f"{member.name} version {member.version}", f"{weight:.3f}", f"{measured(metric, score):.4f}")
    table.add_row("together", "", f"{measured(metric, result.validation):.4f}", style="bold")
    show_table(table)
    say(f"test accuracy {result.test:.4f}")


class CommandDisplay(StudyDisplay):
    """What a study shows under the command line: with each champion, the command that scores with it."""

    def show_registration(self, registration: "Registration") -> None:
        """A line of what became of a registered version, and how to use the champion."""
        super().show_registration(registration)
        if registration.alias == "champion":
            say(f'score with it      {_command("sentiment-tune")} score --model {registration.uri} "a fine film"')


def check_delivered() -> None:
    """OutageError, after all else was shown, if MLflow has not taken all that this process had for it."""
    from sentiment_tune.tracking import delivery

    left = delivery.undelivered()
    if left:
        raise OutageError("; ".join(left))


def registered(registrations: "Iterable[Registration]") -> None:
    """A line a registered version, and how to use the champion."""
    for registration in registrations:
        CommandDisplay().show_registration(registration)


def finding(found: "Event") -> None:
    """A line that `doctor` has found, and what becomes of it."""
    from sentiment_tune.recovery import LEFT, Finding

    if isinstance(found, Finding):
        then = f"--fix {found.remedy}" if found.mend and found.outcome == LEFT else found.remedy
        say(f"{found.what}: {then if found.outcome == LEFT else found.outcome}")


def examined(findings: "Sequence[Finding]") -> None:
    """What all that was found comes to."""
    from sentiment_tune.recovery import MENDED

    mended = sum(found.outcome == MENDED for found in findings)
    say(f"{len(findings)} found, {mended} mended" if findings else "nothing was left behind")


def tuned(studies: "Sequence[StudyResult]") -> None:
    """The leaderboard after several studies, and what to do next with what they have left."""
    from sentiment_tune import ranking
    from sentiment_tune.tracking import ui

    program, storage = _command("sentiment-tune"), studies[0].storage
    if len(studies) > 1 and studies[0].winner:
        leaderboard(ranking.rank_runs(studies[0].data_digest))
    page = ui.run_page(studies[0].experiment_id, studies[0].run_id)
    say(f"\nlook at the study  {_ui(page)}\nrank all networks  {program} compare --html leaderboard.html")
    say(f"with Optuna's own  optuna-dashboard {shlex.quote(hide_passwords(storage))}   (pip install optuna-dashboard)")


def inspected(found: "Inspection", longest: int) -> None:
    """The parts of data, what is odd about them, and how some of their reviews are read."""
    from sentiment_tune.data.checks import Check, DataChecked
    from sentiment_tune.display import show_checks

    say(f"{found.name}, digest {found.digest}, words found by the rule {found.text_rule}")
    table(found.reviews, "no reviews")
    checks = [Check(**check) for check in found.checks.to_dict("records")]
    show_checks(DataChecked(found.name, checks), every=True)
    for sample in found.samples.itertuples(index=False):
        text = str(sample.text)
        say(f"{sample.label}, {sample.words:,} words: {text[:longest]}{' ...' if len(text) > longest else ''}")


def table(frame: "DataFrame", empty: str) -> None:
    """A table as a table, or a line where it has no row."""
    if frame.empty:
        say(empty)
        return
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column, kind in zip(frame.columns, frame.dtypes, strict=True):  # two columns may have one name
        shown.add_column(column, justify="right" if kind.kind in "if" else "left", no_wrap=True)
    for row in frame.itertuples(index=False, name=None):
        shown.add_row(*map(_cell, row))
    show_table(shown)


def _cell(value: object) -> str:
    if value is None or value != value:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def leaderboard(rows: "Sequence[RankedRow]") -> None:
    """The leaderboard as a table, and how to register a run that leads and is no champion."""
    from sentiment_tune import ranking

    several = len({ranked.row.digest for ranked in rows}) > 1  # whose validation accuracies are not to be compared
    shown = [column for column, name in enumerate(ranking.COLUMNS) if name != "data" or several]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in shown:
        table.add_column(ranking.COLUMNS[column], justify="left" if column == 0 else "right", no_wrap=True)
    for ranked in rows:
        cells = [*ranking.cells(ranked)[:-1], ranked.row.run_id[:8]]
        table.add_row(*(cells[column] for column in shown), style="bold" if ranked.by_chance is None else "")
    show_table(table)
    if any(ranked.row.is_of_several for ranked in rows):
        say(ranking.BEST_OF_SEVERAL)
    for row in (ranked.row for ranked in rows if ranked.by_chance is None and not ranked.row.champion_of):
        say(f"register the best  {_command('sentiment-tune')} register --run {row.run_id}")


def _ui(page: str) -> str:
    """Where a page of MLflow's is to be seen, and what to start before where nobody serves it."""
    from sentiment_tune.tracking import server, ui  # load MLflow, which scoring with a folder does not need

    if ui.is_served():
        return ui.link(page)
    uri = hide_passwords(server.tracking_uri())
    return f"{_command('mlflow')} ui --backend-store-uri {shlex.quote(uri)}   then open {ui.link(page)}"


def _another(run: "TrainedRun", given: Mapping[str, "Value | None"]) -> dict[str, "Value"]:
    """What trains the next network of the registry as this one was: on the same data, with the settings it has too."""
    from sentiment_tune import notes
    from sentiment_tune.config import settings_for
    from sentiment_tune.models.registry import NETWORKS

    names, model = list(NETWORKS), str(run.settings["model"])
    other = names[(names.index(model) + 1) % len(names)] if model in names else names[0]
    default, takes = settings_for(model), settings_for(other)
    first = {} if run.repeats is None or "seed" not in run.repeats else {"seed": int(run.repeats["seed"].min())}
    settings = {**run.settings, **first}  # of the best of several seeds; the others begin where these did
    changed = {name: value for name, value in settings.items() if name in default and value != default[name].default}
    shared = {name: value for name, value in changed.items() if name in takes and value in takes[name].bounds}
    around = {
        name: hide_passwords(value) if isinstance(value, str) else value for name, value in given.items() if value
    }
    return {"model": other, **notes.data_given(run.settings), **shared, **around}


def _command(name: str) -> str:
    """How the user of this terminal calls a script of this environment: by name if it is active, else by its path."""
    script = Path(sys.executable).with_name(name)
    if not script.exists():
        return f"{shlex.quote(sys.executable)} -m {name.replace('-', '_')}"
    # Under `make` the search path is not the user's own.
    found = None if "MAKELEVEL" in os.environ else shutil.which(name)
    is_found = found is not None and os.path.realpath(found) == os.path.realpath(script)
    return name if is_found else shlex.quote(os.path.relpath(script))


def scores(texts: Sequence[str], rows: "Sequence[Answer]", names: Sequence[str]) -> None:
    """One line a text: label, probability of the second of two classes or of the label, the text.

    Where each class has a column, all of them.
    """
    for text, (probability, label, *each) in zip(texts, rows, strict=True):
        of = names[1] if len(names) == 2 else label
        shown = dict(zip(names, each, strict=True)) if each else {of: probability}
        say(f"{label}  {'  '.join(f'p({name})={value:.4f}' for name, value in shown.items())}  {text}")
