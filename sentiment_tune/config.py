"""Everything that decides a training, by name: what a command, a file or a study gives, checked and complete."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

from sentiment_tune.data.load import DataConfig
from sentiment_tune.data.text import TextConfig
from sentiment_tune.errors import InputError
from sentiment_tune.models import registry as models
from sentiment_tune.space import Fixed, Range, Setting, Value, resolve, settings_of, unknown_name
from sentiment_tune.training.config import TrainConfig

# Options of `train` and `tune` that are no settings of a training; a network cannot call its own settings so.
RESERVED_NAMES = (
    *("model", "settings", "experiment", "folder", "run_name", "tracking_uri", "system_metrics", "quiet"),
    *("trials", "timeout", "stale", "workers", "storage", "study", "sampler", "pruner", "top", "seeds", "joint"),
)


@dataclass(frozen=True)
class RuntimeConfig:
    """What a training depends on besides network, data and recipe."""

    seed: Annotated[int, Range(0, 2**32 - 1)] = 1
    device: Annotated[str, Fixed("auto", "cpu", "cuda", "mps")] = "auto"
    threads: Annotated[int, Range(0, 4096)] = 0  # of the CPU; 0 leaves it to torch


@dataclass(frozen=True)
class ExperimentConfig:
    """Everything that decides a training, complete and checked."""

    model: str  # name in the registry of networks, or package.module:Class
    data: DataConfig
    text: TextConfig
    training: TrainConfig
    runtime: RuntimeConfig
    network: Mapping[str, Value]  # settings of the network's constructor

    @classmethod
    def of(cls, model: str, given: Mapping[str, Any]) -> "ExperimentConfig":
        """A config from what is given by name, the rest by default; InputError for unknown names and bad values."""
        known, sources = settings_for(model), {field.name for field in fields(DataConfig)}
        for name in given:
            if name not in known and name not in sources:
                raise unknown_name(f"setting of {model}", name, [*known, *sources])
            if name in sources and not isinstance(given[name], str):
                raise InputError(f"{name} cannot be {given[name]!r}: give a text")
        chosen = {**preferred_settings(model), **given}
        return cls(
            model,
            DataConfig(**{name: value for name, value in given.items() if name in sources}),
            TextConfig(**resolve(TextConfig, chosen)),  # type: ignore[arg-type]  # `resolve` has checked the types
            TrainConfig(**resolve(TrainConfig, chosen)),  # type: ignore[arg-type]
            RuntimeConfig(**resolve(RuntimeConfig, chosen)),  # type: ignore[arg-type]
            resolve(models.network_class(model), chosen),
        )

    @property
    def as_dict(self) -> dict[str, Value | None]:
        """Everything by name: the params of the run and the content of its settings file."""
        parts = (self.data, self.text, self.training, self.runtime)
        return {"model": self.model, **self.network} | {k: v for part in parts for k, v in asdict(part).items()}


def settings_for(model: str) -> dict[str, Setting]:
    """What can be set for a network and its training, each with the default that holds for this network."""
    own = settings_of(models.network_class(model))
    common = {
        name: line for part in (TrainConfig, TextConfig, RuntimeConfig) for name, line in settings_of(part).items()
    }
    both = sorted(own.keys() & {*common, *(field.name for field in fields(DataConfig)), *RESERVED_NAMES})
    if both:
        raise InputError(f"network {model!r} calls a setting {both[0]!r}, a name that is taken; choose another")
    preference = preferred_settings(model)
    return {name: replace(line, default=preference.get(name, line.default)) for name, line in (own | common).items()}


def preferred_settings(model: str) -> Mapping[str, Value]:
    """The training settings that a network prefers to the common defaults."""
    return getattr(models.network_class(model), "recipe", {})


def read_settings(path: Path) -> dict[str, Any]:
    """What a settings file holds, by name, settings left empty in it left out."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"no settings in {path}: {error}") from None
    if not isinstance(held, dict):
        raise InputError(f"no settings in {path}: it holds no JSON object of names and values")
    return {name: value for name, value in held.items() if value is not None}
