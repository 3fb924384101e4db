"""Reading step by step on a CPU: the three recurrent cells, forward and backward written out.

They compute what nn.RNN, nn.LSTM and nn.GRU do, from the same weights, and faster: what arrives from a word is looked
up in a table of the distinct words, a step works in place on memory that fits the cache, and tanh(x) is
2 sigmoid(2x) - 1, for torch's tanh takes longer. `scripts/benchmark_layers.py` measures them against torch's own.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional


def run_cell(cell: nn.RNNBase, vectors: Tensor, places: Tensor) -> Tensor:
    """States [batch, word, hidden] of a one-layer cell; vectors [distinct word, feature], places [batch, word]."""
    arriving = functional.linear(vectors, cell.weight_ih_l0, cell.bias_ih_l0)  # type: ignore[arg-type]
    kept = (cell.weight_hh_l0, cell.bias_hh_l0)
    with torch.autocast("cpu", enabled=False):  # the steps work in place, where all is of one precision
        arriving = arriving.to(vectors.dtype)
        states: Tensor = _CELLS[type(cell)].apply(arriving, places.t().contiguous(), *kept)  # type: ignore[no-untyped-call]
    return states.transpose(0, 1)


class _Cell(Function):
    """arriving [word, gate], places [step, row], weight [gate, hidden], bias [gate] -> states [step, row, hidden]."""

    @staticmethod
    def table_gradient(ctx: Any, gates: Tensor) -> Tensor:
        """Gradient of `arriving`, summed over all places of a word; gates [step, row, gate]."""
        places, rows = ctx.saved_tensors[0], ctx.rows
        return torch.ops.aten.embedding_dense_backward(gates, places, rows, -1, False)

    @staticmethod
    def weight_gradient(gates: Tensor, states: Tensor) -> Tensor:
        """Gradient of `weight`: gates [step, row, gate], states [step + 1, row, hidden], before and after each step."""
        return gates.flatten(0, 1).t() @ states[:-1].flatten(0, 1)


class _RNN(_Cell):
    """state = tanh(arriving + weight state + bias)."""

    @staticmethod
    def forward(ctx: Any, arriving: Tensor, places: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        doubled, kept = 2 * (arriving + bias), 2 * weight.t()
        states = arriving.new_zeros(len(places) + 1, places.shape[1], weight.shape[1])
        for step, place in enumerate(places):
            state = torch.index_select(doubled, 0, place, out=states[step + 1])
            state.addmm_(states[step], kept).sigmoid_().mul_(2).sub_(1)
        ctx.rows = len(arriving)
        ctx.save_for_backward(places, weight, states)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, wanted: Tensor) -> tuple[Tensor | None, ...]:
        _, weight, states = ctx.saved_tensors
        gates = torch.empty_like(states[1:])
        carried, one = torch.zeros_like(states[0]), torch.ones_like(states[0])
        for step in reversed(range(len(gates))):
            gate = torch.addcmul(one, states[step + 1], states[step + 1], value=-1, out=gates[step])
            torch.mm(gate.mul_(carried.add_(wanted[step])), weight, out=carried)
        table = _Cell.table_gradient(ctx, gates)
        return table, None, _Cell.weight_gradient(gates, states), table.sum(0)


class _LSTM(_Cell):
    """memory = forget memory + enter tanh(candidate), state = leave tanh(memory); enter, forget, leave by sigmoid."""

    @staticmethod
    def forward(ctx: Any, arriving: Tensor, places: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        hidden = weight.shape[1]
        scale = weight.new_ones(4, hidden)
        scale[2] = 2  # the candidate's tanh by a sigmoid
        doubled, kept = (arriving + bias) * scale.flatten(), weight.t() * scale.flatten()
        gates = arriving.new_empty(*places.shape, 4 * hidden)
        states, memories = arriving.new_zeros(2, len(places) + 1, places.shape[1], hidden)
        shown = torch.empty_like(states[1:])  # tanh(memory)
        for step, place in enumerate(places):
            now = torch.index_select(doubled, 0, place, out=gates[step]).addmm_(states[step], kept).sigmoid_()
            enter, forget, candidate, leave = now.chunk(4, 1)
            candidate.mul_(2).sub_(1)
            torch.mul(forget, memories[step], out=memories[step + 1]).addcmul_(enter, candidate)
            torch.mul(memories[step + 1], 2, out=shown[step]).sigmoid_().mul_(2).sub_(1)
            torch.mul(leave, shown[step], out=states[step + 1])
        ctx.rows = len(arriving)
        ctx.save_for_backward(places, weight, states, memories, shown, gates)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, wanted: Tensor) -> tuple[Tensor | None, ...]:
        _, weight, states, memories, shown, gates = ctx.saved_tensors
        slopes = torch.empty_like(gates)  # of a gate's value to what goes into it, then the gradient of that
        carried, remembered = torch.zeros_like(states[0]), torch.zeros_like(states[0])
        for step in reversed(range(len(gates))):
            slope = torch.addcmul(gates[step], gates[step], gates[step], value=-1, out=slopes[step])
            enter, forget, candidate, leave = gates[step].chunk(4, 1)
            to_enter, to_forget, to_candidate, to_leave = slope.chunk(4, 1)
            carried.add_(wanted[step])
            to_leave.mul_(carried).mul_(shown[step])
            carried.mul_(leave)
            remembered.add_(carried.addcmul_(carried * shown[step], shown[step], value=-1))
            to_enter.mul_(remembered).mul_(candidate)
            to_forget.mul_(remembered).mul_(memories[step])
            entered = remembered * enter
            torch.addcmul(entered, entered * candidate, candidate, value=-1, out=to_candidate)
            remembered.mul_(forget)
            torch.mm(slope, weight, out=carried)
        table = _Cell.table_gradient(ctx, slopes)
        return table, None, _Cell.weight_gradient(slopes, states), table.sum(0)


class _GRU(_Cell):
    """state = update state + (1 - update) tanh(candidate arriving + reset (candidate kept)), as torch has it."""

    @staticmethod
    def forward(ctx: Any, arriving: Tensor, places: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        hidden = weight.shape[1]
        kept = arriving.new_empty(*places.shape, 3 * hidden)
        states = arriving.new_zeros(len(places) + 1, places.shape[1], hidden)
        gates = torch.empty_like(kept)
        weights = weight.t()
        for step, place in enumerate(places):
            remembered = torch.addmm(bias, states[step], weights, out=kept[step])
            now = torch.index_select(arriving, 0, place, out=gates[step])
            now[:, : 2 * hidden].add_(remembered[:, : 2 * hidden]).sigmoid_()
            reset, update, candidate = now.chunk(3, 1)
            candidate.addcmul_(reset, remembered[:, 2 * hidden :]).mul_(2).sigmoid_().mul_(2).sub_(1)
            torch.lerp(candidate, states[step], update, out=states[step + 1])
        ctx.rows = len(arriving)
        ctx.save_for_backward(places, weight, states, kept[..., 2 * hidden :], gates)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, wanted: Tensor) -> tuple[Tensor | None, ...]:
        _, weight, states, kept, gates = ctx.saved_tensors
        hidden = weight.shape[1]
        to_arriving, to_kept = torch.empty_like(gates), torch.empty_like(gates)
        carried = torch.zeros_like(states[0])
        for step in reversed(range(len(gates))):
            now = torch.addcmul(gates[step], gates[step], gates[step], value=-1, out=to_arriving[step])
            reset, update, candidate = gates[step].chunk(3, 1)
            to_reset, to_update, to_candidate = now.chunk(3, 1)
            carried.add_(wanted[step])
            to_update.mul_(carried).mul_(states[step] - candidate)
            proposed = carried.addcmul(carried, update, value=-1)
            torch.addcmul(proposed, proposed * candidate, candidate, value=-1, out=to_candidate)
            to_reset.mul_(to_candidate).mul_(kept[step])
            to_kept[step].copy_(now)[:, 2 * hidden :].mul_(reset)
            carried.mul_(update).addmm_(to_kept[step], weight)
        table = _Cell.table_gradient(ctx, to_arriving)
        return table, None, _Cell.weight_gradient(to_kept, states), to_kept.flatten(0, 1).sum(0)


_CELLS: dict[type[nn.RNNBase], type[_Cell]] = {nn.RNN: _RNN, nn.LSTM: _LSTM, nn.GRU: _GRU}
