"""How far a training or a study is, on a terminal or in a notebook."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from sentiment_tune import local
from sentiment_tune.data.checks import DataChecked
from sentiment_tune.errors import TerminatedError
from sentiment_tune.events import Event, Message, WarningMessage

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from sentiment_tune.experiment import TrainingStart
    from sentiment_tune.tracking.registry import Registration
    from sentiment_tune.training.loop import EpochRecord
    from sentiment_tune.tuning.campaign import StudyEnd
    from sentiment_tune.tuning.confirm import Confirmation
    from sentiment_tune.tuning.search import StudyConfig
    from sentiment_tune.tuning.trials import TrialEnd


class _Terminal(Console):
    """A console whose reader may go, as `head` does: that ends the program as a terminal does that closes."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        with contextlib.suppress(OSError, ValueError):  # what is still in its buffer would be an error at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())
        raise TerminatedError("nobody reads the output any more") from None


def terminal(stderr: bool = False) -> Console:
    """A terminal or a file, on which a text is printed as it is."""
    return _Terminal(stderr=stderr, soft_wrap=True, highlight=False, emoji=False, markup=False)


def warn(text: str) -> None:
    """One loud line on standard error."""
    terminal(stderr=True).print(f"WARNING: {text}", style="bold yellow")


def show_table(table: Table) -> None:
    """The table at its own width: a terminal may wrap it, but no figure is cut."""
    wide = terminal()
    wide.width = 1_000
    wide.print(table)


def show_checks(checked: DataChecked, *, every: bool = False) -> None:
    """What is odd about the data, and if every check is asked for what is not."""
    table = Table(title=f"of the data {checked.name}", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("reviews", no_wrap=True)
    for part in ("train", "validation", "test"):
        table.add_column(part, justify="right", no_wrap=True)
    for check in checked.checks:
        if every or not check.is_clean:
            table.add_row(check.what, *(f"{count:,}" for count in (check.train, check.validation, check.test)))
    show_table(table)


class TrainingDisplay:
    """A listener that shows a bar of the epoch's steps where one can be seen, and a line an epoch everywhere."""

    def __init__(self, quiet: bool = False):
        self._quiet = quiet
        self._console = terminal()
        visible = not quiet and (self._console.is_terminal or self._console.is_jupyter)
        columns = TextColumn("epoch {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        self._bar = Progress(*columns, console=self._console, transient=True, disable=not visible)
        self._task = self._bar.add_task("1", total=None)
        self._most_epochs = 0
        self._metric = ""  # that judges the epochs

    def __enter__(self) -> "TrainingDisplay":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: "TracebackType | None"
    ) -> None:
        self._bar.stop()

    def __call__(self, event: Event) -> None:
        """Show an event of the training; warnings are shown even where it is quiet."""
        if isinstance(event, WarningMessage):
            warn(event.text)
        elif not self._quiet:
            self._show(event)

    def _show(self, event: Event) -> None:
        from sentiment_tune.experiment import TrainingStart  # loads torch, which a ranking does not need
        from sentiment_tune.training.loop import EpochRecord, StepEnd

        match event:
            case TrainingStart():
                self._metric = event.config.training.metric
                self._most_epochs = event.config.training.for_reviews(len(event.corpus.train)).epochs
                self._console.print(_begin_line(event))
                self._bar.start()
            case StepEnd(step=1):
                description = f"{event.epoch} of at most {self._most_epochs}"
                self._bar.reset(self._task, total=event.steps, completed=1, description=description)
            case StepEnd():
                self._bar.update(self._task, completed=event.step)
            case EpochRecord():
                self._console.print(_epoch_line(event, self._metric))
            case DataChecked():
                show_checks(event)
            case Message():
                self._console.print(event.text)


def _begin_line(start: "TrainingStart") -> str:
    corpus = start.corpus
    train, validation, test = (f"{len(part):,}" for part in (corpus.train, corpus.validation, corpus.test))
    return f"{start.config.model} on {corpus.name}: {train} reviews to train, {validation} to validate, {test} to test"


def _epoch_line(epoch: "EpochRecord", metric: str) -> str:
    from sentiment_tune.evaluation.metrics import measured, words_for

    score = epoch.val_score
    judged = "" if score is None else f" {words_for(metric)} {measured(metric, score):.4f}"
    return (
        f"epoch {epoch.epoch:>3}  train loss {epoch.train_loss:.4f} accuracy {epoch.train_accuracy:.4f}"
        f"  validation loss {epoch.val_loss:.4f} accuracy {epoch.val_accuracy:.4f}"
        f"{judged}  {epoch.seconds:.1f} s"
    )


class ScoringDisplay:
    """A bar of the rows that are scored, and lines of what was found and done, on the standard error."""

    def __init__(self, quiet: bool = False, is_shown: bool = True):
        """Without `is_shown` there is no bar: what is scored is seen itself. A bar is on terminals alone."""
        self._quiet = quiet
        self._console = terminal(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[rows]:,} rows"),
            TimeRemainingColumn(),
        )
        visible = is_shown and not quiet and self._console.is_terminal
        self._bar = Progress(*columns, console=self._console, transient=True, disable=not visible)

    def tell(self, text: str) -> None:
        """Print a line, unless it is to be quiet."""
        if not self._quiet:
            self._console.print(text)

    @contextlib.contextmanager
    def watching(self, source: "Path | None", rows: int | None = None) -> "Iterator[Callable[[int], None]]":
        """A block in which a table is scored: what is given takes the number of rows that have been.

        `rows` is how many there are, where that is known; else the bar says how much of the file has been read.
        """
        task = self._bar.add_task(source.name if source else "scoring", total=rows or None, rows=0)

        def hear(scored: int) -> None:
            if self._bar.disable:
                return
            if rows:
                self._bar.update(task, completed=scored, rows=scored)
            else:
                share = local.share_read(source) if source else None
                self._bar.update(task, total=None if share is None else 1, completed=share or 0, rows=scored)

        with self._bar:
            try:
                yield hear
            finally:
                self._bar.remove_task(task)


class StudyDisplay:
    """A listener that shows each trial and what came of a study; it holds nothing, so it travels to workers.

    On a terminal the trials are a table that grows, a row a trial, whichever process it was in; elsewhere plain lines.
    """

    def __init__(self, quiet: bool = False):
        self._quiet = quiet

    def __call__(self, event: Event) -> None:
        """Show an event of the study; warnings are shown even where it is quiet."""
        if isinstance(event, WarningMessage):
            warn(event.text)
        elif not self._quiet:
            self._show(event)

    def _show(self, event: Event) -> None:
        from sentiment_tune.tuning import campaign, trials  # loads optuna, which a training does not need

        match event:
            case DataChecked():
                show_checks(event)
            case Message():
                terminal().print(event.text)
            case campaign.StudyStart(search):
                _show_start(search)
            case trials.TrialEnd():
                _show_trial(event)
            case campaign.StudyEnd():
                _show_trials(event)
            case campaign.ConfirmationEnd(confirmations):
                _show_confirmations(confirmations)
            case campaign.FrontEnd(front, chosen):
                _show_front(front, chosen)
            case campaign.Registered(registrations):
                for registration in registrations:
                    self.show_registration(registration)

    def show_registration(self, registration: "Registration") -> None:
        """A line of what became of a registered version."""
        name, version, alias = registration.name, registration.version, registration.alias
        became = f"is {alias}: {registration.reason}" if alias else f"is {registration.reason}"
        terminal().print(f"{name} version {version} {became}", style="bold")


_COST = 14  # width of the column of an objective beside accuracy
_HEAD = "trial  state     validation{}  best    of trial  duration  left  time left"


def _show_start(search: "StudyConfig") -> None:
    """What a study searches and begins with, and on a terminal the head of the table of its trials."""
    from sentiment_tune.tuning.warm_start import taken_over

    console = terminal()
    console.print(f"study {search.study}: {search.trials} trials over {', '.join(sorted(search.space))}")
    if search.from_study:
        console.print(taken_over(search))
    if search.is_pareto:
        console.print(f"for {', '.join(search.objectives)}: Optuna gives no trial up before its end then")
    if console.is_terminal:
        console.print(_HEAD.format("".join(f"{name:>{_COST}}" for name in search.objectives[1:])), style="bold")


def _show_trial(trial: "TrialEnd") -> None:
    """A trial that has ended: a row of the table on a terminal, else a line that stands by itself."""
    console = terminal()
    if console.is_terminal:
        console.print(_trial_row(trial), style=_style(trial))
    else:
        console.print(_trial_line(trial))


def _trial_row(trial: "TrialEnd") -> str:
    """A row of the table that begins with _HEAD."""
    from sentiment_tune.evaluation.metrics import measured
    from sentiment_tune.tuning.objectives import shown

    value = "" if trial.value is None else f"{measured(trial.metric, trial.value):.4f}"
    costs = "".join(f"{shown(name, cost):>{_COST}}" for name, cost in trial.costs.items())
    best, number = (f"{measured(trial.metric, trial.best[0]):.4f}", trial.best[1]) if trial.best else ("", "")
    return (
        f"{trial.number:>5}  {trial.state.lower():<8}  {value:>10}{costs}  {best:<6}  {number:>8}  "
        f"{_duration(trial.seconds):>8}  {trial.left:>4}  {_duration(trial.seconds_left):>9}  {trial.error or ''}"
    ).rstrip()


def _style(trial: "TrialEnd") -> str:
    """The best so far stands out, as does what has failed."""
    if trial.best and trial.best[1] == trial.number:
        return "bold green"
    return {"FAIL": "red", "PRUNED": "dim"}.get(trial.state, "")


def _trial_line(trial: "TrialEnd") -> str:
    from sentiment_tune.evaluation.metrics import measured
    from sentiment_tune.tuning.objectives import shown

    value = f"{measured(trial.metric, trial.value):.4f}" if trial.value is not None else " " * 6
    value += "".join(f"  {shown(name, cost)}" for name, cost in trial.costs.items())
    best = f"best {measured(trial.metric, trial.best[0]):.4f} (trial {trial.best[1]})" if trial.best else "no best yet"
    error = f"  {trial.error}" if trial.error else ""
    return (
        f"trial {trial.number:>3}  {trial.state.lower():<8}  {value}  {best}  {trial.seconds:.0f} s  "
        f"{trial.left} left, about {_duration(trial.seconds_left)}{error}"
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _show_trials(study: "StudyEnd") -> None:
    """All trials of a study with their settings, the best first."""
    from sentiment_tune.tuning.report import trial_rows

    columns, rows = trial_rows(study.trials, study.objectives, study.metric)
    table = Table(title=f"study {study.name}", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for _, cells in rows:
        table.add_row(*cells)
    show_table(table)
    if not study.owned:
        terminal().print("another process owns this study: it trains the best settings again and registers them")


def _show_confirmations(confirmations: "Sequence[Confirmation]") -> None:
    """What came of training the best settings again."""
    from sentiment_tune.evaluation.metrics import measured, words_for

    metric = confirmations[0].config.training.metric
    table = Table(title="trained again", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("trial", f"mean validation {words_for(metric)}", "spread", "by seed"):
        table.add_column(column, justify="right", no_wrap=True)
    for confirmation in confirmations:
        by_seed = " ".join(f"{measured(metric, score):.4f}" for score in confirmation.accuracies)
        mean = f"{measured(metric, confirmation.mean):.4f}"
        table.add_row(str(confirmation.trial), mean, f"{confirmation.spread:.4f}", by_seed)
    show_table(table)


def _show_front(front: "Sequence[Confirmation]", chosen: "Mapping[str, Confirmation]") -> None:
    """The settings that no others beat in everything, and which of them are the knee and the ends."""
    from sentiment_tune.tuning.report import UNCONFIRMED, front_rows

    columns, rows = front_rows(front, chosen, front[0].config.training.metric)
    title = "front" if front[0].is_confirmed else f"front, {UNCONFIRMED}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns[:-1]:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column(columns[-1], no_wrap=True)
    for cells in rows:
        table.add_row(*cells)
    show_table(table)
