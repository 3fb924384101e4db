"""The model registry: versions, aliases that have to be earned, and a record of every move.

Names are `sentiment-<network>` for the best of each network and `sentiment` for the best of all. People load the alias
`champion`; a version gets it by a better validation accuracy on the same data, or on somebody's word. Other aliases, as
`smallest`, are claimed by what a model has less of than their holder.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from sentiment_tune.errors import InputError
from sentiment_tune.evaluation.finished_run import FinishedRun
from sentiment_tune.evaluation.metrics import ACCURACY, measured, words_for
from sentiment_tune.tracking import records, server
from sentiment_tune.tracking.records import RunRecord
from sentiment_tune.tracking.schema import Artifact, Metric, Tag, VersionTag

CHAMPION, CHALLENGER = "champion", "challenger"
BEST = "sentiment"  # name under which the best of all networks is registered
_LONGEST = 90_000  # characters of a description that the registry keeps
_ABOUT = "Says of what class a review is"  # how the description of a registered name begins that is ours
_EARLIER = "Reviews as positive or negative"  # and began when there were two classes only
_MOVE = "move."  # begins the tags of a registered name that record moves, before their time


@dataclass(frozen=True)
class Version:
    """A version of a registered name, as the registry keeps it."""

    name: str
    version: int
    run_id: str
    tags: Mapping[str, str]

    @property
    def uri(self) -> str:
        return f"models:/{self.name}/{self.version}"


@dataclass(frozen=True)
class Registration:
    """A version and what became of it."""

    name: str
    version: int
    alias: str  # "" where it has not earned the one that it claimed
    reason: str  # why it has this alias, or none

    @property
    def uri(self) -> str:
        return _address(self.name, self.alias, self.version)


@dataclass(frozen=True)
class Claim:
    """The alias that a model asks for, and what it must have less of than the version that has it."""

    alias: str
    origin: str  # where it is the least, as `of the front of study s`
    cost: str  # what is compared, as `parameters`
    figure: float
    tag: str  # of a version, that holds its figure
    shown: Callable[[float], str]  # a figure with its unit


@dataclass(frozen=True)
class DefaultModel:
    """The model that scores where none is named."""

    uri: str
    origin: str  # which one of the registry's or of the runs' it is
    network: str
    data: str
    test_accuracy: str

    def __str__(self) -> str:
        return (
            f"scored by {self.uri} ({self.origin}): {self.network} on {self.data}, test accuracy {self.test_accuracy}"
        )


def default_model() -> DefaultModel:
    """The champion of all networks, if it was trained on the data of the newest finished run; else that run's model."""
    newest = records.newest_training()
    best, data = champion(BEST), newest.tags.get(Tag.DATA, "unknown data")
    if best is not None and _is_of_the_data_of(newest, best):
        network, accuracy = best.tags.get(VersionTag.NETWORK, ""), best.tags.get(VersionTag.TEST_ACCURACY)
        return DefaultModel(f"models:/{BEST}@{CHAMPION}", f"version {best.version}", network, data, _shown(accuracy))
    uri, network = f"runs:/{newest.run_id}/{Artifact.MODEL}", newest.tags[Tag.NETWORK]
    tested = newest.metrics.get(Metric.TEST_ACCURACY)
    return DefaultModel(uri, "the newest finished run", network, data, _shown(tested))


def _is_of_the_data_of(run: RunRecord, version: Version) -> bool:
    """Whether a version was trained on the data of a run; all folds of some data are of one."""
    if version.tags.get(VersionTag.DATA_DIGEST) == run.tags.get(Tag.DATA_DIGEST):
        return True
    digest = records.digest_above(run.run_id)
    return digest is not None and digest == records.digest_above(version.run_id)


def _shown(accuracy: object) -> str:
    try:
        return f"{float(str(accuracy)):.4f}"
    except ValueError:  # somebody's own version, or a run that was not tested
        return "unknown"


def registered_name(network: str) -> str:
    """Name of the best of one network; one of the user's own is called by its class."""
    return f"{BEST}-{network.rpartition(':')[2]}"


def register_version(name: str, model_uri: str, run: FinishedRun, card: Callable[[str], str]) -> Registration:
    """Register the model of a run, and give it the alias that its validation accuracy has earned.

    `card` makes its description, of the address under which this version is loaded.
    """
    with server.database_lock():  # so that two at once cannot both beat the same champion
        alias, reason = _earned_alias(run, champion(name))
        return _give_alias(_create_version(name, model_uri, run, card, alias, reason))


def claim_alias(name: str, model_uri: str, run: FinishedRun, card: Callable[[str], str], claim: Claim) -> Registration:
    """Register the model of a run, unless it is, and give it the alias that it claims, if it has earned that."""
    with server.database_lock():  # two at once would make the name twice, or beat the same holder
        holder = _holder(name, claim.alias)
        if holder is not None and holder.run_id == run.run_id:
            return Registration(name, holder.version, claim.alias, _reason_of_move(name, claim.alias))
        is_earned, why = _is_earned(claim, run, holder)
        alias, reason = (claim.alias, why) if is_earned else ("", f"not {claim.alias}: {why}")
        version = find_version(run.run_id, name)
        if version is None:
            registration = _create_version(name, model_uri, run, card, alias, reason)
        else:
            registration = Registration(name, version, alias, reason)
        mlflow.MlflowClient().set_model_version_tag(name, str(registration.version), claim.tag, f"{claim.figure:.12g}")
        return _give_alias(registration) if alias else registration


def _address(name: str, alias: str, version: int = 0) -> str:
    return f"models:/{name}@{alias}" if alias else f"models:/{name}/{version}"


def _create_version(
    name: str, model_uri: str, run: FinishedRun, card: Callable[[str], str], alias: str, reason: str
) -> Registration:
    """Register the model of a run with the reason for the alias that it is to have."""
    client = mlflow.MlflowClient()
    tags = {
        VersionTag.NETWORK: run.network,
        VersionTag.DATA: run.data,
        VersionTag.DATA_DIGEST: run.data_digest,
        VersionTag.VAL_ACCURACY: str(run.best_val_accuracy),
        VersionTag.TEST_ACCURACY: str(run.test_accuracy),
        VersionTag.PARAMETERS: str(run.parameters),
        VersionTag.MODEL_BYTES: f"{run.model_bytes:.12g}",
        VersionTag.REASON: reason,
    }
    if run.metric != ACCURACY:
        tags |= {VersionTag.METRIC: run.metric, VersionTag.VAL_SCORE: str(run.score)}
    if not _exists(client, name):
        client.create_registered_model(name)
    described = card(_address(name, alias))[:_LONGEST] if alias else None
    created = client.create_model_version(
        name, model_uri, run.run_id, tags=tags, description=described, model_id=_model_id(model_uri)
    )
    registration = Registration(name, int(created.version), alias, reason)
    if not alias:  # it is loaded by its number, which is known now
        client.update_model_version(name, str(created.version), card(registration.uri)[:_LONGEST])
    return registration


def _give_alias(registration: Registration) -> Registration:
    """Move an alias to a version, which is recorded with its reason."""
    client = mlflow.MlflowClient()
    _assign_alias(client, registration)
    _describe(client, registration.name)
    return registration


def find_version(run_id: str, name: str) -> int | None:
    """The newest version of this name that was made of the run's model, whatever its alias."""
    versions = mlflow.MlflowClient().search_model_versions(f"name = {records.quoted(name)}")
    return max((int(held.version) for held in versions if held.run_id == run_id), default=None)


def _describe(client: mlflow.MlflowClient, name: str) -> None:
    """Say what a registered name is and how good its champion, unless somebody has said something of their own."""
    described, best = client.get_registered_model(name).description, champion(name)
    if best is None or (described and not described.startswith((_ABOUT, _EARLIER))):
        return
    tags, network = best.tags, best.tags.get(VersionTag.NETWORK)
    among = "of all networks" if name == BEST else f"of network `{network}`"
    client.update_registered_model(
        name,
        f"{_ABOUT}: the best {among} by validation.\n\nChampion: version {best.version}, `{network}` on "
        f"{tags.get(VersionTag.DATA, 'its data')}, validation accuracy {_shown(tags.get(VersionTag.VAL_ACCURACY))}, "
        f"test accuracy {_shown(tags.get(VersionTag.TEST_ACCURACY))}.\n\n"
        f'Load it: `mlflow.pyfunc.load_model("models:/{name}@{CHAMPION}").predict(["a fine film"])`',
    )


def version_of(run_id: str, name: str) -> Registration | None:
    """The version of this name that was made of the run's model, if it has an alias."""
    client = mlflow.MlflowClient()
    aliases = client.get_registered_model(name).aliases if _exists(client, name) else {}
    for alias in (CHAMPION, CHALLENGER):
        version = _version(client.get_model_version(name, str(aliases[alias]))) if alias in aliases else None
        if version is not None and version.run_id == run_id:
            return Registration(name, version.version, alias, version.tags[VersionTag.REASON])
    return None


def run_of(uri: str) -> str:
    """Id of the run whose model a version is, `models:/NAME@ALIAS` or `models:/NAME/VERSION`; InputError for none."""
    if server.is_missing():
        raise InputError(f"no registered model {uri!r}: nothing is registered at {server.tracking_uri()}")
    name, at, alias = uri.removeprefix("models:/").partition("@")
    name, _, number = (name, "", "") if at else name.rpartition("/")
    if not (name and (alias if at else number)):
        raise InputError(f"no registered model {uri!r}: give models:/NAME@ALIAS or models:/NAME/VERSION")
    client = mlflow.MlflowClient()
    try:
        version = client.get_model_version_by_alias(name, alias) if at else client.get_model_version(name, number)
    except MlflowException as error:
        raise InputError(f"no registered model {uri!r}: {error.message}") from None
    return version.run_id or ""


def _model_id(uri: str) -> str | None:
    return uri.removeprefix("models:/") if uri.startswith("models:/m-") else None


def _exists(client: mlflow.MlflowClient, name: str) -> bool:
    try:
        return client.get_registered_model(name) is not None
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise InputError(f"cannot register {name!r}: {error.message}") from None


def champion(name: str) -> Version | None:
    """The version that people load under this name, if there is one."""
    return _holder(name, CHAMPION)


def _holder(name: str, alias: str) -> Version | None:
    """The version of this name that has the alias, if there is one."""
    try:
        return _version(mlflow.MlflowClient().get_model_version_by_alias(name, alias))
    except MlflowException:
        return None


def _version(version: ModelVersion) -> Version:
    return Version(version.name, int(version.version), version.run_id or "", version.tags)


def _earned_alias(run: FinishedRun, incumbent: Version | None) -> tuple[str, str]:
    """The alias of a run's new version, and why: it is champion if it beats the incumbent on the same data."""
    if incumbent is None:
        return CHAMPION, "the first of its name"
    version, digest = f"version {incumbent.version}", incumbent.tags.get(VersionTag.DATA_DIGEST)
    if digest != run.data_digest:
        return CHALLENGER, f"{version} was validated on other data, {digest}: no comparison is fair"
    metric = incumbent.tags.get(VersionTag.METRIC, ACCURACY)
    if metric != run.metric:
        return CHALLENGER, f"{version} was judged by {metric}, this one by {run.metric}: no comparison is fair"
    to_beat = float(incumbent.tags[VersionTag.VAL_ACCURACY if metric == ACCURACY else VersionTag.VAL_SCORE])
    alias, beats = (CHAMPION, "beats") if run.score > to_beat else (CHALLENGER, "does not beat")
    figures = [f"{measured(metric, score):.4f}" for score in (run.score, to_beat)]
    return alias, f"validation {words_for(metric)} {figures[0]} {beats} the {figures[1]} of {version}"


def _is_earned(claim: Claim, run: FinishedRun, holder: Version | None) -> tuple[bool, str]:
    """Whether a run's model has less than the holder of an alias on the same data, and why; a tie goes to accuracy."""
    figure = f"{claim.cost} {claim.shown(claim.figure)}"
    if holder is None:
        return True, f"the first of its name, {claim.origin}: {figure}"
    version, digest = f"version {holder.version}", holder.tags.get(VersionTag.DATA_DIGEST)
    if digest != run.data_digest:
        return False, f"{version} was trained on other data, {digest}: no comparison is fair"
    held = holder.tags.get(claim.tag)
    if held is None or VersionTag.VAL_ACCURACY not in holder.tags:
        return False, f"{version} does not say its {claim.cost}: no comparison is fair"
    to_beat = float(held)
    if claim.figure != to_beat:
        less = claim.figure < to_beat
        return less, f"{figure} is {'less' if less else 'more'} than the {claim.shown(to_beat)} of {version}"
    held_accuracy = float(holder.tags[VersionTag.VAL_ACCURACY])
    beats = run.best_val_accuracy > held_accuracy
    return beats, (
        f"{figure} is that of {version} too, and validation accuracy {run.best_val_accuracy:.4f} "
        f"{'beats' if beats else 'does not beat'} its {held_accuracy:.4f}"
    )


def _reason_of_move(name: str, alias: str) -> str:
    """Why the version that has an alias has it."""
    return next((str(move["why"]) for move in reversed(moves(name)) if move["alias"] == alias), "given by hand")


def _assign_alias(client: mlflow.MlflowClient, registration: Registration) -> None:
    """Give a version its alias and record the move: a tag of the registered name for each, by its time."""
    name, alias, version = registration.name, registration.alias, str(registration.version)
    aliases = client.get_registered_model(name).aliases  # with texts or numbers, as MLflow pleases
    previous = aliases.get(alias)
    others = {other for other, number in aliases.items() if str(number) == version}
    if alias in (CHAMPION, CHALLENGER) or not others & {CHAMPION, CHALLENGER}:  # an end besides is no other reason
        client.set_model_version_tag(name, version, VersionTag.REASON, registration.reason)
    client.set_registered_model_alias(name, alias, version)
    now = datetime.now(UTC)
    move = {
        "alias": alias,
        "from": previous and int(previous),
        "to": registration.version,
        "why": registration.reason,
        "when": now.isoformat(timespec="seconds"),
    }
    client.set_registered_model_tag(name, f"{_MOVE}{now:%Y%m%dT%H%M%S%f}", json.dumps(move))


def moves(name: str) -> list[dict[str, str | int | None]]:
    """Every move of an alias of this name, the oldest first: alias, from, to, why, when."""
    tags = mlflow.MlflowClient().get_registered_model(name).tags
    return [json.loads(tags[key]) for key in sorted(tags) if key.startswith(_MOVE)]


def promote(name: str, version: int) -> Registration:
    """Make a version the champion on somebody's word."""
    client = mlflow.MlflowClient()
    registration = Registration(name, version, CHAMPION, "promoted by hand")
    with server.database_lock():
        try:
            client.get_model_version(name, str(version))
        except MlflowException:
            raise InputError(f"no version {version} of {name!r}: {_choices(client, name)}") from None
        _assign_alias(client, registration)
        _describe(client, name)
    return registration


def _choices(client: mlflow.MlflowClient, name: str) -> str:
    """What there is to choose from: versions of the name, or the registered names."""
    if not _exists(client, name):
        names = ", ".join(sorted(model.name for model in client.search_registered_models())) or "none yet"
        return f"choose from the registered models: {names}"
    numbers = sorted(int(version.version) for version in client.search_model_versions(f"name = {records.quoted(name)}"))
    return f"choose from versions {', '.join(map(str, numbers))}"


def champions() -> dict[str, list[str]]:
    """Registered names of the champions, by the id of the run whose model is champion."""
    names: dict[str, list[str]] = {}
    for model in mlflow.MlflowClient().search_registered_models(max_results=1000):
        version = champion(model.name)
        if version is not None and version.run_id:
            names.setdefault(version.run_id, []).append(model.name)
    return names
