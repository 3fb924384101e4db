"""The baseline nobody may skip, a linear model over phrases of one to three words, and what is built from its parts."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from sentiment_tune.data.text import PADDING
from sentiment_tune.models.layers import word_vectors
from sentiment_tune.space import Range, Value


class NGrams(nn.Module):
    """The phrases of one to `order` words that the training reviews hold, and which of them a review holds.

    An n-gram's key is its ids read as the digits of one number, so a lookup is exact and no two n-grams share a row.
    """

    def __init__(self, vocabulary: int, order: int, rarest: int):
        super().__init__()
        if vocabulary**order > 2**63:
            raise ValueError(f"{order} of {vocabulary} words do not fit into one key of 64 bits; choose fewer")
        self.vocabulary = vocabulary
        self.order = order
        self.rarest = rarest
        self._resize(1)

    def _resize(self, ngrams: int) -> None:
        self.register_buffer("keys", torch.zeros(ngrams, dtype=torch.int64))

    def prepare(self, batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Take the n-grams from the training reviews: pairs of ids [batch, word], labels [batch].

        An n-gram found in fewer than `rarest` reviews is left out. Returns how many negative and how many positive
        reviews hold each that is kept: [n-gram].
        """
        negative, positive = [], []
        for ids, labels in batches:
            keys = self._keys(ids)
            negative.append(keys[labels == 0].flatten())
            positive.append(keys[labels == 1].flatten())
        reviews_with = _counts(torch.cat(negative), torch.cat(positive))
        kept = (reviews_with[1] + reviews_with[2] >= self.rarest) & (reviews_with[0] != PADDING)
        keys, without, having = (column[kept] for column in reviews_with)
        self._resize(max(1, len(keys)))
        if len(keys):
            self.keys = keys
        return without, having

    def _keys(self, ids: Tensor) -> Tensor:
        """Keys of a review's n-grams, ascending, each once: ids [batch, word] -> [batch, n-gram], 0 where none is."""
        longer, found = ids, [ids]
        for _ in range(1, self.order):
            after = functional.pad(ids, (0, len(found)))[:, len(found) :]
            longer = torch.where(after == PADDING, PADDING, longer * self.vocabulary + after)
            found.append(longer)
        keys = torch.cat(found, 1).sort(1).values
        repeated = functional.pad(keys[:, 1:] == keys[:, :-1], (1, 0))
        return keys.masked_fill(repeated, PADDING)

    def held(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Places of a review's n-grams among the known ones, and whether one is known: both [batch, n-gram]."""
        keys = self._keys(ids)
        place = torch.searchsorted(self.keys, keys).clamp(max=self.keys.shape[0] - 1)
        return place, (self.keys[place] == keys) & (keys != PADDING)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Take the table's size from what is loaded: it is a fact of the training data."""
        device = self.keys.device
        self._resize(len(state[f"{prefix}keys"]))
        self.to(device)
        super()._load_from_state_dict(state, prefix, *rest)


class Linear(NGrams):
    """Presence of each n-gram, times its naive-Bayes log-count ratio, times a learned weight, summed.

    The ratios are those of Wang and Manning (2012); the weights are learned by gradient as every network's are.
    """

    recipe: ClassVar[dict[str, Value]] = {"learning_rate": 1e-3, "epochs": 6}

    def __init__(
        self,
        vocabulary: int,
        order: Annotated[int, Range(1, 3)] = 3,
        rarest: Annotated[int, Range(1, 1000, search=(1, 5))] = 2,
    ):
        super().__init__(vocabulary, order, rarest)

    def _resize(self, ngrams: int) -> None:
        super()._resize(ngrams)
        self.register_buffer("ratios", torch.zeros(ngrams))
        self.weights = nn.Parameter(torch.zeros(ngrams))
        self.bias = nn.Parameter(torch.zeros(1))

    def prepare(self, batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        without, having = super().prepare(batches)
        if len(having):
            self.ratios = _log_ratio(having) - _log_ratio(without)
        return without, having

    def forward(self, ids: Tensor) -> Tensor:
        place, known = self.held(ids)
        weights = functional.embedding(place, self.weights.unsqueeze(1)).squeeze(-1)
        return (weights * self.ratios[place] * known).sum(1) + self.bias


class NGramVectors(NGrams):
    """A vector for each n-gram, in place of one for each word."""

    def __init__(self, vocabulary: int, order: int, rarest: int, size: int):
        self.size = size  # before the first table is made
        super().__init__(vocabulary, order, rarest)

    def _resize(self, ngrams: int) -> None:
        super()._resize(ngrams)
        self.vectors = word_vectors(ngrams + 1, self.size)  # row 0 is padding's

    def forward(self, ids: Tensor) -> tuple[nn.Embedding, Tensor]:
        """The vectors and their rows for each review, 0 where there is none: [batch, n-gram]."""
        place, known = self.held(ids)
        return self.vectors, torch.where(known, place + 1, PADDING)


Beside = Annotated[int, Range(0, 3)]  # longest phrase; not searched: with 3, IMDB has 780 thousand
OWN = 0.25  # of a network's own logit beside that of the n-grams; the best fourth on IMDB's validation reviews


class WithNGrams(nn.Module, ABC):
    """A network that reads words and, if `ngrams` is above 0, the linear model over n-grams beside it.

    In training each review is answered by one of the two, so that neither leans on the other; the batches are drawn
    anew in every epoch, and with them who answers. In scoring a fourth of the logit is the network's own.
    """

    def __init__(self, vocabulary: int, ngrams: int):
        super().__init__()
        self.ngrams = Linear(vocabulary, ngrams) if ngrams else None

    def prepare(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        if self.ngrams is not None:
            self.ngrams.prepare(batches)

    def forward(self, ids: Tensor) -> Tensor:
        if self.ngrams is None:
            return self.judge(ids)
        if not self.training:
            return OWN * self.judge(ids) + (1 - OWN) * self.ngrams(ids)
        own, other = self.judge(ids[0::2]), self.ngrams(ids[1::2])
        logits = other.new_empty(ids.shape[0])  # `own` may be of less precision
        logits[0::2], logits[1::2] = own, other
        return logits

    @abstractmethod
    def judge(self, ids: Tensor) -> Tensor:
        """The network's own logits: ids [batch, word] -> [batch]."""


def _counts(negative: Tensor, positive: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """All keys, ascending, with the number of reviews of each class that hold them."""
    keys, place = torch.unique(torch.cat([negative, positive]), return_inverse=True)
    without, having = place[: len(negative)], place[len(negative) :]
    return keys, torch.bincount(without, minlength=len(keys)), torch.bincount(having, minlength=len(keys))


def _log_ratio(reviews: Tensor) -> Tensor:
    smoothed = reviews.float() + 1
    return smoothed.log() - smoothed.sum().log()
