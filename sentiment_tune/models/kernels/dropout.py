"""Dropout's random numbers, on a CPU.

torch draws one of 64 bits for each feature, on processors that are not Intel's one after another on one thread: up to a
fifth of a step. Sixteen bits are enough to say whether a feature stays, and a seed drops the same features everywhere.
"""

import torch
from torch import Tensor
from torch.nn import functional

from sentiment_tune.models import kernels

BITS = 16


def dropout(features: Tensor, rate: float) -> Tensor:
    """Features of which each is 0 with probability `rate`, below 1, and the others are as much larger.

    The probability is a multiple of 2 to the power of -16 below 1, the nearest.
    """
    if not kernels.apply_to(features):
        return functional.dropout(features, rate)
    dropped = min(round(rate * 2**BITS), 2**BITS - 1)
    random = torch.empty(-(-features.numel() * BITS // 64), dtype=torch.int64).random_(-(2**63), None)
    stays = random.view(torch.int16)[: features.numel()].view(features.shape) >= dropped - 2 ** (BITS - 1)
    return features * stays.to(features.dtype).mul_(2**BITS / (2**BITS - dropped))
