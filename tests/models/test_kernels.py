"""Kernels: what they compute, and their gradients, are those of torch's own layers; dropout keeps the same shares."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sentiment_tune.models import kernels
from sentiment_tune.models.convolutional import Phrases
from sentiment_tune.models.kernels import recurrent
from sentiment_tune.models.kernels.bags import distinct_words, sums_of_words
from sentiment_tune.models.kernels.dropout import dropout
from sentiment_tune.models.kernels.filters import filter_answers, largest_answers
from sentiment_tune.models.kernels.largest import largest_in
from sentiment_tune.models.kernels.recurrent import KERNELS, run_cell
from sentiment_tune.models.layers import Dropout, Words, max_over_time
from sentiment_tune.models.recurrent import Cell
from sentiment_tune.space import Value
from sentiment_tune.training.loop import seeded
from support import CASES, RECURRENT, over, padded, toy, trained

CELLS: tuple[Cell, ...] = (nn.RNN, nn.GRU, nn.LSTM)


@pytest.mark.parametrize("cell", CELLS)
@torch.enable_grad()
def test_a_cells_gradient_is_its_derivative(cell: Cell) -> None:
    with seeded(1):
        layer, indices = cell(3, 4).double(), torch.randint(7, (5, 2))
        weight, bias = layer.get_parameter("weight_hh_l0"), layer.get_parameter("bias_hh_l0")  # [gate, hidden], [gate]
        x = torch.randn(7, len(bias), dtype=torch.double, requires_grad=True)

    def states(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return KERNELS[cell].apply(True, x, indices, weight, bias)  # type: ignore[no-untyped-call]

    assert torch.autograd.gradcheck(states, (x, weight, bias))


@pytest.mark.parametrize("width", [1, 3])
@torch.enable_grad()
def test_the_filters_gradients_are_their_derivatives(width: int) -> None:
    with seeded(1):
        inputs = [torch.randn(*shape, dtype=torch.double) for shape in ((9, 4), (3, 4, width), (3,))]
        indices, mask = torch.randint(9, (2, 6)), torch.arange(6) < torch.tensor([[6], [4]])
    inputs = [tensor.requires_grad_() for tensor in inputs]

    def every(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return filter_answers(x, indices, mask, weight, bias)[mask]

    def largest(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return largest_answers(x, indices, mask, weight, bias)

    for answers in (every, largest):
        assert torch.autograd.gradcheck(answers, inputs)


def test_one_switch_turns_all_off(monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = torch.zeros(1)
    assert kernels.apply_to(tensor)
    with kernels.disabled():
        assert not kernels.apply_to(tensor)
    assert kernels.apply_to(tensor)
    assert not kernels.apply_to(tensor.to("meta"))
    monkeypatch.setenv(kernels.VARIABLE, "off")
    assert not kernels.apply_to(tensor)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rows", [50, 400, 1000])  # one piece, two or four, four or more
@pytest.mark.parametrize("words", [30, 17_000])  # which occur often, and hardly again
@pytest.mark.parametrize("cell", CELLS)
@torch.enable_grad()
def test_our_recurrence_and_its_gradient_are_those_of_torch(
    cell: Cell, words: int, rows: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    with seeded(1):
        layer, vectors = cell(8, 6, batch_first=True).to(dtype), torch.randn(words, 8, dtype=dtype)
        indices = torch.randint(words, (rows, 17))
    if words == 30 and rows > recurrent.ALONE:
        monkeypatch.setattr(recurrent, "FusedLSTM", None)
    elif cell is nn.LSTM:
        monkeypatch.delitem(KERNELS, cell)
    inputs = (vectors.requires_grad_(), *layer.parameters())
    results = []
    for states in (run_cell(layer, vectors, indices), layer(vectors[indices])[0]):
        results.append((states, *torch.autograd.grad((states * states.detach().cos()).sum(), inputs)))
    tolerance = 1e-3 if dtype == torch.float32 else 1e-7
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def test_steps_whose_source_is_missing_are_taken_by_python() -> None:
    names: dict[str, Any] = {"__name__": "nowhere"}
    exec("def steps(h):\n    h.add_(1)", names)
    assert recurrent._compiled(names["steps"]) is names["steps"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("features", [1, 7, 100])
@pytest.mark.parametrize("words", [1, 60, 500])
def test_the_largest_answer_stands_where_torch_finds_it(words: int, features: int, dtype: torch.dtype) -> None:
    with seeded(1):
        answers = torch.randn(4, words, features, dtype=dtype)
    answers[0] = answers[0].round()  # several are the largest
    answers[1, words // 2 + 1 :] = float("-inf")
    answers[2] = float("-inf")
    answers[3, words // 3, -1] = float("nan")
    largest, place = largest_in(answers, 1, words)
    expected, word = answers.max(1)
    torch.testing.assert_close(largest, expected, rtol=0, atol=0, equal_nan=True)
    assert place.equal(word + torch.arange(4).unsqueeze(1) * words)


@pytest.mark.parametrize(("rows", "columns"), [(1, 6), (4, 1), (2, 3)])
def test_windows_lie_side_by_side(rows: int, columns: int) -> None:
    with seeded(1):
        image = torch.randn(4, 6, 5)
    largest, place = largest_in(image.transpose(0, 1).contiguous().transpose(0, 1), rows, columns)
    windows = image.unfold(0, rows, rows).unfold(1, columns, columns)  # [row, column, feature, own row, own column]
    torch.testing.assert_close(largest, windows.amax((3, 4)).flatten(0, 1), rtol=0, atol=0)
    torch.testing.assert_close(image.flatten(0, 1).gather(0, place), largest, rtol=0, atol=0)


@torch.enable_grad()
def test_sums_of_words_and_their_gradient_are_those_of_torch() -> None:
    with seeded(1):
        table, amounts = torch.randn(20, 4, dtype=torch.double, requires_grad=True), torch.rand(9, dtype=torch.double)
    words, lengths = torch.tensor([3, 3, 19, 5, 0, 3, 7, 7, 5]), torch.tensor([4, 0, 2, 3])
    places = torch.repeat_interleave(torch.arange(4), lengths)
    for given in (None, amounts):
        weighted = table[words] * (1 if given is None else given.unsqueeze(1))
        expected = torch.zeros(4, 4, dtype=torch.double).index_add(0, places, weighted)
        sums = sums_of_words(table, words, lengths, given)
        torch.testing.assert_close(sums, expected)
        gradients = [torch.autograd.grad(one.cos().sum(), table)[0] for one in (sums, expected)]
        torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("count", [20, 10**6])
def test_distinct_words_are_those_of_each_review_once(count: int) -> None:
    words, lengths = torch.tensor([3, 17, 3, 17, 0, 3, count - 1, 7]), torch.tensor([4, 0, 3, 1, 0])
    found, counts = distinct_words(words, lengths, count)
    expected = [torch.unique(some) for some in words.split_with_sizes(lengths.tolist())]
    assert counts.tolist() == [len(some) for some in expected]
    assert found.tolist() == torch.cat(expected).tolist()
    assert [one.numel() for one in distinct_words(words[:0], lengths * 0, count)] == [0, 5]


@pytest.mark.parametrize("rate", [0.01, 0.3, 0.99, 0.999999])
@pytest.mark.parametrize("count", [0, 1, 3, 5, 100_000])  # random numbers are drawn four at a time
@torch.enable_grad()
def test_dropout_keeps_the_share_and_the_sum_of_features_that_torch_keeps(count: int, rate: float) -> None:
    features = torch.ones(1, count, dtype=torch.double, requires_grad=True)
    with seeded(1):
        kept = dropout(features, rate)
    assert kept.shape == features.shape
    (gradient,) = torch.autograd.grad(kept.sum(), features)
    torch.testing.assert_close(gradient, kept.detach())
    rate = min(round(rate * 2**16), 2**16 - 1) / 2**16
    scale = 1 / (1 - rate)
    assert set(kept.flatten().tolist()) <= {0.0, scale}
    if count > 1000:
        assert kept.mean().item() == pytest.approx(1, abs=4 * (rate / (1 - rate) / count) ** 0.5)
        together = (kept[0, :-1] > 0) & (kept[0, 1:] > 0)  # neighbours know nothing of each other
        assert together.double().mean().item() == pytest.approx((1 - rate) ** 2, abs=4 * 0.5 / count**0.5)


def test_a_layer_of_dropout_is_torchs_where_it_drops_nothing_or_all() -> None:
    features = torch.randn(3, 4)
    assert Dropout(0.0)(features) is features
    assert Dropout(0.5).eval()(features) is features
    assert not Dropout(1.0)(features).any()
    with seeded(1), kernels.disabled():
        answers = Dropout(0.5)(features)
    with seeded(1):
        torch.testing.assert_close(answers, nn.functional.dropout(features, 0.5), rtol=0, atol=0)


@pytest.mark.parametrize("place", ["kernel", "kernel, words first", "torch"])
@pytest.mark.parametrize("rows", [1, 4])  # of a review
@torch.enable_grad()
def test_the_maximum_over_time_and_its_gradient_are_those_of_each_review_by_itself(rows: int, place: str) -> None:
    with seeded(1):
        features = torch.randn(3 * rows, 5, 7, dtype=torch.double).round(decimals=1)
        mask = torch.rand(3 * rows, 5) < 0.7
    if place == "kernel, words first":
        features = features.transpose(0, 1).contiguous().transpose(0, 1)
    features.requires_grad_()
    mask[rows : 2 * rows] = False  # a review without a word
    mask[0] |= mask.any()
    with kernels.disabled() if place == "torch" else nullcontext():
        largest = max_over_time(features, mask, 3)
    with torch.no_grad():
        torch.testing.assert_close(max_over_time(features, mask, 3), largest, rtol=0, atol=0)
    (gradient,) = torch.autograd.grad((largest * torch.arange(1.0, 8)).sum(), features)
    for review in range(3):
        own = slice(review * rows, (review + 1) * rows)
        words = features[own][mask[own]]
        expected = words.amax(0) if len(words) else torch.zeros(7, dtype=torch.double)
        torch.testing.assert_close(largest[review], expected, rtol=0, atol=0)
        taught = gradient[own].flatten(0, 1)
        assert ((taught != 0).sum(0) == (1 if len(words) else 0)).all()  # one word for each feature, of equal ones too
        torch.testing.assert_close(taught.sum(0), torch.arange(1.0, 8).double() * (1 if len(words) else 0))
        assert not gradient[own][~mask[own]].any()
        assert (features[own].flatten(0, 1)[taught != 0] == expected.expand_as(taught)[taught != 0]).all()


@pytest.mark.parametrize("count", [16, 200])  # too few rows for an LSTM's kernel, and enough
@over([case for case in CASES if case[0] in ("feedforward", "embedding", "cnn", *RECURRENT)])
@torch.enable_grad()
def test_a_network_without_kernels_is_the_same(name: str, variant: dict[str, Value], count: int) -> None:
    network, ids = trained(name, bool(variant)).eval(), padded(toy(count=count).reviews)

    def answer() -> tuple[Tensor, ...]:
        answers = network(ids)
        return (answers, *torch.autograd.grad(answers.square().sum(), list(network.parameters())))

    with_kernels = answer()
    with torch.inference_mode():
        torch.testing.assert_close(network(ids), with_kernels[0])
    with kernels.disabled():
        without = answer()
    for one, other in zip(with_kernels, without, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@torch.enable_grad()
@pytest.mark.parametrize("width", [2, 3])
def test_a_phrase_over_the_edge_of_a_batch_teaches_the_words_in_it_alone(width: int) -> None:
    with seeded(1):
        phrases, vectors = Phrases(8, 50, width).double(), torch.randn(3, 8, dtype=torch.double, requires_grad=True)
    words = Words(vectors, torch.tensor([[0, 1, 2, 1], [2, 0, 1, 0]]))  # as long as the batch is wide
    mask = torch.ones(2, 4, dtype=torch.bool)
    answers = max_over_time(phrases(words, mask), mask, 2)
    for one, other in zip(
        *(torch.autograd.grad(results.sum(), vectors) for results in (phrases.strongest(words, mask), answers)),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


@torch.enable_grad()
@pytest.mark.parametrize("width", [1, 3])
def test_phrases_by_table_and_their_gradients_are_those_of_a_convolution(width: int) -> None:
    with seeded(1):
        phrases, vectors = Phrases(8, 5, width).double(), torch.randn(20, 8, dtype=torch.double, requires_grad=True)
        words = Words(vectors, torch.randint(20, (4, 11)))
    mask = torch.arange(11) < torch.tensor([[11], [4], [1], [0]])
    padded_words = Words(torch.cat([vectors, vectors.new_zeros(1, 8)]), words.indices.masked_fill(~mask, 20))
    filled = nn.functional.pad(padded_words.features.transpose(1, 2), (0, width - 1))
    answers = phrases.filters(filled).transpose(1, 2).masked_fill(~mask.unsqueeze(-1), float("-inf"))
    inputs, results = (vectors, *phrases.parameters()), []
    for every in (phrases(padded_words, mask), answers):
        results.append((every, *torch.autograd.grad(every.exp().pow(2).sum(), inputs, retain_graph=True)))
    for strongest in (phrases.strongest(padded_words, mask), max_over_time(answers, mask, 4)):
        results.append((strongest, *torch.autograd.grad(strongest.pow(2).sum(), inputs, retain_graph=True)))
    for one, other in zip(results[0] + results[2], results[1] + results[3], strict=True):
        torch.testing.assert_close(one, other)
