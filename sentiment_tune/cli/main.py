"""The command line: `sentiment-tune`, also `python -m sentiment_tune`.

Each command stands in a file of its own, where what is heavy is imported when the command runs: `--help` answers at
once.
"""

import signal
import sys

import click

from sentiment_tune import __version__, process
from sentiment_tune.cli.compare import compare
from sentiment_tune.cli.doctor import doctor
from sentiment_tune.cli.ensemble import ensemble
from sentiment_tune.cli.options import HELP
from sentiment_tune.cli.recipes import recipes
from sentiment_tune.cli.register import register
from sentiment_tune.cli.score import score
from sentiment_tune.cli.train import train
from sentiment_tune.cli.tune import tune
from sentiment_tune.errors import InputError, OutageError, TerminatedError, hide_passwords


@click.group(context_settings={"help_option_names": list(HELP)})
@click.version_option(__version__)
def main() -> None:
    """Train networks on reviews, track them in MLflow, score texts with them."""


for command in (train, tune, register, ensemble, compare, score, doctor, recipes):
    main.add_command(command)


def run() -> None:
    """The console script: what goes wrong by the user's hand is one line and exit code 2."""
    process.prepare()
    try:
        main(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        sys.exit(2)
    except (click.ClickException, InputError) as error:
        _end(error.format_message() if isinstance(error, click.ClickException) else str(error), 2)
    except (ArithmeticError, OutageError) as error:
        _end(str(error), 1)
    except (KeyboardInterrupt, click.Abort) as error:
        cause = error.__cause__ or error  # click wraps it
        _end("ended", 128 + (signal.SIGTERM if isinstance(cause, TerminatedError) else signal.SIGINT))


def _end(message: str, code: int) -> None:
    print(f"sentiment-tune: {' '.join(hide_passwords(message).split())}", file=sys.stderr)
    sys.exit(code)
