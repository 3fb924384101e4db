"""AdamW without torch's compiler, which torch's own optimizers import, a second, at their first step."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam

MEMORY = ("step", "exp_avg", "exp_avg_sq")  # what is kept of a parameter


class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019): what `torch.optim.AdamW(fused=True)` computes.

    Attributes:
        state: what is kept of each parameter, in their order, by the names of MEMORY; empty before its first step.
    """

    def __init__(self, parameters: Iterable[Tensor], weight_decay: float):
        self._parameters: Sequence[Tensor] = list(parameters)
        self._weight_decay = weight_decay
        self.state: list[dict[str, Tensor]] = [{} for _ in self._parameters]

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, learning_rate: float | Tensor, divisor: Tensor | None = None, skip: Tensor | None = None) -> None:
        """One step for each parameter that has a gradient, which is divided by `divisor`; none if `skip` is 1."""
        moved = [
            (parameter, memory)
            for parameter, memory in zip(self._parameters, self.state, strict=True)
            if parameter.grad is not None
        ]
        for parameter, memory in moved:
            if not memory:
                start = torch.zeros((), dtype=torch.float32, device=parameter.device)
                memory |= zip(MEMORY, (start, torch.zeros_like(parameter), torch.zeros_like(parameter)), strict=True)
        step, average, square = ([memory[name] for _, memory in moved] for name in MEMORY)
        adam(
            [parameter for parameter, _ in moved],
            [parameter.grad for parameter, _ in moved if parameter.grad is not None],
            average,
            square,
            [],
            step,
            fused=True,
            grad_scale=divisor,
            found_inf=skip,
            decoupled_weight_decay=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=learning_rate,
            weight_decay=self._weight_decay,
            eps=1e-8,
            maximize=False,
        )
