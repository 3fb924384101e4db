"""The command line: `sentiment-tune`, also `python -m sentiment_tune`.

Each command stands in a file of its own, where what is heavy is imported when the command runs: `--help` answers at
once.
"""

import contextlib
import errno
import signal
import sys
from functools import partial

import click

from sentiment_tune import __version__, process, signals
from sentiment_tune.cli.compare import compare
from sentiment_tune.cli.doctor import doctor
from sentiment_tune.cli.ensemble import ensemble
from sentiment_tune.cli.inspect import inspect
from sentiment_tune.cli.options import HELP
from sentiment_tune.cli.recipes import recipes
from sentiment_tune.cli.register import register
from sentiment_tune.cli.score import score
from sentiment_tune.cli.studies import studies
from sentiment_tune.cli.train import train
from sentiment_tune.cli.tune import tune
from sentiment_tune.cli.upload import upload
from sentiment_tune.errors import (
    DivergenceError,
    InputError,
    OutageError,
    TerminatedError,
    one_line,
)

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # what a file system says without naming a file


@click.group(context_settings={"help_option_names": list(HELP)})
@click.version_option(__version__)
def main() -> None:
    """Train networks on reviews, track them in MLflow, score texts with them."""


for command in (train, tune, register, ensemble, compare, score, inspect, studies, doctor, upload, recipes):
    main.add_command(command)


def run() -> None:
    """The console script: what goes wrong by the user's hand is one line and exit code 2."""
    process.open_standard_streams()
    signals.listen_for_signals("sentiment-tune: ended")
    try:
        _run()
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        sys.exit(2)
    except BaseException as error:
        _explain(error)
        raise
    finally:
        signals.stop_listening()


def _run() -> None:
    end_project = partial(_end_project, signals.end_with_project())
    with signals.last_words(end_project, safe_points=False):
        try:
            process.prepare()
            main(standalone_mode=False)
            signals.end_if_asked()
        except BaseException:
            if signals.was_asked():
                end_project()
            raise


def _end_project(run_id: str | None) -> None:
    """End the run that `mlflow run` has begun for this command, which may not be there any more to do it."""
    if run_id:
        from sentiment_tune.tracking import ending

        with signals.unbroken(), contextlib.suppress(Exception):
            ending.end_abandoned_run(run_id, ending.ENDED)


def _explain(error: BaseException) -> None:
    """End with a line and a code of its own where the error is none of the program's."""
    if signals.was_asked() or isinstance(error, KeyboardInterrupt | click.Abort):
        signals.say_end()
        sys.exit(signals.exit_code(signal.SIGTERM if isinstance(error.__cause__ or error, TerminatedError) else None))
    if isinstance(error, click.ClickException | InputError):
        _end(error.format_message() if isinstance(error, click.ClickException) else str(error), 2)
    if isinstance(error, DivergenceError | OutageError):
        _end(str(error), 1)
    if isinstance(error, OSError) and (error.filename is not None or error.errno in _FULL):
        _end(f"cannot use {error.filename or 'a file'}: {error.strerror}", 2)


def _end(message: str, code: int) -> None:
    print(f"sentiment-tune: {one_line(message)}", file=sys.stderr)
    sys.exit(code)
