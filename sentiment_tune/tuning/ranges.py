"""Search ranges as a user gives them: `vocabulary=1000..30000`, `hidden=32,64,128`, or as numbers from Python."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sentiment_tune.config import settings_for
from sentiment_tune.errors import InputError
from sentiment_tune.space import Choice, Range, Setting, unknown_name

_LOG_FROM = 10  # times that the upper bound is the lower one, from which a setting is searched on a log scale
_UNSEARCHED = {
    **dict.fromkeys(("seed", "device", "threads"), "it makes no setting better"),
    "refit": "trials are judged before it",
    "metric": "values of one cannot be compared with those of another",
}

Given = Mapping[str, Any] | Sequence[str] | str


def parse_ranges(given: Given | None) -> dict[str, str]:
    """What is to be searched where, by name, as `1000..30000` or `32,64,128`.

    Args:
        given: texts such as `vocabulary=1000..30000`, one or several with blanks between; or by name such a range, a
            tuple of the lowest and the highest value, or a list of the values to try.

    Raises:
        InputError: a text names no setting or no range, or two name one.
    """
    if isinstance(given, Mapping):
        return {str(name): _as_text(bounds) for name, bounds in given.items()}
    if not isinstance(given, str | list | tuple | None):
        raise InputError(f"search cannot be {given!r:.100}: give NAME=LOW..HIGH, or ranges by name")
    texts = given.split() if isinstance(given, str) else [part for text in given or () for part in str(text).split()]
    ranges: dict[str, str] = {}
    for text in texts:
        name, equals, bounds = text.partition("=")
        if not (name and equals and bounds):
            raise InputError(f"search cannot be {text!r}: give NAME=LOW..HIGH or NAME=A,B,C")
        if (name := name.replace("-", "_")) in ranges:
            raise InputError(f"search cannot have {name!r} twice: give one range, or its values as {name}=A,B,C")
        ranges[name] = bounds
    return ranges


def _as_text(bounds: object) -> str:
    if isinstance(bounds, tuple):
        return "..".join(map(str, bounds))
    return ",".join(map(str, bounds)) if isinstance(bounds, list) else str(bounds)


def ranges_of(ranges: Mapping[str, str], groups: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], dict[str, str]]:
    """The ranges by group of networks, each with those of the settings that it has; InputError if none has one."""
    known = {group: {name for model in group for name in settings_for(model)} for group in groups}
    for name in ranges:
        if not any(name in names for names in known.values()):
            raise unknown_name("setting", name, {each for names in known.values() for each in names})
    return {group: {name: ranges[name] for name in ranges if name in names} for group, names in known.items()}


def with_range(setting: Setting, bounds: str) -> Setting:
    """The setting, searched between these bounds or among these values; InputError where it cannot be."""
    if setting.name in _UNSEARCHED:
        reason = _UNSEARCHED[setting.name]
        raise InputError(f"{setting.name} cannot be searched: {reason}; fix it with --{setting.name}")
    if isinstance(setting.bounds, Range) and ".." in bounds:
        return replace(setting, bounds=_range(setting, setting.bounds, bounds))
    values = [setting.parse(value) for value in bounds.split(",")]
    if len(set(values)) < 2:
        raise InputError(f"{setting.name} cannot be searched in {bounds!r}: give LOW..HIGH or two values and more")
    return replace(setting, bounds=Choice(*dict.fromkeys(values)))


def _range(setting: Setting, declared: Range, bounds: str) -> Range:
    parts = re.fullmatch(r"(.*?)\.\.(.*)", bounds)
    low, high = (float(setting.parse(part)) for part in (parts.groups() if parts else ("", "")))
    if not low < high:
        raise InputError(f"{setting.name} cannot be searched in {bounds!r}: give the smaller number first")
    if declared.search is None:
        return replace(declared, search=(low, high), log=low > 0 and high / low >= _LOG_FROM)
    return replace(declared, search=(low, high), log=declared.log and low > 0)


def within(setting: Setting, value: Any) -> Any:
    """A value of a setting, or the nearest to it that is searched."""
    bounds = setting.bounds
    if isinstance(bounds, Range) and bounds.search:
        low, high = bounds.search
        return setting.type(min(max(value, low), high))
    if not isinstance(bounds, Choice) or value in bounds:
        return value
    return setting.default if setting.default in bounds else bounds[0]
