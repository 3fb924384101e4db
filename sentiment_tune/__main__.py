"""The command line: `sentiment-tune`, also `python -m sentiment_tune`.

Heavy modules are imported where a command needs them, so that `--help` answers at once.
"""

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sentiment_tune import __version__
from sentiment_tune.errors import InputError

if TYPE_CHECKING:
    from sentiment_tune.space import Setting
    from sentiment_tune.tables import Table

F = TypeVar("F", bound=Callable[..., Any])
NAMES = {"token_normalize_func": lambda name: name.replace("_", "-")}  # `mlflow run -P` writes --learning_rate
HELP = ("-h", "--help")


class Terminated(KeyboardInterrupt):
    """SIGTERM: ends everything the way Ctrl-C does, but for the exit code."""


class WithSettings(click.Command):
    """A command that has an option for each setting of the network its `--model` names."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *map(_option, ctx.meta.get("settings", {}).values())]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        from sentiment_tune.plan import settings_for

        ctx.meta["settings"] = settings_for(_model_in(args))
        return super().parse_args(ctx, args)


def _model_in(args: list[str]) -> str:
    """The network the arguments choose, seen before they are parsed, since their options depend on it."""

    @click.command(context_settings={**NAMES, "ignore_unknown_options": True, "allow_extra_args": True})
    @click.option("--model")
    @click.option("--settings")
    def peek(model: str | None, settings: str | None) -> str:
        return _model(model, _from_file(settings).get("model") if settings and not model else None)

    chosen: str = peek([word for word in args if word not in HELP], standalone_mode=False)
    return chosen


def _model(named: str | None, held: object) -> str:
    """The network named on the command line, else the one held by a settings file, else the first to try."""
    return named or str(held or "rnn")


def _from_file(path: str) -> dict[str, Any]:
    from sentiment_tune.plan import read_settings

    return read_settings(Path(path))


def _option(setting: "Setting") -> click.Option:
    return click.Option(
        [f"--{setting.name.replace('_', '-')}"],
        metavar=setting.type.__name__.upper(),
        help=f"{setting.bounds}  [default: {setting.default}]",
    )


def switch(name: str, text: str) -> Callable[[F], F]:
    """A flag that also takes true or false, as `mlflow run -P` must give it."""
    return click.option(name, is_flag=False, flag_value="true", default="false", type=bool, help=text)


tracking_uri = click.option("--tracking-uri", help="MLflow server or database  [default: MLflow's own]")


@click.group(context_settings={"help_option_names": list(HELP)})
@click.version_option(__version__)
def main() -> None:
    """Train networks on reviews, track them in MLflow, score texts with them."""


@main.command(cls=WithSettings, context_settings=NAMES)
@click.option("--model", metavar="NAME", help="network, or package.module:Class of your own  [default: rnn]")
@click.option("--settings", metavar="FILE", help="settings.json of an earlier run; options go before it")
@click.option("--data", help="auto, imdb, sample, or a file: .npz, .csv, .tsv, .jsonl, .parquet  [default: auto]")
@click.option("--text", metavar="COLUMN", help="column of the texts  [default: text]")
@click.option("--label", metavar="COLUMN", help="column of the labels  [default: label]")
@click.option("--split", metavar="COLUMN", help="column that says train or test  [default: split]")
@click.option("--test", metavar="FILE", help="file of the test reviews")
@click.option("--experiment", "folder", help="MLflow experiment  [default: sentiment]")
@click.option("--run-name", help="name of the MLflow run  [default: the network's]")
@tracking_uri
@switch("--system-metrics", "log use of processor, memory and GPU")
@switch("--quiet", "print the result only")
def train(
    model: str | None,
    settings: str | None,
    folder: str | None,
    run_name: str | None,
    tracking_uri: str | None,
    system_metrics: bool,
    quiet: bool,
    **given: str | None,
) -> None:
    """Train one network and log the run and the model to MLflow."""
    from sentiment_tune import data, experiment, reporting, tracking
    from sentiment_tune.plan import Plan

    chosen = _from_file(settings) if settings else {}
    chosen |= {name: value for name, value in given.items() if value is not None}
    plan = Plan.of(_model(model, chosen.pop("model", None)), chosen)
    corpus = data.load(plan.source)
    if corpus.warning:
        reporting.warn(corpus.warning)
    network = experiment.built(plan, corpus)
    tracking.connect(tracking_uri)
    place = tracking.Place(folder, run_name or plan.model, system_metrics=system_metrics)
    with reporting.epochs(plan, corpus, quiet) as (watch, told):
        result = experiment.run(network, plan, corpus, place, watch, told)
    reporting.result(plan, corpus, result)


@main.command(context_settings=NAMES)
@click.argument("texts", nargs=-1)
@click.option("--model", metavar="URI", help="models:/..., runs:/... or a folder  [default: the newest run's]")
@click.option("--input", "source", metavar="FILE", help="table of texts to score, or - for one text a line from stdin")
@click.option("--column", default="text", show_default=True, help="column of the texts in a table")
@click.option("--output", metavar="FILE", help="table to write  [default: standard output]")
@switch("--trust-code", "run the code logged with the model, for a network of somebody's own")
@tracking_uri
def score(
    texts: tuple[str, ...],
    model: str | None,
    source: str | None,
    column: str,
    output: str | None,
    trust_code: bool,
    tracking_uri: str | None,
) -> None:
    """Score texts with a model: TEXTS given here, or the rows of a table."""
    from sentiment_tune import flavor, packaging, reporting, scoring, tables, tracking

    table = _table(texts, source)
    reviews = table.texts(column if source not in (None, "", "-") else "text", "--column")
    tracking.choose(tracking_uri)
    folder = tracking.fetch(model or tracking.newest_model())
    if trust_code:
        flavor.trust_code(folder)
    scorer = packaging.load(folder).scorer
    probabilities = scorer.probabilities(reviews)
    if not source and not output:
        reporting.scores(reviews, probabilities)
        return
    scored = table.with_columns({"probability": probabilities.tolist(), "label": map(scoring.label, probabilities)})
    tables.write_table(Path(output) if output else None, scored.columns, scored.rows)


def _table(texts: tuple[str, ...], source: str | None) -> "Table":
    """The texts to score as a table: those of the command line, of the standard input, or of a file."""
    from sentiment_tune import tables

    if bool(source) == any(texts):
        raise InputError("give either texts, or --input FILE, or --input - for one text a line from standard input")
    if source and source != "-":
        return tables.read_table(Path(source))
    lines = [line.rstrip("\r\n") for line in sys.stdin] if source else texts
    return tables.Table(Path("-"), ("text",), [(line,) for line in lines])


def run() -> None:
    """The console script: what goes wrong by the user's hand is one line and exit code 2."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        main(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        sys.exit(2)
    except (click.ClickException, InputError) as error:
        _end(error.format_message() if isinstance(error, click.ClickException) else str(error), 2)
    except ArithmeticError as error:
        _end(str(error), 1)
    except (KeyboardInterrupt, click.Abort) as error:
        told = error.__cause__ or error  # click wraps it
        _end("ended", 128 + (signal.SIGTERM if isinstance(told, Terminated) else signal.SIGINT))


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated("SIGTERM")


def _end(message: str, code: int) -> None:
    print(f"sentiment-tune: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    run()
