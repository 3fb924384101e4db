"""What the networks share: from ids to one vector a word, and from there to one vector a review."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from sentiment_tune.data.text import PADDING
from sentiment_tune.models import kernels
from sentiment_tune.models.kernels.products import weighted_sums


class Words(NamedTuple):
    """The words of a batch: the vector of each distinct one, and which stands where.

    A batch of 64 reviews holds each of its words five times over. What depends on a word alone is computed once for
    all its occurrences.

    Attributes:
        vectors: [distinct word, feature].
        indices: [batch, word], rows of `vectors`.
    """

    vectors: Tensor
    indices: Tensor

    @classmethod
    def of(cls, embedding: nn.Embedding, ids: Tensor) -> "Words":
        """The words of ids [batch, word]."""
        if torch.compiler.is_exporting():  # how many are distinct is not known beforehand
            return cls(embedding.weight, ids)
        present = torch.zeros(embedding.num_embeddings, dtype=torch.bool, device=ids.device)
        present[ids.flatten()] = True  # faster than torch.unique, which sorts
        return cls(embedding(present.nonzero().squeeze(1)), (present.cumsum(0) - 1)[ids])

    def with_dropout(self, dropout: nn.Dropout) -> "Words":
        """The same words after dropout: it drops the same of a word's features at all its occurrences."""
        return Words(dropout(self.vectors), self.indices)

    @classmethod
    def each(cls, features: Tensor) -> "Words":
        """Words [batch, word, feature] that are all distinct."""
        batch, word, _ = features.shape
        indices = torch.arange(batch * word, device=features.device).reshape(batch, word)
        return cls(features.flatten(0, 1), indices)

    @property
    def features(self) -> Tensor:
        """Each word's vector where it stands: [batch, word, feature]."""
        return self.vectors[self.indices]

    def counts(self, mask: Tensor) -> Tensor:
        """How often each distinct word stands in each review: mask [batch, word] -> [batch, distinct word]."""
        zeros = self.vectors.new_zeros(self.indices.shape[0], self.vectors.shape[0])
        return zeros.scatter_add(1, self.indices, mask.to(zeros.dtype))

    def sums(self, amounts: Tensor) -> Tensor:
        """The vectors, each as often as amounts [batch, distinct word] say: [batch, feature]."""
        if kernels.apply_to(self.vectors) and not amounts.requires_grad:
            return weighted_sums(amounts, self.vectors)
        return amounts @ self.vectors


class Logits(nn.Linear):
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
    with torch.no_grad():
        largest_at = features.masked_fill(~mask.unsqueeze(-1), float("-inf")).max(1, keepdim=True).indices
    largest = features.gather(1, largest_at).masked_fill(~mask.any(1).reshape(-1, 1, 1), float("-inf"))
    largest = largest.reshape(reviews, -1, features.shape[2]).amax(1)
    return largest.masked_fill(~mask.reshape(reviews, -1).any(1, keepdim=True), 0.0)
