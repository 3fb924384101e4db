"""The command line: `sentiment-tune`, also `python -m sentiment_tune`.

Heavy modules are imported where a command needs them, so that `--help` answers at once.
"""

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sentiment_tune import __version__, process
from sentiment_tune.errors import InputError, TerminatedError

if TYPE_CHECKING:
    from sentiment_tune.data.tables import Table
    from sentiment_tune.space import Setting

F = TypeVar("F", bound=Callable[..., Any])
NAMES = {"token_normalize_func": lambda name: name.replace("_", "-")}  # `mlflow run -P` writes --learning_rate
HELP = ("-h", "--help")


class WithSettings(click.Command):
    """A command that has an option for each setting of the network its `--model` names."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *map(_option, ctx.meta.get("settings", {}).values())]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        from sentiment_tune.config import settings_for
        from sentiment_tune.models.registry import parse_names

        # Of several networks the options are those of all; each network takes those that it has.
        ctx.meta["settings"] = {
            name: line for model in reversed(parse_names(_model_in(args))) for name, line in settings_for(model).items()
        }
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
    from sentiment_tune.config import read_settings

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


def data_options(command: F) -> F:
    """Options that say where the reviews come from."""
    for option in (
        click.option("--test", metavar="FILE", help="file of the test reviews"),
        click.option("--split", metavar="COLUMN", help="column that says train or test  [default: split]"),
        click.option("--label", metavar="COLUMN", help="column of the labels  [default: label]"),
        click.option("--text", metavar="COLUMN", help="column of the texts  [default: text]"),
        click.option(
            "--data", help="auto, imdb, sample, or a file: .npz, .csv, .tsv, .jsonl, .parquet  [default: auto]"
        ),
    ):
        command = option(command)
    return command


tracking_uri = click.option("--tracking-uri", help="MLflow server or database  [default: MLflow's own]")


@click.group(context_settings={"help_option_names": list(HELP)})
@click.version_option(__version__)
def main() -> None:
    """Train networks on reviews, track them in MLflow, score texts with them."""


@main.command(cls=WithSettings, context_settings=NAMES)
@click.option("--model", metavar="NAME", help="network, or package.module:Class of your own  [default: rnn]")
@click.option("--settings", metavar="FILE", help="settings.json of an earlier run; options go before it")
@data_options
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
    from sentiment_tune import experiment
    from sentiment_tune.cli import console as reporting
    from sentiment_tune.config import ExperimentConfig
    from sentiment_tune.data import load as data
    from sentiment_tune.tracking import runs as tracking

    chosen = _from_file(settings) if settings else {}
    chosen |= {name: value for name, value in given.items() if value is not None}
    config = ExperimentConfig.of(_model(model, chosen.pop("model", None)), chosen)
    corpus = data.load(config.data)
    if corpus.warning:
        reporting.warn(corpus.warning)
    network = experiment.build_network(config, corpus)
    tracking.connect(tracking_uri)
    place = tracking.RunSpec(folder, run_name or config.model, system_metrics=system_metrics)
    if quiet:
        result = experiment.run_experiment(network, config, corpus, place)
    else:
        reporting.begin_training(config, corpus)
        with reporting.TrainingDisplay(config.training.epochs) as display:
            result = experiment.run_experiment(network, config, corpus, place, display)
    reporting.result(config, corpus, result)


@main.command(cls=WithSettings, context_settings=NAMES)
@click.option("--model", metavar="NAME", help="network, several with commas between, or all  [default: rnn]")
@click.option(
    "--settings", metavar="FILE", help="settings that every trial has, as of settings.json; options go before"
)
@data_options
@click.option("--trials", default=20, show_default=True, help="finished trials the study is to have, whoever runs them")
@click.option("--timeout", type=float, metavar="SECONDS", help="after which no further trial begins")
@click.option("--stale", type=int, metavar="TRIALS", help="without a better one after which none begins")
@click.option("--workers", default=1, show_default=True, help="processes on this machine")
@click.option("--storage", metavar="URL", help="of Optuna  [default: optuna.db beside MLflow's database]")
@click.option("--study", metavar="NAME", help="name of the study  [default: network and data]")
@click.option("--sampler", default="TPESampler", show_default=True, help="by Optuna's name")
@click.option("--pruner", help="by Optuna's name  [default: MedianPruner, from 51 trials HyperbandPruner]")
@click.option("--top", default=3, show_default=True, help="best trials that are trained again; 0: register nothing")
@click.option("--seeds", default=3, show_default=True, help="times that each is trained again")
@switch("--joint", "one study over all networks instead of one for each")
@click.option("--experiment", "folder", help="MLflow experiment  [default: sentiment]")
@tracking_uri
def tune(
    model: str | None,
    settings: str | None,
    trials: int,
    timeout: float | None,
    stale: int | None,
    workers: int,
    storage: str | None,
    study: str | None,
    sampler: str,
    pruner: str | None,
    top: int,
    seeds: int,
    joint: bool,
    folder: str | None,
    tracking_uri: str | None,
    **given: str | None,
) -> None:
    """Search the best settings of a network and register the model they give.

    Every setting given here is fixed; the others are searched between the bounds of their declaration.
    """
    from sentiment_tune.cli import campaign
    from sentiment_tune.cli import console as reporting
    from sentiment_tune.data import load as data
    from sentiment_tune.models import registry as models
    from sentiment_tune.tracking import runs as tracking
    from sentiment_tune.tuning import backend as optuna_parts
    from sentiment_tune.tuning import trials as tuning
    from sentiment_tune.tuning.search import StudyConfig, config_for

    fixed = _from_file(settings) if settings else {}
    fixed |= {name: value for name, value in given.items() if value is not None}
    networks = models.parse_names(_model(model, fixed.pop("model", None)))
    if top < 0 or seeds < 1:
        raise InputError(f"top={top} and seeds={seeds}: give from 0 trials on, and from 1 seed on")
    tracking.configure(tracking_uri)
    searches = [
        StudyConfig(
            study=study or "",
            models=group,
            fixed=fixed,
            trials=trials,
            storage=storage or tuning.default_storage(),
            timeout=timeout,
            stale=stale,
            sampler=sampler,
            pruner=pruner,
            workers=workers,
        )
        for group in ([networks] if joint else [(network,) for network in networks])
    ]
    corpus = data.load(config_for(networks[0], networks, fixed).data)
    if corpus.warning:
        reporting.warn(corpus.warning)
    for search in searches:
        optuna_parts.check_backend(search)
    tracking.connect(tracking_uri)
    named = [search.with_name(corpus.name, alone=len(searches) == 1) for search in searches]
    campaign.run(named, corpus, tracking.RunSpec(folder), top, seeds)


@main.command(context_settings=NAMES)
@click.option("--run", "run_id", metavar="ID", help="finished run whose model is to be registered")
@click.option("--name", help="name to register it under  [default: sentiment-<network>]")
@click.option("--promote", metavar="NAME@VERSION", help="version to make the champion of its name")
@tracking_uri
def register(run_id: str | None, name: str | None, promote: str | None, tracking_uri: str | None) -> None:
    """Register the model of a run, or make a version the champion on purpose."""
    from sentiment_tune import publish
    from sentiment_tune.cli import console as reporting
    from sentiment_tune.tracking import registry
    from sentiment_tune.tracking import runs as tracking

    if bool(run_id) == bool(promote):
        raise InputError("give either --run ID, to register its model, or --promote NAME@VERSION")
    tracking.connect(tracking_uri, make=False)
    if run_id:
        reporting.registered(publish.register_run(run_id, name))
        return
    registered, _, version = (promote or "").rpartition("@")
    if not registered or not version.isdecimal():
        raise InputError(f"--promote {promote}: write NAME@VERSION, such as sentiment-rnn@2")
    reporting.registered([registry.promote(registered, int(version))])


@main.command(context_settings=NAMES)
@click.option("--members", metavar="NAMES", help="registered names with commas between  [default: every network's]")
@data_options
@click.option("--experiment", "folder", help="MLflow experiment  [default: sentiment]")
@tracking_uri
def ensemble(members: str | None, folder: str | None, tracking_uri: str | None, **given: str | None) -> None:
    """Put the champions of several networks together, and register what they are as one."""
    from sentiment_tune import ensembling as ensembles
    from sentiment_tune import publish
    from sentiment_tune.cli import console as reporting
    from sentiment_tune.data import load as data
    from sentiment_tune.tracking import runs as tracking

    tracking.connect(tracking_uri, make=False)
    corpus = data.load(data.DataConfig(**{name: value for name, value in given.items() if value is not None}))
    if corpus.warning:
        reporting.warn(corpus.warning)
    names = [name.strip() for name in members.split(",")] if members else []
    found = ensembles.build_ensemble(names, corpus, tracking.RunSpec(folder, "ensemble"))
    reporting.ensemble(found)
    reporting.registered(publish.register_run(found.run_id))


@main.command(context_settings=NAMES)
@click.option("--data", "digest", metavar="DIGEST", help="only runs on the data with this digest, or its beginning")
@click.option(
    "--sort", default="validation", show_default=True, help="validation, test, parameters, size, seconds, speed"
)
@switch("--every", "all tested runs, not only the best of each network and the champions")
@click.option("--csv", "table", metavar="FILE", help="table to write, in the form of its suffix")
@click.option("--html", metavar="FILE", help="page to write, with the picture of accuracy against training time")
@tracking_uri
def compare(
    digest: str | None, sort: str, every: bool, table: str | None, html: str | None, tracking_uri: str | None
) -> None:
    """Rank finished runs and champions, and say which differences are noise."""
    from sentiment_tune import leaderboard as comparing
    from sentiment_tune.cli import console as reporting
    from sentiment_tune.data import tables
    from sentiment_tune.evaluation import plots
    from sentiment_tune.tracking import runs as tracking

    tracking.connect(tracking_uri, make=False)
    board = comparing.rank_runs(digest or None, sort, best_only=not every)
    reporting.leaderboard(board)
    if table:
        records = [comparing.record(ranked) for ranked in board]
        tables.write_table(Path(table), list(records[0]), [list(held.values()) for held in records])
    if html:
        rows = [ranked.row for ranked in board]
        picture = plots.accuracy_against_time(
            [row.train_seconds for row in rows],
            [row.test.value for row in rows],
            [row.network for row in rows],
            [row.champion_of for row in rows],
        )
        tables.write_text(Path(html), comparing.page(board, plots.png(picture)))


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
    from sentiment_tune.cli import console as reporting
    from sentiment_tune.data import tables
    from sentiment_tune.inference import package as packaging
    from sentiment_tune.inference import scorer as scoring
    from sentiment_tune.tracking import flavor, records
    from sentiment_tune.tracking import runs as tracking

    table = _table(texts, source)
    reviews = table.texts(column if source not in (None, "", "-") else "text", "--column")
    if model and Path(model).is_dir():
        tracking.configure(tracking_uri)
    else:
        tracking.connect(tracking_uri, make=False)
    folder = records.download_model(model or records.newest_model())
    if trust_code:
        flavor.trust_code(folder)
    scorer = packaging.load_package(folder).scorer
    probabilities = scorer.predict_proba(reviews)
    if not source and not output:
        reporting.scores(reviews, probabilities)
        return
    scored = table.with_columns({"probability": probabilities.tolist(), "label": map(scoring.label_for, probabilities)})
    tables.write_table(Path(output) if output else None, scored.columns, scored.rows)


def _table(texts: tuple[str, ...], source: str | None) -> "Table":
    """The texts to score as a table: those of the command line, of the standard input, or of a file."""
    from sentiment_tune.data import tables

    if bool(source) == any(texts):
        raise InputError("give either texts, or --input FILE, or --input - for one text a line from standard input")
    if source:
        return tables.read_lines() if Path(source) == tables.STANDARD else tables.read_table(Path(source))
    for number, text in enumerate(texts, 1):
        try:
            text.encode()  # what is not UTF-8 arrives as half characters, which nothing can be written with
        except UnicodeEncodeError:
            raise InputError(f"text {number} is not UTF-8: set the terminal to that encoding, or use a file") from None
    return tables.Table(tables.STANDARD, ("text",), [(text,) for text in texts])


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
    except ArithmeticError as error:
        _end(str(error), 1)
    except (KeyboardInterrupt, click.Abort) as error:
        told = error.__cause__ or error  # click wraps it
        _end("ended", 128 + (signal.SIGTERM if isinstance(told, TerminatedError) else signal.SIGINT))


def _end(message: str, code: int) -> None:
    print(f"sentiment-tune: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
