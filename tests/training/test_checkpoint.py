"""Checkpoints: a training that was cut off ends as if it had not been; what is damaged or another's is not used."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from sentiment_tune.errors import InputError
from sentiment_tune.events import Event, Listener, ignore
from sentiment_tune.space import Value
from sentiment_tune.training import checkpoint
from sentiment_tune.training.checkpoint import Checkpoints
from sentiment_tune.training.config import TrainConfig
from sentiment_tune.training.loop import BestWeights, EpochRecord, StepEnd, fit
from support import BATTERY, READING, a_means_positive, built, toy

TRAIN, VALIDATION = toy(a_means_positive, 64), toy(a_means_positive, 32, seed=2)
RECIPE = TrainConfig(epochs=3, batch=16, learning_rate=0.01)  # of four steps an epoch
EVERYTHING = replace(RECIPE, word_dropout=0.2, averaging=0.9, schedule="cosine", weight_decay=0.1)
ALWAYS = 1e-9  # minutes


class CutOffError(Exception):
    """What a kill is to a training."""


def cut_off_at(epoch: int, step: int) -> Listener:
    def listen(event: Event) -> None:
        if isinstance(event, StepEnd) and (event.epoch, event.step) == (epoch, step):
            raise CutOffError

    return listen


class Patient(Checkpoints):
    """Leaves no checkpoint out, however slow the disk: which ones there are is no matter of chance."""

    share = float("inf")

    def save(self, *what: object) -> None:
        super().save(*what)  # type: ignore[arg-type]
        assert self._writing
        self._writing.result()


def trained(
    network: nn.Module,
    recipe: TrainConfig,
    folder: Path | None,
    listener: Listener = ignore,
    minutes: float = ALWAYS,
) -> tuple[list[EpochRecord], dict[str, Tensor], dict[str, Tensor]]:
    """The epochs without their time, the last weights, and the best ones."""
    best, epochs = BestWeights(), []
    checkpoints = Patient(folder, {"seed": 1}, minutes) if folder else None
    for epoch in fit(network, TRAIN, VALIDATION, recipe, READING, 1, listener, checkpoints, best):
        best.update(epoch, network)
        epochs.append(replace(epoch, seconds=0.0))
    last = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    best.restore(network)
    return epochs, last, dict(network.state_dict())


def assert_equal(one: tuple[object, dict[str, Tensor], dict[str, Tensor]], other: object) -> None:
    assert isinstance(other, tuple)
    assert one[0] == other[0]
    for weights, others in zip(one[1:], other[1:], strict=True):
        assert weights.keys() == others.keys()
        assert all(torch.equal(weights[name], others[name]) for name in weights)


@BATTERY
def test_a_training_that_was_cut_off_ends_as_if_it_had_not_been(
    name: str, variant: dict[str, Value], tmp_path: Path
) -> None:
    tables = any(isinstance(module, nn.Embedding | nn.EmbeddingBag) for module in built(name, variant, TRAIN).modules())
    recipe = replace(EVERYTHING, adversarial=0.1 if tables else 0.0)
    whole = trained(built(name, variant, TRAIN), recipe, None)
    for cut in ((1, 3), (3, 1)):  # one after another: each goes on from the one before
        with pytest.raises(CutOffError):
            trained(built(name, variant, TRAIN), recipe, tmp_path, cut_off_at(*cut))
        torch.rand(7)
    assert_equal(whole, trained(built(name, variant, TRAIN), recipe, tmp_path))


@pytest.mark.parametrize("averaging", [0.0, 0.9])
@pytest.mark.parametrize("cut", [(2, 1), (3, 3)])
def test_it_does_so_from_the_end_of_an_epoch(averaging: float, cut: tuple[int, int], tmp_path: Path) -> None:
    recipe = replace(RECIPE, averaging=averaging, learning_rate=0.05)
    whole = trained(built("rnn", {}, TRAIN), recipe, None)
    with pytest.raises(CutOffError):
        trained(built("rnn", {}, TRAIN), recipe, tmp_path, cut_off_at(*cut), minutes=0)
    assert [path.name[:14] for path in sorted(tmp_path.iterdir())][-1] == f"{cut[0] - 1:05}-00000000"
    assert_equal(whole, trained(built("rnn", {}, TRAIN), recipe, tmp_path, minutes=0))


def test_a_training_that_had_ended_is_told_again_without_a_step(tmp_path: Path) -> None:
    whole = trained(built("cnn", {}, TRAIN), EVERYTHING, tmp_path)
    assert_equal(whole, trained(built("cnn", {}, TRAIN), EVERYTHING, tmp_path, cut_off_at(3, 4)))


class Odd(nn.Module):
    """Weights that are not contiguous, one twice, one that is never used, and a buffer that nobody saves."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, 8)
        self.weights = nn.Parameter(torch.randn(1, 8).t())
        self.same = self.weights
        self.unused = nn.Parameter(torch.zeros(3))
        self.normed = nn.BatchNorm1d(8)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        if self.training:
            self.seen += 1
        features = nn.functional.dropout(self.normed(self.words(ids).mean(1)), 0.5, self.training)
        return (features @ self.same).squeeze(1) + self.seen / 100


@pytest.mark.parametrize("averaging", [0.0, 0.9])
def test_a_network_of_a_users_own_goes_on_as_well(averaging: float, tmp_path: Path) -> None:
    def odd() -> Odd:
        torch.manual_seed(1)
        return Odd()

    recipe = replace(RECIPE, averaging=averaging)
    whole = trained(odd(), recipe, None)
    for cut in ((1, 3), (3, 2)):
        with pytest.raises(CutOffError):
            trained(odd(), recipe, tmp_path, cut_off_at(*cut))
    assert_equal(whole, trained(odd(), recipe, tmp_path))


# ---- the files


def saved(folder: Path, epochs: int = 4, told: Listener = ignore) -> Checkpoints:
    checkpoints = Patient(folder, {"seed": 1, "rate": 0.1}, listener=told)
    for epoch in range(1, epochs + 1):
        checkpoints.save(epoch, 0, {"one": torch.full((3,), epoch)}, {"epoch": epoch})
    checkpoints.close()
    return checkpoints


def epoch_of(checkpoints: Checkpoints) -> object:
    latest = checkpoints.latest()
    return latest and latest.facts["epoch"]


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "training"
    checkpoints = saved(folder)
    assert [path.name[:14] for path in sorted(folder.iterdir())] == ["00003-00000000", "00004-00000000"]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert epoch_of(checkpoints) == 4


def damaged(content: bytes) -> Iterator[bytes]:
    yield b""
    yield content[:7]
    yield content[: len(content) // 2]
    yield content[:-1]
    yield content + b"\0"
    for place in range(0, len(content), 97):
        yield content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def test_they_take_their_share_of_the_time_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("sentiment_tune.training.checkpoint.time", SimpleNamespace(monotonic=lambda: clock[0]))

    class Slow(Patient):
        share = 0.1

        def _write(self, *what: object) -> None:
            clock[0] += 0.5
            super()._write(*what)  # type: ignore[arg-type]

    checkpoints, kept = Slow(tmp_path, {}), set()
    for epoch in range(1, 20):
        clock[0] += 1
        checkpoints.save(epoch, 0, {"weights": torch.ones(2)}, {})
        kept |= {int(path.name[:5]) for path in tmp_path.iterdir()}
    assert sorted(kept) == [1, 6, 11, 16]


def test_one_that_is_damaged_is_told_and_the_one_before_is_taken(tmp_path: Path) -> None:
    told: list[Event] = []
    checkpoints = saved(tmp_path, told=told.append)
    newest = max(tmp_path.iterdir())
    content = newest.read_bytes()
    for number, other in enumerate(damaged(content), 1):
        newest.write_bytes(other)
        assert epoch_of(checkpoints) == 3
        assert len(told) == number
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    assert checkpoints.latest() is None


def test_one_of_another_training_is_refused_and_the_difference_named(tmp_path: Path) -> None:
    saved(tmp_path)
    with pytest.raises(InputError, match=r"rate is 0\.1 in the checkpoints at .*, not 0\.2: "):
        Checkpoints(tmp_path, {"seed": 1, "rate": 0.2}).latest()


def test_one_of_another_format_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path)
    monkeypatch.setattr(checkpoint, "FORMAT", 2)
    assert Checkpoints(tmp_path, {"seed": 1, "rate": 0.1}).latest() is None


def test_what_cannot_be_written_is_told_once_and_costs_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told: list[Event] = []
    saved(tmp_path / "file" / "below", told=told.append)
    (warning,) = told
    assert "the training goes on without" in str(warning)


def test_half_a_checkpoint_of_a_process_that_was_killed_goes(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path)
    (tmp_path / ".00005-00000000.half.partial").write_bytes(b"half")
    with suppress(FileNotFoundError):
        assert epoch_of(checkpoints) == 4
    assert len(list(tmp_path.iterdir())) == 2
