"""Products of matrices by oneDNN, where torch has it.

On an AMD EPYC that multiplies 512 bits at once they take less than half the time of MKL's, which uses 256. And their
bits tell nothing of the number of threads, nor of how rows are cut. A sum over a long common dimension, the words of a
batch, its steps or thousands of features, would be cut as there are threads, by either: here each is one thread's.
"""

import platform
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from sentiment_tune.models.kernels import pieces

LONG = 2048  # of the common dimension, a piece
WIDE, ROWS = 1024, 64  # features beyond which so many rows are a piece
WHOLE = 128  # rows


def in_whole_blocks(rows: Tensor, more: int = 0) -> Tensor:
    """Rows [row, feature] and zeros, at least so many more, up to a multiple of 128.

    oneDNN prepares itself for each shape anew.
    """
    return functional.pad(rows, (0, 0, 0, more + -(len(rows) + more) % WHOLE))


def _by_torch(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return functional.linear(x, weight, bias)


def _added_by_torch(x: Tensor, weight: Tensor, summand: Tensor) -> Tensor:
    return torch.addmm(summand, x, weight.t())


def _by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if x.dtype != torch.float32 or x.numel() == 0:
        return _by_torch(x, weight, bias)
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product


def _added_by_onednn(x: Tensor, weight: Tensor, summand: Tensor) -> Tensor:
    if x.dtype != torch.float32 or x.numel() == 0:
        return _added_by_torch(x, weight, summand)
    total: Tensor = torch.ops.mkldnn._linear_pointwise(x, summand, weight, None, "add")
    return total


HAS_ONEDNN = (
    platform.machine().lower() in ("x86_64", "amd64")  # elsewhere neither bits nor seconds have been looked at
    and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")  # which is what torch's compiler calls
)
# x weight^T + bias [output] or + summand [row, output], of x [row, feature] and weight [output, feature]. TorchScript
# compiles them too.
multiplied = _by_onednn if HAS_ONEDNN else _by_torch
multiplied_and_added = _added_by_onednn if HAS_ONEDNN else _added_by_torch


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`multiplied` of any size, the same with any number of threads."""
    if x.shape[1] <= WIDE:
        return multiplied(x, weight, bias)
    cut = pieces.cut(len(x), -(-len(x) // ROWS))
    return torch.cat(pieces.each(lambda some: multiplied(x[some], weight, bias), cut))


def summed(a: Tensor, b: Tensor) -> Tensor:
    """a^T b, for a [long, row] and b [long, column]."""
    if a.shape[1] > b.shape[1]:
        return summed(b, a).t()  # oneDNN copies the first of two transposed matrices: let it be the smaller one
    cut = pieces.cut(len(a), -(-len(a) // LONG))
    parts = pieces.each(lambda some: multiplied(a[some].t(), b[some].t(), None), cut)
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Products of x [long, feature] and weight [output, feature], with the bias [output]."""
    with torch.autocast("cpu", enabled=False):
        y: Tensor = Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return y


class Linear(Function):
    """x W^T + b for many x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The products [long, output]."""
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight and bias."""
        x, weight = ctx.saved_tensors
        return product(grad_output, weight.t()), summed(grad_output, x), grad_output.sum(0)


def small_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """What `linear` computes of as many x as a batch has reviews: oneDNN takes longer to begin than MKL for it all."""
    y: Tensor = SmallLinear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return y


class SmallLinear(Function):
    """x W^T + b by one thread."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The products [row, output]."""
        ctx.save_for_backward(x, weight)
        (y,) = pieces.each(lambda _: functional.linear(x, weight, bias), [None])
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight and bias."""
        x, weight = ctx.saved_tensors
        (grads,) = pieces.each(lambda _: (grad_output @ weight, grad_output.t() @ x, grad_output.sum(0)), [None])
        return grads
