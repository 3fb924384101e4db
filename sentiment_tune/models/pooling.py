"""From one vector a word to one vector a review."""

from torch import Tensor


def max_over_time(features: Tensor, real: Tensor) -> Tensor:
    """Largest value of each feature over the real words.

    features [batch, word, feature], real [batch, word] of bool -> [batch, feature]; 0 for a review without a word.
    """
    lowest = features.masked_fill(~real.unsqueeze(-1), float("-inf")).amax(1)
    return lowest.masked_fill(~real.any(1, keepdim=True), 0.0)


def mean_over_time(features: Tensor, real: Tensor) -> Tensor:
    """Mean of each feature over the real words; shapes as in `max_over_time`, 0 for a review without a word."""
    counted = real.unsqueeze(-1).to(features.dtype)
    return (features * counted).sum(1) / counted.sum(1).clamp(min=1)
