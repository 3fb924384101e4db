"""The networks by name, and those of a user's own by module and class."""

import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from sentiment_tune.errors import InputError
from sentiment_tune.models.convolutional import CNN
from sentiment_tune.models.ensemble import Ensemble
from sentiment_tune.models.feedforward import Embedding, Feedforward
from sentiment_tune.models.linear import Linear
from sentiment_tune.models.own import load_class
from sentiment_tune.models.recurrent import CNNLSTM, GRU, LSTM, RNN
from sentiment_tune.space import Value, unknown_name

NETWORKS: dict[str, type[nn.Module]] = {
    "feedforward": Feedforward,
    "embedding": Embedding,
    "cnn": CNN,
    "rnn": RNN,
    "lstm": LSTM,
    "gru": GRU,
    "cnn_lstm": CNNLSTM,
    "linear": Linear,
}
ENSEMBLE = "ensemble"


def parse_names(names: str) -> tuple[str, ...]:
    """The networks that a user names.

    Args:
        names: one name, several with commas between, or `all` for the whole registry.

    Returns:
        The names, each once, in their order.

    Raises:
        InputError: one of them names no network that can be trained.
    """
    listed = tuple(NETWORKS) if names == "all" else tuple(dict.fromkeys(name.strip() for name in names.split(",")))
    for name in listed:
        network_class(name)
    return listed


def is_own(name: str) -> bool:
    """Whether a name leads to a network of a user's own, outside of the registry."""
    return ":" in name


def network_class(name: str, finished: bool = False, code: Path | None = None) -> type[nn.Module]:
    """The class of a network.

    Args:
        name: a name of the registry, or `package.module:Class` of the user's own.
        finished: whether it may be an ensemble, which is not trained.
        code: a folder of code in which a user's own is looked for at last.

    Raises:
        InputError: there is no such network, or what the name leads to is no torch module.
    """
    if name in NETWORKS:
        return NETWORKS[name]
    if name == ENSEMBLE:
        if finished:
            return Ensemble
        raise InputError("an ensemble is not trained: train its members, and put them together by `ensemble`")
    if not is_own(name):
        raise unknown_name("network", name, [*NETWORKS, "package.module:Class of your own"])
    module, _, called = name.partition(":")
    return load_class(module, called, code)


def create_network(name: str, vocabulary: int, settings: Mapping[str, Value], classes: int = 2) -> nn.Module:
    """A network with fresh weights.

    Args:
        name: as for `network_class`; an ensemble's one setting is `members`.
        vocabulary: how many word ids there are.
        settings: arguments of the network's constructor.
        classes: how many a review may be of.

    Raises:
        InputError: the network cannot be built so, or does not return logits [batch] for ids [batch, word], of more
            than two classes [batch, class].
    """
    try:
        network = _build(name, vocabulary, settings, classes)
        with torch.no_grad():
            logits = network.eval()(torch.ones(2, 3, dtype=torch.int64))  # in training it would draw random numbers
        network.train()
    except (TypeError, ValueError, RuntimeError, IndexError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"network {name!r} cannot be built with {dict(settings)}: {error}") from error
    if getattr(logits, "shape", None) != (2, *logits_shape(classes)):
        shape = "[batch]" if classes == 2 else f"[batch, {classes}]"
        raise InputError(f"network {name!r} must return logits {shape} for ids [batch, word]")
    return network


def logits_shape(classes: int) -> tuple[int, ...]:
    """Of a review's answer: one logit for two classes, that of the second, else one for each class."""
    return () if classes == 2 else (classes,)


def create_skeleton(name: str, vocabulary: int, settings: Mapping[str, Value], classes: int = 2) -> nn.Module:
    """A network of the registry whose weights have their shapes, but take no memory; arguments as above."""
    with torch.device("meta"), _WithoutNoise():
        return _build(name, vocabulary, settings, classes)


class _WithoutNoise(TorchFunctionMode):
    """Leaves weights as they are: where they take no memory, the first normal noise makes torch import for a second."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in (torch.Tensor.normal_, nn.init.normal_):
            return args[0] if args else kwargs["tensor"]
        return function(*args, **(kwargs or {}))


def _build(name: str, vocabulary: int, settings: Mapping[str, Value], classes: int) -> nn.Module:
    if name == ENSEMBLE:
        return create_ensemble(vocabulary, str(settings["members"]), classes)
    constructor = network_class(name)
    if classes == 2:
        return constructor(vocabulary, **settings)
    if "classes" not in inspect.signature(constructor).parameters:
        raise InputError(
            f"network {name!r} tells two classes apart, and the data have {classes}: let its constructor take "
            "`classes`, and its forward return logits [batch, class]"
        )
    return constructor(vocabulary, **settings, classes=classes)


def create_ensemble(vocabulary: int, members: str, classes: int = 2) -> Ensemble:
    """An ensemble of fresh networks.

    Args:
        vocabulary: how many word ids there are.
        members: JSON, for each member its `model`, the settings `network`, and `reading`, what it reads of a review.
        classes: how many a review may be of.

    Raises:
        ValueError: a member knows more words.
    """
    descriptions: Sequence[Mapping[str, Any]] = json.loads(members)
    readings = [member["reading"] for member in descriptions]
    if any(reading["vocabulary"] > vocabulary for reading in readings):
        raise ValueError(f"a member knows more words than {vocabulary}")
    networks = [
        _build(member["model"], member["reading"]["vocabulary"], member["network"], classes) for member in descriptions
    ]
    return Ensemble(networks, readings, classes)
