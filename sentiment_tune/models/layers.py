"""What the networks share: from ids to one vector a word, and from there to one vector a review."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from sentiment_tune.data.text import PADDING


class Words(NamedTuple):
    """The words of a batch: the vector of each distinct one, and where it stands.

    A batch of 64 reviews holds each of its words five times over. What depends on a word alone is computed once for
    all its places.
    """

    vectors: Tensor  # [distinct word, feature]
    places: Tensor  # [batch, word], rows of `vectors`

    @classmethod
    def of(cls, embedding: nn.Embedding, ids: Tensor) -> "Words":
        """The words of ids [batch, word]."""
        if torch.compiler.is_exporting():  # how many are distinct is not known beforehand
            return cls(embedding.weight, ids)
        present = torch.zeros(embedding.num_embeddings, dtype=torch.bool, device=ids.device)
        present[ids.flatten()] = True  # faster than torch.unique, which sorts
        return cls(embedding(present.nonzero().squeeze(1)), (present.cumsum(0) - 1)[ids])

    def dropped(self, dropout: "Dropout") -> "Words":
        """The same words after dropout: it drops the same of a word's features at all its places."""
        return Words(dropout(self.vectors), self.places)

    @classmethod
    def each(cls, features: Tensor) -> "Words":
        """Words [batch, word, feature] that are all distinct."""
        batch, word, _ = features.shape
        places = torch.arange(batch * word, device=features.device).reshape(batch, word)
        return cls(features.flatten(0, 1), places)

    @property
    def features(self) -> Tensor:
        """Each word's vector at its place: [batch, word, feature]."""
        return self.vectors[self.places]

    def times(self, real: Tensor) -> Tensor:
        """How often each distinct word stands in each review: real [batch, word] -> [batch, distinct word]."""
        none = self.vectors.new_zeros(self.places.shape[0], self.vectors.shape[0])
        return none.scatter_add(1, self.places, real.to(none.dtype))

    @property
    def by_torch(self) -> bool:
        """Whether torch's own layers are the way: on a GPU, and in an exported program."""
        return self.vectors.device.type != "cpu" or torch.compiler.is_exporting()


def word_vectors(vocabulary: int, size: int, noise: float = 0.1) -> nn.Embedding:
    """Vectors for word ids, zero for padding; the others start as normal noise of that standard deviation.

    The usual one is a tenth of torch's: the maximum over hundreds of words of unit noise drowns what is learned.
    """
    vectors = nn.Embedding(vocabulary, size, padding_idx=PADDING)
    nn.init.normal_(vectors.weight, std=noise)
    with torch.no_grad():
        vectors.weight[PADDING] = 0
    return vectors


def max_over_time(features: Tensor, real: Tensor, reviews: int) -> Tensor:
    """Largest value of each feature over the real words of a review, which may fill several rows, one after another.

    features [row, word, feature], real [row, word] of bool -> [review, feature]; 0 for a review without a word.
    """
    with torch.no_grad():
        place = features.masked_fill(~real.unsqueeze(-1), float("-inf")).max(1, keepdim=True).indices
    largest = features.gather(1, place).masked_fill(~real.any(1).reshape(-1, 1, 1), float("-inf"))
    largest = largest.reshape(reviews, -1, features.shape[2]).amax(1)
    return largest.masked_fill(~real.reshape(reviews, -1).any(1, keepdim=True), 0.0)


class Dropout(nn.Module):
    """What nn.Dropout does, at a rate rounded to the nearest 256th."""

    def __init__(self, rate: float):
        super().__init__()
        self.dropped = round(rate * 256)

    def forward(self, features: Tensor) -> Tensor:
        if not (self.training and self.dropped):
            return features
        dice = _dice(features.shape, features.device)
        return features * ((dice >= self.dropped) * (256 / (256 - self.dropped)))


def _dice(shape: torch.Size, device: torch.device) -> Tensor:
    """Random numbers from 0 to 255 of that shape."""
    if device.type != "cpu":
        return torch.randint(256, shape, dtype=torch.uint8, device=device)
    # Eight from one of 64 bits: on a CPU drawing is what dropout costs.
    drawn = torch.empty(-(-shape.numel() // 8), dtype=torch.int64)
    return drawn.random_(-(2**63), None).view(torch.uint8)[: shape.numel()].view(shape)
