"""Networks that look for phrases: a convolution over the words, and the strongest answer of each filter."""

from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from sentiment_tune.data.text import PADDING
from sentiment_tune.models.layers import Dropout, Words, word_vectors
from sentiment_tune.models.linear import Beside, WithNGrams
from sentiment_tune.space import Range, Rate, Value, Width

FilterWidth = Annotated[int, Range(1, 25, search=(2, 5))]


class Phrases(nn.Module):
    """Filters over `width` words; the answer at a word is to the phrase that starts there.

    Zeros follow the last word, as many as padding would add, so that a review ends the same with and without padding.
    A filter's answer is a sum over the phrase's words of what it has to say to each at its position, so on a CPU the
    answers are sums of rows of a table, made of each distinct word once.
    """

    def __init__(self, embedding: int, filters: int, width: int):
        super().__init__()
        self.width = width
        self.filters = nn.Conv1d(embedding, filters, width)

    def forward(self, words: Words, real: Tensor) -> Tensor:
        """Answers to words, real [batch, word]: [batch, word, filter], minus infinity where no word stands."""
        if words.by_torch:
            filled = functional.pad(words.features.transpose(1, 2), (0, self.width - 1))
            answers: Tensor = self.filters(filled)
            return answers.transpose(1, 2).masked_fill(~real.unsqueeze(-1), float("-inf"))
        return _answers(words, real, self.filters.weight, self.filters.bias)  # type: ignore[arg-type]

    def strongest(self, words: Words, real: Tensor) -> Tensor:
        """The largest of each filter's answers in each review, 0 if it has no word: [batch, filter]."""
        if words.by_torch:
            strongest = self(words, real).amax(1)
        else:
            strongest = _Strongest.apply(*words, real, self.filters.weight, self.filters.bias)  # type: ignore[no-untyped-call]
        return strongest.masked_fill(~real.any(1, keepdim=True), 0.0)


def _answers(words: Words, real: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Answers of filters [filter, embedding, width] as sums of what they say to each word at each position."""
    filters, embedding, width = weight.shape
    said = words.vectors @ weight.permute(1, 2, 0).reshape(embedding, width * filters)
    said = said.reshape(-1, width, filters) + functional.pad(bias.unsqueeze(0), (0, 0, 0, width - 1))
    beyond = torch.stack([bias.new_zeros(width, filters), bias.new_full((width, filters), float("-inf"))])
    table = torch.cat([said, beyond])  # [distinct and two more, position, filter]
    nothing, never = len(said), len(said) + 1
    phrases = _phrases(words.places, width, nothing)
    phrases[..., 0].masked_fill_(~real, never)
    rows = phrases * width + torch.arange(width)
    return functional.embedding_bag(rows.flatten(0, 1), table.flatten(0, 1), mode="sum").reshape(*real.shape, filters)


def _phrases(places: Tensor, width: int, filling: int) -> Tensor:
    """The words of the phrase that starts at each word: places [batch, word] -> [batch, word, position], a copy."""
    return functional.pad(places, (0, width - 1), value=filling).unfold(1, width, 1).contiguous()


class _Strongest(Function):
    """The largest answers, [batch, filter], with the gradient of the phrases that gave them and no others."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, places: Tensor, real: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        strongest, start = _answers(Words(vectors, places), real, weight, bias).max(1)
        nothing = len(vectors)
        phrases = _phrases(places, weight.shape[2], nothing)
        winners = phrases.gather(1, start.unsqueeze(2).expand(-1, -1, weight.shape[2]))  # [batch, filter, position]
        ctx.save_for_backward(functional.pad(vectors, (0, 0, 0, 1)), winners, weight)
        return strongest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, wanted: Tensor) -> tuple[Tensor | None, ...]:
        vectors, winners, weight = ctx.saved_tensors
        filters, embedding, width = weight.shape
        share = wanted.unsqueeze(2).expand_as(winners)  # of each winner's words
        # A filter's weights get the sum of its winners' words, a word the sum of the filters that it won for.
        bags, amounts = winners.permute(1, 2, 0).flatten(0, 1), share.permute(1, 2, 0).flatten(0, 1)
        to_weight = functional.embedding_bag(bags, vectors, mode="sum", per_sample_weights=amounts)
        word, order = winners.flatten().sort()
        filter_rows = weight.transpose(1, 2).reshape(filters * width, embedding)
        starts = torch.searchsorted(word, torch.arange(len(vectors)))
        to_vectors = functional.embedding_bag(
            *(order % (filters * width), filter_rows, starts), mode="sum", per_sample_weights=share.flatten()[order]
        )
        to_vectors = to_vectors[:-1]  # what follows a review's last word learns nothing
        return to_vectors, None, None, to_weight.reshape(filters, width, embedding).transpose(1, 2), wanted.sum(0)


class CNN(WithNGrams):
    """Filters of several widths, each one's strongest answer, a hidden layer (Kim 2014)."""

    # As the dropout below, chosen on validation: docs/benchmarks.md says what other values cost.
    recipe: ClassVar[dict[str, Value]] = {"learning_rate": 1e-3}

    def __init__(
        self,
        vocabulary: int,
        embedding: Width = 100,
        filters: Annotated[int, Range(1, 8192, search=(32, 160), log=True)] = 100,
        shortest: FilterWidth = 2,
        branches: Annotated[int, Range(1, 8, search=(1, 3))] = 3,
        hidden: Width = 100,
        dropout: Rate = 0.1,
        ngrams: Beside = 0,
    ):
        super().__init__(vocabulary, ngrams)
        self.embedding = word_vectors(vocabulary, embedding)
        self.branches = nn.ModuleList(Phrases(embedding, filters, shortest + more) for more in range(branches))
        self.hidden = nn.Linear(filters * branches, hidden)
        self.dropout = Dropout(dropout)
        self.output = nn.Linear(hidden, 1)

    def judge(self, ids: Tensor) -> Tensor:
        words, real = Words.of(self.embedding, ids).dropped(self.dropout), ids != PADDING
        strongest = torch.cat([phrases.strongest(words, real) for phrases in self.branches], 1)  # type: ignore[operator]
        hidden = functional.relu(self.hidden(self.dropout(functional.relu(strongest))))
        return self.output(self.dropout(hidden)).squeeze(-1)
