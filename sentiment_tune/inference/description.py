"""What `settings.json` of a saved model may say: which network, with which settings, and how it reads."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from sentiment_tune.data.labels import MOST, SENTIMENT, THRESHOLD, Classes
from sentiment_tune.data.rules import KERAS, RULES
from sentiment_tune.data.text import TextConfig
from sentiment_tune.errors import InputError
from sentiment_tune.inference.files import check_names, parse_json
from sentiment_tune.models import registry
from sentiment_tune.space import Value, resolve, settings_of

FORMAT = 3
_FIRST = ("format", "model", "network", "reading")
_NAMES = {1: _FIRST, 2: (*_FIRST, "words"), 3: (*_FIRST, "words", "classes", "threshold")}
_LONGEST = 1000  # characters of a class's name
_NESTED = 4  # ensembles within one another, at most
_MEMBERS = 1000  # of an ensemble, at most


@dataclass(frozen=True)
class Trust:
    """That the code of somebody's own network may run, and the folder in which it is looked for at last."""

    code: Path | None = None


@dataclass(frozen=True)
class Description:
    """What is to be built, checked."""

    model: str
    settings: Mapping[str, Value]  # of the network
    text_config: TextConfig
    words: int | None  # of the vocabulary; format 1 does not say
    text_rule: str  # of `data.rules`, by which its words were found
    is_own: bool  # whether code that is not of this package builds the network, or one of its members
    classes: Classes = SENTIMENT
    threshold: float = THRESHOLD


def read_description(content: bytes, trust: Trust | None) -> Description:
    """The checked content of a settings file; ValueError says what is wrong with it.

    InputError where it names a network of somebody's own, whose code nobody has trusted.
    """
    given = parse_json(content)
    version = given.get("format") if isinstance(given, dict) else None
    if type(version) is not int or version not in _NAMES:
        raise ValueError(f"it has format {version!r}, this version reads {FORMAT} and below; update it")
    given = check_names(given, _NAMES[version], "its settings")
    words = given.get("words")
    if version > 1 and type(words) is not int:
        raise ValueError(f"words cannot be {words!r}: it is a whole number")
    reading, rule = _without_rule(given["reading"])
    found = replace(_describe({**given, "reading": reading}, trust, _NESTED), words=words, text_rule=rule)
    if version < 3:
        return found
    return replace(found, classes=_classes(given["classes"]), threshold=_threshold(given["threshold"]))


def _without_rule(reading: object) -> tuple[object, str]:
    """How a model reads, and by which rule it finds words; of before there were others it does not say."""
    if not isinstance(reading, dict) or "text_rule" not in reading:
        return reading, KERAS
    rest = dict(reading)
    if (rule := rest.pop("text_rule")) not in RULES:
        raise ValueError(f"text_rule cannot be {rule!s:.80}: it is one of {', '.join(RULES)}")
    return rest, rule


def _classes(given: object) -> Classes:
    about = check_names(given, ("names", "ordered"), "its classes")
    names, ordered = about["names"], about["ordered"]
    if not isinstance(names, list) or not all(isinstance(one, str) and 0 < len(one) <= _LONGEST for one in names):
        raise ValueError(f"classes cannot be {names!s:.80}: they are names")
    if not 2 <= len(names) <= MOST or len(set(names)) < len(names) or type(ordered) is not bool:
        raise ValueError(f"there cannot be {len(names)} classes, {names!s:.80}: from 2 to {MOST}, each once")
    return Classes(tuple(names), ordered)


def _threshold(given: object) -> float:
    if type(given) not in (int, float) or not 0 <= given <= 1:  # type: ignore[operator]
        raise ValueError(f"threshold cannot be {given!s:.80}: it is a number from 0 to 1")
    return float(given)  # type: ignore[arg-type]


def _describe(given: Mapping[str, Any], trust: Trust | None, nested: int) -> Description:
    """A network that stands alone or in an ensemble, which may hold others up to so many times."""
    model = given["model"]
    if not isinstance(model, str):
        raise ValueError(f"model cannot be {model!r}: it is a name")
    text_config = TextConfig(**_values(TextConfig, given["reading"], complete=True))  # type: ignore[arg-type]
    if model == registry.ENSEMBLE:
        members = _members(given["network"], trust, nested)
        own = any(member.is_own for member in members)
        return Description(model, given["network"], text_config, None, KERAS, own)
    network = _network_class(model, trust)
    return Description(model, _values(network, given["network"]), text_config, None, KERAS, registry.is_own(model))


def _members(given: object, trust: Trust | None, nested: int) -> list[Description]:
    members = parse_json(str(check_names(given, ("members",), "an ensemble")["members"]))
    if not isinstance(members, list) or not 1 <= len(members) <= _MEMBERS or not nested:
        raise ValueError(f"an ensemble must have a list of up to {_MEMBERS} members")
    return [_describe(check_names(one, _NAMES[1][1:], "a member"), trust, nested - 1) for one in members]


def _values(configured: Callable[..., Any], given: object, complete: bool = False) -> dict[str, Value]:
    """Every setting, the given ones in their own types and bounds; what is not `complete` takes the defaults."""
    declared = settings_of(configured)
    if not isinstance(given, dict) or not given.keys() <= declared.keys() or (complete and len(given) < len(declared)):
        raise ValueError(f"settings {given!s:.200} are not those of {', '.join(declared)}")
    for name, value in given.items():
        kind = declared[name].type
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise ValueError(f"{name} cannot be {value!s:.80}: it is of type {kind.__name__}")
    return resolve(configured, given)


def _network_class(model: str, trust: Trust | None) -> type[nn.Module]:
    if registry.is_own(model) and trust is None:
        raise InputError(
            f"network {model!r:.200} is somebody's own, whose code would have to run: allow that with --trust-code true"
        )
    return registry.network_class(model, code=trust.code if trust else None)
