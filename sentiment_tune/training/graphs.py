"""Steps that a GPU records once and plays again: one call from Python in place of the hundred that make up a step.

The kernels of a step of a small network take a GPU less time than it takes Python to start them one by one. A step is
the same kernels for all batches of a shape, which is how many reviews and how many words, and there are few of those.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

MOST = 128  # recorded shapes; all share one piece of memory, but each has its own for what goes in

Outcome = tuple[Tensor, Tensor]
Step = Callable[..., Outcome]


class Recording(NamedTuple):
    """A step over tensors of some shapes: it reads and writes the same memory whenever it is played."""

    graph: "torch.cuda.CUDAGraph"
    inputs: tuple[Tensor, ...]
    outputs: Outcome


class RecordedStep:
    """A step on a GPU, recorded the second time that its inputs have the shapes they have.

    The first time it is computed as it is written, when libraries choose their ways and memory is taken. One that
    cannot be recorded, since something in it waits for the GPU, is always computed so.
    """

    def __init__(self, step: Step, device: torch.device):
        """`step` makes tensors of tensors on the device; what else it changes, it changes in place."""
        self._step, self._device = step, device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # the usual one cannot be recorded
        self._pool = torch.cuda.graph_pool_handle()
        self._recordings: dict[Sequence[torch.Size], Recording | None] = {}
        self._records = True

    @contextmanager
    def stream(self) -> Iterator[None]:
        """The block that all calls have to be in."""
        outside = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(outside)
        try:
            with torch.cuda.stream(self._stream):
                yield
        finally:
            outside.wait_stream(self._stream)

    def __call__(self, *inputs: Tensor) -> Outcome:
        """What the step makes of tensors on any device."""
        shapes = tuple(tensor.shape for tensor in inputs)
        if shapes in self._recordings and self._recordings[shapes] is None and self._records:
            self._recordings[shapes] = self._record(inputs)
        recording = self._recordings.get(shapes)
        if recording is None:
            if len(self._recordings) < MOST:
                self._recordings.setdefault(shapes)
            return self._step(*(tensor.to(self._device, non_blocking=True) for tensor in inputs))
        for memory, tensor in zip(recording.inputs, inputs, strict=True):
            memory.copy_(tensor, non_blocking=True)
        recording.graph.replay()
        one, other = recording.outputs
        return one.clone(), other.clone()  # the next recording to be played may write there

    def _record(self, inputs: Sequence[Tensor]) -> Recording | None:
        graph = torch.cuda.CUDAGraph()
        own = tuple(torch.empty_like(tensor, device=self._device) for tensor in inputs)
        try:
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                outputs = self._step(*own)
            finally:
                graph.capture_end()
        except RuntimeError:  # computed as it is written it may well be possible, and if not, that will say why
            self._records = False
            return None
        return Recording(graph, own, outputs)
