"""What a saved model consists of: four files of data and no code.

`weights.safetensors` holds the tensors, `vocabulary.txt` the words in the order of their ids, `settings.json` which
network it is, how it reads and how many words there are, `manifest.json` the SHA-256 of the three. Loading checks all
of it before it takes memory for it, follows no link, and runs nothing.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from sentiment_tune.data.labels import SENTIMENT, THRESHOLD, Classes
from sentiment_tune.data.text import TextConfig, Vocabulary
from sentiment_tune.errors import InputError
from sentiment_tune.inference.description import FORMAT, Description, Trust, read_description
from sentiment_tune.inference.files import check_names, parse_json, read_file
from sentiment_tune.inference.scorer import Scorer
from sentiment_tune.inference.weights import read_weights
from sentiment_tune.models import registry as models
from sentiment_tune.space import Value

WEIGHTS, VOCABULARY, SETTINGS, MANIFEST = "weights.safetensors", "vocabulary.txt", "settings.json", "manifest.json"
FOLDER = "scorer"  # of these files, in a logged model
_MOST = {MANIFEST: 2**16, SETTINGS: 2**24, VOCABULARY: 2**28}  # bytes
_MOST_WORDS = 10_000_000
_COVERED = (WEIGHTS, VOCABULARY, SETTINGS)

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
    classes: Classes = SENTIMENT
    threshold: float = THRESHOLD  # between two classes

    @property
    def scorer(self) -> Scorer:
        """What scores raw texts with this network."""
        return Scorer(self.network, self.vocabulary, self.text_config, self.classes, self.threshold)


def save_package(package: ModelPackage, folder: Path) -> None:
    """Write the four files into `folder`, which must not exist yet."""
    folder.mkdir(parents=True)
    description = {
        "format": FORMAT,
        "model": package.model,
        "network": dict(package.settings),
        "reading": {**asdict(package.text_config), "text_rule": package.vocabulary.rule},
        "words": len(package.vocabulary.words),
        "classes": asdict(package.classes),
        "threshold": package.threshold,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in package.network.state_dict().items()}
    files = {
        WEIGHTS: save_tensors(tensors),
        VOCABULARY: "\n".join(package.vocabulary.words).encode(),
        SETTINGS: (json.dumps(description, indent=2) + "\n").encode(),
    }
    files[MANIFEST] = json.dumps({name: digest_of(content) for name, content in files.items()}, indent=2).encode()
    for name, content in files.items():
        (folder / name).write_bytes(content)


def load_package(folder: Path, trust: Trust | None = None, digests: Mapping[str, str] | None = None) -> ModelPackage:
    """The model saved in `folder`, on the CPU; InputError where a file is missing, changed, or not what it may be.

    Code of somebody's own network runs only with `trust`. `digests` are those of files as they are known from
    elsewhere, by name; they must have these.
    """
    try:
        return _unpack(_read_verified(folder, digests), folder / WEIGHTS, trust)
    except (OSError, LookupError, TypeError, ValueError, RuntimeError, MemoryError, SafetensorError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(f"{folder} holds no usable model: {reason:.500}") from None


def load_folder(folder: Path, trust_code: bool = False) -> ModelPackage:
    """The model in a folder that a user has named, one that was logged or of `save_package`, as it is."""
    data = data_folder(folder, str(folder))
    return load_package(data, Trust(data.parents[1] / "code") if trust_code else None)


def data_folder(folder: Path, uri: str) -> Path:
    """Folder of the data files in a model's, or that folder itself."""
    for name in (f"data/{FOLDER}", ""):
        if os.path.lexists(folder / name / MANIFEST):
            if (folder / name).resolve() != folder.resolve() / name:
                raise InputError(f"{folder / name} is a link: a model has its files in its own folder")
            return folder / name
    raise InputError(f"{uri!r} is no model of sentiment_tune: it has no {MANIFEST}")


def _read_verified(folder: Path, digests: Mapping[str, str] | None) -> dict[str, bytes]:
    """The small files; each has the digest that the manifest says, and `digests` where they are known."""
    files = {name: read_file(folder / name, most) for name, most in _MOST.items()}
    if digests is not None:
        _check_digests(files, digests)
    manifest = check_names(parse_json(files[MANIFEST]), _COVERED, "the manifest")
    _check_digests({name: files[name] for name in (VOCABULARY, SETTINGS)}, manifest)
    return files


def _check_digests(files: Mapping[str, bytes], digests: Mapping[str, str]) -> None:
    for name, content in files.items():
        if digests.get(name) != digest_of(content):
            raise ValueError(f"{name} is not what was saved: its SHA-256 is another")


def _unpack(files: Mapping[str, bytes], weights: Path, trust: Trust | None) -> ModelPackage:
    """The model that the contents of the files describe; whatever is wrong with them raises an error of its kind."""
    found = read_description(files[SETTINGS], trust)
    words = _read_words(files[VOCABULARY], found.words)
    network = _create_network(found, weights, dict(parse_json(files[MANIFEST])))
    vocabulary = Vocabulary(words, found.text_rule)
    return ModelPackage(
        found.model,
        network.eval(),
        found.settings,
        vocabulary,
        found.text_config,
        found.classes,
        found.threshold,
    )


def _read_words(content: bytes, count: int | None) -> list[str]:
    if content.count(b"\n") >= _MOST_WORDS:
        raise ValueError(f"{VOCABULARY} has more than {_MOST_WORDS:,} words")
    words = content.decode().split("\n") if content else []
    if count is not None and len(words) != count:
        raise ValueError(f"{VOCABULARY} has {len(words)} words, not {count}")
    if len(set(words)) < len(words):
        raise ValueError(f"{VOCABULARY} has a word twice")
    return words


def _create_network(found: Description, weights: Path, manifest: Mapping[str, str]) -> nn.Module:
    built = (found.model, found.text_config.vocabulary, found.settings, len(found.classes))
    content = read_weights(weights, None if found.is_own else models.create_skeleton(*built))
    _check_digests({WEIGHTS: content}, manifest)
    network = models.create_network(*built)
    network.load_state_dict(load_tensors(content))
    for name, tensor in network.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{WEIGHTS} holds values in {name!r} that are not finite: do not use this model")
    return network


def digest_of(content: bytes) -> str:
    """SHA-256 of a content, in hex digits."""
    return hashlib.sha256(content).hexdigest()
