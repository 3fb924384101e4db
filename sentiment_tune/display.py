"""How far a training is, on a terminal or in a notebook."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sentiment_tune.events import Event, WarningMessage
from sentiment_tune.experiment import TrainingStart
from sentiment_tune.training.loop import EpochRecord, StepEnd

if TYPE_CHECKING:
    from types import TracebackType


def terminal(stderr: bool = False) -> Console:
    """A terminal or a file, on which a text is printed as it is."""
    return Console(stderr=stderr, soft_wrap=True, highlight=False, emoji=False, markup=False)


def warn(text: str) -> None:
    """One loud line on standard error."""
    terminal(stderr=True).print(f"WARNING: {text}", style="bold yellow")


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
        match event:
            case TrainingStart():
                self._most_epochs = event.config.training.epochs
                self._console.print(_begin_line(event))
                self._bar.start()
            case StepEnd(step=1):
                description = f"{event.epoch} of at most {self._most_epochs}"
                self._bar.reset(self._task, total=event.steps, completed=1, description=description)
            case StepEnd():
                self._bar.update(self._task, completed=event.step)
            case EpochRecord():
                self._console.print(_epoch_line(event))


def _begin_line(start: TrainingStart) -> str:
    corpus = start.corpus
    train, validation, test = (f"{len(part):,}" for part in (corpus.train, corpus.validation, corpus.test))
    return f"{start.config.model} on {corpus.name}: {train} reviews to train, {validation} to validate, {test} to test"


def _epoch_line(epoch: EpochRecord) -> str:
    return (
        f"epoch {epoch.epoch:>3}  train loss {epoch.train_loss:.4f} accuracy {epoch.train_accuracy:.4f}"
        f"  validation loss {epoch.val_loss:.4f} accuracy {epoch.val_accuracy:.4f}  {epoch.seconds:.1f} s"
    )
