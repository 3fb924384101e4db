"""`sentiment-tune register`."""

import click

from sentiment_tune.cli import options
from sentiment_tune.errors import InputError


@click.command(cls=options.GroupedCommand, context_settings=options.NAMES)
@options.option("--run", metavar="ID", help="finished run whose model is to be registered, or its id's beginning")
@options.option("--name", help="name to register it under  [default: sentiment-<network>]")
@options.option("--promote", metavar="NAME@VERSION", help="version to make the champion of its name")
@options.trust_code
@options.tracking_uri
def register(
    run: str | None, name: str | None, promote: str | None, trust_code: bool, tracking_uri: str | None
) -> None:
    """Register the model of a run, or make a version the champion on purpose."""
    from sentiment_tune import api
    from sentiment_tune.cli import console

    if bool(run) == bool(promote):
        raise InputError("give either --run ID, to register its model, or --promote NAME@VERSION")
    if run:
        console.registered(api.register(run, name, trust_code=trust_code, tracking_uri=tracking_uri))
        return
    registered_name, _, version = (promote or "").rpartition("@")
    if not registered_name or not version.isdecimal():
        raise InputError(f"--promote {promote}: write NAME@VERSION, such as sentiment-rnn@2")
    console.registered([api.promote(registered_name, int(version), tracking_uri=tracking_uri)])
