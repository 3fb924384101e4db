"""What a study may look for beside accuracy: how large, how fast and how costly a network is.

    tune --objectives accuracy,parameters,latency --max-size 1MB

What a network costs without having learnt anything is measured before its training: where a limit is exceeded, no
minute goes into it.
"""

import ctypes
import gc
import re
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import psutil
import torch
from torch import nn

from sentiment_tune.build import count_parameters
from sentiment_tune.config import ExperimentConfig
from sentiment_tune.data.batches import evaluation_batches
from sentiment_tune.data.corpus import Corpus
from sentiment_tune.data.packing import parse_size
from sentiment_tune.errors import InputError
from sentiment_tune.inference.package import ModelPackage
from sentiment_tune.inference.predict import device_of, predict
from sentiment_tune.space import unknown_name
from sentiment_tune.tracking import flavor
from sentiment_tune.training.loop import fit

ACCURACY = "accuracy"
PARAMETERS, SIZE, LATENCY = "parameters", "size", "latency"
TRAIN_SECONDS, MEMORY = "train_seconds", "memory"
LATENCY_REVIEWS, LATENCY_ROUNDS = 200, 5
_PAUSE, _LONGEST_PAUSE = 0.001, 0.02  # seconds between two looks at the memory
_LOOKING = 0.05  # of a processor's time, which looks take at most where the longest pause is long enough for it


@dataclass(frozen=True)
class Objective:
    """Something that a study makes large or small."""

    direction: Literal["maximize", "minimize"]
    doc: str
    metric: str  # of a trial's run
    before: bool = False  # whether it is known before the training
    end: str = ""  # what the least of it makes of a model: its alias in the registry


OBJECTIVES: Mapping[str, Objective] = {
    ACCURACY: Objective("maximize", "validation accuracy", "best_val_accuracy"),
    PARAMETERS: Objective("minimize", "numbers that the network learns", "parameters", True, "smallest"),
    SIZE: Objective("minimize", "bytes of the model on disk", "model_bytes", True, "smallest"),
    LATENCY: Objective("minimize", "milliseconds a review, on one thread", "latency_ms", True, "fastest"),
    TRAIN_SECONDS: Objective("minimize", "seconds of the training", "train_seconds"),
    MEMORY: Objective("minimize", "bytes that the training takes at most", "peak_memory_bytes"),
}


def parse_objectives(given: str | Sequence[str] | None) -> tuple[str, ...]:
    """The names of a study's objectives, accuracy first; InputError for one that is none."""
    names = [name.strip() for name in given.split(",")] if isinstance(given, str) else list(given or ())
    for name in names:
        if name not in OBJECTIVES:
            raise unknown_name("objective", str(name), OBJECTIVES)
    if names and ACCURACY not in names:
        raise InputError(f"objectives cannot be {','.join(names)!r}: accuracy must be among them")
    return tuple(dict.fromkeys([ACCURACY, *names]))


def parse_limits(parameters: object = None, latency: object = None, size: object = None) -> dict[str, float]:
    """The most that a network may have, by objective: a number, milliseconds of `2ms`, bytes of `1MB`."""
    limits: dict[str, float] = {}
    if parameters is not None:
        limits[PARAMETERS] = _number("max_parameters", parameters, r"", {"": 1}, "200_000")
        if not limits[PARAMETERS].is_integer():
            raise InputError(f"max_parameters cannot be {parameters!r:.40}: give a whole number such as 200_000")
    if latency is not None:
        limits[LATENCY] = _number("max_latency", latency, r"ms|s|us|", {"ms": 1, "": 1, "s": 1000, "us": 1e-3}, "2ms")
    if size is not None:
        limits[SIZE] = parse_size(size, "max_size")  # type: ignore[arg-type]  # whatever has no size is refused
    return limits


def _number(name: str, given: object, units: str, factors: Mapping[str, float], example: str) -> float:
    match = re.fullmatch(rf"([0-9][0-9_,]*(?:\.[0-9]+)?(?:e[0-9]+)?)\s*({units})", str(given).strip())
    number = float(match[1].replace("_", "").replace(",", "")) * factors[match[2]] if match else 0
    if not 0 < number < float("inf"):
        raise InputError(f"{name} cannot be {given!r:.40}: give a number such as {example}")
    return number


def measure_before(
    names: Iterable[str], network: nn.Module, config: ExperimentConfig, corpus: Corpus
) -> dict[str, float]:
    """What is known of a network before its training, by objective, of those asked for."""
    measures = {
        PARAMETERS: lambda: float(count_parameters(network)),
        SIZE: lambda: float(_size(network, config, corpus)),
        LATENCY: lambda: _latency(network, config, corpus),
    }
    return {name: measures[name]() for name in dict.fromkeys(names) if name in measures}


def _size(network: nn.Module, config: ExperimentConfig, corpus: Corpus) -> int:
    """Bytes of the model as it would be logged: what is learnt changes none of them."""
    device = device_of(network)
    package = ModelPackage(config.model, network.cpu(), config.network, corpus.vocabulary, config.text, corpus.classes)
    try:
        with tempfile.TemporaryDirectory() as folder:
            flavor.save_model(str(Path(folder, "model")), package)
            return flavor.size_of(Path(folder, "model"))
    finally:
        network.to(device)


def _latency(network: nn.Module, config: ExperimentConfig, corpus: Corpus) -> float:
    """Milliseconds a review: validation reviews in batches as they are scored, on one thread; median of five rounds.

    It is the CPU that scores, also where a GPU trains.
    """
    reviews, device = corpus.validation.take(slice(LATENCY_REVIEWS)), device_of(network)
    batches, rounds = evaluation_batches(reviews, config.text), []
    with _one_thread():
        predict(network.cpu(), batches)
        for _ in range(LATENCY_ROUNDS):
            started = time.perf_counter()
            predict(network, batches)
            rounds.append(time.perf_counter() - started)
    network.to(device)
    return statistics.median(rounds) / len(reviews) * 1000


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def warm_up(network: nn.Module, config: ExperimentConfig, corpus: Corpus) -> None:
    """Train a network, which is not needed any more, with two batches.

    What the process loads and makes with its first steps is no part of what a training takes.
    """
    some = corpus.train.take(slice(2 * config.training.batch)), corpus.validation.take(slice(LATENCY_REVIEWS))
    once = replace(config.training, epochs=1)
    for _ in fit(network, *some, once, config.text, config.runtime.seed, threads=config.runtime.threads):
        pass


@dataclass
class Peak:
    """The most memory that a block has taken."""

    bytes: float = 0.0
    _base: float = field(default=0.0, repr=False)

    def see(self, now: float) -> None:
        """Take note of what there is at a moment."""
        self.bytes = max(self.bytes, now - self._base)


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """A block whose memory is measured: what is allocated beyond what was at the beginning, on the GPU or the CPU."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        peak = Peak(_base=torch.cuda.memory_allocated(device))
        yield peak
        peak.see(torch.cuda.max_memory_allocated(device))
        return
    gc.collect()
    allocated, ended = _allocated(), threading.Event()
    peak = Peak(_base=allocated())

    def look() -> None:
        pause = _PAUSE
        while not ended.wait(pause):  # a step has the most for some milliseconds
            before = time.thread_time()
            peak.see(allocated())
            pause = min(max(_PAUSE, (time.thread_time() - before) / _LOOKING), _LONGEST_PAUSE)

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield peak
    finally:
        ended.set()
        looking.join()
        peak.see(allocated())


def _allocated() -> Callable[[], float]:
    """What tells how many bytes of this process are allocated.

    Where no glibc of 2.33 or later tells it, it is all that the process has, once what was freed has been given back:
    of equal trainings one seems to take half as much again as another.
    """
    try:
        mallinfo = ctypes.CDLL(None).mallinfo2
    except (OSError, AttributeError):
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)  # of an older glibc
        process = psutil.Process()
        return lambda: float(process.memory_info().rss)
    mallinfo.restype = _Mallinfo
    return lambda: float((now := mallinfo()).uordblks + now.hblkhd)


class _Mallinfo(ctypes.Structure):
    """What glibc tells of its memory, `mallinfo2` of malloc.h: `uordblks` and `hblkhd` are the bytes in use."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def excess(limits: Mapping[str, float], measured: Mapping[str, float]) -> str | None:
    """What exceeds its limit, as half a sentence; None where all is within."""
    over = [
        f"{name} {shown(name, measured[name])} is more than {shown(name, limit)}"
        for name, limit in limits.items()
        if measured[name] > limit
    ]
    return ", ".join(over) or None


def shown(name: str, value: float) -> str:
    """A value of an objective as a reader wants it, with its unit."""
    match name:
        case "accuracy":
            return f"{value:.4f}"
        case "latency":
            return f"{value:.3g} ms"
        case "train_seconds":
            return f"{value:.1f} s"
        case "size" | "memory":
            return f"{value / 1e6:,.2f} MB"
    return f"{value:,.0f}"
