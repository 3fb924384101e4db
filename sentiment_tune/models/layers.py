"""What the networks share: from ids to one vector a word, and from there to one vector a review."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from sentiment_tune.data.text import PADDING
from sentiment_tune.models import kernels
from sentiment_tune.models.kernels import products
from sentiment_tune.models.kernels.bags import distinct_words, sums_of_words
from sentiment_tune.models.kernels.dropout import dropout
from sentiment_tune.models.kernels.largest import largest_in


class Words(NamedTuple):
    """The words of a batch: the vector of each distinct one, and which stands where.

    A batch of 64 reviews holds each of its words five times over. What depends on a word alone is computed once for
    all its occurrences, on a CPU. A GPU, which would have to be waited for to know how many are distinct, takes all
    words of the table for them.

    Attributes:
        vectors: [distinct word, feature].
        indices: [batch, word], rows of `vectors`.
        placed: [batch, word, feature], each word's vector where it stands, padding's behind the last ones, if they
            have been looked up.
    """

    vectors: Tensor
    indices: Tensor
    placed: Tensor | None = None

    @classmethod
    def of(cls, embedding: nn.Embedding, ids: Tensor, dropout: nn.Dropout | None = None, beyond: int = 0) -> "Words":
        """The words of ids [batch, word]; dropout drops the same of a word's features at all its occurrences.

        Where words are placed, the vector of padding follows them so many times.
        """
        if torch.compiler.is_exporting():  # how many are distinct is not known beforehand
            return cls(embedding.weight, ids)
        if kernels.apply_to(ids):
            present = torch.zeros(embedding.num_embeddings, dtype=torch.bool)
            present[ids.flatten()] = True  # faster than torch.unique, which sorts
            vectors, indices = embedding(present.nonzero().squeeze(1)), (present.cumsum(0) - 1)[ids]
            return cls(dropout(vectors) if dropout else vectors, indices)
        if dropout is None:
            return cls(embedding.weight, ids)
        table = dropout(embedding.weight)
        read = functional.pad(ids, (0, beyond), value=PADDING)
        return cls(table, ids, functional.embedding(read, table, embedding.padding_idx))

    @classmethod
    def each(cls, features: Tensor) -> "Words":
        """Words [batch, word, feature] that are all distinct."""
        batch, word, _ = features.shape
        indices = torch.arange(batch * word, device=features.device).reshape(batch, word)
        return cls(features.flatten(0, 1), indices, features)

    @property
    def features(self) -> Tensor:
        """Each word's vector where it stands: [batch, word, feature]."""
        return self.vectors[self.indices] if self.placed is None else self.placed

    def reordered(self, order: Tensor) -> "Words":
        """The words that stand at these places of each review: order [batch, word]."""
        placed = None if kernels.apply_to(self.vectors) else self.placed  # a kernel looks up itself
        if placed is not None:
            placed = placed.gather(1, order.unsqueeze(-1).expand_as(placed))
        return Words(self.vectors, self.indices.gather(1, order), placed)


def mean_of_words(embedding: nn.Embedding, ids: Tensor) -> Tensor:
    """The mean of the vectors of each review's words, zeros if it has none: ids [batch, word] -> [batch, feature]."""
    if kernels.apply_to(ids):
        is_word = ids != PADDING
        lengths = is_word.sum(1)
        sums = sums_of_words(embedding.weight, ids.masked_select(is_word), lengths)
        return sums / lengths.clamp(min=1).unsqueeze(1)
    if torch.compiler.is_exporting():
        counts = _counts(embedding, ids)
        return counts @ embedding.weight / counts.sum(1, keepdim=True).clamp(min=1)
    return functional.embedding_bag(ids, embedding.weight, mode="mean", padding_idx=PADDING)


def sum_of_present_words(embedding: nn.Embedding, ids: Tensor, dropout: nn.Dropout) -> Tensor:
    """The sum of the vectors of the distinct words of a review, some of which drop out.

    ids [batch, word] -> [batch, feature].
    """
    if not kernels.apply_to(ids):
        return dropout((_counts(embedding, ids) > 0).to(embedding.weight.dtype)) @ embedding.weight
    is_word = ids != PADDING
    words, lengths = distinct_words(ids.masked_select(is_word), is_word.sum(1), embedding.num_embeddings)
    amounts = dropout(embedding.weight.new_ones(len(words))) if dropout.training else None
    return sums_of_words(embedding.weight, words, lengths, amounts)


def _counts(embedding: nn.Embedding, ids: Tensor) -> Tensor:
    """How often each word of a table stands in each review: ids [batch, word] -> [batch, table's word]."""
    zeros = embedding.weight.new_zeros(ids.shape[0], embedding.num_embeddings)
    return zeros.scatter_add(1, ids, (ids != PADDING).to(zeros.dtype))


class Dropout(nn.Dropout):
    """torch's, with random numbers that are drawn faster on a CPU."""

    def forward(self, features: Tensor) -> Tensor:
        """The features, in training each 0 with the probability `p` and else as much larger."""
        if self.training and 0 < self.p < 1:
            return dropout(features, self.p)
        return super().forward(features)


class HiddenLayer(nn.Linear):
    """torch's linear layer; on a CPU its last bits do not tell the number of threads."""

    def forward(self, features: Tensor) -> Tensor:
        """Units [row, output] before their activation, of features [row, feature]."""
        if not kernels.apply_to(features) or torch.is_autocast_enabled("cpu"):
            return super().forward(features)
        return products.small_linear(features, self.weight, self.bias)


class Logits(HiddenLayer):
    """The last layer: features [batch, feature] -> logits [batch] of two classes, [batch, class] of more.

    Of two classes the one logit is that of the second.

    Args:
        features: numbers of a review's vector.
        classes: how many there are, two or more.
    """

    def __init__(self, features: int, classes: int):
        super().__init__(features, 1 if classes == 2 else classes)

    def forward(self, features: Tensor) -> Tensor:
        """Logits [batch] or [batch, class] of features [batch, feature]."""
        logits = super().forward(features)
        return logits.squeeze(-1) if self.out_features == 1 else logits


def word_vectors(vocabulary: int, size: int, noise: float = 0.1) -> nn.Embedding:
    """Vectors for word ids, zero for padding; the others start as normal noise of that standard deviation.

    The usual one is a tenth of torch's: the maximum over hundreds of words of unit noise drowns what is learned.
    """
    vectors = nn.Embedding(vocabulary, size, padding_idx=PADDING)
    nn.init.normal_(vectors.weight, std=noise)
    with torch.no_grad():
        vectors.weight[PADDING] = 0
    return vectors


def max_over_time(features: Tensor, mask: Tensor, reviews: int) -> Tensor:
    """Largest value of each feature over the words of a review, which may fill several rows, one after another.

    features [row, word, feature], mask [row, word] of bool -> [review, feature]; 0 for a review without a word.
    """
    if kernels.apply_to(features):
        largest = _largest(features, mask, reviews)
    elif torch.is_grad_enabled() and not torch.compiler.is_exporting():
        place = _place_of_largest(features, mask, reviews)
        largest = features.reshape(reviews, -1, features.shape[2]).gather(1, place).squeeze(1)
    else:
        largest = _masked(features, mask).amax(1).reshape(reviews, -1, features.shape[2]).amax(1)
    return largest.masked_fill(~mask.reshape(reviews, -1).any(1, keepdim=True), 0.0)


def _masked(features: Tensor, mask: Tensor) -> Tensor:
    """The features where words stand, elsewhere minus infinity; a sum is faster than a choice."""
    nowhere = torch.zeros_like(mask, dtype=features.dtype).masked_fill_(~mask, float("-inf"))
    return features + nowhere.unsqueeze(-1)


def _largest(features: Tensor, mask: Tensor, reviews: int) -> Tensor:
    """Largest value of each feature over the words of a review: [review, feature]; anything if it has no word.

    Of equal ones the first in memory learns.
    """
    rows, words, _ = features.shape
    window = (rows // reviews, words)
    if features.stride(0) < features.stride(1):  # as cells leave them that go from word to word with all rows
        features, mask, window = features.transpose(0, 1), mask.t(), window[::-1]
    with torch.no_grad():
        _, place = largest_in(_masked(features, mask), *window)
    return features.flatten(0, 1).gather(0, place)


@torch.no_grad()
def _place_of_largest(features: Tensor, mask: Tensor, reviews: int) -> Tensor:
    """The word of a review, over its rows, with the largest value of each feature: [review, 1, feature].

    To find a place takes longer than to find the largest: it is looked for in the row alone that has the largest.
    """
    rows, words, size = features.shape
    by_row = _masked(features, mask).reshape(reviews, -1, words, size)
    if rows == reviews:
        return by_row.squeeze(1).max(1, keepdim=True).indices
    row = by_row.amax(2).max(1, keepdim=True).indices  # [review, 1, feature]
    of_row = by_row.gather(1, row.unsqueeze(2).expand(-1, -1, words, -1)).squeeze(1)
    return row * words + of_row.max(1, keepdim=True).indices
