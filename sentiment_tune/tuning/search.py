"""What a study searches: which networks, which of their settings, between which bounds, and what the user has fixed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sentiment_tune.config import IN_MEMORY, ExperimentConfig, describe, settings_for, short_name
from sentiment_tune.data.folds import check_folds
from sentiment_tune.data.load import DataConfig
from sentiment_tune.errors import InputError
from sentiment_tune.evaluation.metrics import LOG_LOSS, words_for
from sentiment_tune.space import Choice, Range, Setting, Value, unknown_name
from sentiment_tune.tuning.objectives import ACCURACY
from sentiment_tune.tuning.ranges import with_range, within

if TYPE_CHECKING:
    from sentiment_tune.tuning.warm_start import EarlierSettings

MODEL = "model"  # parameter of a joint study that chooses the network
_ELSEWHERE = {"device", "threads", *(field.name for field in fields(DataConfig))}  # no matter for what a trial is worth


@dataclass(frozen=True)
class StudyConfig:
    """A study as the user means it; plain data, so that a worker process gets it whole."""

    study: str  # its name in the storage; see `with_name`
    models: tuple[str, ...]  # one, or several that one study searches together
    fixed: Mapping[str, Any]  # settings and source of data by name, the same in every trial
    trials: int  # finished ones that the study is to have, whoever runs them
    storage: str  # Optuna's URL
    timeout: float | None = None  # seconds after which no further trial begins
    stale: int | None = None  # trials without a better one after which none begins
    sampler: str = "TPESampler"
    pruner: str | None = None  # None: median pruning up to 50 trials, Hyperband above
    workers: int = 1  # processes on this machine
    ranges: Mapping[str, str] = field(default_factory=dict)  # where settings are searched, by name; see `parse_ranges`
    objectives: tuple[str, ...] = (ACCURACY,)  # see `tuning.objectives`
    limits: Mapping[str, float] = field(default_factory=dict)  # the most that a network may have, by objective
    folds: int | None = None  # that each trial is trained and validated with; None: the corpus' own validation part
    from_study: str | None = None  # where the settings come from with which it begins
    earlier: tuple["EarlierSettings", ...] = ()  # and what they are

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise InputError(f"trials cannot be {self.trials}: give the number of trials the study is to have, from 1")
        if self.workers < 1:
            raise InputError(f"workers cannot be {self.workers}: give the number of processes, from 1")
        if self.timeout is not None and not self.timeout > 0:
            raise InputError(f"timeout cannot be {self.timeout:g}: give seconds, more than 0")
        if self.folds is not None:
            check_folds(self.folds)
        if self.stale is not None and self.stale < 1:
            raise InputError(f"stale cannot be {self.stale}: give a number of trials, from 1")
        for name in self.ranges:
            if name in self.fixed:
                raise InputError(f"{name} cannot be both fixed and searched: give --{name} or --search {name}=...")
        if not self.space:
            raise InputError(f"nothing is left to search of {', '.join(self.models)}: fix fewer settings")

    @property
    def joint(self) -> bool:
        """Whether one study searches several networks together."""
        return len(self.models) > 1

    @property
    def in_memory(self) -> bool:
        """Whether the data is at no path from which another process could load it."""
        return self.source.data == IN_MEMORY

    @cached_property
    def settings(self) -> dict[str, dict[str, Setting]]:
        """What can be set for each network; read from the signatures once."""
        declared = {model: settings_for(model) for model in self.models}
        for name in self.ranges:
            if not any(name in settings for settings in declared.values()):
                names = [name for settings in declared.values() for name in settings]
                raise unknown_name(f"setting of {', '.join(self.models)}", name, names)
        return {
            model: {
                name: with_range(setting, self.ranges[name]) if name in self.ranges else setting
                for name, setting in settings.items()
            }
            for model, settings in declared.items()
        }

    @property
    def is_pareto(self) -> bool:
        """Whether the study looks for the trials that nothing beats in everything, and not for a single best one."""
        return len(self.objectives) > 1

    @cached_property
    def space(self) -> dict[str, Setting]:
        """The settings searched, by the name of their parameter; those of a joint study stand behind the network's."""
        return {
            self._parameter(model, name): setting
            for model, settings in self.settings.items()
            for name, setting in settings.items()
            if setting.bounds.searched and name not in self.fixed
        }

    def _parameter(self, model: str, name: str) -> str:
        return f"{model}.{name}" if self.joint else name

    def trial_config(self, parameters: Mapping[str, Any], **more: Value) -> ExperimentConfig:
        """The training that a trial's parameters mean; what only other networks have of the settings is left out."""
        model = parameters[MODEL] if self.joint else self.models[0]
        own = self.settings[model]
        others = {name for settings in self.settings.values() for name in settings} - own.keys()
        searched = {
            name: parameters[parameter] for name in own if (parameter := self._parameter(model, name)) in parameters
        }
        given = {**self.fixed, **searched, **more}
        return ExperimentConfig.of(model, {name: value for name, value in given.items() if name not in others})

    def trial_name(self, number: int, parameters: Mapping[str, Any]) -> str:
        """A trial's name: its number and the parameters that are its own."""
        own = {name.rpartition(".")[2]: value for name, value in parameters.items() if name != MODEL}
        network = [short_name(parameters[MODEL])] if self.joint else []
        return f"trial {number}: {', '.join((*network, describe(own)))}"

    def with_name(self, data: str, alone: bool) -> "StudyConfig":
        """The same search, its study named: as the user did, or after its networks and data.

        One of several studies has its networks behind the name that the user gave to all.
        """
        networks = self.models[0] if not self.joint else f"joint-{'+'.join(self.models)}"
        own = f"{networks}-{data}"
        return replace(self, study=self.study if self.study and alone else f"{self.study}-{own}".lstrip("-"))

    @cached_property
    def defaults(self) -> list[dict[str, Value]]:
        """Parameters of the trials with which a study begins: every network as it is without a search."""
        return [self._defaults_of(model) for model in self.models]

    def _defaults_of(self, model: str) -> dict[str, Value]:
        return self.parameters_of(model, {})

    def parameters_of(self, model: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """A trial's parameters for these values of a network's settings, those not given by default.

        What lies outside of what is searched is moved to its edge; what is no value of its setting is left out.
        """
        own = {name: line for name, line in self.space.items() if not self.joint or name.startswith(f"{model}.")}
        chosen = {name: within(line, _parsed(line, values.get(line.name))) for name, line in own.items()}
        return {MODEL: model, **chosen} if self.joint else chosen

    @cached_property
    def default_configs(self) -> list[ExperimentConfig]:
        """The trainings with which the study begins, one a network."""
        return [self.trial_config(parameters) for parameters in self.defaults]

    @property
    def configs_of_texts(self) -> list[ExperimentConfig]:
        """The trainings with which it begins, but for one setting: each text that is to be tried, such as weights."""
        return [
            self.trial_config({**parameters, name: value})
            for parameters in self.defaults
            for name, setting in self.space.items()
            if name in parameters and setting.type is str and isinstance(setting.bounds, Choice)
            for value in setting.bounds
        ]

    @property
    def source(self) -> DataConfig:
        """Where the data comes from."""
        return self.default_configs[0].data

    @property
    def metric(self) -> str:
        """Of the validation reviews, by which trials are judged."""
        return self.default_configs[0].training.metric

    @property
    def measure(self) -> str:
        """What a trial is worth, in words."""
        return f"validation {words_for(self.metric)}"

    @property
    def drawn_measure(self) -> str:
        """The same of pictures, which are drawn of the trials' values as they are: more is better."""
        return self.measure + (", negative" if self.metric == LOG_LOSS else "")

    @property
    def seed(self) -> int:
        """Of the trainings and of the sampler."""
        return self.default_configs[0].runtime.seed

    def facts(self, digest: str) -> dict[str, str]:
        """What trials must have in common to be compared, by name: the study is bound to it."""
        fixed = {
            f"{model}.{name}": value
            for model, parameters, config in zip(self.models, self.defaults, self.default_configs, strict=True)
            for name, value in config.as_dict.items()
            if self._parameter(model, name) not in parameters and name not in _ELSEWHERE
        }
        described = {name: json.dumps(value) for name, value in fixed.items()}
        limits = {f"max_{name}": f"{limit:g}" for name, limit in self.limits.items()}
        if self.is_pareto:
            limits["objectives"] = ",".join(self.objectives)
        if self.folds:
            limits["folds"] = str(self.folds)
        return {"data digest": digest, **described, **self.bounds, **limits}

    @property
    def bounds(self) -> dict[str, str]:
        """Between what each parameter is searched, in words."""
        return {name: _described(setting.bounds) for name, setting in self.space.items()}


def _parsed(setting: Setting, value: object) -> Value:
    """The value, or the default where it is none of the setting's."""
    try:
        return setting.default if value is None else setting.parse(value)
    except InputError:
        return setting.default


def _described(bounds: Range | Choice) -> str:
    if isinstance(bounds, Range) and bounds.search:
        return f"from {bounds.search[0]:g} to {bounds.search[1]:g}"
    return f"one of {bounds}"


def check_same_facts(search: StudyConfig, begun_with: Mapping[str, str], facts: Mapping[str, str]) -> None:
    """InputError, naming the first difference, if a study was begun with other facts than those of now.

    A setting that there was not yet is no difference as long as it has its default.
    """
    defaults = {
        f"{model}.{name}": json.dumps(setting.default)
        for model, settings in search.settings.items()
        for name, setting in settings.items()
    }
    for name in (*facts, *begun_with):
        is_new = name not in begun_with and facts[name] == defaults.get(name)
        if begun_with.get(name) != facts.get(name) and not is_new:
            is_option = name in ("folds", "objectives") or name.startswith("max_")  # else it is a setting
            missing = f"without {name}" if is_option else "not searched"
            begun = missing if is_option and name not in begun_with else f"with {name}: {begun_with.get(name, missing)}"
            raise InputError(
                f"study {search.study!r} was begun {begun}, and this is {facts.get(name, missing)}: begin another one "
                f"with --study {search.study}-2"
            )
