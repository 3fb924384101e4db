"""Settings that have proved good before, with which another study begins."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna

from sentiment_tune.config import DATA_NAMES, read_settings, recipe_names, settings_for
from sentiment_tune.errors import InputError
from sentiment_tune.models.registry import is_own
from sentiment_tune.tracking import records, registry
from sentiment_tune.tracking.schema import Artifact
from sentiment_tune.tuning.backend import has_storage, open_storage
from sentiment_tune.tuning.liveness import FACTS
from sentiment_tune.tuning.trials import best_trials

if TYPE_CHECKING:
    from sentiment_tune.tuning.search import StudyConfig

MOST = 10  # settings that are taken over from a study
_VERSION = "models:/"


@dataclass(frozen=True)
class EarlierSettings:
    """What a network was trained with before, by name; what they do not hold is tried at its default."""

    model: str
    values: Mapping[str, Any]


def earlier_settings(source: str, storage: str) -> tuple[EarlierSettings, ...]:
    """The best settings that `source` holds, the best first; InputError if there are none.

    Args:
        source: name of a study in the storage, file of settings, name of a recipe, or version in the registry,
            `models:/NAME@ALIAS` or `models:/NAME/VERSION`.
        storage: Optuna's URL.
    """
    if source.startswith(_VERSION):
        settings = records.read_json(registry.run_of(source), Artifact.SETTINGS)
        return (_of_settings(source, settings),)
    study = _find_study(source, storage)
    if study is not None:
        return tuple(_of_study(study))
    if _is_there(source) or source in recipe_names():
        return (_checked(source, _of_settings(source, read_settings(source))),)
    raise InputError(
        f"from_study cannot be {source!r:.200}: give a study of {storage} (sentiment-tune studies), a file of "
        f"settings, a recipe or {_VERSION}NAME@ALIAS"
    )


def _is_there(path: str) -> bool:
    try:
        return Path(path).is_file()
    except OSError:  # a name that no file can have
        return False


def _find_study(name: str, storage: str) -> optuna.Study | None:
    if not has_storage(storage):
        return None
    opened = open_storage(storage)
    return optuna.load_study(study_name=name, storage=opened) if name in optuna.get_all_study_names(opened) else None


def _of_settings(source: str, settings: Mapping[str, Any]) -> EarlierSettings:
    if not isinstance(settings, Mapping) or not isinstance(settings.get("model"), str):
        raise InputError(f"{source} does not say which network its settings are of")
    return EarlierSettings(settings["model"], {name: value for name, value in settings.items() if name != "model"})


def _checked(source: str, earlier: EarlierSettings) -> EarlierSettings:
    """The settings, which are of a network of the package; InputError naming what it has not, or cannot have."""
    if is_own(earlier.model):  # whose code the user of a file has not named
        return earlier
    settings, objections = settings_for(earlier.model), []
    for name, value in earlier.values.items():
        try:
            if name in settings:
                settings[name].parse(value)
            elif name not in DATA_NAMES:
                objections.append(f"{earlier.model} has no setting {name!r}")
        except InputError as error:
            objections.append(str(error))
    if objections:
        raise InputError(f"from_study cannot be {source!r:.200}: {'; '.join(objections)}")
    return earlier


def _of_study(study: optuna.Study) -> Iterator[EarlierSettings]:
    """The settings of its best trials; the network is in a joint study's parameters, in another's facts."""
    networks = {fact.partition(".")[0] for fact in study.user_attrs.get(FACTS, {}) if "." in fact}
    best = best_trials(study)[:MOST]
    if not best:
        raise InputError(f"from_study cannot be {study.study_name!r}: no trial of it was finished")
    for trial in best:
        own = {name.rpartition(".")[2]: value for name, value in trial.params.items() if name != "model"}
        yield EarlierSettings(str(trial.params.get("model") or next(iter(networks), "")), own)


def taken_over(search: "StudyConfig") -> str:
    """How many trials a study begins with because of what was good before, and with which settings of it."""
    searched = {line.name for line in search.space.values()}
    names = [name for name in dict.fromkeys(name for one in search.earlier for name in one.values) if name in searched]
    count = len(first_parameters(search))
    if not count:
        return f"nothing is taken over from {search.from_study}: the study begins with that anyway"
    trials = "1 trial begins" if count == 1 else f"{count} trials begin"
    return f"{trials} with {len(names)} settings taken over from {search.from_study}: {', '.join(names)}"


def first_parameters(search: "StudyConfig") -> list[dict[str, Any]]:
    """The parameters of the trials with which a study begins because of what was good before, each once.

    Settings of a network that a joint study has not are tried with each that it has. What lies outside of the space
    is moved to its edge.
    """
    found: list[dict[str, Any]] = []
    for earlier in search.earlier:
        for model in [earlier.model] if earlier.model in search.models else search.models:
            parameters = search.parameters_of(model, earlier.values)
            if parameters not in (*found, *search.defaults):
                found.append(parameters)
    return found
