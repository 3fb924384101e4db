"""`sentiment-tune upload`."""

import click

from sentiment_tune.cli import options


@click.command(cls=options.GroupedCommand, context_settings=options.NAMES)
@options.tracking_uri
def upload(tracking_uri: str | None) -> None:
    """Bring into MLflow what was kept on this machine while it was away."""
    from sentiment_tune import api
    from sentiment_tune.cli import console

    console.uploaded(api.upload(tracking_uri=tracking_uri))
