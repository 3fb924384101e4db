"""What the terminal shows: progress while a network trains, results, and what to do next."""

import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from sentiment_tune.display import terminal
from sentiment_tune.models.registry import NETWORKS
from sentiment_tune.space import Value
from sentiment_tune.tracking import runs as tracking

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial
    from pandas import DataFrame

    from sentiment_tune.api import TrainedRun
    from sentiment_tune.ensembling import EnsembleResult
    from sentiment_tune.ranking import RankedRow
    from sentiment_tune.tracking.registry import Registration
    from sentiment_tune.tuning.confirm import Confirmation


def trained(run: "TrainedRun") -> None:
    """The figures of a finished run, and three lines that say what to do next."""
    model, metrics = run.settings["model"], run.metrics
    once_more = ", then on train and validation," if run.settings["refit"] else ""
    terminal().print(
        f"\n{model} on {run.data}: test accuracy {metrics['test_accuracy']:.4f}, validation "
        f"{metrics['best_val_accuracy']:.4f} in epoch {metrics['best_epoch']}, {run.parameters:,} parameters, "
        f"trained{once_more} in {metrics['train_seconds']:.0f} s\nrun {run.run_id}, model {run.model_uri}\n",
        style="bold",
    )
    say(f"compare the runs   {_ui()}")
    say(f'score a text       {_command("sentiment-tune")} score --model {run.model_uri} "a fine film" "a dull one"')
    say(f"train another      {_command('sentiment-tune')} train --model {_another(model)}")


def trial(study: "Study", trial: "FrozenTrial", total: int, workers: int) -> None:
    """A line a trial: state, value, best so far, time left."""
    from sentiment_tune.tuning.trials import best_trials, finished_trials

    done = finished_trials(study.get_trials(deepcopy=False))
    best, left = best_trials(study, 1), max(0, total - len(done))
    seconds = [held.duration.total_seconds() for held in done if held.duration]
    rest = left * fmean(seconds) / workers if seconds else 0.0
    value = f"{trial.value:.4f}" if trial.value is not None else "      "
    so_far = f"best {best[0].value:.4f} (trial {best[0].number})" if best else "no best yet"
    took = trial.duration.total_seconds() if trial.duration else 0.0
    why = f"  {trial.user_attrs['error']}" if "error" in trial.user_attrs else ""
    terminal().print(
        f"trial {trial.number:>3}  {trial.state.name.lower():<8}  {value}  {so_far}  {took:.0f} s  "
        f"{left} left, about {rest / 60:.0f} min{why}"
    )


def trials_table(study: "Study") -> None:
    """All trials of a study with their settings, the best first."""
    trials = sorted(study.get_trials(deepcopy=False), key=lambda held: (-(held.value or 0.0), held.number))
    names = list(dict.fromkeys(name for held in trials for name in held.params))
    table = Table(title=f"study {study.study_name}", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("trial", "state", "validation", *names):
        table.add_column(column, justify="right", no_wrap=True)
    for held in trials:
        value = "" if held.value is None else f"{held.value:.4f}"
        settings = [_short(held.params.get(name)) for name in names]
        table.add_row(str(held.number), held.state.name.lower(), value, *settings)
    _show(table)


def _short(value: Value | None) -> str:
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value).lower()


def say(text: str) -> None:
    terminal().print(text)


def confirmed(found: "Sequence[Confirmation]") -> None:
    """What came of training the best settings again."""
    table = Table(title="trained again", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("trial", "mean validation", "spread", "by seed"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in found:
        each = " ".join(f"{accuracy:.4f}" for accuracy in one.accuracies)
        table.add_row(str(one.trial), f"{one.mean:.4f}", f"{one.spread:.4f}", each)
    _show(table)


def ensembled(found: "EnsembleResult") -> None:
    """What came of putting champions together."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("member", "weight", "validation"):
        table.add_column(column, justify="left" if column == "member" else "right", no_wrap=True)
    for member, weight, accuracy in zip(found.members, found.weights, found.alone, strict=True):
        table.add_row(f"{member.name} version {member.version}", f"{weight:.3f}", f"{accuracy:.4f}")
    table.add_row("together", "", f"{found.validation:.4f}", style="bold")
    _show(table)
    say(f"test accuracy {found.test:.4f}")


def registered(entries: "Iterable[Registration]") -> None:
    """A line a registered version, and how to use the champion."""
    for entry in entries:
        terminal().print(f"{entry.name} version {entry.version} is {entry.alias}: {entry.reason}", style="bold")
        if entry.alias == "champion":
            terminal().print(f'score with it      {_command("sentiment-tune")} score --model {entry.uri} "a fine film"')


def after_tuning(storage: str) -> None:
    """What to do next with what a study has left."""
    console, program = terminal(), _command("sentiment-tune")
    console.print(f"\nlook at the study  {_ui()}\nrank all networks  {program} compare --html leaderboard.html")
    console.print(f"with Optuna's own  optuna-dashboard {shlex.quote(storage)}   (pip install optuna-dashboard)")


def leaderboard(board: "Sequence[RankedRow]") -> None:
    """The leaderboard as a table."""
    from sentiment_tune import ranking as comparing

    shown = [place for place, name in enumerate(comparing.COLUMNS) if name not in ("data", "run")]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place in shown:
        table.add_column(comparing.COLUMNS[place], justify="left" if place == 0 else "right", no_wrap=True)
    for ranked in board:
        row = comparing.cells(ranked)
        table.add_row(*(row[place] for place in shown), style="bold" if ranked.by_chance is None else "")
    _show(table)


def _show(table: Table) -> None:
    """The table at its own width: a terminal may wrap it, but no figure is cut."""
    console = terminal()
    console.width = 1_000
    console.print(table)


def _ui() -> str:
    uri = tracking.tracking_uri()
    if uri.startswith("http"):
        return uri
    return f"{_command('mlflow')} ui --backend-store-uri {shlex.quote(uri)}   then open http://127.0.0.1:5000"


def _another(model: str) -> str:
    """A network to try next: the one after `model` in the registry."""
    names = list(NETWORKS)
    return names[(names.index(model) + 1) % len(names)] if model in names else names[0]


def _command(name: str) -> str:
    """How the user of this terminal calls a script of this environment: by name if it is active, else by its path."""
    script = Path(sys.executable).with_name(name)
    if not script.exists():
        return f"{shlex.quote(sys.executable)} -m {name.replace('-', '_')}"
    # The search path tells nothing: under `make` and `mlflow run` it is not the user's own.
    active = sys.prefix == sys.base_prefix or os.environ.get("VIRTUAL_ENV") == sys.prefix
    return name if active else shlex.quote(os.path.relpath(script))


def scores(texts: Sequence[str], scored: "DataFrame") -> None:
    """One line a text: label, probability of being positive, the text."""
    for text, label, probability in zip(texts, scored["label"], scored["probability"], strict=True):
        say(f"{label}  {probability:.4f}  {text}")
