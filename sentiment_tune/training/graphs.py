"""Steps that a GPU records once and plays again: one call from Python in place of the hundred that make up a step.

The kernels of a step of a small network take a GPU less time than it takes Python to start them one by one. A step is
the same kernels for all batches of a shape, which is how many reviews and how many words, and there are few of those.
"""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from sentiment_tune.errors import InputError
from sentiment_tune.models import kernels

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

    The first time it is computed as it is written, when libraries choose their ways and memory is taken.
    """

    def __init__(self, device: torch.device):
        self._device = device
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

    def __call__(self, step: Step, *inputs: Tensor) -> Outcome:
        """What the step, always the same one, makes of tensors; whatever else it changes, it changes in place.

        InputError if something in it cannot be recorded, such as waiting for what the GPU has computed.
        """
        shapes = tuple(tensor.shape for tensor in inputs)
        if shapes in self._recordings and self._recordings[shapes] is None and self._records:
            self._recordings[shapes] = self._record(step, inputs)
        recording = self._recordings.get(shapes)
        if recording is None:
            if len(self._recordings) < MOST:
                self._recordings.setdefault(shapes)
            return step(*(tensor.to(self._device, non_blocking=True) for tensor in inputs))
        for memory, tensor in zip(recording.inputs, inputs, strict=True):
            memory.copy_(tensor, non_blocking=True)
        recording.graph.replay()
        one, other = recording.outputs
        return one.clone(), other.clone()  # the next recording to be played may write there

    def _record(self, step: Step, inputs: Sequence[Tensor]) -> Recording | None:
        """None if there is no memory for it, say: then there may be enough for the step alone."""
        graph = torch.cuda.CUDAGraph()
        own = tuple(torch.empty_like(tensor, device=self._device) for tensor in inputs)
        with _nothing_collected():
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                outputs = step(*own)
            except RuntimeError:
                self._records = False
            try:
                graph.capture_end()
            except RuntimeError as error:  # which leaves torch's random numbers unusable
                reason = " ".join(str(error).split())
                raise InputError(
                    f"this GPU, with torch {torch.__version__}, does not record a training step ({reason:.200}): set "
                    f"{kernels.VARIABLE}=off to have each computed as it is written"
                ) from error
        return Recording(graph, own, outputs) if self._records else None


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """A block in which no garbage is collected: an earlier training's recordings in it would spoil the new one."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
