"""What a saved model consists of: four files of data and no code.

`weights.safetensors` holds the tensors, `vocabulary.txt` the words in the order of their ids, `settings.json` which
network it is and how it reads, `manifest.json` the SHA-256 of the three. Loading checks all of it and runs nothing.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from sentiment_tune.data.text import TextConfig, Vocabulary
from sentiment_tune.errors import InputError
from sentiment_tune.inference.scorer import Scorer
from sentiment_tune.models import registry as models
from sentiment_tune.space import Value

FORMAT = 1
WEIGHTS, VOCABULARY, SETTINGS, MANIFEST = "weights.safetensors", "vocabulary.txt", "settings.json", "manifest.json"

# Texts whose scores are logged beside a model: wherever it is loaded, it has to score them the same.
GOLDEN = (
    "a fine film",
    "a dull one",
    "",
    "not bad at all, though the second half drags",
    "Ridiculous! I want these two hours of my life back...",
    '<br />"Wonderful" was the word my friend used; I would not go that far.',
    "zzyzx qwrtp",
    " ".join(["the plot is clever, the acting is wooden, and the ending surprised me"] * 60),
)


@dataclass(frozen=True)
class ModelPackage:
    """A trained network and what it takes to build it again and to encode a text as in training."""

    model: str  # name in the registry of networks, or package.module:Class
    network: nn.Module
    settings: Mapping[str, Value]  # of the network
    vocabulary: Vocabulary
    text_config: TextConfig

    @property
    def scorer(self) -> Scorer:
        """What scores raw texts with this network."""
        return Scorer(self.network, self.vocabulary, self.text_config)


def save_package(package: ModelPackage, folder: Path) -> None:
    """Write the four files into `folder`, which must not exist yet."""
    folder.mkdir(parents=True)
    description = {
        "format": FORMAT,
        "model": package.model,
        "network": dict(package.settings),
        "reading": asdict(package.text_config),
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in package.network.state_dict().items()}
    files = {
        WEIGHTS: save_tensors(tensors),
        VOCABULARY: "\n".join(package.vocabulary.words).encode(),
        SETTINGS: (json.dumps(description, indent=2) + "\n").encode(),
    }
    files[MANIFEST] = json.dumps({name: _digest(content) for name, content in files.items()}, indent=2).encode()
    for name, content in files.items():
        (folder / name).write_bytes(content)


def load_package(folder: Path) -> ModelPackage:
    """The model saved in `folder`, on the CPU; InputError where a file is missing, changed or not finite."""
    files = _read_verified(folder)
    try:
        package = _unpack(files, folder)
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{folder} holds no usable model: {error}") from None
    _check_finite(package.network, folder)
    return package


def _unpack(files: Mapping[str, bytes], folder: Path) -> ModelPackage:
    """The model that the contents of the files describe; whatever is wrong with them raises an error of its kind."""
    description = json.loads(files[SETTINGS])
    if description["format"] != FORMAT:
        raise InputError(f"{folder} has format {description['format']}, this version reads {FORMAT}; update it")
    model, settings = description["model"], description["network"]
    text_config = TextConfig(**description["reading"])
    network = _create_network(model, text_config.vocabulary, settings)
    network.load_state_dict(load_tensors(files[WEIGHTS]))
    words = files[VOCABULARY].decode().split("\n") if files[VOCABULARY] else []
    return ModelPackage(model, network.eval(), settings, Vocabulary(words), text_config)


def _create_network(model: str, vocabulary: int, settings: Mapping[str, Value]) -> nn.Module:
    try:
        models.network_class(model, finished=True)
    except InputError as error:
        raise InputError(f"{error}; or let the code that was logged with the model run: --trust-code true") from None
    return models.create_network(model, vocabulary, settings)


def _read_verified(folder: Path) -> dict[str, bytes]:
    try:
        manifest: dict[str, Any] = dict(json.loads((folder / MANIFEST).read_bytes()))
        files = {name: (folder / name).read_bytes() for name in (WEIGHTS, VOCABULARY, SETTINGS)}
    except (OSError, TypeError, ValueError) as error:
        raise InputError(f"{folder} holds no complete model: {error}; give the model's URI or its folder") from None
    for name, content in files.items():
        if manifest.get(name) != _digest(content):
            raise InputError(f"{folder / name} is not what was saved: its SHA-256 differs from the manifest's")
    return files


def _check_finite(network: nn.Module, folder: Path) -> None:
    for name, tensor in network.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"{folder / WEIGHTS} holds values in {name!r} that are not finite: do not use this model")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
