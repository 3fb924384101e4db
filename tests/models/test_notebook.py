"""The mistakes of the course notebook: each is shown in its wrong form, and not found in our networks."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sentiment_tune.data.batches import evaluation_batches
from sentiment_tune.data.text import FIRST_WORD
from sentiment_tune.evaluation.metrics import loss_and_accuracy
from sentiment_tune.inference.predict import predict
from sentiment_tune.models.convolutional import Phrases
from sentiment_tune.models.layers import Words
from sentiment_tune.models.linear import Linear
from sentiment_tune.models.registry import NETWORKS
from sentiment_tune.space import Value
from sentiment_tune.training.config import TrainConfig
from sentiment_tune.training.loop import fit, seeded
from support import CASES, READING, VOCABULARY, a_means_positive, built, over, padded, toy, trained

# Other names for the same words: names[id] is the new id; padding, start and unknown keep theirs.
NAMES = torch.arange(VOCABULARY)
NAMES[FIRST_WORD:] = torch.arange(VOCABULARY - 1, FIRST_WORD - 1, -1)


def renamed(network: nn.Module) -> nn.Module:
    """The same network for renamed words: only which row or column belongs to which id has changed."""
    network = copy.deepcopy(network)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Embedding):
                module.weight[NAMES] = module.weight.clone()
            if isinstance(module, Linear):
                module.prepare([(NAMES[padded(toy().reviews)], torch.from_numpy(toy().labels))])
                module.weights.fill_(1.0)
    return network


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_raw_ids_are_not_fed_as_numbers(name: str) -> None:
    ids = padded(toy().reviews)
    on_numbers = nn.Sequential(nn.Linear(ids.shape[1], 16), nn.ReLU(), nn.Linear(16, 1))
    assert on_numbers(1000.0 * ids).abs().mean() > 100 * on_numbers(1.0 * ids).abs().mean()  # wrong: a name has a size
    network = copy.deepcopy(trained(name, False)).eval()
    if isinstance(network, Linear):
        network.weights.fill_(1.0)
        network.bias.fill_(0.0)
    other = renamed(network).eval()
    torch.testing.assert_close(other(NAMES[ids]), network(ids), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(other(ids), network(ids), atol=1e-3)  # the new names do matter to the network


class Clipped(nn.Module):
    """The notebook's last layers: what goes into the sigmoid has passed a ReLU."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, ids: Tensor) -> Tensor:
        return torch.relu(self.network(ids))


def trained_on_a_rule(network: nn.Module) -> np.ndarray:
    """Logits [review] after training on reviews whose label a word tells."""
    reviews = toy(a_means_positive, 256)
    list(
        fit(
            network,
            reviews,
            reviews,
            TrainConfig(epochs=8, batch=16, learning_rate=0.01),
            READING,
            1,
        )
    )
    return predict(network, evaluation_batches(reviews, READING))


@pytest.mark.parametrize("name", NETWORKS)
def test_no_relu_before_the_sigmoid(name: str) -> None:
    reviews = toy(a_means_positive, 256)
    negative = reviews.labels == 0
    clipped = trained_on_a_rule(Clipped(built(name, {}, reviews)))
    assert loss_and_accuracy(clipped[negative], reviews.labels[negative])[0] >= math.log(
        2
    )  # wrong: none can be called negative
    free = trained_on_a_rule(built(name, {}, reviews))
    assert free.min() < 0 < free.max()
    assert loss_and_accuracy(free[negative], reviews.labels[negative])[0] < 0.5


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "linear"])  # whose logits start at 0
def test_fresh_logits_take_both_signs_behind_a_linear_layer(name: str) -> None:
    signs = set()
    for seed in range(10):
        with seeded(seed):
            network = NETWORKS[name](VOCABULARY)
        signs |= set(np.sign(predict(network, evaluation_batches(toy(count=8), READING))))
        assert isinstance(list(network.modules())[-1], nn.Linear)
    assert signs == {-1.0, 1.0}


def changed(ids: Tensor, review: int, word: int) -> Tensor:
    ids = ids.clone()
    ids[review, word] = FIRST_WORD + (ids[review, word] + 7) % 30
    return ids


def test_a_recurrent_layer_without_batch_first_reads_across_reviews() -> None:
    with seeded(1), torch.no_grad():
        vectors, wrong = nn.Embedding(VOCABULARY, 8), nn.LSTM(8, 6)
        ids = torch.randint(FIRST_WORD, VOCABULARY, (4, 5))

        def last(ids: Tensor) -> Tensor:
            return wrong(vectors(ids))[0][:, -1]

        assert (last(changed(ids, 0, 4)) != last(ids)).any(1).all()  # review 0 reaches all
        assert torch.equal(last(changed(ids, 3, 0)), last(ids))  # a review's own first word does not


@over(CASES)
@torch.no_grad()
def test_no_recurrence_across_the_batch(name: str, variant: dict[str, Value]) -> None:
    network = trained(name, bool(variant)).eval()
    ids = padded(toy(count=16).reviews)
    before = network(ids)
    words = range(1, 5)
    for word in words:
        assert torch.equal(network(changed(ids, 0, word))[1:], before[1:])
    for row in range(len(ids)):  # a word that stands there twice, or was not the strongest, may not matter by itself
        assert max(abs(network(changed(ids, row, word)) - before)[row] for word in words) > 1e-6


WIDTH = 3


def touched(answers: Tensor, others: Tensor) -> list[int]:
    return (answers != others).any(-1)[0].nonzero().flatten().tolist()


@pytest.mark.parametrize("word", [0, 1, 5, 8])
@torch.no_grad()
def test_no_view_as_transpose(word: int) -> None:
    with seeded(1):
        phrases, words = Phrases(4, 32, WIDTH), torch.randn(1, 9, 4)
    other = words.clone()
    other[0, word] += 3

    def viewed(words: Tensor) -> Tensor:
        channels = nn.functional.pad(words.view(1, 4, 9), (0, WIDTH - 1))
        return phrases.filters(channels).relu().transpose(1, 2)

    window = list(range(max(0, word - WIDTH + 1), word + 1))  # the phrases that hold the word
    mask = torch.ones(1, 9, dtype=torch.bool)
    assert touched(phrases(Words.each(words), mask), phrases(Words.each(other), mask)) == window
    assert touched(viewed(words), viewed(other)) != window
