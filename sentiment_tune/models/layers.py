"""What the networks share: from ids to one vector a word, and from there to one vector a review."""

import torch
from torch import Tensor, nn

from sentiment_tune.text import PADDING


def word_vectors(vocabulary: int, size: int) -> nn.Embedding:
    """Vectors for word ids, zero for padding.

    They start a tenth the size of torch's: the maximum over hundreds of words of unit noise drowns what is learned.
    """
    vectors = nn.Embedding(vocabulary, size, padding_idx=PADDING)
    nn.init.normal_(vectors.weight, std=0.1)
    with torch.no_grad():
        vectors.weight[PADDING] = 0
    return vectors


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


class Dropout(nn.Module):
    """What nn.Dropout does, with eight decisions from one random number of 64 bits: on a CPU drawing is what it costs.

    The rate is rounded to the nearest 256th.
    """

    def __init__(self, rate: float):
        super().__init__()
        self.dropped = round(rate * 256)

    def forward(self, features: Tensor) -> Tensor:
        if not (self.training and self.dropped):
            return features
        drawn = torch.empty(-(-features.numel() // 8), dtype=torch.int64, device=features.device)
        dice = drawn.random_(-(2**63), None).view(torch.uint8)[: features.numel()].view(features.shape)
        return features * ((dice >= self.dropped) * (256 / (256 - self.dropped)))
