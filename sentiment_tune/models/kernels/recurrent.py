"""Recurrent cells step by step on a CPU, forward and backward written out.

They compute what nn.RNN, nn.GRU and nn.LSTM do, from the same weights, faster: what arrives from a word, W_ih x + b_ih,
is looked up in a table of the distinct words, a step works on memory that fits the cache, and tanh(x) is
2 sigmoid(2x) - 1, for torch's tanh takes longer. torch's own LSTM is fused, and faster where words do not occur again;
over pieces of the rows it is repeatable too.

`x` [distinct word, gate] is that table, `indices` [step, row] its rows, `weight` [gate, hidden] and `bias` [gate] are
W_hh and b_hh, and `h` [step + 1, row, hidden] holds the states before and after each step, `h[0]` zeros. Names in the
backward passes that begin with `grad_` are gradients of the loss. Except for products a step writes where there is
memory already: threads that ask for some may wait for one another.
"""

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from sentiment_tune.models.kernels import pieces, products
from sentiment_tune.models.kernels.bags import in_order

UNIT = 16  # rows that MKL computes together: pieces of whole ones are computed as all rows would be
ROWS, ROWS_IN_LSTM = 480, 160  # of a piece, about
ALONE, ALONE_IN_LSTM = 128, 16  # rows that are one piece, for smaller ones take longer
OFTEN = 2  # places a distinct word, padding counted, from which on more than ALONE rows are read faster than by torch's


def run_cell(cell: nn.RNNBase, vectors: Tensor, indices: Tensor) -> Tensor:
    """States [batch, word, hidden] of a one-layer cell, the same with any number of threads.

    vectors [distinct word, feature], indices [batch, word].
    """
    weights: list[Tensor] = [cell.weight_ih_l0, cell.weight_hh_l0, cell.bias_ih_l0, cell.bias_hh_l0]  # type: ignore[list-item]
    states: Tensor
    with torch.autocast("cpu", enabled=False):  # the steps work in place, where all is of one precision
        vectors = vectors.type_as(weights[0])
        occur_again = len(indices) > ALONE and indices.numel() >= OFTEN * len(vectors)
        if isinstance(cell, nn.LSTM) and not occur_again:
            states = FusedLSTM.apply(torch.is_grad_enabled(), vectors, indices, *weights)  # type: ignore[no-untyped-call]
            return states
        x = products.linear(products.in_whole_blocks(vectors), weights[0], weights[2])
        given = torch.is_grad_enabled(), x, indices.t().contiguous(), weights[1], weights[3]
        states = KERNELS[type(cell)].apply(*given)  # type: ignore[no-untyped-call]
    return states.transpose(0, 1)


def _room(learns: bool, x: Tensor, indices: Tensor, width: int) -> Tensor:
    """Where the steps leave so many numbers a row for the backward pass: [step, row, width].

    If there will be none, all steps have the same room.
    """
    steps, rows = indices.shape
    return x.new_empty(steps, rows, width) if learns else x.new_empty(1, rows, width).expand(steps, -1, -1)


def _grad_x(indices: Tensor, grad_gates: Tensor, words: int) -> Tensor:
    """Gradient of the table [distinct word, gate]: the sum over a word's places of grad_gates [step, row, gate].

    That of torch's own lookup sorts the words more slowly and adds one by one.
    """
    order, starts = in_order(indices.flatten(), words)
    return functional.embedding_bag(order, grad_gates.flatten(0, 1), starts, mode="sum")


def _grad_weight(grad_gates: Tensor, h: Tensor) -> Tensor:
    """Gradient of `weight`: grad_gates [step, row, gate] times the states before each step."""
    return products.summed(grad_gates.flatten(0, 1), h[:-1].flatten(0, 1))


def _cut(rows: int, usual: int, alone: int) -> list[slice]:
    """An even number of pieces of usual size, so that two threads are done at the same time."""
    return pieces.cut(rows, 2 * -(-rows // (2 * usual)) if rows > alone else 1, UNIT)


def _over_rows(steps: Callable[..., None], shared: Sequence[Tensor], by_row: Sequence[Tensor]) -> None:
    """Take the steps of pieces of the rows, which nothing connects: by_row [step, row, ...]."""
    cut = _cut(by_row[0].shape[1], ROWS, ALONE)
    run = _compiled(steps) if len(cut) > 1 else steps
    pieces.each(lambda piece: run(*shared, *(tensor[:, piece] for tensor in by_row)), cut)


@cache
def _compiled(steps: Callable[..., None]) -> Callable[..., None]:
    """The same operations without Python's interpreter, for whose lock threads would wait at each of them."""
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # torch has nothing in its place yet
        try:
            compiled: Callable[..., None] = torch.jit.script(steps)
        except OSError:  # where the package lies without its source, which is what torch compiles
            return steps
    return compiled


def _rnn_steps(x: Tensor, weight: Tensor, indices: Tensor, h: Tensor) -> None:
    """With x and W_hh^T [hidden, gate] doubled. So small products take oneDNN as long as MKL, which works in place."""
    for t in range(indices.shape[0]):
        h_t = torch.index_select(x, 0, indices[t], out=h[t + 1])
        h_t.addmm_(h[t], weight).sigmoid_().mul_(2).sub_(1)


def _rnn_steps_back(weight: Tensor, h: Tensor, grad_output: Tensor, grad_gates: Tensor) -> None:
    """By dtanh = 1 - h^2."""
    grad_h, one = torch.zeros_like(h[0]), torch.ones_like(h[0])
    for t in range(grad_gates.shape[0] - 1, -1, -1):
        grad_gate = torch.addcmul(one, h[t + 1], h[t + 1], value=-1, out=grad_gates[t])
        torch.mm(grad_gate.mul_(grad_h.add_(grad_output[t])), weight, out=grad_h)


class RNNKernel(Function):
    """h_t = tanh(x_t + W_hh h_(t-1) + b_hh)."""

    @staticmethod
    def forward(ctx: Any, _: bool, x: Tensor, indices: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """States [step, row, hidden], which are all that a backward pass needs."""
        h = x.new_zeros(len(indices) + 1, indices.shape[1], weight.shape[1])
        _over_rows(_rnn_steps, (2 * (x + bias), 2 * weight.t()), (indices, h))
        ctx.words = len(x)
        ctx.save_for_backward(indices, weight, h)
        return h[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight and bias."""
        indices, weight, h = ctx.saved_tensors
        grad_gates = torch.empty_like(h[1:])
        _over_rows(_rnn_steps_back, (weight,), (h, grad_output, grad_gates))
        grad_x = _grad_x(indices, grad_gates, ctx.words)
        return None, grad_x, None, _grad_weight(grad_gates, h), grad_x.sum(0)


def _gru_steps(
    x: Tensor, weight: Tensor, bias: Tensor, indices: Tensor, h: Tensor, hidden_n: Tensor, gates: Tensor
) -> None:
    """hidden_n [step, row, hidden] become the third for n of W_hh h + b_hh."""
    hidden = weight.shape[1]
    for t in range(indices.shape[0]):
        from_h = products.multiplied(h[t], weight, bias)
        gates_t = torch.index_select(x, 0, indices[t], out=gates[t])
        gates_t[:, : 2 * hidden].add_(from_h[:, : 2 * hidden]).sigmoid_()
        r, z, n = torch.chunk(gates_t, 3, 1)
        n.addcmul_(r, hidden_n[t].copy_(from_h[:, 2 * hidden :])).mul_(2).sigmoid_().mul_(2).sub_(1)
        torch.lerp(n, h[t], z, out=h[t + 1])


def _gru_steps_back(
    weight: Tensor,
    h: Tensor,
    hidden_n: Tensor,
    gates: Tensor,
    grad_output: Tensor,
    grad_gates: Tensor,
    grad_hidden_gates: Tensor,
) -> None:
    """With W_hh^T [hidden, gate]. The gradients of x's gates and of h's differ by r in the third for n."""
    hidden = weight.shape[0]
    grad_h = torch.zeros_like(h[0])
    grad_h_n, product = torch.empty_like(grad_h), torch.empty_like(grad_h)
    for t in range(gates.shape[0] - 1, -1, -1):
        grad_gate = torch.addcmul(gates[t], gates[t], gates[t], value=-1, out=grad_gates[t])
        r, z, n = torch.chunk(gates[t], 3, 1)
        grad_r, grad_z, grad_n = torch.chunk(grad_gate, 3, 1)
        grad_h.add_(grad_output[t])
        grad_z.mul_(grad_h).mul_(torch.sub(h[t], n, out=product))
        torch.addcmul(grad_h, grad_h, z, value=-1, out=grad_h_n)
        torch.addcmul(grad_h_n, torch.mul(grad_h_n, n, out=product), n, value=-1, out=grad_n)
        grad_r.mul_(grad_n).mul_(hidden_n[t])
        grad_hidden_gates[t].copy_(grad_gate)[:, 2 * hidden :].mul_(r)
        grad_h = products.multiplied_and_added(grad_hidden_gates[t], weight, grad_h.mul_(z))


class GRUKernel(Function):
    """Cho et al. (2014), as torch has it.

    r, z = sigmoid(x_t + W_hh h_(t-1) + b_hh), n = tanh(x_t + r (W_hh h_(t-1) + b_hh)), each with its third of the
    gates; h_t = (1 - z) n + z h_(t-1).
    """

    @staticmethod
    def forward(ctx: Any, learns: bool, x: Tensor, indices: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """States [step, row, hidden]; `learns` says whether there will be a backward pass."""
        hidden = weight.shape[1]
        h = x.new_zeros(len(indices) + 1, indices.shape[1], hidden)
        hidden_n, gates = (_room(learns, x, indices, width) for width in (hidden, 3 * hidden))
        _over_rows(_gru_steps, (x, weight, bias), (indices, h, hidden_n, gates))
        ctx.words = len(x)
        ctx.save_for_backward(indices, weight, h, hidden_n, gates)
        return h[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight and bias."""
        indices, weight, *of_rows = ctx.saved_tensors
        h, _, gates = of_rows
        grad_gates, grad_hidden_gates = torch.empty_like(gates), torch.empty_like(gates)
        _over_rows(_gru_steps_back, (weight.t().contiguous(),), (*of_rows, grad_output, grad_gates, grad_hidden_gates))
        grad_x = _grad_x(indices, grad_gates, ctx.words)
        grad_bias = grad_hidden_gates.flatten(0, 1).sum(0)
        return None, grad_x, None, _grad_weight(grad_hidden_gates, h), grad_bias


def _lstm_steps(
    x: Tensor, weight: Tensor, indices: Tensor, h: Tensor, c: Tensor, tanh_c: Tensor, gates: Tensor
) -> None:
    """With x and W_hh [gate, hidden] doubled for g; tanh_c [step, row, hidden] become tanh(c) after each step."""
    from_x = torch.empty_like(gates[0])
    for t in range(indices.shape[0]):
        torch.index_select(x, 0, indices[t], out=from_x)
        gates_t = torch.sigmoid(products.multiplied_and_added(h[t], weight, from_x), out=gates[t])
        i, f, g, o = torch.chunk(gates_t, 4, 1)
        g.mul_(2).sub_(1)
        c_t = torch.mul(f, c[t], out=c[t + 1]).addcmul_(i, g)
        torch.add(c_t, c_t, out=tanh_c[t]).sigmoid_().mul_(2).sub_(1)
        torch.mul(o, tanh_c[t], out=h[t + 1])


def _lstm_steps_back(
    weight: Tensor, c: Tensor, tanh_c: Tensor, gates: Tensor, grad_output: Tensor, grad_gates: Tensor
) -> None:
    """With W_hh^T [hidden, gate]."""
    grad_h, grad_c, one = torch.zeros_like(c[0]), torch.zeros_like(c[0]), torch.ones_like(c[0])
    product, slope = torch.empty_like(grad_h), torch.empty_like(grad_h)
    for t in range(gates.shape[0] - 1, -1, -1):
        grad_gate = torch.addcmul(gates[t], gates[t], gates[t], value=-1, out=grad_gates[t])
        i, f, g, o = torch.chunk(gates[t], 4, 1)
        grad_i, grad_f, grad_g, grad_o = torch.chunk(grad_gate, 4, 1)
        grad_h.add_(grad_output[t])
        grad_o.mul_(torch.mul(grad_h, tanh_c[t], out=product))
        torch.addcmul(one, tanh_c[t], tanh_c[t], value=-1, out=slope)
        grad_c.addcmul_(torch.mul(grad_h, o, out=product), slope)
        grad_i.mul_(torch.mul(grad_c, g, out=product))
        grad_f.mul_(torch.mul(grad_c, c[t], out=product))
        torch.addcmul(one, g, g, value=-1, out=grad_g).mul_(torch.mul(grad_c, i, out=product))
        grad_c.mul_(f)
        grad_h = products.multiplied(grad_gate, weight, None)


class LSTMKernel(Function):
    """Hochreiter and Schmidhuber (1997), as torch has it, where words occur often.

    i, f, o = sigmoid(x_t + W_hh h_(t-1) + b_hh), g = tanh of the same, each with its fourth of the gates;
    c_t = f c_(t-1) + i g, h_t = o tanh(c_t).
    """

    @staticmethod
    def forward(ctx: Any, learns: bool, x: Tensor, indices: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """States [step, row, hidden]; `learns` says whether there will be a backward pass."""
        hidden = weight.shape[1]
        h = x.new_zeros(len(indices) + 1, indices.shape[1], hidden)
        c = torch.zeros_like(h) if learns else h.new_zeros(1, *h.shape[1:]).expand_as(h)
        tanh_c, gates = (_room(learns, x, indices, width) for width in (hidden, 4 * hidden))
        factors = x.new_tensor([1.0, 1.0, 2.0, 1.0]).repeat_interleave(hidden)  # [gate]
        doubled = (x + bias) * factors, weight * factors.unsqueeze(1)
        _over_rows(_lstm_steps, doubled, (indices, h, c, tanh_c, gates))
        ctx.words = len(x)
        ctx.save_for_backward(indices, weight, h, c, tanh_c, gates)
        return h[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight and bias."""
        indices, weight, h, c, tanh_c, gates = ctx.saved_tensors
        grad_gates = torch.empty_like(gates)
        _over_rows(_lstm_steps_back, (weight.t().contiguous(),), (c, tanh_c, gates, grad_output, grad_gates))
        grad_x = _grad_x(indices, grad_gates, ctx.words)
        return None, grad_x, None, _grad_weight(grad_gates, h), grad_x.sum(0)


class FusedLSTM(Function):
    """torch's own layer, for it is fused on a CPU, over pieces of the rows, which nothing connects.

    Its threads add up the gradients of many rows as they come, so that no training would be like another.
    """

    @staticmethod
    def forward(ctx: Any, learns: bool, vectors: Tensor, indices: Tensor, *weights: Tensor) -> Tensor:
        """States [row, step, hidden] of words `vectors` [distinct word, feature], `indices` [row, step].

        `weights` are W_ih, W_hh, b_ih and b_hh; `learns` says whether there will be a backward pass.
        """
        hidden = weights[1].shape[1]
        states = vectors.new_empty(*indices.shape, hidden)
        ctx.rows = _cut(len(indices), ROWS_IN_LSTM, ALONE_IN_LSTM)

        def read(rows: slice) -> tuple[Tensor, ...]:
            with torch.set_grad_enabled(learns):
                own = [tensor.detach().requires_grad_(learns) for tensor in (vectors[indices[rows]], *weights)]
                zeros = states.new_zeros(1, len(own[0]), hidden)
                answers = torch.lstm(own[0], (zeros, zeros), own[1:], True, 1, 0.0, learns, False, True)[0]
            states[rows] = answers.detach()
            return (answers, *own) if learns else ()

        readings = pieces.each(read, ctx.rows)
        if learns:
            ctx.readings, ctx.words = readings, len(vectors)
            ctx.save_for_backward(indices)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the vectors and of the weights."""
        (indices,) = ctx.saved_tensors

        def learn(piece: int) -> tuple[Tensor, ...]:
            answers, *own = ctx.readings[piece]
            return torch.autograd.grad(answers, own, grad_output[ctx.rows[piece]])

        grad_features, *grads = zip(*pieces.each(learn, range(len(ctx.rows))), strict=True)
        grad_vectors = _grad_x(indices, torch.cat(grad_features), ctx.words)
        return None, grad_vectors, None, *(torch.stack(grad).sum(0) for grad in grads)


KERNELS: dict[type[nn.RNNBase], type[Function]] = {nn.RNN: RNNKernel, nn.GRU: GRUKernel, nn.LSTM: LSTMKernel}
