"""`sentiment-tune tune`."""

import click

from sentiment_tune.cli import options


@click.command(cls=options.CommandWithSettings, context_settings=options.NAMES)
@options.model_option("network, several with commas between, or all")
@options.settings_option("settings that every trial has, as of settings.json, or the name of a recipe")
@options.data_options
@options.option("--trials", group="search", default=20, show_default=True, help="finished trials the study is to have")
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
@options.switch("--joint", "one study over all networks instead of one for each", group="search")
@options.experiment
@options.tracking_uri
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
    experiment: str | None,
    tracking_uri: str | None,
    **given: str | None,
) -> None:
    """Search the best settings of a network and register the model they give.

    Every setting given here is fixed; the others are searched between the bounds of their declaration.
    """
    from sentiment_tune.cli import campaign
    from sentiment_tune.data import load as data
    from sentiment_tune.display import warn
    from sentiment_tune.errors import InputError
    from sentiment_tune.models import registry as models
    from sentiment_tune.tracking import runs as tracking
    from sentiment_tune.tuning import backend as optuna_parts
    from sentiment_tune.tuning import trials as tuning
    from sentiment_tune.tuning.search import StudyConfig, config_for

    fixed = options.chosen_settings(model, settings, given)
    networks = models.parse_names(str(fixed.pop("model")))
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
        warn(corpus.warning)
    for search in searches:
        optuna_parts.check_backend(search)
    tracking.connect(tracking_uri)
    named = [search.with_name(corpus.name, alone=len(searches) == 1) for search in searches]
    campaign.run(named, corpus, tracking.RunSpec(experiment), top, seeds)
