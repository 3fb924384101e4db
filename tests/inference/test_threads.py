"""The number of threads: what is fastest at the moment, found out by trying."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from sentiment_tune.data.batches import evaluation_batches
from sentiment_tune.inference import threads as threads_module
from sentiment_tune.inference.predict import predict
from sentiment_tune.inference.threads import Threads, choice_of, usual_threads
from sentiment_tune.models import kernels
from sentiment_tune.training.config import TrainConfig
from sentiment_tune.training.loop import fit
from support import READING, built, toy


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Torch's threads, put back after a test that sets them."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Machine:
    """A clock that a step moves by what a word takes with the threads that torch is set to."""

    def __init__(self, seconds: Callable[[int], float]):
        self.seconds, self.now, self.used = seconds, 0.0, list[int]()

    def run(self, threads: Threads, steps: int) -> list[int]:
        """The numbers of threads of so many steps of changing length."""
        self.used = []
        for step in range(steps):
            words = 100 + step % 7
            with threads.step(words):
                self.used.append(torch.get_num_threads())
                self.now += words * self.seconds(torch.get_num_threads())
        return self.used

    def clock(self) -> float:
        return self.now


def idle(count: int) -> float:
    return 1 / count


def busy(count: int) -> float:
    return 1.0 if count == 1 else 4.0 * count


def test_more_threads_are_used_where_they_are_faster_and_fewer_where_not() -> None:
    for seconds, best in ((idle, 4), (busy, 1)):
        machine = Machine(seconds)
        threads = Threads((4, 2, 1), machine.clock)
        assert sorted(machine.run(threads, 9)) == [1, 1, 1, 2, 2, 2, 4, 4, 4]
        later = machine.run(threads, 1200)
        assert later.count(best) > 1140
        assert set(later) == {1, 2, 4}, "whether another number has become better is looked at all the time"


def test_the_number_follows_a_neighbour_that_comes_and_goes() -> None:
    machine = Machine(idle)
    threads = Threads((2, 1), machine.clock)
    machine.run(threads, 100)
    machine.seconds = busy
    assert machine.run(threads, 300)[5:].count(2) < 10
    machine.seconds = idle
    assert machine.run(threads, 2000)[-1000:].count(1) < 50


def test_a_slow_number_costs_little() -> None:
    machine = Machine(lambda count: 1.0 if count == 1 else 100.0)
    threads = Threads((2, 1), machine.clock)
    machine.run(threads, 6)
    assert machine.run(threads, 5000).count(2) <= 10


def test_between_steps_torch_has_the_best_number_and_afterwards_its_own() -> None:
    torch.set_num_threads(2)
    machine = Machine(busy)
    threads = Threads((2, 1), machine.clock)
    machine.run(threads, 50)
    assert torch.get_num_threads() == 1
    threads.close()
    assert torch.get_num_threads() == 2


class OfAUser(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(50, 1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.words(ids).squeeze(1)


def test_what_one_prediction_has_found_out_the_next_one_knows() -> None:
    torch.set_num_threads(2)
    network = built("embedding", {})
    threads = usual_threads(network)
    assert usual_threads(network) is threads
    logits = predict(network, evaluation_batches(toy(), READING))
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    assert usual_threads(network) is not threads, "it may choose among other numbers now"
    assert np.array_equal(logits, predict(network, evaluation_batches(toy(), READING)))


def test_only_the_main_thread_chooses() -> None:
    torch.set_num_threads(2)
    network, machine = built("embedding", {}), Machine(busy)
    usual_threads(network)

    def use() -> set[int]:
        torch.set_num_threads(2)
        return {*machine.run(choice_of(network), 50), *machine.run(usual_threads(network), 50)}

    with ThreadPoolExecutor(1) as other:
        assert other.submit(use).result() == {2}


@pytest.mark.parametrize("name", ["embedding", "gru", "without oneDNN", "own", "asked for", "without kernels"])
def test_who_may_choose(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(4)
    if name == "without oneDNN":
        monkeypatch.setattr(threads_module, "HAS_ONEDNN", False)
    if name == "without kernels":
        monkeypatch.setenv(kernels.VARIABLE, "off")
    network = OfAUser() if name == "own" else built(name if name in ("embedding", "gru") else "cnn", {})
    machine = Machine(lambda _: 1.0)
    threads = choice_of(network, 4 if name == "asked for" else 0)
    used = machine.run(threads, 50)
    assert set(used) == {"embedding": {4, 2, 1}, "gru": {4, 2, 1}, "without oneDNN": {2, 1}}.get(name, {4})


def test_a_training_that_chooses_ends_as_one_that_does_not() -> None:
    torch.set_num_threads(2)
    found = []
    for threads in (0, 2):
        network = built("lstm", {})
        training = fit(network, toy(), toy(), TrainConfig(epochs=3, batch=4), READING, 1, threads=threads)
        found.append(([epoch.val_loss for epoch in training], [*network.state_dict().values()]))
        assert torch.get_num_threads() == 2
    assert found[0][0] == found[1][0]
    assert all(torch.equal(*weights) for weights in zip(found[0][1], found[1][1], strict=True))
