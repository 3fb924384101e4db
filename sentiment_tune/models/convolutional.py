"""Networks that look for phrases: a convolution over the words, and the strongest answer of each filter."""

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from sentiment_tune.models.layers import max_over_time, word_vectors
from sentiment_tune.space import Range, Rate, Width
from sentiment_tune.text import PADDING

FilterWidth = Annotated[int, Range(1, 25, search=(2, 5))]


class Phrases(nn.Module):
    """Filters over `width` words: words [batch, word, embedding] -> ReLU answers [batch, word, filter].

    The answer at a word is to the phrase that starts there. Zeros follow the last word, as many as padding would add,
    so that a review ends the same with and without padding.
    """

    def __init__(self, embedding: int, filters: int, width: int):
        super().__init__()
        self.width = width
        self.filters = nn.Conv1d(embedding, filters, width)

    def forward(self, words: Tensor) -> Tensor:
        channels = functional.pad(words.transpose(1, 2), (0, self.width - 1))  # [batch, embedding, word]
        return functional.relu(self.filters(channels)).transpose(1, 2)


class CNN(nn.Module):
    """Filters of several widths, each one's strongest answer, a hidden layer (Kim 2014)."""

    def __init__(
        self,
        vocabulary: int,
        embedding: Width = 100,
        filters: Annotated[int, Range(1, 8192, search=(32, 160), log=True)] = 100,
        shortest: FilterWidth = 2,
        branches: Annotated[int, Range(1, 8, search=(1, 3))] = 3,
        hidden: Width = 100,
        dropout: Rate = 0.3,
    ):
        super().__init__()
        self.embedding = word_vectors(vocabulary, embedding)
        self.branches = nn.ModuleList(Phrases(embedding, filters, shortest + more) for more in range(branches))
        self.hidden = nn.Linear(filters * branches, hidden)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, 1)

    def forward(self, ids: Tensor) -> Tensor:
        words = self.dropout(self.embedding(ids))
        strongest = [max_over_time(phrases(words), ids != PADDING) for phrases in self.branches]
        hidden = functional.relu(self.hidden(self.dropout(torch.cat(strongest, 1))))
        return self.output(self.dropout(hidden)).squeeze(-1)
