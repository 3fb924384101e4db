"""How many threads compute a network changes no bit of it."""

from collections.abc import Iterator
from threading import Barrier, get_ident

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sentiment_tune.models import kernels
from sentiment_tune.models import registry as models
from sentiment_tune.models.kernels import pieces, products, recurrent
from sentiment_tune.models.kernels.products import linear, multiplied, multiplied_and_added, summed
from sentiment_tune.models.layers import HiddenLayer
from sentiment_tune.space import Value, resolve
from sentiment_tune.training.loop import seeded
from sentiment_tune.training.step import adversarial_perturbation, embedding_tables, mean_loss, total_norm
from support import CASES, over, padded

WORDS, REVIEWS, LONGEST = 10_000, 64, 500


@pytest.fixture
def threads() -> Iterator[int]:
    """The threads of a test that sets them, put back."""
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


def batch(reviews: int = REVIEWS, longest: int = LONGEST) -> tuple[Tensor, Tensor]:
    """Reviews as long as real ones, of words as frequent, and labels."""
    chance = np.random.default_rng(1)
    lengths = np.clip(chance.lognormal(5.2, 0.6, reviews), min(20, longest), longest).astype(int)
    ids = padded([np.minimum(3 + chance.zipf(1.3, length), WORDS - 1).astype(np.int32) for length in lengths])
    return ids, torch.from_numpy(chance.integers(0, 2, reviews).astype(np.float32))


@pytest.mark.slow
@pytest.mark.parametrize(  # an epoch's last batch has fewer reviews, and one has the shortest
    ("classes", "reviews", "longest"),
    [(2, 64, 500), (100, 64, 500), (2, 64, 40), (2, 36, 40), (2, 1, 300), (100, 1, 1)],
)
@over(CASES)
@torch.enable_grad()
def test_a_step_is_the_same_with_any_number_of_threads(
    name: str, variant: dict[str, Value], classes: int, reviews: int, longest: int, threads: int
) -> None:
    ids, labels = batch(reviews, longest)
    labels = labels if classes == 2 else torch.arange(len(ids)) % classes
    with seeded(1):
        network = models.create_network(name, WORDS, resolve(models.network_class(name), variant), classes)
        if hasattr(network, "prepare"):
            network.prepare([(ids, labels)])  # type: ignore[operator]
    expected: list[Tensor] = []
    for count in range(1, 6):
        torch.set_num_threads(count)
        for _ in range(3):  # what is added up as threads come differs from time to time
            with seeded(2):
                network.zero_grad()
                logits = network(ids)
                mean_loss(logits, labels).backward()  # type: ignore[no-untyped-call]
            gradients = [weight.grad.clone() for weight in network.parameters() if weight.grad is not None]
            with adversarial_perturbation(network, 0.1):
                moved = [table.detach().clone() for table in embedding_tables(network)]
            results = [logits.detach(), *gradients, total_norm(gradients), *moved]
            expected = expected or results
            for one, other in zip(results, expected, strict=True):
                assert torch.equal(one, other), f"{count} threads"


def test_pieces_are_as_equal_as_can_be_and_leave_nothing_out() -> None:
    assert pieces.cut(10, 3) == [slice(0, 3), slice(3, 6), slice(6, 10)]
    assert pieces.cut(2, 5) == [slice(0, 1), slice(1, 2)]
    assert pieces.cut(0, 4) == [slice(0, 0)]
    assert pieces.cut(40, 2, 16) == [slice(0, 16), slice(16, 40)]
    assert pieces.cut(20, 4, 16) == [slice(0, 16), slice(16, 20)]


def test_threads_share_pieces_and_results_keep_their_order(threads: int) -> None:
    torch.set_num_threads(3)
    together = Barrier(3, timeout=30)

    def work(piece: int) -> tuple[int, int, int]:
        if piece < 3:
            together.wait()  # no thread gets by it alone
        return piece, torch.get_num_threads(), get_ident()

    results = pieces.each(work, range(20))
    assert [piece for piece, _, _ in results] == list(range(20))
    assert {inside for _, inside, _ in results} == {1}
    assert len({thread for _, _, thread in results[:3]}) == 3
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_a_piece_is_computed_in_the_mode_of_whoever_asked(mode: type, threads: int) -> None:
    torch.set_num_threads(2)
    together = Barrier(2, timeout=30)

    def work(_: int) -> tuple[bool, bool]:
        together.wait()
        return torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    with mode():
        here = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        assert pieces.each(work, range(2)) == [here, here]


def test_an_error_in_a_piece_is_the_callers_and_nothing_goes_on_after_it(threads: int) -> None:
    torch.set_num_threads(2)
    begun = []

    def work(piece: int) -> None:
        begun.append(piece)
        raise ValueError("no such word")

    with pytest.raises(ValueError, match="no such word"):
        pieces.each(work, range(50))
    assert len(begun) <= 2
    assert torch.get_num_threads() == 2


@torch.enable_grad()
def test_long_products_and_their_gradients_are_those_of_torch() -> None:
    with seeded(1):
        a, b = (torch.randn(5000, columns, dtype=torch.double, requires_grad=True) for columns in (3, 4))
        weight, bias = (torch.randn(*shape, dtype=torch.double, requires_grad=True) for shape in ((5, 3), (5,)))
    torch.testing.assert_close(summed(a, b), a.t() @ b)
    small = a[:6].detach().requires_grad_()
    assert torch.autograd.gradcheck(linear, (small, weight, bias))


@pytest.mark.parametrize("layout", ["rows", "columns", "some columns", "one row"])
@pytest.mark.parametrize(("rows", "features", "outputs"), [(0, 3, 4), (1, 100, 1), (333, 100, 500), (1280, 500, 100)])
def test_products_are_those_of_torch_whatever_the_threads_and_the_cut(
    rows: int, features: int, outputs: int, layout: str, threads: int
) -> None:
    with seeded(1):
        x, weight, bias = torch.randn(rows, features), torch.randn(outputs, features), torch.randn(outputs)
        summand = torch.randn(rows, outputs)
    if layout == "columns":
        x, weight = x.t().contiguous().t(), weight.t().contiguous().t()
    elif layout == "some columns":
        x, weight = torch.cat([x, x], 1)[:, features:], torch.cat([weight, weight], 1)[:, features:]
    elif layout == "one row":
        x = torch.ones(features).expand(rows, features)
    torch.testing.assert_close(multiplied(x, weight, bias), x @ weight.t() + bias, rtol=1e-4, atol=1e-4)
    totals = multiplied_and_added(x, weight, summand)
    torch.testing.assert_close(totals, summand + x @ weight.t(), rtol=1e-4, atol=1e-4)
    whole = multiplied(x, weight, None)
    for count in (1, 2, 3, 4):
        torch.set_num_threads(count)
        assert multiplied(x, weight, None).equal(whole)
        assert multiplied_and_added(x, weight, summand).equal(totals)
        if rows:
            parts = [multiplied(x[cut], weight, None) for cut in pieces.cut(rows, -(-rows // 100))]
            assert torch.cat(parts).equal(whole)


@pytest.mark.parametrize(("rows", "features", "outputs"), [(1, 8192, 100), (64, 100, 100), (64, 24_576, 100)])
@torch.enable_grad()
def test_a_layer_is_the_same_with_any_number_of_threads(rows: int, features: int, outputs: int, threads: int) -> None:
    with seeded(1):
        layer, x = HiddenLayer(features, outputs), torch.randn(rows, features, requires_grad=True)
        grad_output = torch.randn(rows, outputs)
    results = []
    for count in (1, 2, 4, 8):
        torch.set_num_threads(count)
        answers = layer(x)
        results.append((answers, *torch.autograd.grad(answers, (x, layer.weight, layer.bias), grad_output)))
    for others in results[1:]:
        assert all(one.equal(other) for one, other in zip(results[0], others, strict=True))
    with kernels.disabled():
        torch.testing.assert_close(results[0][0], layer(x), rtol=1e-4, atol=1e-4)


@torch.enable_grad()
def test_a_torch_without_onednn_computes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    ids, labels = batch()
    losses = []
    monkeypatch.setattr(recurrent, "_compiled", lambda steps: steps)  # torch keeps what it has compiled
    for product, total in (
        (products.multiplied, products.multiplied_and_added),
        (products._by_torch, products._added_by_torch),
    ):
        monkeypatch.setattr(products, "multiplied", product)
        monkeypatch.setattr(products, "multiplied_and_added", total)
        for name in ("cnn", "rnn", "lstm", "gru", "cnn_lstm"):
            with seeded(1):
                network = models.create_network(name, WORDS, resolve(models.network_class(name), {}), 2).eval()
            loss = nn.functional.binary_cross_entropy_with_logits(network(ids), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append((loss, *(weight.grad for weight in network.parameters())))
    for one, other in zip(losses[:5], losses[5:], strict=True):
        for own, torchs in zip(one, other, strict=True):
            torch.testing.assert_close(own, torchs, rtol=1e-3, atol=1e-5)
