"""What can be set, and between which bounds.

A hyperparameter is declared once, in the signature of what it configures: name, type, bounds and default on one line.

    def __init__(self, vocabulary: int, hidden: Hidden = 128, dropout: Rate = 0.3): ...

`settings_of` reads such a line; the command line, the MLflow params, the settings file and the search space all ask it.
A parameter without bounds (`vocabulary` above) is a fact of the data, not a setting.
"""

import difflib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self, get_type_hints

from sentiment_tune.errors import InputError

Value = int | float | bool | str


@dataclass(frozen=True)
class Range:
    """Numbers between two bounds.

    Attributes:
        low: the smallest that is allowed.
        high: the largest that is allowed.
        search: between which a study stays; None is never searched.
        log: whether a study searches on a log scale.
    """

    low: float
    high: float
    search: tuple[float, float] | None = None
    log: bool = False

    @property
    def searched(self) -> bool:
        """Whether a study searches it."""
        return self.search is not None

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and math.isfinite(value) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"from {self.low:,g} to {self.high:,g}"


class Choice(tuple[Value, ...]):
    """One of the given values; a study tries each.

    Args:
        options: the values that are allowed.

    Attributes:
        searched: whether a study searches it.
    """

    __slots__ = ()
    searched = True

    def __new__(cls, *options: Value) -> Self:
        """A choice of these values, given one by one."""
        return super().__new__(cls, options)

    def __getnewargs__(self) -> tuple[Any, ...]:
        """What makes it again in another process."""
        return tuple(self)

    def __str__(self) -> str:
        return ", ".join(str(option).lower() if isinstance(option, bool) else str(option) for option in self)


class Fixed(Choice):
    """One of the given values, chosen by the user and never by a study; arguments as for Choice."""

    __slots__ = ()
    searched = False


class Text(Fixed):
    """A text of a form of its own, chosen by the user and never by a study.

    Args:
        shown: what may be written, for help and errors.
        accepts: whether a text is of the form.
        examples: texts that are.
    """

    shown: str
    accepts: Callable[[str], bool]

    def __new__(cls, shown: str, accepts: Callable[[str], bool], *examples: str) -> "Text":
        """Texts that a function accepts."""
        text = super().__new__(cls, *examples)
        text.shown, text.accepts = shown, accepts
        return text

    def __getnewargs__(self) -> tuple[Any, ...]:
        """What makes it again in another process."""
        return (self.shown, self.accepts, *self)

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str) and self.accepts(value)

    def __str__(self) -> str:
        return self.shown


@dataclass(frozen=True)
class Doc:
    """What a setting does, for help, model card and reference.

    Attributes:
        text: half a sentence without a full stop, with the unit and what a special value such as 0 means.
    """

    text: str


Embedding = Annotated[int, Range(1, 65_536, search=(32, 256), log=True), Doc("numbers of a word's vector")]
Hidden = Annotated[int, Range(1, 65_536, search=(32, 256), log=True), Doc("units of the hidden layer")]
Width = Annotated[int, Range(1, 65_536, search=(32, 256), log=True)]
Rate = Annotated[float, Range(0.0, 0.99, search=(0.0, 0.7)), Doc("share that dropout sets to 0 in training")]
Switch = Annotated[bool, Choice(False, True)]


@dataclass(frozen=True)
class Setting:
    """One line of a signature.

    Attributes:
        name: of the parameter.
        type: int, float, bool or str.
        bounds: what it may be, and what a study searches.
        default: its value where none is given.
        doc: what it does; empty where the declaration does not say.
    """

    name: str
    type: type[Value]
    bounds: Range | Choice
    default: Value
    doc: str = ""

    def parse(self, given: object) -> Value:
        """The value that a text or a number means.

        Args:
            given: the value itself, or a text that means it, as the command line has it.

        Returns:
            The value, of the setting's type.

        Raises:
            InputError: it is none, or out of bounds; names the setting, the value and what is allowed.
        """
        try:
            value = self._typed(given)
        except (KeyError, TypeError, ValueError, OverflowError):
            raise self._refusal(given) from None
        if value not in self.bounds:
            raise self._refusal(given)
        return value

    def _typed(self, given: object) -> Value:
        if self.type is bool:
            return {"true": True, "false": False}[str(given).lower()]
        if self.type is str:
            return str(given)
        if isinstance(given, bool):
            raise TypeError
        number = float(given)  # type: ignore[arg-type]  # whatever has no number raises, which `parse` catches
        if self.type is int and not number.is_integer():
            raise ValueError
        return self.type(number)

    def _refusal(self, given: object) -> InputError:
        kind = {int: "a whole number ", float: "a number "}.get(self.type, "one of: ")
        return InputError(f"{self.name} cannot be {given!r}: choose {kind}{self.bounds}")


def settings_of(configured: Callable[..., Any]) -> dict[str, Setting]:
    """The settings that a class or function declares in its signature.

    Args:
        configured: a class, read at its constructor, or a function.

    Returns:
        The settings by name, in the order of the signature; parameters without bounds are left out.
    """
    declaring = configured.__init__ if isinstance(configured, type) else configured  # type: ignore[misc]
    hints = get_type_hints(declaring, include_extras=True)
    settings = {}
    for name, parameter in inspect.signature(configured).parameters.items():
        extras = getattr(hints.get(name), "__metadata__", ())
        bounds = [extra for extra in extras if isinstance(extra, Range | Choice)]
        docs = [extra.text for extra in extras if isinstance(extra, Doc)]
        if bounds:
            settings[name] = Setting(name, hints[name].__origin__, bounds[0], parameter.default, "".join(docs))
    return settings


def resolve(configured: Callable[..., Any], given: Mapping[str, object]) -> dict[str, Value]:
    """Every setting of a class or function, complete and checked.

    Args:
        configured: what declares the settings.
        given: values by name; what `configured` does not declare is ignored.

    Returns:
        A value for each setting: the given one, or the default.

    Raises:
        InputError: a given value is none that its setting may have.
    """
    return {name: setting.parse(given.get(name, setting.default)) for name, setting in settings_of(configured).items()}


def unknown_name(kind: str, name: str, names: Iterable[str]) -> InputError:
    """The error for an unknown name, to be raised by the caller.

    Args:
        kind: what the name should have named, such as `network`.
        name: the unknown name.
        names: the names to choose from.

    Returns:
        An error whose message has the closest of the names and lists them all.
    """
    choices = sorted(names)
    close = difflib.get_close_matches(name, choices, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ";"
    return InputError(f"no {kind} {name!r}{hint} choose from {', '.join(choices)}")
