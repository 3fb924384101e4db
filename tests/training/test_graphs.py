"""What a GPU is given to do: nothing waits for it within an epoch, and steps are recorded and played again."""

import gc
import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sentiment_tune.errors import DivergenceError, InputError
from sentiment_tune.events import Event
from sentiment_tune.models import kernels
from sentiment_tune.space import Value
from sentiment_tune.training.config import TrainConfig
from sentiment_tune.training.graphs import RecordedStep
from sentiment_tune.training.loop import EpochRecord, fit
from sentiment_tune.training.step import TrainStep
from support import BATTERY, READING, a_means_positive, built, toy

RECIPE = TrainConfig(epochs=3, batch=16, learning_rate=0.01, warmup=0.0, clip=0.1, word_dropout=0.1)
TRAIN, VALIDATION = toy(a_means_positive, 128), toy(a_means_positive, 64, seed=2)
NOT_RECORDED = r"does not record a training step .* set SENTIMENT_TUNE_KERNELS=off to have each computed"


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A CPU is asked for nothing within an epoch, and has none of its own kernels."""
    create = TrainStep.__init__

    def never_waiting(self: TrainStep, *arguments: Any) -> None:
        create(self, *arguments)
        self.waits = False

    monkeypatch.setattr(TrainStep, "__init__", never_waiting)
    with kernels.disabled():
        yield


def train(name: str, variant: dict[str, Value], device: str = "cpu") -> tuple[list[EpochRecord], dict[str, Tensor]]:
    """The epochs of a training without dropout, and the weights after it."""
    network = built(name, variant).to(device)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # its random numbers are another's for a table of all words
    epochs = list(fit(network, TRAIN, VALIDATION, RECIPE, READING, 1))
    return epochs, {key: tensor.cpu() for key, tensor in network.state_dict().items()}


@BATTERY
def test_steps_that_nothing_waits_for_lead_where_others_do(
    name: str, variant: dict[str, Value], request: pytest.FixtureRequest
) -> None:
    waited_for = train(name, variant)
    request.getfixturevalue("as_on_a_gpu")
    epochs, weights = train(name, variant)
    for one, other in zip(waited_for[0], epochs, strict=True):
        assert (one.train_loss, one.val_loss) == pytest.approx((other.train_loss, other.val_loss), rel=1e-3)
    for key, tensor in waited_for[1].items():
        torch.testing.assert_close(tensor, weights[key], rtol=1e-2, atol=1e-3)


@pytest.mark.usefixtures("as_on_a_gpu")
def test_a_loss_that_is_not_finite_is_told_later_and_ends_all_learning_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network = built("embedding", {})
    steps: list[dict[str, Tensor]] = []
    forward = type(network).forward

    def poisoned(self: nn.Module, ids: Tensor) -> Tensor:
        return forward(self, ids) * (float("inf") if len(steps) == 2 else 1.0)

    def keep_weights(_: Event) -> None:
        steps.append({key: tensor.clone() for key, tensor in network.state_dict().items()})

    monkeypatch.setattr(type(network), "forward", poisoned)
    with pytest.raises(DivergenceError, match=r"the loss became (nan|inf) in epoch 1, step 3, at learning rate"):
        list(fit(network, TRAIN, VALIDATION, RECIPE, READING, 1, keep_weights))
    assert len(steps) == len(TRAIN) // RECIPE.batch  # all of the epoch, for nothing was asked for before its end
    for key, tensor in steps[1].items():
        assert tensor.equal(steps[-1][key])
        assert tensor.isfinite().all()


@pytest.mark.gpu
@BATTERY
def test_a_step_that_is_played_again_is_the_step_as_it_is_written(
    name: str, variant: dict[str, Value], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = train(name, variant, "cuda")
    monkeypatch.setattr(RecordedStep, "_record", lambda *_: None)
    written = train(name, variant, "cuda")
    assert [epoch.train_loss for epoch in recorded[0]] == [epoch.train_loss for epoch in written[0]]
    for key, tensor in written[1].items():
        torch.testing.assert_close(tensor, recorded[1][key])


class FailingGraph:
    """A recording that the GPU breaks off, told over several lines as CUDA does."""

    def capture_begin(self, **_: object) -> None:
        pass

    def capture_end(self) -> None:
        raise RuntimeError("CUDA error: operation failed\nSearch for `cudaErrorStreamCaptureInvalidated'")


def test_a_step_that_is_not_recorded_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "Stream", lambda _: None)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", FailingGraph)
    recorded, one = RecordedStep(torch.device("cpu")), torch.ones(())
    recorded(lambda amount: (amount, amount), one)
    with pytest.raises(InputError, match=NOT_RECORDED) as refused:
        recorded(lambda amount: (amount, amount), one)
    assert "CUDA error: operation failed Search for" in str(refused.value)
    assert "\n" not in str(refused.value)


def record_a_step_that_waits() -> str:
    """What is said of it; the process has no random numbers on the GPU from then on."""
    recorded, one = RecordedStep(torch.device("cuda")), torch.ones((), device="cuda")

    def step(amount: Tensor) -> tuple[Tensor, Tensor]:
        return amount + amount.item(), amount

    with recorded.stream():
        assert recorded(step, one)[0].item() == 2
        try:
            recorded(step, one)
        except InputError as error:
            return str(error)
    return "nothing"


@pytest.mark.gpu
def test_a_step_that_waits_for_the_gpu_is_refused() -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        assert re.search(NOT_RECORDED, process.submit(record_a_step_that_waits).result())


@pytest.fixture
def collecting() -> Iterator[None]:
    """Garbage, however old, is looked for all the time."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.collect()  # else nothing old is looked at before there is a quarter more of it
    gc.set_threshold(1, 1, 1)
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.mark.gpu
@pytest.mark.usefixtures("collecting")
def test_recordings_of_a_training_that_has_ended_do_not_spoil_another() -> None:
    for _ in range(4):
        epochs = fit(built("embedding", {}).to("cuda"), TRAIN, VALIDATION, RECIPE, READING, 1)
        left_behind = [epochs, next(epochs), next(epochs)]
        left_behind.append(left_behind)  # which is garbage, in the next training
