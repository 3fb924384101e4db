"""The front of a study of several objectives: settings that no others beat in everything, and which of them to take."""

import math
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import TYPE_CHECKING

from sentiment_tune.tuning.objectives import ACCURACY, OBJECTIVES

if TYPE_CHECKING:
    from sentiment_tune.tuning.confirm import Confirmation

KNEE = "knee"  # the one from which each step in either direction costs the most


def front_of(confirmations: "Sequence[Confirmation]") -> "list[Confirmation]":
    """Those that no other beats, now that each was trained with several seeds; the most accurate first."""
    return [one for one in confirmations if not any(_beats(other, one) for other in confirmations)]


def _beats(one: "Confirmation", other: "Confirmation") -> bool:
    """Whether one is nowhere worse than the other, and somewhere better."""
    pairs = [(other.mean, one.mean), *((one.costs[name], other.costs[name]) for name in one.costs)]
    return all(better <= worse for better, worse in pairs) and any(better < worse for better, worse in pairs)


def choices(front: "Sequence[Confirmation]") -> "dict[str, Confirmation]":
    """The knee of the front, and the best of it in each objective, by name."""
    costs = front[0].costs
    cheapest = {name: min(front, key=lambda one: (one.costs[name], -one.mean)) for name in costs}
    return {KNEE: _knee(front), ACCURACY: front[0], **cheapest}


def ends(chosen: "Mapping[str, Confirmation]") -> dict[str, str]:
    """The objective that each alias of the registry is for: the first of those that share a name decides."""
    named: dict[str, str] = {}
    for name in chosen:
        if name in OBJECTIVES and OBJECTIVES[name].end:
            named.setdefault(OBJECTIVES[name].end, name)
    return named


def _knee(front: "Sequence[Confirmation]") -> "Confirmation":
    """The nearest to what nothing reaches, the best of everything: each objective from 0 to 1, costs by their logs.

    All costs together count as much as accuracy, since one follows the other: two of them would outvote it. Of two
    that are as near it is the more accurate.
    """
    losses = _scaled([-one.mean for one in front])
    costs = [_scaled([math.log(max(one.costs[name], 1e-9)) for one in front]) for name in front[0].costs]
    means = [mean(values) for values in zip(*costs, strict=True)]
    return front[min(range(len(front)), key=lambda row: math.hypot(losses[row], means[row]))]


def _scaled(values: Sequence[float]) -> list[float]:
    """From 0 for the least to 1 for the greatest."""
    least, greatest = min(values), max(values)
    return [(value - least) / ((greatest - least) or 1) for value in values]
