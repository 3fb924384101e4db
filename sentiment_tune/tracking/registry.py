"""The model registry: versions, aliases that have to be earned, and a record of every move.

Names are `sentiment-<network>` for the best of each network and `sentiment` for the best of all. People load the alias
`champion`; a version gets it by a better validation accuracy on the same data, or on somebody's word.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from sentiment_tune.errors import InputError
from sentiment_tune.tracking import runs as tracking

CHAMPION, CHALLENGER = "champion", "challenger"
DIGEST, VALIDATION, NETWORK = "data_digest", "val_accuracy", "network"  # tags of a version
BEST = "sentiment"  # name under which the best of all networks is registered
_LONGEST = 90_000  # characters of a description that the registry keeps


@dataclass(frozen=True)
class Registration:
    """A version and what became of it."""

    name: str
    version: int
    alias: str
    reason: str  # why it has this alias

    @property
    def uri(self) -> str:
        return f"models:/{self.name}@{self.alias}"


def registered_name(network: str) -> str:
    """Name of the best of one network; one of the user's own is called by its class."""
    return f"{BEST}-{network.rpartition(':')[2]}"


def register_version(name: str, model_uri: str, run_id: str, tags: Mapping[str, str], card: str) -> Registration:
    """Register a model, and give it the alias that its validation accuracy has earned."""
    client = mlflow.MlflowClient()
    with tracking.creation_lock(tracking.tracking_uri()):  # so that two at once cannot both beat the same champion
        if not _exists(client, name):
            client.create_registered_model(name, description=f"Reviews as positive or negative: {name}")
        present = champion(name)
        made = client.create_model_version(
            name, model_uri, run_id, tags=dict(tags), description=card[:_LONGEST], model_id=_model_id(model_uri)
        )
        alias, reason = _earned(tags, present)
        version = int(made.version)
        client.set_model_version_tag(name, str(version), "reason", reason)
        _move(client, name, alias, version, reason)
    return Registration(name, version, alias, reason)


def version_of(run_id: str, name: str) -> Registration | None:
    """The version of this name that was made of the run's model, if it has an alias."""
    client = mlflow.MlflowClient()
    aliases = client.get_registered_model(name).aliases if _exists(client, name) else {}
    for alias in (CHAMPION, CHALLENGER):
        held = client.get_model_version(name, str(aliases[alias])) if alias in aliases else None
        if held is not None and held.run_id == run_id:
            return Registration(name, int(held.version), alias, held.tags["reason"])
    return None


def _model_id(uri: str) -> str | None:
    return uri.removeprefix("models:/") if uri.startswith("models:/m-") else None


def _exists(client: mlflow.MlflowClient, name: str) -> bool:
    try:
        return client.get_registered_model(name) is not None
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise InputError(f"cannot register {name!r}: {error.message}") from None


def champion(name: str) -> ModelVersion | None:
    """The version that people load under this name, if there is one."""
    try:
        return mlflow.MlflowClient().get_model_version_by_alias(name, CHAMPION)
    except MlflowException:
        return None


def _earned(tags: Mapping[str, str], present: ModelVersion | None) -> tuple[str, str]:
    """The alias of a new version, and why."""
    if present is None:
        return CHAMPION, "the first of its name"
    told = f"version {present.version}"
    if present.tags.get(DIGEST) != tags[DIGEST]:
        return CHALLENGER, f"{told} was validated on other data, {present.tags.get(DIGEST)}: no comparison is fair"
    mine, theirs = float(tags[VALIDATION]), float(present.tags[VALIDATION])
    if mine > theirs:
        return CHAMPION, f"validation accuracy {mine:.4f} beats the {theirs:.4f} of {told}"
    return CHALLENGER, f"validation accuracy {mine:.4f} does not beat the {theirs:.4f} of {told}"


def _move(client: mlflow.MlflowClient, name: str, alias: str, version: int, reason: str) -> None:
    """Give the alias to a version and record it: a tag of the name for each move, by its time."""
    before = client.get_registered_model(name).aliases.get(alias)  # a text or a number, as MLflow pleases
    client.set_registered_model_alias(name, alias, str(version))
    now = datetime.now(UTC)
    record = {
        "alias": alias,
        "from": before and int(before),
        "to": version,
        "why": reason,
        "when": now.isoformat(timespec="seconds"),
    }
    client.set_registered_model_tag(name, f"move.{now:%Y%m%dT%H%M%S%f}", json.dumps(record))


def moves(name: str) -> list[dict[str, str | int | None]]:
    """Every move of an alias of this name, the oldest first: alias, from, to, why, when."""
    tags = mlflow.MlflowClient().get_registered_model(name).tags
    return [json.loads(tags[key]) for key in sorted(tags) if key.startswith("move.")]


def promote(name: str, version: int) -> Registration:
    """Make a version the champion on somebody's word."""
    client, reason = mlflow.MlflowClient(), "promoted by hand"
    with tracking.creation_lock(tracking.tracking_uri()):
        try:
            client.get_model_version(name, str(version))
        except MlflowException:
            known = _versions(client, name)
            raise InputError(f"no version {version} of {name!r}: {known}") from None
        _move(client, name, CHAMPION, version, reason)
        client.set_model_version_tag(name, str(version), "reason", reason)
    return Registration(name, version, CHAMPION, reason)


def _versions(client: mlflow.MlflowClient, name: str) -> str:
    if not _exists(client, name):
        names = ", ".join(sorted(held.name for held in client.search_registered_models())) or "none yet"
        return f"choose from the registered models: {names}"
    numbers = sorted(int(held.version) for held in client.search_model_versions(f"name = '{name}'"))
    return f"choose from versions {', '.join(map(str, numbers))}"


def champions() -> dict[str, list[str]]:
    """Ids of the runs whose models are champions, each with its registered names."""
    client = mlflow.MlflowClient()
    found: dict[str, list[str]] = {}
    for registered in client.search_registered_models(max_results=1000):
        present = champion(registered.name)
        if present is not None and present.run_id:
            found.setdefault(present.run_id, []).append(registered.name)
    return found
