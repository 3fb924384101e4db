"""Networks that look for phrases: a convolution over the words, and the strongest answer of each filter."""

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from sentiment_tune.models.layers import Dropout, word_vectors
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
        return functional.relu(self._answers(words)).transpose(1, 2)

    def _answers(self, words: Tensor) -> Tensor:
        """Answers before the ReLU: [batch, filter, word]."""
        filtered: Tensor = self.filters(functional.pad(words.transpose(1, 2), (0, self.width - 1)))
        return filtered

    def strongest(self, words: Tensor, real: Tensor) -> Tensor:
        """The largest of each filter's answers over the real words: words, real [batch, word] -> [batch, filter].

        Only the phrase that gave it gets a gradient, so only that one is computed with a gradient: training takes
        half the time, and its steps are the same.
        """
        with torch.no_grad():
            place = self._answers(words).masked_fill(~real.unsqueeze(1), float("-inf")).argmax(2)
        phrases = self._phrases_at(words, place)  # [batch, filter, word of the phrase, embedding]
        answers = (phrases * self.filters.weight.transpose(1, 2)).sum((2, 3)) + self.filters.bias  # type: ignore[operator]
        return functional.relu(answers) * real.any(1, keepdim=True)

    def _phrases_at(self, words: Tensor, place: Tensor) -> Tensor:
        """The words of the phrases that start at `place` [batch, filter]."""
        followed = functional.pad(words, (0, 0, 0, self.width - 1))
        review = torch.arange(words.shape[0], device=words.device).reshape(-1, 1, 1)
        word = place.unsqueeze(2) + torch.arange(self.width, device=words.device)
        rows = (review * followed.shape[1] + word).flatten()
        return followed.flatten(0, 1).index_select(0, rows).reshape(*word.shape, words.shape[2])


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
        self.dropout = Dropout(dropout)
        self.output = nn.Linear(hidden, 1)

    def forward(self, ids: Tensor) -> Tensor:
        words = self.dropout(self.embedding(ids))
        strongest = [phrases.strongest(words, ids != PADDING) for phrases in self.branches]  # type: ignore[operator]
        hidden = functional.relu(self.hidden(self.dropout(torch.cat(strongest, 1))))
        return self.output(self.dropout(hidden)).squeeze(-1)
