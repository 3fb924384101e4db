"""The networks and their registry.

A network is a torch module whose constructor takes `vocabulary` (how many ids there are) and its own settings, each
declared with bounds, and whose forward takes word ids [batch, word], 0 after a review's end, and returns logits
[batch]. It may have `prepare`, called once with the training reviews before the first epoch, and `recipe`, the
training settings it prefers to the common defaults.
"""

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path

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
    """The networks that a user names: one, several with commas between, or `all` of the registry; each is known."""
    listed = tuple(NETWORKS) if names == "all" else tuple(dict.fromkeys(name.strip() for name in names.split(",")))
    for name in listed:
        network_class(name)
    return listed


def network_class(name: str, finished: bool = False) -> type[nn.Module]:
    """The class of a network: a name of the registry, or `package.module:Class` of the user's own.

    What is `finished` may be an ensemble, which nobody trains.
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
    here = str(Path.cwd())
    if here not in sys.path:  # a console script does not look into the current folder by itself
        sys.path.append(here)
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise InputError(f"no network '{module}:{name}': {error}; write importable.module:Class") from None
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise InputError(f"'{module}:{name}' is no torch.nn.Module class; see the networks of sentiment_tune.models")
    return found


def create_network(name: str, vocabulary: int, settings: Mapping[str, Value]) -> nn.Module:
    """A network with fresh weights; InputError where the class does not keep the rules of this package's networks."""
    try:
        network = network_class(name, finished=True)(vocabulary, **settings)
        logits = network(torch.ones(2, 3, dtype=torch.int64))
    except (TypeError, ValueError, RuntimeError, IndexError) as error:
        raise InputError(f"network {name!r} cannot be built with {dict(settings)}: {error}") from error
    if getattr(logits, "shape", None) != (2,):
        raise InputError(f"network {name!r} must return logits [batch] for ids [batch, word]")
    return network
