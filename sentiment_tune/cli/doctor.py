"""`sentiment-tune doctor`."""

import click

from sentiment_tune.cli import options


@click.command(cls=options.GroupedCommand, context_settings=options.NAMES)
@options.switch("--fix", "mend what can be mended; what a live process works on is never touched")
@options.option("--storage", metavar="URL", help="Optuna's storage  [default: optuna.db beside MLflow's database]")
@options.tracking_uri
def doctor(fix: bool, storage: str | None, tracking_uri: str | None) -> None:
    """Find what processes that are gone have left behind, and mend it."""
    from sentiment_tune import api
    from sentiment_tune.cli import console

    console.examined(api.doctor(fix, storage=storage or None, tracking_uri=tracking_uri, listener=console.finding))
