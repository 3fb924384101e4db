"""The battery: what holds for every network of the registry, and for one of the user's own."""

import math
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from sentiment_tune.data.batches import evaluation_batches
from sentiment_tune.data.corpus import EncodedReviews
from sentiment_tune.data.text import START
from sentiment_tune.errors import InputError
from sentiment_tune.evaluation.metrics import loss_and_accuracy
from sentiment_tune.inference.predict import predict
from sentiment_tune.models import registry as models
from sentiment_tune.models.layers import Words
from sentiment_tune.models.recurrent import Cell, Direction
from sentiment_tune.models.registry import NETWORKS
from sentiment_tune.space import Range, Value, resolve, settings_of
from sentiment_tune.training.config import TrainConfig
from sentiment_tune.training.loop import fit, seeded
from support import (
    BATTERY,
    CASES,
    READING,
    VARIANTS,
    VOCABULARY,
    WITHOUT_ORDER,
    Toy,
    a_before_b_means_positive,
    a_means_positive,
    built,
    over,
    padded,
    toy,
    toy_of_three,
    trained,
)


def logits(network: nn.Module, reviews: Iterable[Sequence[int] | NDArray[np.integer]]) -> NDArray[np.float64]:
    return predict(
        network,
        evaluation_batches(EncodedReviews.of([np.array(review, dtype=np.int64) for review in reviews]), READING),
    )


def best_accuracy(network: nn.Module, train: Toy, held_out: Toy, goal: float, epochs: int = 60) -> float:
    """The best accuracy on `held_out` while training until the goal is reached."""
    config = TrainConfig(epochs=epochs, batch=16, learning_rate=0.01, weight_decay=0.0, schedule="constant")
    best = 0.0
    for epoch in fit(network, train, held_out, config, READING, 1):
        best = max(best, epoch.val_accuracy)
        if best >= goal:
            break
    return best


def corner(name: str, end: int) -> dict[str, Value]:
    """The lowest (0) or the highest (-1) value of every setting's search space."""
    bounds = {line.name: line.bounds for line in settings_of(NETWORKS[name]).values()}
    ends = {key: (b.search or (b.low, b.high))[end] if isinstance(b, Range) else b[end] for key, b in bounds.items()}
    return resolve(NETWORKS[name], ends)


@pytest.mark.parametrize("end", [0, -1], ids=["low", "high"])
@pytest.mark.parametrize("name", NETWORKS)
def test_both_corners_of_the_search_space_build_and_give_a_logit_a_review(name: str, end: int) -> None:
    answer = models.create_network(name, VOCABULARY, corner(name, end)).eval()(
        torch.tensor([[1, 5, 6], [1, 7, 0], [1, 0, 0]])
    )
    assert answer.shape == (3,)
    assert torch.isfinite(answer).all()


@BATTERY
def test_every_parameter_gets_a_gradient_and_padding_none(name: str, variant: dict[str, Value]) -> None:
    network, reviews = built(name, variant).eval(), toy(count=33)
    loss = binary_cross_entropy_with_logits(network(padded(reviews.reviews)), torch.from_numpy(reviews.labels).float())
    loss.backward()  # type: ignore[no-untyped-call]
    without = [key for key, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert without == []
    for module in network.modules():
        if isinstance(module, nn.Embedding):
            assert module.weight.grad is not None
            assert not module.weight.grad[0].any()
            assert not module.weight[0].any()


@BATTERY
def test_a_fresh_network_knows_nothing(name: str, variant: dict[str, Value]) -> None:
    answer = logits(built(name, variant), toy().reviews)
    assert loss_and_accuracy(answer, toy().labels)[0] == pytest.approx(math.log(2), abs=0.05)
    assert (answer.std() > 0) == (name != "linear")  # which starts at its bias


REVIEWS = st.lists(st.lists(st.integers(1, VOCABULARY - 1), min_size=1, max_size=20), min_size=2, max_size=5)


@BATTERY
@given(reviews=REVIEWS, more=st.sampled_from([1, 37]))
@settings(max_examples=15, deadline=None)
def test_padding_and_batching_change_nothing(
    name: str, variant: dict[str, Value], reviews: list[list[int]], more: int
) -> None:
    network = trained(name, bool(variant)).eval()
    with torch.inference_mode():
        alone = torch.cat([network(torch.tensor([review])) for review in reviews])
        together = padded([np.array(review) for review in reviews])
        wide = nn.functional.pad(together, (0, more))
        for ids, expected in ((together, alone), (together.flip(0), alone.flip(0)), (wide, alone)):
            torch.testing.assert_close(network(ids), expected, rtol=0, atol=1e-6)


@BATTERY
def test_three_classes_have_a_logit_each_that_padding_does_not_change(name: str, variant: dict[str, Value]) -> None:
    train = toy_of_three()
    network = built(name, variant, train)
    some = padded(train.reviews[:6])
    for weight in network.parameters():
        assert weight.shape != (1,)  # nothing was left of the one logit
    answer = network.eval()(some)
    assert answer.shape == (6, 3)
    torch.testing.assert_close(network(nn.functional.pad(some, (0, 37))), answer, rtol=0, atol=1e-6)
    network.train()
    cross_entropy(network(padded(train.reviews)), torch.from_numpy(train.labels).long()).backward()  # type: ignore[no-untyped-call]
    assert [key for key, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()] == []


@pytest.mark.slow
@over([(name, {}) for name in NETWORKS])
def test_three_classes_are_learned(name: str, variant: dict[str, Value]) -> None:
    train, held_out = toy_of_three(count=384), toy_of_three(seed=2)
    goal = 0.9
    assert best_accuracy(built(name, variant, train, dropout=0.1), train, held_out, goal, 30) >= goal


def test_a_network_of_ones_own_that_knows_no_classes_is_told_how() -> None:
    with pytest.raises(InputError, match="tells two classes apart, and the data have 3: let its constructor take `cl"):
        models.create_network(f"{__name__}:Own", VOCABULARY, {}, 3)


class Own(nn.Module):
    """A network of two classes."""

    def __init__(self, vocabulary: int):
        super().__init__()
        self.weights = nn.Embedding(vocabulary, 1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.weights(ids).sum((1, 2))


@BATTERY
def test_a_review_without_words_has_a_finite_logit(name: str, variant: dict[str, Value]) -> None:
    network = trained(name, bool(variant))
    assert np.isfinite(logits(network, [[START], [], [START, 5, 6], [2]])).all()
    for ids in ([[0]], [[0, 0, 0]], [[0, 0], [1, 5]]):
        assert torch.isfinite(network(torch.tensor(ids))).all()


@BATTERY
def test_a_network_learns_64_reviews_by_heart(name: str, variant: dict[str, Value]) -> None:
    able: dict[str, Value] = {"dropout": 0.0, "rarest": 1, "hidden": 64}
    network = built(name, {**variant, **able})
    assert best_accuracy(network, toy(), toy(), goal=1.0) == 1.0


@BATTERY
def test_a_network_learns_that_a_word_decides(name: str, variant: dict[str, Value]) -> None:
    train, held_out = toy(a_means_positive, 256), toy(a_means_positive, 256, seed=2)
    assert best_accuracy(built(name, variant, train), train, held_out, goal=0.97) >= 0.97


@over([case for case in CASES if case[0] not in WITHOUT_ORDER])
def test_a_network_that_reads_order_learns_that_order_decides(name: str, variant: dict[str, Value]) -> None:
    train, held_out = toy(a_before_b_means_positive, 256), toy(a_before_b_means_positive, 256, seed=2)
    assert best_accuracy(built(name, variant, train), train, held_out, goal=0.97) >= 0.97


@pytest.mark.parametrize("name", WITHOUT_ORDER)
@given(words=st.lists(st.integers(3, VOCABULARY - 1), min_size=2), chance=st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_a_network_of_words_without_order_reads_any_order_alike(name: str, words: list[int], chance: object) -> None:
    moved = chance.sample(words, len(words))  # type: ignore[attr-defined]
    one, other = logits(trained(name, False), [words, moved])
    assert one == pytest.approx(other, abs=1e-6)


@pytest.mark.parametrize("cell", [nn.RNN, nn.LSTM, nn.GRU])
def test_the_exported_recurrence_is_that_of_the_layer_at_every_length(cell: Cell) -> None:
    free = {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}
    with seeded(1), torch.no_grad(), warnings.catch_warnings(action="ignore"):  # of torch about its own future
        direction = Direction(cell, 8, 6)
        vectors, example = torch.randn(30, 8), torch.zeros(2, 64, dtype=torch.int64)
        shapes = (Words(None, free), free)  # type: ignore[arg-type]
        exported = torch.export.export(
            direction, (Words(vectors, example), example == 0), dynamic_shapes=shapes
        ).module()
        for batch, length in ((1, 1), (1, 9), (5, 2), (5, 30), (3, 100)):
            words = Words(vectors, torch.randint(30, (batch, length)))
            states = exported(words, torch.ones(batch, length, dtype=torch.bool))
            torch.testing.assert_close(states, direction.cell(words.features)[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["linear", "embedding", "cnn"])
def test_best_weights_are_put_back_where_the_network_is(name: str) -> None:
    variant = {} if name == "linear" else {"ngrams": 2}
    network = models.create_network(name, VOCABULARY, variant)
    best = network.state_dict()
    with warnings.catch_warnings(action="ignore"):  # nothing is copied to it
        network.to("meta").load_state_dict(best)  # a device that every machine has
    assert {tensor.device.type for tensor in (*network.parameters(), *network.buffers())} == {"meta"}


OWN = """
import torch
from torch import nn
from sentiment_tune.space import Width

class Words(nn.Module):
    def __init__(self, vocabulary: int, hidden: Width = 8):
        super().__init__()
        self.vectors = nn.EmbeddingBag(vocabulary, hidden, mode="sum", padding_idx=0)
        nn.init.normal_(self.vectors.weight, std=0.1)
        self.output = nn.Linear(hidden, 1)

    def forward(self, ids):
        return self.output(self.vectors(ids)).squeeze(-1)

class Column(Words):
    def forward(self, ids):
        return super().forward(ids).unsqueeze(-1)

class Scalar(Words):
    def forward(self, ids):
        return super().forward(ids).mean()

class Nothing(Words):
    def forward(self, ids):
        pass

class Short(Words):
    def __init__(self, vocabulary: int):
        super().__init__(3)
        self.vectors = nn.Embedding(1, 8)

class Plain:
    pass

network = Words(5)
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The module of a user's networks, in a folder that can be imported from."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("own_words.py").write_text(OWN, encoding="utf-8")
    yield "own_words"
    sys.modules.pop("own_words", None)


def test_a_network_of_the_users_own_passes_the_core_of_the_battery(own: str) -> None:
    name, train, held_out = f"{own}:Words", toy(a_means_positive, 256), toy(a_means_positive, 256, seed=2)
    network = models.create_network(name, VOCABULARY, resolve(models.network_class(name), {"hidden": "16"}))
    assert network.get_parameter("output.weight").shape == (1, 16)
    fresh = predict(network, evaluation_batches(train, READING))
    assert loss_and_accuracy(fresh, train.labels)[0] == pytest.approx(math.log(2), abs=0.05)
    assert best_accuracy(network, train, held_out, goal=0.97) >= 0.97
    together = predict(network, evaluation_batches(held_out, READING))
    alone = [logits(network, [review])[0] for review in held_out.reviews]
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("own_word:Words", "No module named 'own_word'"),
        ("own_words:Word", "has no attribute 'Word'"),
        (":Words", "write importable.module:Class"),
        (".own_words:Words", "write importable.module:Class"),
        ("own_words:", "write importable.module:Class"),
        ("own_words:Plain", "is no torch.nn.Module class"),
        ("own_words:network", "is no torch.nn.Module class"),
        ("rrn", "did you mean 'rnn'"),
    ],
)
def test_what_is_no_network_is_refused_with_its_name(own: str, path: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as refused:
        models.network_class(path)
    assert path in str(refused.value)


@pytest.mark.parametrize("count", [1, 6, 7])
def test_ngrams_beside_answer_every_second_review_in_training_and_most_of_each_in_scoring(count: int) -> None:
    network, ids = built("cnn", VARIANTS["cnn"]), padded(toy(count=count).reviews)
    nn.init.constant_(network.ngrams.weights, 1.0)  # type: ignore[union-attr, arg-type]
    network.eval()
    own, other = network.own_logits(ids), network.ngrams(ids)  # type: ignore[operator]
    torch.testing.assert_close(network(ids), (own + 3 * other) / 4)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    network.train()
    torch.testing.assert_close(network(ids), torch.where(torch.arange(count) % 2 == 0, own, other))


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("Column", r"must return logits \[batch\]"),
        ("Scalar", r"must return logits \[batch\]"),
        ("Nothing", r"must return logits \[batch\]"),
        ("Short", "cannot be built"),
    ],
)
def test_a_network_that_keeps_no_rule_is_refused_with_its_name(own: str, name: str, complaint: str) -> None:
    with pytest.raises(InputError, match=f"network '{own}:{name}' .*{complaint}"):
        models.create_network(f"{own}:{name}", VOCABULARY, {})


def test_a_setting_that_the_data_do_not_allow_is_refused_before_training() -> None:
    with pytest.raises(InputError, match="choose fewer"):
        models.create_network("linear", 10_000_000, {"order": 3})
