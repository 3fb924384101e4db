"""The two classes: their names, the spellings of a label, and the probability above which a review is positive."""

from collections.abc import Sequence
from numbers import Number
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from sentiment_tune.errors import InputError

CLASS_NAMES = ("negative", "positive")  # of the labels 0 and 1
_NEGATIVE, _POSITIVE = ("0", "neg", CLASS_NAMES[0], "false", "0.0"), ("1", "pos", CLASS_NAMES[1], "true", "1.0")
_SHOWN = (*_NEGATIVE[:3], *_POSITIVE[:3])
_SPELLINGS = {**dict.fromkeys(_NEGATIVE, 0), **dict.fromkeys(_POSITIVE, 1)}


@overload
def is_positive(probabilities: float) -> bool: ...
@overload
def is_positive(probabilities: NDArray[np.floating]) -> NDArray[np.bool_]: ...
def is_positive(probabilities: Any) -> Any:
    """Whether a review with this probability of being positive is predicted positive; at 0.5 it is not."""
    return probabilities > 0.5


def parse_labels(cells: Sequence[Any], origin: object) -> NDArray[np.uint8]:
    """Labels [row], 0 or 1; InputError names the origin and the first row, counted from 1, with another one."""
    return np.array([_parse_label(cell, row, origin) for row, cell in enumerate(cells, 1)], dtype=np.uint8)


def _parse_label(cell: Any, row: int, origin: object) -> int:
    spelling = cell.strip().lower() if isinstance(cell, str) else _whole_number(cell)
    if spelling not in _SPELLINGS:
        raise InputError(f"{origin}, row {row}: no label {cell!r:.40}; choose from {', '.join(_SHOWN)}")
    return _SPELLINGS[spelling]


def _whole_number(cell: Any) -> str | None:
    """0 or 1 as a text, from a number or a truth value of Python, NumPy or pandas."""
    return str(int(cell)) if isinstance(cell, Number | np.bool_) and cell in (0, 1) else None
