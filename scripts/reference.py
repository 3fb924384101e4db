"""Write the reference of every setting, and what the help pages say of them, from the declarations themselves.

python scripts/reference.py > docs/settings.md
python scripts/reference.py --help-pages > sentiment_tune/cli/options.json
"""

import json
from collections.abc import Iterator

import click

from sentiment_tune.cli.options import described
from sentiment_tune.config import preferred_settings, setting_groups
from sentiment_tune.models.registry import NETWORKS
from sentiment_tune.space import Range, Setting

TITLES = {"data": "Data", "training": "Training", "run": "Run"}


@click.command()
@click.option("--help-pages", is_flag=True, help="print what they say")
def main(help_pages: bool) -> None:
    """Print the page."""
    print(noted_options() if help_pages else "\n".join(page()))


def noted_options() -> str:
    """A line an option, as of `described`, and for each network the numbers of its lines."""
    numbers: dict[str, int] = {}
    networks = {
        network: [
            numbers.setdefault(json.dumps(described(setting, group)), len(numbers))
            for group, settings in setting_groups(network).items()
            for setting in settings.values()
        ]
        for network in NETWORKS
    }
    lines = ",\n".join(numbers)
    return f'{{"options": [\n{lines}\n],\n"networks": {json.dumps(networks)}}}'


def page() -> Iterator[str]:
    """The lines of the page: what all networks share, then each network's own settings."""
    yield "# Settings"
    yield ""
    yield "Each is an option of `sentiment-tune train` and `tune`, an argument of `st.train` and a param in MLflow."
    yield "Written by `python scripts/reference.py > docs/settings.md`."
    shared = setting_groups("rnn")  # which prefers nothing to the common defaults
    for group, title in TITLES.items():
        yield from table(title, shared[group])
    for network, kind in NETWORKS.items():
        yield from table(f"`{network}`", setting_groups(network)["network"])
        if preferred := preferred_settings(network):
            yield ""
            defaults = ", ".join(f"{name} {value}" for name, value in preferred.items())
            yield f"{kind.__name__} prefers to the common defaults: {defaults}."


def table(title: str, settings: dict[str, Setting]) -> Iterator[str]:
    """A heading and a row a setting."""
    yield from (
        "",
        f"## {title}",
        "",
        "| setting | what it does | allowed | default | searched |",
        "|---|---|---|---|---|",
    )
    for setting in settings.values():
        allowed = f"{setting.bounds}"
        yield f"| `{setting.name}` | {setting.doc} | {allowed} | {setting.default} | {searched(setting)} |"


def searched(setting: Setting) -> str:
    """What a study searches of a setting."""
    if not setting.bounds.searched:
        return "no"
    if isinstance(setting.bounds, Range) and setting.bounds.search:
        low, high = setting.bounds.search
        return f"{low:g} to {high:g}{', log scale' if setting.bounds.log else ''}"
    return "each"


if __name__ == "__main__":
    main()
