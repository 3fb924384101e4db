"""Several finished networks as one."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sentiment_tune.data.text import PADDING, UNKNOWN


class Ensemble(nn.Module):
    """A weighted sum of the logits of finished networks, each of which reads a review as it did in training.

    It is put together by `sentiment_tune.ensembling`, not trained.

    Args:
        members: the networks.
        readings: for each member what it reads of a review: `vocabulary`, `length` and `keep`.
        classes: how many a review may be of.
    """

    def __init__(self, members: Sequence[nn.Module], readings: Sequence[Mapping[str, Any]], classes: int = 2):
        super().__init__()
        self.members = nn.ModuleList(members)
        self.readings = readings
        self.weights = nn.Parameter(torch.full((len(members),), 1 / len(members)))
        self.bias = nn.Parameter(torch.zeros(1 if classes == 2 else classes))

    def forward(self, ids: Tensor) -> Tensor:
        """Logits [batch], or [batch, class], of word ids [batch, word], 0 after a review's end."""
        readings = zip(self.members, self.readings, strict=True)
        logits = torch.stack([member(reread(ids, **reading)) for member, reading in readings], -1)
        return logits @ self.weights + self.bias


def reread(ids: Tensor, vocabulary: int, length: int, keep: str) -> Tensor:
    """What `TextConfig.crop` leaves of longer reviews and rarer words: ids [batch, word] -> [batch, word]."""
    ids = ids.masked_fill(ids >= vocabulary, UNKNOWN)
    exporting = torch.compiler.is_exporting()  # a program is for any width: it cannot ask how wide the ids are
    if not exporting and ids.shape[1] <= length:
        return ids
    position = torch.arange(ids.shape[1], device=ids.device) + 1
    words = (position * (ids != PADDING)).amax(1, keepdim=True)  # [batch, 1]
    begin = (words - length).clamp(min=0) if keep == "tail" else torch.zeros_like(words)
    return functional.pad(ids, (0, length)).gather(1, begin + torch.arange(length, device=ids.device))
