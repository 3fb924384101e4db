"""`sentiment-tune inspect`."""

import click

from sentiment_tune.cli import options

SHOWN = 300  # characters of a sample


@click.command(cls=options.GroupedCommand, context_settings=options.NAMES)
@options.data_options
def inspect(**given: str | None) -> None:
    """Show what data hold, how they are read, and what is odd about them; nothing is trained or changed."""
    from sentiment_tune import api
    from sentiment_tune.cli import console
    from sentiment_tune.events import Message

    seen: list[str] = []  # its checks are shown whole
    found = api.inspect(
        listener=lambda event: seen.append(event.text) if isinstance(event, Message) else None,
        **{name: value for name, value in given.items() if value is not None},
    )
    for line in seen:
        console.say(line)
    console.inspected(found, SHOWN)
