"""What the terminal shows: progress while a network trains, results, and what to do next."""

import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sentiment_tune import tracking
from sentiment_tune.batches import Batch
from sentiment_tune.data import Corpus
from sentiment_tune.experiment import Result, Told, untold
from sentiment_tune.models import NETWORKS
from sentiment_tune.plan import Plan
from sentiment_tune.scoring import label
from sentiment_tune.training import Epoch, Watch, unwatched


def warn(text: str) -> None:
    """One loud line on standard error."""
    _console(stderr=True).print(f"WARNING: {text}", style="bold yellow")


def _console(stderr: bool = False) -> Console:
    """A terminal or a file, on which a text is printed as it is."""
    return Console(stderr=stderr, soft_wrap=True, highlight=False, emoji=False, markup=False)


@contextmanager
def epochs(plan: Plan, corpus: Corpus, quiet: bool) -> Iterator[tuple[Watch, Told]]:
    """What `experiment.run` asks for to tell how far it is: a bar on a terminal, a line an epoch everywhere."""
    if quiet:
        yield unwatched, untold
        return
    console = _console()
    train, validation, test = (f"{len(part):,}" for part in (corpus.train, corpus.validation, corpus.test))
    console.print(f"{plan.model} on {corpus.name}: {train} reviews to train, {validation} to validate, {test} to test")
    columns = TextColumn("epoch {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:

        def watch(passing: Iterable[Batch], epoch: int) -> Iterable[Batch]:
            return bar.track(passing, description=f"{epoch} of at most {plan.recipe.epochs}")

        yield watch, lambda epoch: console.print(_line(epoch))


def _line(epoch: Epoch) -> str:
    return (
        f"epoch {epoch.epoch:>3}  train loss {epoch.train_loss:.4f} accuracy {epoch.train_accuracy:.4f}"
        f"  validation loss {epoch.val_loss:.4f} accuracy {epoch.val_accuracy:.4f}  {epoch.seconds:.1f} s"
    )


def result(plan: Plan, corpus: Corpus, result: Result) -> None:
    """The figures of a finished run, and three lines that say what to do next."""
    console = _console()
    console.print(
        f"\n{plan.model} on {corpus.name}: test accuracy {result.test['test_accuracy']:.4f}, validation "
        f"{result.best.val_accuracy:.4f} in epoch {result.best.epoch}, {result.parameters:,} parameters, trained in "
        f"{result.seconds:.0f} s\nrun {result.run_id}, model {result.model_uri}\n",
        style="bold",
    )
    console.print(f"compare the runs   {_ui()}")
    console.print(
        f'score a text       {_command("sentiment-tune")} score --model {result.model_uri} "a fine film" "a dull one"'
    )
    console.print(f"train another      {_command('sentiment-tune')} train --model {_another(plan.model)}")


def _ui() -> str:
    uri = tracking.address()
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


def scores(texts: Sequence[str], probabilities: NDArray[np.float64]) -> None:
    """One line a text: label, probability of being positive, the text."""
    console = _console()
    for text, probability in zip(texts, probabilities, strict=True):
        console.print(f"{label(probability)}  {probability:.4f}  {text}")
