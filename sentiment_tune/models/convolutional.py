"""Networks that look for phrases: a convolution over the words, and the strongest answer of each filter."""

from collections.abc import Iterable
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from sentiment_tune.data.text import PADDING
from sentiment_tune.models import kernels
from sentiment_tune.models.kernels.filters import filter_answers, largest_answers
from sentiment_tune.models.layers import Dropout, HiddenLayer, Logits, Words, max_over_time, word_vectors
from sentiment_tune.models.linear import Beside, LinearBeside, OwnShare
from sentiment_tune.space import Doc, Embedding, Hidden, Range, Rate

FilterWidth = Annotated[int, Range(1, 25, search=(2, 5)), Doc("words that a filter spans")]
Filters = Annotated[int, Range(1, 8192, search=(32, 160), log=True), Doc("filters of each width")]


class Phrases(nn.Module):
    """Filters over `width` words; the answer at a word is to the phrase that starts there.

    Zeros follow the last word, as many as padding would add, so that a review ends the same with and without padding.

    Args:
        embedding: numbers of a word's vector.
        filters: how many filters there are.
        width: words that each spans.
    """

    def __init__(self, embedding: int, filters: int, width: int):
        super().__init__()
        self.width = width
        self.filters = nn.Conv1d(embedding, filters, width)

    def forward(self, words: Words, mask: Tensor) -> Tensor:
        """Answers to words, mask [batch, word]: [batch, word, filter], minus infinity where no word stands."""
        if kernels.apply_to(words.vectors):
            weights: tuple[Tensor, Tensor] = (self.filters.weight, self.filters.bias)  # type: ignore[assignment]
            return filter_answers(words.vectors, words.indices, mask, *weights)
        return self._answers(words)[:, : mask.shape[1]].masked_fill(~mask.unsqueeze(-1), float("-inf"))

    def strongest(self, words: Words, mask: Tensor) -> Tensor:
        """The largest of each filter's answers in each review, 0 if it has no word: [batch, filter]."""
        if not kernels.apply_to(words.vectors):
            answers = self._answers(words)
            return max_over_time(answers, functional.pad(mask, (0, answers.shape[1] - mask.shape[1])), mask.shape[0])
        weights: tuple[Tensor, Tensor] = (self.filters.weight, self.filters.bias)  # type: ignore[assignment]
        largest = largest_answers(words.vectors, words.indices, mask, *weights)
        return largest.masked_fill(~mask.any(1, keepdim=True), 0.0)

    def _answers(self, words: Words) -> Tensor:
        """Answers [batch, word, filter], by torch's own layer, to padding and beyond too."""
        features = words.features
        missing = self.width - 1 - (features.shape[1] - words.indices.shape[1])
        if missing > 0:  # a copy, in another order of memory than cuDNN likes
            features = functional.pad(features, (0, 0, 0, missing))
        answers: Tensor = self.filters(features.transpose(1, 2))
        return answers.transpose(1, 2)


class CNN(nn.Module):
    """Filters of several widths, each one's strongest answer, a hidden layer (Kim 2014).

    Args:
        vocabulary: how many word ids there are.
        embedding: numbers of a word's vector.
        filters: filters of each width.
        shortest: words that the narrowest filters span.
        branches: widths, each a word wider than the one before.
        hidden: units of the hidden layer.
        dropout: share of the words' features, answers and units that are 0 in training.
        ngrams: words of the longest phrase that a linear model beside the network knows; 0 is no such model.
        own_share: of the network's own logit beside that model.
        classes: how many a review may be of.
    """

    def __init__(
        self,
        vocabulary: int,
        embedding: Embedding = 100,
        filters: Filters = 100,
        shortest: FilterWidth = 2,
        branches: Annotated[int, Range(1, 8, search=(1, 3)), Doc("widths, each a word wider than the one before")] = 3,
        hidden: Hidden = 100,
        dropout: Rate = 0.1,
        ngrams: Beside = 0,
        own_share: OwnShare = 0.25,
        classes: int = 2,
    ):
        super().__init__()
        self.ngrams = LinearBeside(vocabulary, ngrams, own_share, classes) if ngrams else None
        self.embedding = word_vectors(vocabulary, embedding)
        self.beyond = shortest + branches - 2  # words that the widest filters read behind a review's last
        self.branches = nn.ModuleList(Phrases(embedding, filters, shortest + more) for more in range(branches))
        self.hidden = HiddenLayer(filters * branches, hidden)
        self.dropout = Dropout(dropout)
        self.output = Logits(hidden, classes)

    def prepare(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Let the linear model, if there is one, take its phrases from ids [batch, word] and labels [batch]."""
        if self.ngrams is not None:
            self.ngrams.prepare(batches)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits [batch], or [batch, class], of word ids [batch, word], 0 after a review's end."""
        return self.own_logits(ids) if self.ngrams is None else self.ngrams.combine(self.own_logits, ids)

    def own_logits(self, ids: Tensor) -> Tensor:
        """The network's own logits, without the linear model's."""
        words, mask = Words.of(self.embedding, ids, self.dropout, self.beyond), ids != PADDING
        strongest = torch.cat([phrases.strongest(words, mask) for phrases in self.branches], 1)  # type: ignore[operator]
        hidden = functional.relu(self.hidden(self.dropout(functional.relu(strongest))))
        return self.output(self.dropout(hidden))
