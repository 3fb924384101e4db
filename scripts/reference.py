"""Write docs/settings.md, the reference of every setting, from the declarations themselves.

python scripts/reference.py > docs/settings.md
"""

from collections.abc import Iterator

from sentiment_tune.config import preferred_settings, setting_groups
from sentiment_tune.models.registry import NETWORKS
from sentiment_tune.space import Range, Setting

TITLES = {"data": "Data", "training": "Training", "run": "Run"}


def main() -> None:
    """Print the page."""
    print("\n".join(page()))


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
