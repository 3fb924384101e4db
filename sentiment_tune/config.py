"""Everything that decides a training, by name: what a command, a file or a study gives, checked and complete."""

import os
import select
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from textwrap import shorten
from typing import Annotated, Any

from sentiment_tune.arguments import check_text
from sentiment_tune.data.imdb import RANDOM
from sentiment_tune.data.load import DataConfig
from sentiment_tune.data.rules import KERAS
from sentiment_tune.data.text import TextConfig
from sentiment_tune.errors import InputError
from sentiment_tune.inference.files import parse_json
from sentiment_tune.models import registry as models
from sentiment_tune.space import Doc, Fixed, Range, Setting, Value, resolve, settings_of, unknown_name
from sentiment_tune.training.config import TrainConfig

# Options of `train` and `tune` that are no settings of a training; a network cannot call its own settings so.
RESERVED_NAMES = (
    *("model", "settings", "experiment", "folder", "run_name", "tracking_uri", "system_metrics", "quiet"),
    *("resume", "checkpoint_minutes"),
    *("progress", "listener", "verbose"),
    *("trials", "timeout", "stale", "workers", "storage", "study", "sampler", "pruner", "top", "seeds", "joint"),
    *("folds", "search", "objectives", "max_parameters", "max_latency", "max_size", "from_study"),
)
DATA_NAMES = tuple(field.name for field in fields(DataConfig))
_KINDS: Mapping[str, Any] = {"unpack_limit": str | int, "deduplicate": str | bool}  # of settings that are no texts
# What a run's own settings always hold, and what was so before it could be said.
_ALL = {"model", "data", "text", "label", "split", "vocabulary", "length", "keep", "seed", "device"}
EARLIER = {"text_rule": KERAS, "validation": RANDOM}
IN_MEMORY = "memory"  # what the settings call data that no path leads to
_ELSEWHERE = ("device", "threads")  # where a training is made is no matter for what comes of it
_SHORT = {"learning_rate": "lr"}
_LONGEST = 150  # characters of a run's name, of which MLflow keeps 250
_RECIPES = files("sentiment_tune") / "recipes"
_MOST = 2**20  # bytes of a file of settings
_PATIENCE = 5  # seconds for a pipe's writer


@dataclass(frozen=True)
class RuntimeConfig:
    """What a training depends on besides network, data and how it is trained."""

    seed: Annotated[int, Range(0, 2**32 - 1), Doc("of everything random in a training")] = 1
    device: Annotated[
        str, Fixed("auto", "cpu", "cuda", "mps"), Doc("where to train; auto takes a GPU where there is one")
    ] = "auto"
    threads: Annotated[int, Range(0, 4096), Doc("of the CPU; 0 takes as many as are fastest")] = 0


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
        settings = settings_for(model)
        for name in given:
            if name not in settings and name not in DATA_NAMES:
                raise unknown_name(f"setting of {model}", name, [*settings, *DATA_NAMES])
        chosen = {**preferred_settings(model), **given}
        return cls(
            model,
            data_config({name: value for name, value in given.items() if name in DATA_NAMES}),
            TextConfig(**resolve(TextConfig, chosen)),  # type: ignore[arg-type]  # `resolve` has checked the types
            TrainConfig(**resolve(TrainConfig, chosen)),  # type: ignore[arg-type]
            RuntimeConfig(**resolve(RuntimeConfig, chosen)),  # type: ignore[arg-type]
            resolve(models.network_class(model), chosen),
        )

    def read_by(self, rule: str) -> "ExperimentConfig":
        """The same training, which says by which rule its texts were read."""
        return replace(self, data=replace(self.data, text_rule=rule))

    @property
    def is_own(self) -> bool:
        """Whether the network is of the user's own, who has named its code."""
        return models.is_own(self.model)

    @property
    def as_dict(self) -> dict[str, Value | None]:
        """Everything by name: the params of the run and the content of its settings file."""
        parts = (self.data, self.text, self.training, self.runtime)
        return {"model": self.model, **self.network} | {k: v for part in parts for k, v in asdict(part).items()}

    @cached_property
    def changed(self) -> dict[str, Value]:
        """The settings that are not as this network has them by default, by name."""
        settings = settings_for(self.model)
        chosen = {name: value for name, value in self.as_dict.items() if value is not None and name in settings}
        return {name: value for name, value in chosen.items() if value != settings[name].default}

    @property
    def title(self) -> str:
        """The network, and what of its settings is not the default: it tells one run from another."""
        return self._titled(_ELSEWHERE)

    @property
    def title_of_repeats(self) -> str:
        """The same, whatever the seed: it is that of all trainings that differ in their seed alone."""
        return self._titled((*_ELSEWHERE, "seed"))

    def _titled(self, unsaid: Collection[str]) -> str:
        changed = {name: value for name, value in self.changed.items() if name not in unsaid}
        return ", ".join(filter(None, (short_name(self.model), describe(changed))))


def short_name(model: str) -> str:
    """A network's name; one of the user's own is called by its class."""
    return model.rpartition(":")[2]


def describe(settings: Mapping[str, Value]) -> str:
    """Settings in a few words, such as `hidden 64, lr 0.002`."""
    words = (f"{_SHORT.get(name, name.replace('_', ' '))} {_shown(value)}" for name, value in settings.items())
    return shorten(", ".join(words), _LONGEST, placeholder=" ...")


def _shown(value: Value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def data_config(given: Mapping[str, Any]) -> DataConfig:
    """What is said of the data; InputError for an unknown name and for what is no text."""
    for name, value in given.items():
        if name not in DATA_NAMES:
            raise unknown_name("setting of the data", name, DATA_NAMES)
        if not isinstance(value, _KINDS.get(name, str)):
            raise InputError(f"{name} cannot be {value!r:.100}: give a text")
        check_text(name, value)
    chosen: dict[str, Any] = {
        name: _truth(name, value) if name == "deduplicate" else value for name, value in given.items()
    }
    return DataConfig(**chosen)


def _truth(name: str, value: bool | str) -> bool:
    """True or false, as a text of the command line too."""
    words = {"true": True, "false": False}
    if str(value).lower() not in words:
        raise InputError(f"{name} cannot be {value!r:.100}: give true or false")
    return words[str(value).lower()]


def settings_for(model: str) -> dict[str, Setting]:
    """What can be set for a network and its training, each with the default that holds for this network."""
    return {name: setting for settings in setting_groups(model).values() for name, setting in settings.items()}


def setting_groups(model: str) -> dict[str, dict[str, Setting]]:
    """The same, by what they are about: network, training, data, run."""
    groups = {
        "network": settings_of(models.network_class(model)),
        "training": settings_of(TrainConfig),
        "data": settings_of(TextConfig),
        "run": settings_of(RuntimeConfig),
    }
    common = {name for group, settings in groups.items() if group != "network" for name in settings}
    taken = sorted(groups["network"].keys() & {*common, *DATA_NAMES, *RESERVED_NAMES})
    if taken:
        raise InputError(f"network {model!r} calls a setting {taken[0]!r}, a name that is taken; choose another")
    preferred = preferred_settings(model)
    return {
        group: {name: replace(line, default=preferred.get(name, line.default)) for name, line in settings.items()}
        for group, settings in groups.items()
    }


def preferred_settings(model: str) -> Mapping[str, Value]:
    """The training settings that a network prefers to the common defaults."""
    return getattr(models.network_class(model), "train_defaults", {})


def read_settings(source: str | Path) -> dict[str, Any]:
    """What a settings file, or the recipe of that name, holds by name; settings left empty in it are left out."""
    path = Path(source)
    recipe = _RECIPES / f"{source}.json"
    try:
        settings = parse_json(recipe.read_bytes() if _is_recipe(source) else _read_file(path))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"no settings in {source}: {reason}; give a file of settings or a recipe: {', '.join(recipe_names())}"
        ) from None
    if not isinstance(settings, dict):
        raise InputError(f"no settings in {source}: it holds no JSON object of names and values")
    earlier = EARLIER if settings.keys() >= _ALL else {}
    return {name: value for name, value in {**earlier, **settings}.items() if value is not None}


def _read_file(path: Path) -> bytes:
    """The content of a file or a pipe; ValueError if nobody writes it, or more than settings are, as of a device."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not select.select([file], [], [], _PATIENCE)[0]:
            raise ValueError(f"nobody has written to it in {_PATIENCE} s")
        os.set_blocking(file.fileno(), True)
        content = file.read(_MOST + 1)
    if len(content) > _MOST:
        raise ValueError(f"it has more than {_MOST:,} bytes")
    return content


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package, one a network."""
    return sorted(path.name.removesuffix(".json") for path in _RECIPES.iterdir() if path.name.endswith(".json"))


def _is_recipe(source: str | Path) -> bool:
    """Whether the name is a recipe's; a file of that name in the current folder goes first."""
    return not Path(source).is_file() and str(source) in recipe_names()
