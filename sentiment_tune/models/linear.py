"""The baseline nobody may skip, a linear model over phrases, alone or beside a network that reads words."""

from collections.abc import Callable, Iterable
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from sentiment_tune.models.ngrams import NGrams
from sentiment_tune.space import Doc, Range, Value


class Linear(NGrams):
    """Presence of each n-gram, times its naive-Bayes log-count ratio, times a learned weight, summed.

    The ratios are those of Wang and Manning (2012), "Baselines and Bigrams"; the weights are learned by gradient as
    every network's are. Of more than two classes each has ratios of its own, against all others, and own weights.

    Args:
        vocabulary: how many word ids there are.
        order: words of the longest phrase.
        rarest: training reviews that must hold a phrase for it to have a weight.
        classes: how many a review may be of.
    """

    train_defaults: ClassVar[dict[str, Value]] = {"learning_rate": 1e-3, "epochs": 6, "schedule": "constant"}

    def __init__(
        self,
        vocabulary: int,
        order: Annotated[int, Range(1, 3), Doc("words of the longest phrase")] = 3,
        rarest: Annotated[int, Range(1, 1000, search=(1, 5)), Doc("training reviews that must hold a phrase")] = 2,
        classes: int = 2,
    ):
        super().__init__(vocabulary, order, rarest, classes)

    def _resize(self, ngrams: int) -> None:
        super()._resize(ngrams)
        each = () if self.classes == 2 else (self.classes,)
        self.register_buffer("ratios", torch.zeros(ngrams, *each))
        self.weights = nn.Parameter(torch.zeros(ngrams, *each))
        self.bias = nn.Parameter(torch.zeros(each or 1))

    def prepare(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
        """Take the n-grams and their ratios from the training reviews: pairs of ids [batch, word], labels [batch]."""
        reviews_with = super().prepare(batches)
        if reviews_with.shape[1]:
            self.ratios = _log_ratios(reviews_with)
        return reviews_with

    def forward(self, ids: Tensor) -> Tensor:
        """Logits [batch], or [batch, class], of word ids [batch, word], 0 after a review's end."""
        rows, mask = self.lookup(ids)
        if self.classes > 2:
            weights = functional.embedding(rows, self.weights)  # [batch, n-gram, class]
            return (weights * self.ratios[rows] * mask.unsqueeze(-1)).sum(1) + self.bias
        weights = functional.embedding(rows, self.weights.unsqueeze(1)).squeeze(-1)
        return (weights * self.ratios[rows] * mask).sum(1) + self.bias


# With 3, IMDB has 780 thousand phrases: not searched.
Beside = Annotated[int, Range(0, 3), Doc("words of the longest phrase that a linear model beside the network knows")]
OwnShare = Annotated[float, Range(0.0, 1.0), Doc("of the network's own logit where a linear model stands beside it")]


class LinearBeside(Linear):
    """The linear model beside a network that reads words.

    In training each review is answered by one of the two, so that neither leans on the other; the batches are drawn
    anew in every epoch, and with them who answers. In scoring the logits are added by their shares.

    Args:
        vocabulary: how many word ids there are.
        order: words of the longest phrase.
        own_share: of the network's own logit in scoring; a fourth is the best on IMDB's validation reviews.
        classes: how many a review may be of.
    """

    def __init__(self, vocabulary: int, order: int, own_share: float, classes: int):
        super().__init__(vocabulary, order, classes=classes)
        self.own_share = own_share

    def combine(self, own_logits: Callable[[Tensor], Tensor], ids: Tensor) -> Tensor:
        """Logits [batch], or [batch, class], of both, for ids [batch, word]; `own_logits` are the network's."""
        if not self.training:
            return self.own_share * own_logits(ids) + (1 - self.own_share) * self(ids)
        own, other = own_logits(ids[0::2]), self(ids[1::2])
        logits = other.new_empty(ids.shape[0], *other.shape[1:])  # the network's own may be of less precision
        logits[0::2], logits[1::2] = own, other
        return logits


def _log_ratios(reviews_with: Tensor) -> Tensor:
    """Logs of a phrase's share in a class to that in the others: [class, n-gram] -> [n-gram, class].

    Of two classes there is one ratio, that of the second: [n-gram].
    """
    if len(reviews_with) == 2:
        return _log_share(reviews_with[1]) - _log_share(reviews_with[0])
    others = reviews_with.sum(0) - reviews_with
    return torch.stack([_log_share(one) - _log_share(rest) for one, rest in zip(reviews_with, others, strict=True)], 1)


def _log_share(reviews: Tensor) -> Tensor:
    smoothed = reviews.float() + 1
    return smoothed.log() - smoothed.sum().log()
