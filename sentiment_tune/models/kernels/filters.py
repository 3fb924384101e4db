"""The filters of a convolution over words, on a CPU.

A filter's answer to a phrase of `width` words is y = b + sum_k W[:, k] x_k, a sum over the phrase's words of what the
filter gives each at its position. So y is a sum of rows of a table that is made of each distinct word once, and where
only the largest answer of a review counts, only its words get a gradient.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from sentiment_tune.models.kernels import products
from sentiment_tune.models.kernels.bags import in_order
from sentiment_tune.models.kernels.largest import largest_in


def filter_answers(x: Tensor, indices: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Answers [batch, word, filter] to the phrase that starts at each word, minus infinity where no word stands.

    x [distinct word, embedding], indices and mask [batch, word], weight [filter, embedding, width], bias [filter].
    """
    with torch.autocast("cpu", enabled=False):
        answers: Tensor = FilterAnswers.apply(_with_fillings(x), indices, mask, weight, bias)  # type: ignore[no-untyped-call]
    return answers


def largest_answers(x: Tensor, indices: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The largest answer of each filter in each review: [batch, filter]; arguments as for `filter_answers`."""
    with torch.autocast("cpu", enabled=False):
        largest: Tensor = LargestAnswers.apply(_with_fillings(x), indices, mask, weight, bias)  # type: ignore[no-untyped-call]
    return largest


def _with_fillings(x: Tensor) -> Tensor:
    """The vectors of words, and zeros; the last two are those of what follows a review's end and of no word."""
    return products.in_whole_blocks(x, more=2)


def _phrases(x: Tensor, indices: Tensor, width: int) -> Tensor:
    """The words of the phrase that starts at each word: indices [batch, word] -> [batch, word, position]."""
    return functional.pad(indices, (0, width - 1), value=len(x) - 2).unfold(1, width, 1).contiguous()


def _by_position(weight: Tensor) -> Tensor:
    """Weights [filter, embedding, width] as [position x filter, embedding]."""
    return weight.permute(2, 0, 1).flatten(0, 1)


def _answers(x: Tensor, phrases: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Answers [batch, word, filter], and the rows [phrase, position] of a table [word x position] that they sum up."""
    filters, _, width = weight.shape
    table = products.product(x, _by_position(weight)).reshape(len(x), width, filters)
    table[:, 0] += bias
    table[-1] = float("-inf")
    rows = phrases * width + torch.arange(width)
    rows[..., 0].masked_fill_(~mask, (len(x) - 1) * width)
    rows = rows.flatten(0, 1)
    return functional.embedding_bag(rows, table.flatten(0, 1), mode="sum").reshape(*mask.shape, filters), rows


class FilterAnswers(Function):
    """b + sum_k W[:, k] x_(t+k).

    The gradient of a row of the table is a sum of those of its phrases. torch's own sorts the rows more slowly and adds
    one by one.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, indices: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The answers [batch, word, filter]."""
        answers, rows = _answers(x, _phrases(x, indices, weight.shape[2]), mask, weight, bias)
        ctx.save_for_backward(x, rows, weight)
        return answers

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight and bias."""
        x, rows, weight = ctx.saved_tensors
        filters, embedding, width = weight.shape
        order, starts = in_order(rows.flatten(), len(x) * width)
        of_words = starts[-2 * width]  # what is none teaches nothing
        phrases = order[:of_words].div(width, rounding_mode="floor")
        bags = starts.clamp(max=of_words)
        by_word = functional.embedding_bag(phrases, grad_output.flatten(0, 1), bags, mode="sum").reshape(len(x), -1)
        grad_weight = products.summed(by_word, x).reshape(width, filters, embedding).permute(1, 2, 0)
        grad_x = products.product(by_word, _by_position(weight).t())
        return grad_x, None, None, grad_weight, by_word[:, :filters].sum(0)


class LargestAnswers(Function):
    """max over t of b + sum_k W[:, k] x_(t+k), with the gradient of the phrases that gave it and of no others."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, indices: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The largest answers [batch, filter]."""
        phrases = _phrases(x, indices, weight.shape[2])
        largest, phrase = largest_in(_answers(x, phrases, mask, weight, bias)[0], 1, mask.shape[1])
        winners = phrases.flatten(0, 1)[phrase]  # [batch, filter, position]
        ctx.save_for_backward(x, winners, weight)
        return largest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight and bias."""
        x, winners, weight = ctx.saved_tensors
        filters, embedding, width = weight.shape
        amounts = grad_output.unsqueeze(2).expand_as(winners)  # of each winner's words
        # A filter's weights get the sum of its winners' words, a word the sum of the filters that it won for.
        bags, bag_amounts = winners.permute(1, 2, 0).flatten(0, 1), amounts.permute(1, 2, 0).flatten(0, 1)
        grad_weight = functional.embedding_bag(bags, x, mode="sum", per_sample_weights=bag_amounts)
        order, starts = in_order(winners.flatten(), len(x))
        filter_rows = weight.transpose(1, 2).reshape(filters * width, embedding)
        grad_x = functional.embedding_bag(
            *(order % (filters * width), filter_rows, starts), mode="sum", per_sample_weights=amounts.flatten()[order]
        )
        grad_weight = grad_weight.reshape(filters, width, embedding).transpose(1, 2)
        return grad_x, None, None, grad_weight, grad_output.sum(0)
