"""Several finished networks as one."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sentiment_tune.data.text import PADDING, UNKNOWN


class Ensemble(nn.Module):
    """A weighted sum of the logits of finished networks, each of which reads a review as it did in training.

    It is put together by `sentiment_tune.ensembles`, not trained: what its members are is a fact, not a setting.
    """

    def __init__(self, vocabulary: int, members: str):
        """`members` is JSON: for each member its `model`, the settings `network`, and `reading`."""
        from sentiment_tune.models import registry as models  # which knows this module

        super().__init__()
        described: Sequence[Mapping[str, Any]] = json.loads(members)
        if any(member["reading"]["vocabulary"] > vocabulary for member in described):
            raise ValueError(f"a member knows more words than {vocabulary}")
        self.members = nn.ModuleList(
            models.create_network(member["model"], member["reading"]["vocabulary"], member["network"])
            for member in described
        )
        self.readings = [member["reading"] for member in described]
        self.weights = nn.Parameter(torch.full((len(described),), 1 / len(described)))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, ids: Tensor) -> Tensor:
        readings = zip(self.members, self.readings, strict=True)
        logits = torch.stack([member(reread(ids, **reading)) for member, reading in readings], 1)
        return logits @ self.weights + self.bias


def reread(ids: Tensor, vocabulary: int, length: int, keep: str) -> Tensor:
    """What `TextConfig.crop` leaves of reviews that are longer or know more words: ids [batch, word] -> [batch, word]."""
    known = ids.masked_fill(ids >= vocabulary, UNKNOWN)
    exporting = torch.compiler.is_exporting()  # a program is for any width: it cannot ask how wide the ids are
    if not exporting and ids.shape[1] <= length:
        return known
    position = torch.arange(ids.shape[1], device=ids.device) + 1
    words = (position * (ids != PADDING)).amax(1, keepdim=True)  # [batch, 1]
    begin = (words - length).clamp(min=0) if keep == "tail" else torch.zeros_like(words)
    return functional.pad(known, (0, length)).gather(1, begin + torch.arange(length, device=ids.device))
