"""`sentiment-tune ensemble`."""

from typing import Any

import click

from sentiment_tune.cli import options


@click.command(cls=options.GroupedCommand, context_settings=options.NAMES)
@options.option("--members", metavar="NAMES", help="registered names with commas between  [default: every network's]")
@options.data_options
@options.trust_code
@options.experiment
@options.tracking_uri
def ensemble(
    members: str | None, trust_code: bool, experiment: str | None, tracking_uri: str | None, **given: str | None
) -> None:
    """Put the champions of several networks together, and register what they are as one."""
    from sentiment_tune import api
    from sentiment_tune.cli import console

    columns: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    result = api.ensemble(
        [name.strip() for name in members.split(",")] if members else None,
        trust_code=trust_code,
        experiment=experiment,
        tracking_uri=tracking_uri,
        **columns,
    )
    console.ensembled(result)
    console.check_delivered()
    console.registered(api.register(result.run_id, trust_code=trust_code, tracking_uri=tracking_uri))
