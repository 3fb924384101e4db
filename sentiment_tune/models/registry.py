"""The networks by name, and those of a user's own by module and class."""

import importlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from sentiment_tune.errors import InputError
from sentiment_tune.models.convolutional import CNN
from sentiment_tune.models.ensemble import Ensemble
from sentiment_tune.models.feedforward import Embedding, Feedforward
from sentiment_tune.models.linear import Linear
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


def network_class(name: str, finished: bool = False) -> type[nn.Module]:
    """The class of a network.

    Args:
        name: a name of the registry, or `package.module:Class` of the user's own.
        finished: whether it may be an ensemble, which is not trained.

    Raises:
        InputError: there is no such network, or what the name leads to is no torch module.
    """
    if name in NETWORKS:
        return NETWORKS[name]
    if name == ENSEMBLE:
        if finished:
            return Ensemble
        raise InputError("an ensemble is not trained: train its members, and put them together by `ensemble`")
    if ":" not in name:
        raise unknown_name("network", name, [*NETWORKS, "package.module:Class of your own"])
    return _imported(*name.split(":", 1))


def _imported(module: str, name: str) -> type[nn.Module]:
    try:
        network = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise InputError(f"no network '{module}:{name}': {error}; write importable.module:Class") from None
    if not (isinstance(network, type) and issubclass(network, nn.Module)):
        raise InputError(f"'{module}:{name}' is no torch.nn.Module class; see the networks of sentiment_tune.models")
    return network


def create_network(name: str, vocabulary: int, settings: Mapping[str, Value]) -> nn.Module:
    """A network with fresh weights.

    Args:
        name: as for `network_class`; an ensemble's one setting is `members`.
        vocabulary: how many word ids there are.
        settings: arguments of the network's constructor.

    Raises:
        InputError: the network cannot be built so, or does not return logits [batch] for ids [batch, word].
    """
    try:
        if name == ENSEMBLE:
            network: nn.Module = create_ensemble(vocabulary, str(settings["members"]))
        else:
            network = network_class(name)(vocabulary, **settings)
        logits = network(torch.ones(2, 3, dtype=torch.int64))
    except (TypeError, ValueError, RuntimeError, IndexError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"network {name!r} cannot be built with {dict(settings)}: {error}") from error
    if getattr(logits, "shape", None) != (2,):
        raise InputError(f"network {name!r} must return logits [batch] for ids [batch, word]")
    return network


def create_ensemble(vocabulary: int, members: str) -> Ensemble:
    """An ensemble of fresh networks.

    Args:
        vocabulary: how many word ids there are.
        members: JSON, for each member its `model`, the settings `network`, and `reading`, what it reads of a review.

    Raises:
        ValueError: a member knows more words.
    """
    descriptions: Sequence[Mapping[str, Any]] = json.loads(members)
    readings = [member["reading"] for member in descriptions]
    if any(reading["vocabulary"] > vocabulary for reading in readings):
        raise ValueError(f"a member knows more words than {vocabulary}")
    networks = [
        create_network(member["model"], member["reading"]["vocabulary"], member["network"]) for member in descriptions
    ]
    return Ensemble(networks, readings)
