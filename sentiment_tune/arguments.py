"""Arguments of the Python door, held against what its functions' signatures say of them."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from os import PathLike, fspath
from types import NoneType
from typing import Any, TypeVar, cast, get_args, get_origin

from sentiment_tune.errors import InputError

F = TypeVar("F", bound=Callable[..., Any])
_NUMBERS = {int: Integral, float: Real}
_NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "True or False", NoneType: "None"}


def checked(function: F) -> F:
    """The function, which raises InputError for an argument of another kind than its signature says."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.arguments.update(check(function, bound.arguments))
        return function(*bound.args, **bound.kwargs)

    return cast(F, call)


def check(function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What is given by name, numbers of NumPy and paths as Python's own numbers and texts.

    InputError names the first that is not as the function's signature says; what that leaves open is not looked at.
    """
    parameters = inspect.signature(function).parameters
    kinds = {name: one.annotation for name, one in parameters.items() if one.kind is not one.VAR_KEYWORD}
    return {name: _value(name, value, kinds[name]) if name in kinds else value for name, value in given.items()}


def _value(name: str, value: object, annotation: Any) -> Any:
    kinds = get_args(annotation) or (annotation,)
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, PathLike) and str in kinds:
        value = fspath(value)
    if isinstance(annotation, str) or any(_is(value, kind) for kind in kinds):
        check_text(name, value)
        return value
    raise InputError(f"{name} cannot be {value!r:.100}: give {' or '.join(filter(None, map(_name, kinds)))}")


def _is(value: object, kind: Any) -> bool:
    """Whether a value is of a kind that a signature names."""
    if kind in _NUMBERS:
        return isinstance(value, _NUMBERS[kind]) and not isinstance(value, bool)
    origin = get_origin(kind)
    if origin is Sequence:
        return isinstance(value, Sequence) and all(isinstance(one, str) for one in value) and not isinstance(value, str)
    if origin is Callable:
        return callable(value)
    return isinstance(value, kind)


def _name(kind: Any) -> str:
    named = {Sequence: "a list of texts", Callable: "a function"}.get(get_origin(kind))
    return named or _NAMES.get(kind) or f"a {kind.__name__}"


def check_text(name: str, value: object) -> None:
    """InputError for a text that neither a file nor a database can hold."""
    if isinstance(value, str) and "\0" in value:
        raise InputError(f"{name} cannot be {value!r:.100}: it holds a NUL character")
    try:
        str.encode(value) if isinstance(value, str) else None
    except UnicodeEncodeError:
        raise InputError(f"{name} cannot be {value!r:.100}: it is not UTF-8") from None
