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

BLOCK = 16  # words


def filter_answers(x: Tensor, indices: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Answers [batch, word, filter] to the phrase that starts at each word, minus infinity where no word stands.

    x [distinct word, embedding], indices and mask [batch, word], weight [filter, embedding, width], bias [filter].
    """
    filters, embedding, width = weight.shape
    answers = products.linear(x, weight.permute(1, 2, 0).reshape(embedding, width * filters))
    answers = answers.reshape(-1, width, filters) + functional.pad(bias.unsqueeze(0), (0, 0, 0, width - 1))
    beyond = torch.stack([bias.new_zeros(width, filters), bias.new_full((width, filters), float("-inf"))])
    table = torch.cat([answers, beyond])  # [distinct word and two more, position, filter]
    after_end, no_word = len(answers), len(answers) + 1
    phrases = _phrases(indices, width, after_end)
    phrases[..., 0].masked_fill_(~mask, no_word)
    rows = phrases * width + torch.arange(width)
    sums: Tensor = SumsOfRows.apply(table.flatten(0, 1), rows.flatten(0, 1))  # type: ignore[no-untyped-call]
    return sums.reshape(*mask.shape, filters)


def largest_answers(x: Tensor, indices: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The largest answer of each filter in each review: [batch, filter]; arguments as for `filter_answers`."""
    largest: Tensor = LargestAnswers.apply(x, indices, mask, weight, bias)  # type: ignore[no-untyped-call]
    return largest


def _phrases(indices: Tensor, width: int, filling: int) -> Tensor:
    """The words of the phrase that starts at each word: indices [batch, word] -> [batch, word, position], a copy."""
    return functional.pad(indices, (0, width - 1), value=filling).unfold(1, width, 1).contiguous()


class SumsOfRows(Function):
    """Sums [phrase, filter] of rows [phrase, position] of a table [word x position, filter].

    The gradient of a row is a sum of those of its phrases. torch's own sorts the rows more slowly and adds one by one.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor) -> Tensor:
        """The sums."""
        ctx.save_for_backward(rows)
        ctx.rows = len(table)
        return functional.embedding_bag(rows, table, mode="sum")

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        """Gradient of the table."""
        (rows,) = ctx.saved_tensors
        order, starts = in_order(rows.flatten(), ctx.rows)
        phrases = order.div(rows.shape[1], rounding_mode="floor")
        return functional.embedding_bag(phrases, grad_output, starts, mode="sum"), None


def largest_of_words(answers: Tensor) -> tuple[Tensor, Tensor]:
    """What answers.max(1) gives of answers [batch, word, filter]: the largest and where it stands first.

    torch finds a place by comparing one number after another, but the largest alone for many filters at once: that is
    done with blocks of words, and the place is looked for among the blocks and within one.
    """
    batch, words, filters = answers.shape
    if words < BLOCK**2 // 2:
        return answers.max(1)
    whole = words // BLOCK * BLOCK
    by_block = answers[:, :whole].reshape(batch, -1, BLOCK, filters).amax(2)
    if whole < words:
        by_block = torch.cat([by_block, answers[:, whole:].amax(1, keepdim=True)], 1)
    largest, block = by_block.max(1)
    start = block * BLOCK
    places = start.unsqueeze(1) + torch.arange(BLOCK).unsqueeze(1)  # [batch, word of the block, filter]
    return largest, start + answers.gather(1, places.clamp_(max=words - 1)).max(1).indices


class LargestAnswers(Function):
    """max over t of b + sum_k W[:, k] x_(t+k), with the gradient of the phrases that gave it and of no others."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, indices: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The largest answers [batch, filter]."""
        largest, start = largest_of_words(filter_answers(x, indices, mask, weight, bias))
        after_end, width = len(x), weight.shape[2]
        phrases = _phrases(indices, width, after_end)
        winners = phrases.gather(1, start.unsqueeze(2).expand(-1, -1, width))  # [batch, filter, position]
        ctx.save_for_backward(functional.pad(x, (0, 0, 0, 1)), winners, weight)
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
        grad_x = grad_x[:-1]  # what follows a review's last word learns nothing
        grad_weight = grad_weight.reshape(filters, width, embedding).transpose(1, 2)
        return grad_x, None, None, grad_weight, grad_output.sum(0)
