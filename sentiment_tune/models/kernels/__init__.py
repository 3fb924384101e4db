"""What exists only for a CPU: each kernel computes what torch's own layers do, from the same weights.

Dropout's draws other random numbers. Most are faster; `pieces`, torch's LSTM over pieces and a part of `products` are
there so that the last bits do not tell the number of threads.

One switch turns all of them off, `with kernels.disabled():` in a program or SENTIMENT_TUNE_KERNELS=off around one; then
torch's own layers are used, as they are on a GPU and in an exported program. It also turns off what a GPU does beyond
torch's own, `training.graphs`. docs/benchmarks.md has a measured row for each that is there for speed.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

VARIABLE = "SENTIMENT_TUNE_KERNELS"
_enabled = ContextVar("enabled", default=True)


@contextmanager
def disabled() -> Iterator[None]:
    """A block in which no kernel is used."""
    token = _enabled.set(False)
    try:
        yield
    finally:
        _enabled.reset(token)


def are_enabled() -> bool:
    """Whether they are not turned off."""
    return _enabled.get() and os.environ.get(VARIABLE) != "off"


def apply_to(tensor: Tensor) -> bool:
    """Whether what is computed of this tensor may be computed by a kernel."""
    return are_enabled() and tensor.device.type == "cpu" and not torch.compiler.is_exporting()
