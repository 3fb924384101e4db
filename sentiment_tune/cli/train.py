"""`sentiment-tune train`."""

import click

from sentiment_tune.cli import options


@click.command(cls=options.CommandWithSettings, context_settings=options.NAMES)
@options.model_option("network, or package.module:Class of your own")
@options.settings_option("settings.json of an earlier run, or the name of a recipe")
@options.data_options
@options.option("--seeds", default=1, show_default=True, help="times it is trained, with as many seeds from --seed on")
@options.option(
    "--folds", type=int, metavar="COUNT", help="parts of train and validation, each of which validates once"
)
@options.option("--resume", metavar="RUN|last", help="go on with a run that was cut off, with its settings and data")
@options.option(
    "--checkpoint-minutes",
    type=float,
    default=10.0,
    show_default=True,
    metavar="MINUTES",
    help="between two checkpoints of one epoch, beside those at epochs' ends; 0: only those",
)
@options.experiment
@options.option("--run-name", help="name of the MLflow run  [default: network and changed settings]")
@options.tracking_uri
@options.switch("--system-metrics", "log use of processor, memory and GPU")
@options.switch("--quiet", "print the result only")
def train(
    model: str | None,
    settings: str | None,
    seeds: int,
    folds: int | None,
    resume: str | None,
    checkpoint_minutes: float,
    experiment: str | None,
    run_name: str | None,
    tracking_uri: str | None,
    system_metrics: bool,
    quiet: bool,
    **given: str | None,
) -> None:
    """Train one network and log the run and the model to MLflow."""
    from sentiment_tune import api
    from sentiment_tune.cli import console

    chosen = options.chosen_settings(model, settings, given)
    run = api.train(
        **{**chosen, "model": model} if resume else chosen,
        seeds=seeds,
        folds=folds,
        resume=resume or None,
        checkpoint_minutes=checkpoint_minutes,
        experiment=experiment,
        run_name=run_name,
        tracking_uri=tracking_uri,
        system_metrics=system_metrics,
        progress=not quiet,
    )
    repeats = {"seeds": seeds if seeds > 1 else None, "folds": folds}
    console.trained(run, **repeats, experiment=experiment, tracking_uri=tracking_uri)
    console.check_delivered()
