"""Logged models: where an address leads, and whether their files are still what was logged.

A model has a list of its files with their digests, and the digest of that list stands in MLflow's database. Whoever can
write where the files are cannot change one of them unnoticed, as long as the model is asked for by MLflow's address. A
folder is taken as it is: nobody has recorded what it should hold.
"""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.store.artifact.utils.models import get_model_name_and_version

from sentiment_tune.data.tables import is_folder
from sentiment_tune.errors import InputError
from sentiment_tune.inference.description import Trust
from sentiment_tune.inference.files import open_file, parse_json, read_file
from sentiment_tune.inference.package import FOLDER, ModelPackage, data_folder, digest_of, load_folder, load_package
from sentiment_tune.tracking.schema import ModelTag

_LIST = "files.json"
_LARGEST_LIST = 2**24  # bytes
_LARGEST_FILE = 2**40
# What using a model leaves in its folder: never copied, and no part of what was logged.
_LEFT = ("__pycache__", "registered_model_meta")


@dataclass(frozen=True)
class LoggedModel:
    """A model, found by its address."""

    uri: str
    location: str  # folder or address of its files
    local: Path | None  # the folder, where this machine has it
    digest: str | None = None  # of the list of its files, as recorded; of a folder nothing is, nor by version 0.1.0
    is_folder: bool = False  # that a user has named


def record_files(folder: Path, model_id: str | None) -> None:
    """Write the list of a model's files, all of which are there as they will stay, and its digest into the database."""
    (folder / _LIST).unlink(missing_ok=True)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    listed = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": digest_of(path.read_bytes())}
        for path in paths
    }
    content = json.dumps(listed, indent=2).encode()
    (folder / _LIST).write_bytes(content)
    if model_id:
        mlflow.MlflowClient().set_logged_model_tags(model_id, {ModelTag.DIGEST: digest_of(content)})


def load(uri: str, trust_code: bool = False) -> ModelPackage:
    """The model at `models:/...`, `runs:/...` or in a folder, held to what was logged; InputError if it is another."""
    return load_found(find(uri), trust_code)


def load_found(model: LoggedModel, trust_code: bool = False) -> ModelPackage:
    """The same of a model that was found; code that was logged with it runs only where it is trusted."""
    if model.is_folder:
        return load_folder(Path(model.uri), trust_code)
    if model.local is not None and not trust_code:
        return load_package(data_folder(model.local, model.uri), digests=digests_of_data(model, model.local))
    with fetched(model) as folder:
        return load_package(data_folder(folder, model.uri), Trust(folder / "code") if trust_code else None)


def find(uri: str) -> LoggedModel:
    """Where an address leads; InputError where there is no model."""
    if is_folder(Path(uri)):
        return LoggedModel(uri, uri, Path(uri), is_folder=True)
    try:
        model_id = _model_id(uri)
        logged = mlflow.get_logged_model(model_id) if model_id else None
        location = logged.artifact_location if logged else uri
        repository = get_artifact_repository(location)
        local = Path(repository.artifact_dir) if isinstance(repository, LocalArtifactRepository) else None
        if local is not None:
            local.stat()
    except Exception as error:  # each kind of address raises what its own library does
        raise _missing(uri, error) from None
    return LoggedModel(uri, location, local, logged.tags.get(ModelTag.DIGEST) if logged else None)


def _missing(uri: str, error: Exception) -> InputError:
    return InputError(f"no model at {uri!r}: {error}; give models:/..., runs:/... or a folder")


def _model_id(uri: str) -> str | None:
    """Id of the logged model that an address of MLflow means; other addresses mean none."""
    client, (kind, _, path) = mlflow.MlflowClient(), uri.partition(":/")
    if kind == "models":
        parts = get_model_name_and_version(client, uri)  # type: ignore[no-untyped-call]
        if len(parts) == 1:
            return str(parts[0])
        source = client.get_model_version(*parts).source or ""
        return source.removeprefix("models:/") if source.startswith("models:/m-") else None
    if kind != "runs":
        return None
    run_id, _, name = path.strip("/").partition("/")
    run = client.get_run(run_id)
    if run.info.lifecycle_stage != "active":
        raise InputError(f"run {run_id!r} is deleted")
    outputs = run.outputs
    ids = [output.model_id for output in outputs.model_outputs] if outputs else []
    return next((one for one in reversed(ids) if client.get_logged_model(one).name == name), None)


@contextlib.contextmanager
def fetched(model: LoggedModel) -> Iterator[Path]:
    """A folder with the model's files that nobody else can change, each of them as logged where that is recorded."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        try:
            if model.local is not None:
                folder = Path(temporary, "model")
                _copy(model.local, folder, _listed(model, model.local))
            else:
                folder = Path(mlflow.artifacts.download_artifacts(model.location, dst_path=temporary))
        except InputError:
            raise
        except Exception as error:
            raise _missing(model.uri, error) from None
        _check_files(folder, model)
        yield folder


def digests_of_data(model: LoggedModel, folder: Path) -> dict[str, str] | None:
    """The recorded digests of the four data files, by name; None where nothing is recorded."""
    if model.digest is None:
        return None
    start = f"data/{FOLDER}/"
    listed = _listed(model, folder)
    return {name.removeprefix(start): facts["sha256"] for name, facts in listed.items() if name.startswith(start)}


def _listed(model: LoggedModel, folder: Path) -> Mapping[str, Any]:
    """The list of the model's files, which is what the database says it is; empty where that says nothing."""
    if model.digest is None:
        return {}
    try:
        content = read_file(folder / _LIST, _LARGEST_LIST)
    except (OSError, ValueError) as error:
        raise _changed(model, str(error)) from None
    if digest_of(content) != model.digest:
        raise _changed(model, f"the SHA-256 of {_LIST} is not the recorded one")
    listed: Mapping[str, Any] = parse_json(content)
    return listed


def _changed(model: LoggedModel, what: str) -> InputError:
    return InputError(f"the model at {model.uri!r} is not what was logged: {what}; train again, or restore its files")


def _copy(source: Path, target: Path, listed: Mapping[str, Any]) -> None:
    """Copy a model's files, of the recorded sizes, into a new folder; InputError where one is no file."""
    for name, size in _sizes(source).items():
        if name in listed and listed[name]["bytes"] != size:
            raise InputError(f"{source / name} has {size:,} bytes, not the {listed[name]['bytes']:,} that were logged")
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            with open_file(source / name, _LARGEST_FILE) as original, (target / name).open("xb") as copy:
                shutil.copyfileobj(original, copy)
        except ValueError as error:
            raise InputError(f"{source} is no model: {error}") from None


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of each file of a model by its path; InputError where a folder is a link."""
    sizes = {}
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _LEFT]
        links = [name for name in folders if Path(where, name).is_symlink()]
        if links:
            raise InputError(f"{Path(where, links[0])} is a link: a model has its files in its own folder")
        for name in files:
            path = Path(where, name)
            if name not in _LEFT:
                sizes[path.relative_to(folder).as_posix()] = path.lstat().st_size
    return sizes


def _check_files(folder: Path, model: LoggedModel) -> None:
    """InputError, naming a file, unless the folder holds what was recorded and nothing else."""
    if model.digest is None:
        return
    listed, found = _listed(model, folder), _sizes(folder).keys() - {_LIST}
    for name in sorted(found ^ listed.keys()):
        raise _changed(model, f"{name} is {'more than was logged' if name in found else 'missing'}")
    for name, facts in listed.items():
        if digest_of((folder / name).read_bytes()) != facts["sha256"]:
            raise _changed(model, f"the SHA-256 of {name} is another")
