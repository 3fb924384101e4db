"""`sentiment-tune tune`."""

from typing import Any

import click

from sentiment_tune.cli import options


@click.command(cls=options.CommandWithSettings, context_settings=options.NAMES)
@options.model_option("network, several with commas between, or all")
@options.settings_option("settings that every trial has, as of settings.json, or the name of a recipe")
@options.data_options
@options.option("--trials", group="search", default=20, show_default=True, help="finished trials the study is to have")
@options.option(
    "--search",
    group="search",
    multiple=True,
    metavar="NAME=LOW..HIGH",
    help="where a setting is searched, or NAME=A,B,C; several with blanks between, or given again",
)
@options.option(
    "--objectives",
    group="search",
    metavar="NAMES",
    help="accuracy and what it costs: parameters, size, latency, train_seconds, memory  [default: accuracy]",
)
@options.option("--max-parameters", group="search", metavar="COUNT", help="most that a network may learn: 200_000")
@options.option("--max-latency", group="search", metavar="TIME", help="that a review may take on one thread: 2ms")
@options.option("--max-size", group="search", metavar="SIZE", help="of a model on disk: 1MB")
@options.option(
    "--from-study",
    group="search",
    metavar="NAME",
    help="try the best settings of that study first, of a file of settings, a recipe, or models:/NAME@ALIAS",
)
@options.option("--timeout", group="search", type=float, metavar="SECONDS", help="after which no further trial begins")
@options.option(
    "--stale", group="search", type=int, metavar="TRIALS", help="without a better one after which none begins"
)
@options.option("--workers", group="search", default=1, show_default=True, help="processes on this machine")
@options.option(
    "--storage", group="search", metavar="URL", help="of Optuna  [default: optuna.db beside MLflow's database]"
)
@options.option("--study", group="search", metavar="NAME", help="name of the study  [default: network and data]")
@options.option("--sampler", group="search", default="TPESampler", show_default=True, help="by Optuna's name")
@options.option(
    "--pruner", group="search", help="by Optuna's name  [default: MedianPruner, from 51 trials HyperbandPruner]"
)
@options.option(
    "--top",
    group="search",
    default=3,
    show_default=True,
    help="best trials that are trained again; 0: register nothing",
)
@options.option("--seeds", group="search", default=3, show_default=True, help="times that each is trained again")
@options.option(
    "--folds",
    group="search",
    type=int,
    metavar="COUNT",
    help="parts of train and validation, each of which validates every trial once",
)
@options.switch("--joint", "one study over all networks instead of one for each", group="search")
@options.experiment
@options.tracking_uri
def tune(
    model: str | None,
    settings: str | None,
    trials: int,
    search: tuple[str, ...],
    objectives: str | None,
    max_parameters: str | None,
    max_latency: str | None,
    max_size: str | None,
    from_study: str | None,
    timeout: float | None,
    stale: int | None,
    workers: int,
    storage: str | None,
    study: str | None,
    sampler: str,
    pruner: str | None,
    top: int,
    seeds: int,
    folds: int | None,
    joint: bool,
    experiment: str | None,
    tracking_uri: str | None,
    **given: str | None,
) -> None:
    """Search the best settings of a network and register the model they give.

    Every setting given here is fixed; the others are searched between the bounds of their declaration.
    """
    from sentiment_tune import api
    from sentiment_tune.cli import console

    chosen: dict[str, Any] = {
        **options.chosen_settings(model, settings, given),
        "trials": trials,
        "search": search,
        "objectives": objectives or "accuracy",
        "max_parameters": max_parameters,
        "max_latency": max_latency,
        "max_size": max_size,
        "from_study": from_study,
        "timeout": timeout,
        "stale": stale,
        "workers": workers,
        "storage": storage,
        "study": study,
        "sampler": sampler,
        "pruner": pruner,
        "top": top,
        "seeds": seeds,
        "folds": folds,
        "experiment": experiment,
        "tracking_uri": tracking_uri,
        "listener": console.CommandDisplay(),
    }
    console.tuned([api.tune(**chosen, joint=True)] if joint else api.tune_each(**chosen))
    console.check_delivered()
