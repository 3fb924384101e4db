"""The loop: reproducible bit for bit, stopped by validation alone, ended at once where the loss is no number."""

import math
import subprocess
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from sentiment_tune.build import refit_network
from sentiment_tune.config import ExperimentConfig
from sentiment_tune.data.batches import evaluation_batches
from sentiment_tune.data.load import DataConfig, load
from sentiment_tune.data.text import PADDING, UNKNOWN
from sentiment_tune.errors import DivergenceError
from sentiment_tune.evaluation.metrics import loss_and_accuracy
from sentiment_tune.events import Event
from sentiment_tune.inference.predict import predict
from sentiment_tune.models import kernels
from sentiment_tune.space import Value
from sentiment_tune.training.config import FEWEST, MOST, SHOWN, TrainConfig
from sentiment_tune.training.loop import BestWeights, EpochRecord, early_stopping, fit
from sentiment_tune.training.step import ExponentialMovingAverage, adversarial_perturbation, drop_words
from support import BATTERY, READING, Toy, a_means_positive, built, padded, toy

RECIPE = TrainConfig(epochs=3, batch=16, learning_rate=0.01, warmup=0.0, schedule="constant")
TRAIN, VALIDATION = toy(a_means_positive, 128), toy(a_means_positive, 64, seed=2)


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def without_time(epochs: Iterable[EpochRecord]) -> list[EpochRecord]:
    return [replace(epoch, seconds=0.0) for epoch in epochs]


def fitted(
    name: str,
    variant: dict[str, Value],
    recipe: TrainConfig = RECIPE,
    seed: int = 1,
    validation: Toy = VALIDATION,
) -> tuple[list[EpochRecord], dict[str, Tensor]]:
    network = built(name, variant, TRAIN)
    epochs = without_time(fit(network, TRAIN, validation, recipe, READING, seed))
    return epochs, weights(network)


@BATTERY
def test_the_same_seed_gives_the_same_weights_and_another_others(name: str, variant: dict[str, Value]) -> None:
    epochs, first = fitted(name, variant)
    torch.rand(7), np.random.rand(7)  # what else draws random numbers is no matter
    assert fitted(name, variant)[0] == epochs
    assert equal(fitted(name, variant)[1], first)
    assert not equal(fitted(name, variant, seed=2)[1], first)


def test_training_leaves_the_random_numbers_of_the_rest_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fitted("embedding", {})
    assert torch.equal(torch.rand(3), expected)


def test_the_validation_labels_change_no_weight() -> None:
    turned = replace(VALIDATION, labels=1 - VALIDATION.labels)
    (epochs, first), (others, second) = fitted("gru", {}), fitted("gru", {}, validation=turned)
    assert equal(first, second)
    assert [epoch.val_accuracy for epoch in epochs] == [1 - epoch.val_accuracy for epoch in others]


def test_the_best_weights_are_those_of_a_fresh_run_of_as_many_epochs() -> None:
    train, held_out = toy(count=64), toy(count=64, seed=2)  # labels nobody can tell: the best epoch comes by chance
    recipe, best = TrainConfig(epochs=8, batch=16, learning_rate=0.02, schedule="constant"), BestWeights()
    network = built("rnn", {}, train)
    for epoch in fit(network, train, held_out, recipe, READING, 1):
        best.update(epoch, network)
    last = weights(network)
    chosen = best.restore(network)
    assert 1 <= chosen.epoch < recipe.epochs, "the last epoch must not be the best, or nothing is tested"
    shorter = built("rnn", {}, train)
    list(fit(shorter, train, held_out, replace(recipe, epochs=chosen.epoch), READING, 1))
    assert equal(weights(network), weights(shorter))
    assert not equal(weights(network), last)
    assert loss_and_accuracy(predict(network, evaluation_batches(held_out, READING)), held_out.labels) == (
        chosen.val_loss,
        chosen.val_accuracy,
    )


def test_without_an_epoch_there_are_no_best_weights() -> None:
    with pytest.raises(ValueError, match="no epoch"):
        BestWeights().restore(built("embedding", {}))


def epochs_of(figures: list[tuple[float, float]]) -> Iterator[EpochRecord]:
    """Epochs of these validation accuracies and losses."""
    for number, (accuracy, loss) in enumerate(figures, 1):
        yield EpochRecord(number, 0.5, 0.5, loss, accuracy, 1.0)


@pytest.mark.parametrize(
    ("figures", "patience", "seen"),
    [
        ([(0.5, 0.7), (0.6, 0.6), (0.7, 0.5)], 1, 3),
        ([(0.5, 0.7), (0.5, 0.7), (0.9, 0.1)], 1, 2),
        ([(0.5, 0.7), (0.5, 0.7), (0.9, 0.1)], 2, 3),
        ([(0.5, 0.7), (0.5, 0.6), (0.5, 0.5), (0.5, 0.5), (0.9, 0.1)], 1, 4),  # a falling loss is progress
        ([(0.5, 0.7), (0.6, 0.8), (0.7, 0.9), (0.7, 0.9), (0.9, 0.1)], 1, 4),  # and so is a rising accuracy
    ],
)
def test_it_stops_after_as_many_epochs_without_progress(
    figures: list[tuple[float, float]], patience: int, seen: int
) -> None:
    assert len(list(early_stopping(epochs_of(figures), patience))) == seen


class Exploding(nn.Module):
    """Logits that are no numbers from the third step on."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))
        self.steps = 0

    def forward(self, ids: Tensor) -> Tensor:
        self.steps += 1
        return self.bias.expand(len(ids)) * (math.nan if self.steps == 3 else 1.0)


def test_a_loss_that_is_no_number_ends_training_at_that_step_and_changes_no_weight() -> None:
    network = Exploding()
    after_steps: list[dict[str, Tensor]] = []
    epochs: list[EpochRecord] = []

    def keep_weights(event: Event) -> None:
        after_steps.append(weights(network))

    with pytest.raises(
        DivergenceError, match=r"nan in epoch 1, step 3, at learning rate 0\.01; try a smaller learning_rate"
    ):
        epochs.extend(fit(network, TRAIN, VALIDATION, RECIPE, READING, 1, keep_weights))
    assert (epochs, len(after_steps)) == ([], 2)
    assert equal(weights(network), after_steps[-1])


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [("constant", [1, 1, 1]), ("linear", [1, 0.5, 0]), ("cosine", [1, 0.5, 0])],
)
def test_the_rate_falls_as_the_schedule_says(schedule: str, rates: list[float]) -> None:
    recipe = TrainConfig(learning_rate=0.3, schedule=schedule, epochs=8, warmup=0.0)
    assert [recipe.rate_at(passed) for passed in (0, 4, 8)] == pytest.approx([0.3 * rate for rate in rates])


def test_the_rate_rises_at_first() -> None:
    recipe = TrainConfig(learning_rate=0.3, epochs=8, warmup=2.0, schedule="constant")
    assert [recipe.rate_at(passed) for passed in (0, 0.5, 1, 2, 8)] == pytest.approx([0, 0.075, 0.15, 0.3, 0.3])


def test_a_large_corpus_is_shown_less_often_than_a_small_one() -> None:
    usual = TrainConfig()
    assert [usual.for_reviews(count).epochs for count in (1, 500, 5_000, 10**6)] == [
        MOST,
        MOST,
        SHOWN // 5_000,
        FEWEST,
    ]
    given = TrainConfig(epochs=7)
    assert given.for_reviews(10**6) is given
    training = fit(built("embedding", {}, TRAIN), TRAIN, VALIDATION, usual, READING, 1)
    assert [epoch.epoch for epoch in training] == list(range(1, MOST + 1))


def test_a_refit_may_take_as_many_epochs_as_the_training_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentiment_tune.training.config.SHOWN", 9_000)
    corpus, config = load(DataConfig("sample")), ExperimentConfig.of("embedding", {"data": "sample", "embedding": 4})
    epochs = config.training.for_reviews(len(corpus.train)).epochs
    assert epochs > config.training.for_reviews(len(corpus.train) + len(corpus.validation)).epochs
    refit_network(config, corpus, epochs)


@pytest.mark.parametrize("name", ["embedding", "cnn", "gru"])
@torch.enable_grad()
def test_the_worst_change_to_the_words_makes_the_loss_larger_and_leaves_nothing(name: str) -> None:
    network, size = built(name, {"dropout": 0.0}, TRAIN), 0.05
    ids, wanted = padded(TRAIN.reviews), torch.from_numpy(TRAIN.labels).float()
    before, loss = weights(network), binary_cross_entropy_with_logits(network(ids), wanted)
    loss.backward()  # type: ignore[no-untyped-call]
    with adversarial_perturbation(network, size), torch.no_grad():
        assert binary_cross_entropy_with_logits(network(ids), wanted) > loss
        vectors, changed = before["embedding.weight"], network.embedding.weight  # type: ignore[union-attr]
        present = torch.tensor(sorted({*ids.flatten().tolist()}))
        present = present[present != PADDING]
        share = (changed - vectors).norm() / vectors[present].norm()  # type: ignore[operator]
        assert share.item() == pytest.approx(size, rel=1e-4)
    assert equal(weights(network), before)


def test_an_error_while_the_words_are_changed_leaves_them_as_they_were() -> None:
    network = built("embedding", {}, TRAIN)
    before = weights(network)
    network(padded(TRAIN.reviews)).sum().backward()

    def run_out_of_memory() -> None:
        with adversarial_perturbation(network, 0.05):
            assert not equal(weights(network), before)
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        run_out_of_memory()
    assert equal(weights(network), before)


def test_adversarial_training_takes_the_gradient_of_both_losses() -> None:
    plain, hard = fitted("embedding", {}), fitted("embedding", {}, replace(RECIPE, adversarial=0.1))
    assert not equal(plain[1], hard[1])
    assert hard[0][-1].train_loss > plain[0][-1].train_loss


@BATTERY
@pytest.mark.parametrize("switch", ["on", "off"], ids=["as on a CPU", "as on a GPU"])
def test_mixed_precision_learns_the_same_to_a_few_digits(
    name: str, variant: dict[str, Value], switch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(kernels.VARIABLE, switch)
    # oneDNN's LSTM takes bfloat16 on some CPUs only.
    with warnings.catch_warnings(action="ignore"), torch.backends.mkldnn.flags(enabled=False):
        whole, (mixed, left) = (
            fitted(name, variant, replace(RECIPE, precision=precision)) for precision in ("float32", "bfloat16")
        )
    assert mixed[-1].train_loss == pytest.approx(whole[0][-1].train_loss, rel=0.05)
    assert {weight.dtype for weight in left.values() if weight.is_floating_point()} == {torch.float32}
    assert equal(left, whole[1]) == (name == "linear")  # which has no matrix product


def test_words_are_made_unknown_by_chance_and_padding_never() -> None:
    ids = torch.full((100, 100), 7)
    ids[:, 80:] = PADDING
    seen = drop_words(ids, 0.25)
    assert set(seen[:, :80].flatten().tolist()) == {7, UNKNOWN}
    assert not seen[:, 80:].any()
    assert (seen == UNKNOWN).float().sum().item() == pytest.approx(0.25 * 8000, rel=0.1)


def test_dropping_words_makes_training_harder_and_not_reading() -> None:
    plain, partly = fitted("embedding", {}), fitted("embedding", {}, replace(RECIPE, word_dropout=0.5))
    assert partly[0][-1].train_loss > plain[0][-1].train_loss
    assert partly[0][-1].val_loss < partly[0][-1].train_loss


def test_averaged_weights_are_measured_and_training_goes_on_from_the_last() -> None:
    recipe = replace(RECIPE, averaging=0.9)
    plain, (averaged, last) = fitted("embedding", {}), fitted("embedding", {}, recipe)
    assert [epoch.train_loss for epoch in averaged] == [epoch.train_loss for epoch in plain[0]]
    assert [epoch.val_loss for epoch in averaged] != [epoch.val_loss for epoch in plain[0]]
    assert equal(last, plain[1])
    network, best = built("embedding", {}, TRAIN), BestWeights()
    training = fit(network, TRAIN, VALIDATION, recipe, READING, 1)
    best.update(next(training), network)
    next(training)
    chosen = best.restore(network)
    training.close()
    assert (
        loss_and_accuracy(
            predict(network, evaluation_batches(VALIDATION, READING)),
            VALIDATION.labels,
        )[0]
        == chosen.val_loss
    )


def test_a_running_mean_is_the_mean_of_what_was_seen() -> None:
    network = nn.Linear(1, 1, bias=False)
    start, place = network.weight.item(), network.weight.data_ptr()
    mean = ExponentialMovingAverage(network, 0.5)
    for value in (1.0, 2.0, 3.0):
        network.weight.data.fill_(value)
        mean.update_parameters(network)
    mean.swap(network)
    begun = (1.0 - 10 / 11) * start + 10 / 11 * 1.0
    second = (1.0 - 10 / 12) * begun + 10 / 12 * 2.0
    assert network.weight.item() == pytest.approx((1.0 - 10 / 13) * second + 10 / 13 * 3.0)
    mean.swap(network)
    assert network.weight.item() == 3.0
    assert network.weight.data_ptr() == place  # cuDNN copies a cell's weights at each call where they are not together


def test_a_figure_is_a_sum_over_reviews_divided_once() -> None:
    logits, labels = np.random.default_rng(1).normal(0, 3, 101), np.arange(101) % 3 == 0
    loss, accuracy = loss_and_accuracy(logits, labels.astype(np.uint8))
    assert loss == pytest.approx(metrics.log_loss(labels, 1 / (1 + np.exp(-logits))))
    assert accuracy == metrics.accuracy_score(labels, logits > 0)
    assert loss_and_accuracy(np.array([1e6, -1e6]), np.array([0, 1], dtype=np.uint8)) == (1e6, 0.0)


def test_the_training_figures_of_an_epoch_are_means_over_its_reviews() -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(1))

        def forward(self, ids: Tensor) -> Tensor:
            return ids[:, 0] * 0 + ids[:, 1] * 0.01 + self.unused * 0

    network, odd = Constant(), toy(count=33)  # so the last batch is smaller than the others
    (epoch,) = fit(network, odd, VALIDATION, replace(RECIPE, epochs=1, weight_decay=0.0), READING, 1)
    loss, accuracy = loss_and_accuracy(predict(network, evaluation_batches(odd, READING)), odd.labels)
    assert epoch.train_loss == pytest.approx(loss, rel=1e-6)
    assert epoch.train_accuracy == accuracy


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's memory is mended, other systems' left as it is")
@pytest.mark.parametrize("kept", [True, False])
def test_freed_memory_is_kept_for_the_next_step(kept: bool) -> None:
    code = f"""
import resource, torch
from sentiment_tune.process import keep_freed_memory
def taken_anew():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize()
if {kept}:
    keep_freed_memory()
print(*[taken_anew() for _ in range(24)])  # it takes up to nine until a freed piece fits the next tensor
"""
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    anew = [int(size) >= 2**26 for size in finished.stdout.split()[-4:]]
    assert anew == [not kept] * 4  # a tensor of 64 MiB
