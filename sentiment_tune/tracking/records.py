"""Reading from MLflow what runs have written down: their facts, their artifacts, their models."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray

from sentiment_tune.errors import InputError
from sentiment_tune.inference.package import MANIFEST
from sentiment_tune.tracking.flavor import FOLDER
from sentiment_tune.tracking.runs import TEST, tracking_uri


@dataclass(frozen=True)
class RunRecord:
    """What a run has written down."""

    run_id: str
    name: str
    status: str
    started: int  # milliseconds since 1970
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


def _recorded(run: Run) -> RunRecord:
    info, data = run.info, run.data
    return RunRecord(
        info.run_id, info.run_name or "", info.status, info.start_time, data.params, data.metrics, data.tags
    )


def read_run(run_id: str) -> RunRecord:
    """A run by its id; InputError if there is none."""
    try:
        return _recorded(mlflow.get_run(run_id))
    except MlflowException:
        raise InputError(
            f"no run {run_id!r} at {tracking_uri()}: see the ids in the MLflow UI, or give --tracking-uri"
        ) from None


def find_runs(conditions: Mapping[str, object], *, newest: int = 10_000) -> list[RunRecord]:
    """Finished runs with these tags, in whatever experiment, the newest first."""
    tags = [f"tags.`{name}` = '{value}'" for name, value in conditions.items()]
    found = mlflow.search_runs(
        search_all_experiments=True,
        filter_string=" and ".join(["attributes.status = 'FINISHED'", "tags.network LIKE '%'", *tags]),
        order_by=["attributes.start_time DESC"],
        max_results=newest,
        output_format="list",
    )
    return list(map(_recorded, found))


def find_child(parent: str, conditions: Mapping[str, object]) -> RunRecord | None:
    """A finished run that belongs to `parent` and has these tags."""
    return next(iter(find_runs({"mlflow.parentRunId": parent, **conditions}, newest=1)), None)


def find_running(parent: str) -> list[RunRecord]:
    """Runs that belong to `parent` and are said to be running."""
    found = mlflow.search_runs(
        search_all_experiments=True,
        filter_string=f"attributes.status = 'RUNNING' and tags.`mlflow.parentRunId` = '{parent}'",
        output_format="list",
    )
    return list(map(_recorded, found))


def logged_model_uri(run_id: str) -> str:
    """URI of the model that a run has logged; InputError if it has none that is ready."""
    outputs = mlflow.get_run(run_id).outputs
    for output in outputs.model_outputs if outputs else ():
        model = mlflow.get_logged_model(output.model_id)
        if str(model.status) == "READY":
            uri: str = model.model_uri
            return uri
    raise InputError(f"run {run_id!r} has no finished model: choose another run, or train again")


def read_json(run_id: str, name: str) -> Any:
    return json.loads(Path(_artifact(run_id, name)).read_bytes())


def read_test_predictions(run_id: str) -> dict[str, NDArray[Any]]:
    """What the run's model said of each test review: labels, probabilities and lengths [review]."""
    with np.load(_artifact(run_id, TEST)) as held:
        return {name: held[name] for name in held.files}


def _artifact(run_id: str, name: str) -> str:
    try:
        path: str = mlflow.artifacts.download_artifacts(f"runs:/{run_id}/{name}")
        return path
    except (MlflowException, OSError):
        raise InputError(f"run {run_id!r} has no {name}: it was made by an earlier version, train again") from None


def newest_model() -> str:
    """URI of the model of the newest finished training run, in whatever experiment."""
    found = [run for run in find_runs({}, newest=1000) if "package_seconds" in run.metrics]
    if not found:
        raise InputError(f"no finished run at {tracking_uri()}: train one first, or give --model URI")
    return f"runs:/{found[0].run_id}/model"


def download_model(uri: str) -> Path:
    """Folder of the data files of the model at `uri`: `models:/...`, `runs:/...`, or a folder."""
    try:
        found = Path(mlflow.artifacts.download_artifacts(uri))
    except Exception as error:  # each kind of address raises what its own library does
        raise InputError(f"no model at {uri!r}: {error}; give models:/..., runs:/... or a folder") from None
    for folder in (found / "data" / FOLDER, found):
        if (folder / MANIFEST).exists():
            return folder
    raise InputError(f"{uri!r} is no model of sentiment_tune: it has no {MANIFEST}")
