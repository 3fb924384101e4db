"""Pages of HTML that need nothing else: light or dark as the reader likes it, with tables that sort."""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(template: str, title: str, narrow: str = "", **values: Any) -> str:
    """The page that a template makes of values; `narrow` is style for the screens of phones."""
    return _environment().get_template(template).render(title=title, narrow=narrow, **values)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("sentiment_tune.evaluation"),
        undefined=StrictUndefined,
        autoescape=True,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
