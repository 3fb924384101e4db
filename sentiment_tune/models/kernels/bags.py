"""Sums of the vectors of each review's words, on a CPU.

torch sums them at memory's speed. The gradient of a word is a sum too, of its reviews' gradients, and is computed the
same way; torch's own sorts the words for it more slowly and adds row by row.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
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
        ctx.rows = len(table)
        starts = lengths.cumsum(0) - lengths
        return functional.embedding_bag(words, table, starts, mode="sum", per_sample_weights=amounts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        """Gradient of the table."""
        words, lengths, amounts = ctx.saved_tensors
        order, starts = in_order(words, ctx.rows)
        reviews = torch.arange(len(lengths)).repeat_interleave(lengths, output_size=len(words))[order]
        amounts = None if amounts is None else amounts[order]
        gradient = functional.embedding_bag(
            reviews, grad_output.contiguous(), starts, mode="sum", per_sample_weights=amounts
        )
        return gradient, None, None, None


def in_order(words: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The places [occurrence] of words below `count`, of each word one after another, and where each word's begin."""
    lengths = torch.bincount(words, minlength=count)
    return torch.from_numpy(_places_in_order(words.numpy())), lengths.cumsum(0) - lengths


def distinct_words(words: Tensor, lengths: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Each review's words once: words below `count` [occurrence] and lengths [review], as they are given."""
    reviews = torch.arange(len(lengths)).repeat_interleave(lengths, output_size=len(words))
    pairs = (reviews * count + words).numpy()
    pairs = pairs[_places_in_order(pairs)]
    pairs = pairs[np.append(True, pairs[1:] != pairs[:-1])[: len(pairs)]]
    reviews, words = torch.from_numpy(pairs // count), torch.from_numpy(pairs % count)
    return words, torch.bincount(reviews, minlength=len(lengths))


def _places_in_order(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where numbers, none below 0, stand from the least to the greatest, of equal ones the first first.

    They are sorted digit by digit of 16 bits: NumPy sorts so short numbers by counting them, in a fifth of the time
    that torch takes for long ones.
    """
    order = np.argsort(numbers.astype(np.uint16), kind="stable")
    while (numbers := numbers >> 16).any():
        order = order[np.argsort(numbers[order].astype(np.uint16), kind="stable")]
    return order
