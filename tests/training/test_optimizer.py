"""The optimizer computes what torch's does, and needs less to begin."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from sentiment_tune.training.optimizer import AdamW


@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
def test_it_is_torchs_own_bit_for_bit(weight_decay: float) -> None:
    torch.manual_seed(1)
    ours = [nn.Parameter(torch.randn(*shape)) for shape in ((50, 8), (7,), (3, 2), (4,))]
    theirs = [nn.Parameter(parameter.detach().clone()) for parameter in ours]
    optimizer, other = AdamW(ours, weight_decay), torch.optim.AdamW(theirs, weight_decay=weight_decay, fused=True)
    for step in range(12):
        optimizer.zero_grad()
        other.zero_grad()
        for number in range(2 if step < 6 else 3):  # one comes later, one never
            gradient = torch.randn_like(ours[number])
            ours[number].grad, theirs[number].grad = gradient, gradient.clone()
        optimizer.step(0.1 / (step + 1))
        other.param_groups[0]["lr"] = 0.1 / (step + 1)
        other.step()
    assert all(torch.equal(one, another) for one, another in zip(ours, theirs, strict=True))
    kept = [{name: tensor.tolist() for name, tensor in other.state.get(one, {}).items()} for one in theirs]
    assert [{name: tensor.tolist() for name, tensor in memory.items()} for memory in optimizer.state] == kept
    assert (optimizer.state[3], int(optimizer.state[2]["step"])) == ({}, 6)


def test_a_step_does_not_load_torchs_compiler() -> None:
    code = (
        "import sys, torch; from sentiment_tune.training.optimizer import AdamW; "
        "weights = torch.ones(3, requires_grad=True); weights.sum().backward(); AdamW([weights], 0.0).step(0.1); "
        "assert 'torch._dynamo' not in sys.modules and weights[0] < 1"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
