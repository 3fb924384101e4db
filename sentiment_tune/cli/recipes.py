"""`sentiment-tune recipes`."""

import json

import click

from sentiment_tune.cli import options


@click.command(context_settings=options.NAMES)
@click.argument("name", required=False)
def recipes(name: str | None) -> None:
    """List the recipes, settings that each network does well with, or print the settings of the one NAMEd."""
    from sentiment_tune import config

    if name:
        click.echo(json.dumps(config.read_settings(name), indent=2))
        return
    for recipe in config.recipe_names():
        settings = {key: value for key, value in config.read_settings(recipe).items() if key != "model"}
        click.echo(f"{recipe:<12} {' '.join(f'{key}={value}' for key, value in settings.items())}")
    click.echo("\nsentiment-tune train --settings NAME trains with one; further options go before it")
