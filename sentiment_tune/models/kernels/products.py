"""Products of matrices whose common dimension is long: the words of a batch, or its steps.

With several threads MKL cuts such a sum as there are threads, and the last bits of a weight would tell how many there
were. Here it is cut as long as it is.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from sentiment_tune.models.kernels import pieces

LONG = 2048  # of the common dimension, a piece


def summed(a: Tensor, b: Tensor) -> Tensor:
    """a^T b, for a [long, row] and b [long, column]."""
    parts = pieces.each(lambda some: a[some].t() @ b[some], pieces.cut(len(a), -(-len(a) // LONG)))
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Products of x [long, feature] and weight [feature, output], with the bias [output]."""
    with torch.autocast("cpu", enabled=False):
        y: Tensor = Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return y


class Linear(Function):
    """x W + b for many x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The products [long, output]."""
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None
        return x @ weight if bias is None else torch.addmm(bias, x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight and bias."""
        x, weight = ctx.saved_tensors
        grad_bias = grad_output.sum(0) if ctx.biased else None
        return grad_output @ weight.t(), summed(x, grad_output), grad_bias
