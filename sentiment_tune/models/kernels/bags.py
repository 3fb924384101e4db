"""Sums of the vectors of each review's words, on a CPU.

torch sums them at memory's speed, but for the gradient it sorts the words. How often each word stands in each review is
a matrix, and its product with the reviews' gradients is that of the words: made of those words alone that there are.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional


def sums_of_words(table: Tensor, words: Tensor, lengths: Tensor, amounts: Tensor | None = None) -> Tensor:
    """Sums [review, feature] of rows of a table [word, feature], each as often as the amounts say.

    words and amounts [occurrence] stand review after review, of which each has so many, lengths [review]. Amounts get
    no gradient.
    """
    with torch.autocast("cpu", enabled=False):  # which is a thread's own matter
        sums: Tensor = SumsOfWords.apply(table, words, lengths, amounts)  # type: ignore[no-untyped-call]
    return sums


class SumsOfWords(Function):
    """Sums of a table's rows, review by review."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, words: Tensor, lengths: Tensor, amounts: Tensor | None) -> Tensor:
        """The sums."""
        ctx.save_for_backward(words, lengths, amounts)
        ctx.shape = table.shape
        starts = lengths.cumsum(0) - lengths
        return functional.embedding_bag(words, table, starts, mode="sum", per_sample_weights=amounts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        """Gradient of the table."""
        words, lengths, amounts = ctx.saved_tensors
        present = torch.zeros(ctx.shape[0], dtype=torch.bool).index_fill_(0, words, True)
        distinct = present.nonzero().squeeze(1)  # faster than torch.unique, which sorts
        reviews = torch.arange(len(lengths)).repeat_interleave(lengths, output_size=len(words))
        places = (present.cumsum(0) - 1)[words] + reviews * len(distinct)
        if amounts is None:
            amounts = grad_output.new_ones(len(words))
        matrix = grad_output.new_zeros(len(lengths) * len(distinct)).scatter_add_(0, places, amounts)
        gradient = matrix.reshape(len(lengths), -1).t() @ grad_output  # [distinct word, feature]
        return grad_output.new_zeros(ctx.shape).index_copy_(0, distinct, gradient), None, None, None
