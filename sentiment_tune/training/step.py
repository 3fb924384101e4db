"""One step of training: loss, gradient, adversarial gradient, optimizer, running mean of the weights."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from sentiment_tune.data.text import PADDING, UNKNOWN
from sentiment_tune.training.config import TrainConfig


class TrainStep:
    """Steps down the loss, with what one leaves to the next."""

    def __init__(self, network: nn.Module, recipe: TrainConfig):
        self.network = network
        self.mean = ExponentialMovingAverage(network, recipe.averaging)
        self._recipe = recipe
        self._weights = list(network.parameters())
        self._optimizer = torch.optim.AdamW(self._weights, weight_decay=recipe.weight_decay, fused=True)

    def step(self, ids: Tensor, wanted: Tensor, rate: float) -> tuple[float, Tensor]:
        """One step; the loss and the logits before it. A loss that is not finite changes no weight."""
        ids = drop_words(ids, self._recipe.word_dropout)
        self._optimizer.zero_grad()
        logits = self._logits(ids)
        loss = accumulate_gradient(logits, wanted)
        if math.isfinite(loss):
            if self._recipe.adversarial:
                with adversarial_perturbation(self.network, self._recipe.adversarial):
                    accumulate_gradient(self._logits(ids), wanted)
            _clip(self._weights, self._recipe.clip)
            self._optimizer.param_groups[0]["lr"] = rate
            self._optimizer.step()
            self.mean.update()
        return loss, logits

    def _logits(self, ids: Tensor) -> Tensor:
        """The network's, from automatic mixed precision where the recipe says so; bfloat16 needs no loss scaling."""
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=self._recipe.precision == "bfloat16"):
            logits: Tensor = self.network(ids)
        return logits.float()


class ExponentialMovingAverage:
    """A network's weights averaged over the steps: each leaves `kept` of the mean, less at first; 0 is no mean."""

    def __init__(self, network: nn.Module, kept: float):
        self._kept = kept
        self._weights = list(network.parameters()) if kept else []
        self._means = [weight.detach().clone() for weight in self._weights]
        self._steps = 0

    @torch.no_grad()
    def update(self) -> None:
        self._steps += 1
        for mean, weight in zip(self._means, self._weights, strict=True):
            mean.lerp_(weight, max(1 - self._kept, 10 / (10 + self._steps)))

    def swap_in(self) -> None:
        """Give the network the mean, to be measured and copied."""
        self._exchange()

    def swap_out(self) -> None:
        """Give the network back the weights that the next step is to change."""
        self._exchange()

    def _exchange(self) -> None:
        for place, weight in enumerate(self._weights):
            weight.data, self._means[place] = self._means[place], weight.data


def _clip(weights: Sequence[Tensor], largest: float) -> None:
    """What clip_grad_norm_ does, but gradients that are short enough are not even multiplied by one."""
    norm = nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])
    if norm > largest:
        nn.utils.clip_grads_with_norm_(weights, largest, norm)


@contextmanager
def adversarial_perturbation(network: nn.Module, size: float) -> Iterator[None]:
    """A block in which the words' vectors are changed in the direction in which the loss grows, as their gradient says.

    The vectors of a batch change together, by `size` times their norm: adversarial training as in Miyato et al. (2017),
    who change each occurrence of a word by itself.
    """
    changes = []
    for vectors in embedding_tables(network):
        gradient = vectors.grad
        if gradient is not None and gradient.any():
            present = vectors.detach()[gradient.any(1)]
            changes.append((vectors, gradient * (size * present.norm() / gradient.norm())))
    with torch.no_grad():
        for vectors, change in changes:
            vectors.add_(change)
    yield
    with torch.no_grad():
        for vectors, change in changes:
            vectors.sub_(change)


def embedding_tables(network: nn.Module) -> list[Tensor]:
    """The tables [word, feature] in which a network looks up its words."""
    return [module.weight for module in network.modules() if isinstance(module, nn.Embedding | nn.EmbeddingBag)]


def accumulate_gradient(logits: Tensor, wanted: Tensor) -> float:
    """The loss, whose gradient is added to that of the weights if it is finite."""
    loss = binary_cross_entropy_with_logits(logits, wanted)
    value = loss.item()
    if math.isfinite(value):
        loss.backward()  # type: ignore[no-untyped-call]
    return value


def drop_words(ids: Tensor, share: float) -> Tensor:
    """ids [batch, word] where each word is with probability `share` the unknown one; padding stays."""
    if not share:
        return ids
    chosen = torch.rand(ids.shape, device=ids.device) < share
    return ids.masked_fill(chosen & (ids != PADDING), UNKNOWN)
