"""One step of training: gradient, adversarial gradient, clipping, optimizer, average of the weights."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.optim.swa_utils import AveragedModel

from sentiment_tune.data.text import PADDING, UNKNOWN
from sentiment_tune.models import kernels
from sentiment_tune.models.registry import NETWORKS
from sentiment_tune.training.config import TrainConfig
from sentiment_tune.training.graphs import RecordedStep
from sentiment_tune.training.optimizer import MEMORY, AdamW

Tensors = tuple[Tensor, ...] | list[Tensor]
_BLOCK = 32_768  # numbers; torch shares longer sums among threads


class TrainStep:
    """A network with its optimizer: each call is one step down the loss."""

    def __init__(self, network: nn.Module, config: TrainConfig, class_weights: Tensor | None = None):
        """`class_weights` [class] say how much a review of each class counts; None that all count the same."""
        self.network = network
        self._class_weights = class_weights
        self.average = ExponentialMovingAverage(network, config.averaging) if config.averaging else None
        self._config = config
        self._parameters = list(network.parameters())
        self._optimizer = AdamW(self._parameters, config.weight_decay)
        device = self._parameters[0].device
        self.waits = device.type != "cuda"  # to know each step's loss before the next
        self._diverged = torch.zeros((), device=device)  # 1 after a loss that is not finite
        # What adversarial training does waits for the GPU, and what a user's own network does is not known.
        is_known = type(network) in NETWORKS.values() and not config.adversarial and kernels.are_enabled()
        self._recorded = RecordedStep(device) if is_known and not self.waits else None

    def __call__(self, ids: Tensor, targets: Tensor, learning_rate: float) -> tuple[Tensor, Tensor]:
        """Mean loss before the step and number of right answers, of ids [batch, word] and targets as of `mean_loss`.

        A loss that is not finite changes no weight. Nor does any step after it where a step does not wait to know its
        loss: what a GPU has computed is asked for later, while it goes on.
        """
        if self.waits:
            outcome = self._step(ids, targets, learning_rate)
        else:
            rate = torch.full((), learning_rate, device=ids.device)
            outcome = (
                self._recorded(self._step, ids, targets, rate) if self._recorded else self._step(ids, targets, rate)
            )
        if self.average is not None:
            self.average.update_parameters(self.network)
        return outcome

    @contextmanager
    def place(self) -> Iterator[None]:
        """The block in which steps are made."""
        with self._recorded.stream() if self._recorded else nullcontext():
            yield

    def _step(self, ids: Tensor, targets: Tensor, learning_rate: float | Tensor) -> tuple[Tensor, Tensor]:
        ids = drop_words(ids, self._config.word_dropout)
        self._optimizer.zero_grad()
        logits = self._forward(ids)
        loss = mean_loss(logits, targets, self._class_weights)
        outcome = loss.detach(), count_correct(logits.detach(), targets)
        if self.waits and not math.isfinite(loss.item()):
            return outcome
        loss.backward()  # type: ignore[no-untyped-call]
        if self._config.adversarial:
            with adversarial_perturbation(self.network, self._config.adversarial):
                self._add_gradient(ids, targets)
        if self.waits:
            clip_gradient(self._parameters, self._config.clip)
            self._optimizer.step(learning_rate)
        else:
            self._diverged.masked_fill_(~loss.detach().isfinite(), 1.0)
            self._optimizer.step(learning_rate, excess(self._parameters, self._config.clip), self._diverged)
        return outcome

    def _add_gradient(self, ids: Tensor, targets: Tensor) -> None:
        """Add another gradient to that of the weights, if its loss is finite."""
        loss = mean_loss(self._forward(ids), targets, self._class_weights)
        if not self.waits or math.isfinite(loss.item()):
            loss.backward()  # type: ignore[no-untyped-call]

    def _forward(self, ids: Tensor) -> Tensor:
        """Logits under automatic mixed precision where the config says so; bfloat16 needs no loss scaling."""
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=self._config.precision == "bfloat16"):
            logits: Tensor = self.network(ids)
        return logits.float()

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All that its further steps depend on, by name: weights, buffers, the average, the optimizer's memory."""
        named = {f"network.{name}": tensor for name, tensor in named_tensors(self.network).items()}
        if self.average is not None:
            named |= {f"average.{name}": tensor for name, tensor in named_tensors(self.average).items()}
        for number, memory in enumerate(self._optimizer.state):
            named |= {f"optimizer.{number}.{name}": tensor for name, tensor in memory.items()}
        return named

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what another one of the same network and config had; ValueError if its tensors do not fit."""
        own = {name: tensor for name, tensor in self.tensors.items() if not name.startswith("optimizer.")}
        for name, tensor in own.items():
            if name not in tensors or tensors[name].shape != tensor.shape:
                raise ValueError(f"no {name} of shape {list(tensor.shape)}")
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(tensors[name])
        for number, parameter in enumerate(self._parameters):
            prefix = f"optimizer.{number}."
            memory = {name: tensors[prefix + name] for name in MEMORY if prefix + name in tensors}
            self._optimizer.state[number] = {name: _like(parameter, tensor) for name, tensor in memory.items()}

    def swap_average(self) -> None:
        """Exchange the network's weights with their average, if there is one, to measure and copy it; and back."""
        if self.average is not None:
            self.average.swap(self.network)


def named_tensors(module: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers of a module by name, those too that it does not save."""
    parameters, buffers = module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False)
    return {**dict(parameters), **dict(buffers)}


class ExponentialMovingAverage(AveragedModel):
    """The weights averaged over the steps: each keeps `decay` of the average, less in the first hundreds of steps."""

    def __init__(self, network: nn.Module, decay: float):
        def average(averages: Tensors, weights: Tensors, step: Tensor | int) -> None:
            share = max(1 - decay, 10 / (10 + int(step)))
            for mean, weight in zip(averages, weights, strict=True):
                mean.lerp_(weight, share)

        super().__init__(network, multi_avg_fn=average)
        self.n_averaged += 1  # the fresh weights count as the first step: torch would throw them away

    def swap(self, network: nn.Module) -> None:
        """Exchange the average with the network's weights, each where it lies: cuDNN wants a cell's in one piece."""
        with torch.no_grad():
            for mean, weight in zip(self.module.parameters(), network.parameters(), strict=True):
                own = weight.clone()
                weight.copy_(mean)
                mean.copy_(own)


def _like(parameter: Tensor, saved: Tensor) -> Tensor:
    """A saved tensor where the parameter is and, if it is of its shape, laid out as that is, as the optimizer needs."""
    if saved.shape != parameter.shape:
        return saved.to(parameter.device)
    return torch.empty_like(parameter, dtype=saved.dtype, requires_grad=False).copy_(saved)


def drop_words(ids: Tensor, rate: float) -> Tensor:
    """Ids [batch, word] where each word is with probability `rate` the unknown one; padding stays."""
    if not rate:
        return ids
    dropped = torch.rand(ids.shape, device=ids.device) < rate
    return ids.masked_fill(dropped & (ids != PADDING), UNKNOWN)


def mean_loss(logits: Tensor, targets: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Mean cross entropy in nats, each review's times the weight of its class [class].

    Of two classes logits [batch] and targets [batch], 0.0 or 1.0; of more logits [batch, class] and their numbers.
    """
    weights = None if class_weights is None else class_weights[targets.long()]  # [batch]
    if logits.ndim == 1:
        return binary_cross_entropy_with_logits(logits, targets, weights)
    if weights is None:
        return cross_entropy(logits, targets)
    return (cross_entropy(logits, targets, reduction="none") * weights).mean()


def count_correct(logits: Tensor, targets: Tensor) -> Tensor:
    """How many reviews are predicted to be what they are: [], of logits and targets as of `mean_loss`."""
    if logits.ndim == 1:
        return ((logits > 0) == (targets > 0.5)).sum()
    return (logits.argmax(1) == targets).sum()


@contextmanager
def adversarial_perturbation(network: nn.Module, size: float) -> Iterator[None]:
    """A block in which the words' vectors are moved in the direction in which the loss grows, as their gradient says.

    The vectors of a batch move together, by `size` times their norm: adversarial training as in Miyato et al. (2017),
    who move each occurrence of a word by itself.
    """
    originals = []
    with torch.no_grad():
        for table in embedding_tables(network):
            gradient = table.grad
            if gradient is not None and gradient.any():
                originals.append((table, table.detach().clone()))
                present = table[gradient.any(1)]
                table.add_(gradient * (size * total_norm([present]) / total_norm([gradient])))
    try:
        yield
    finally:
        with torch.no_grad():
            for table, original in originals:
                table.copy_(original)


def embedding_tables(network: nn.Module) -> list[Tensor]:
    """The tables [word, feature] in which a network looks up its words."""
    return [module.weight for module in network.modules() if isinstance(module, nn.Embedding | nn.EmbeddingBag)]


def clip_gradient(parameters: Sequence[Tensor], largest: float) -> None:
    """What clip_grad_norm_ does, but gradients that are short enough are not even multiplied by one."""
    norm = total_norm([weight.grad for weight in parameters if weight.grad is not None])
    if norm > largest:
        nn.utils.clip_grads_with_norm_(parameters, largest, norm)


def excess(parameters: Sequence[Tensor], largest: float) -> Tensor:
    """How many times as long as it may be a gradient is, 1 where it is not too long: [], nothing is waited for."""
    norm = nn.utils.get_total_norm([weight.grad for weight in parameters if weight.grad is not None])
    return (norm / largest).clamp(min=1.0)


def total_norm(tensors: Iterable[Tensor]) -> Tensor:
    """The norm of tensors as if they were one, the same for any number of threads: no block is shared by several."""
    norms = []
    for tensor in tensors:
        whole = tensor.numel() // _BLOCK * _BLOCK
        numbers = tensor.flatten()
        norms += [torch.linalg.vector_norm(numbers[:whole].reshape(-1, _BLOCK), dim=1)] if whole else []
        norms += [torch.linalg.vector_norm(numbers[whole:]).reshape(1)] if whole < len(numbers) else []
    return torch.linalg.vector_norm(torch.cat(norms)) if norms else torch.zeros(())
