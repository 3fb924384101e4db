"""How each kind of write is made in MLflow, so that made twice it is there once."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import mlflow
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModel,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
    RunTag,
)
from mlflow.models import Model

from sentiment_tune.tracking.journal import Kind, Write
from sentiment_tune.tracking.logged_models import record_files

_OF_MODEL = ("flavors", "signature", "saved_input_example_info", "metadata", "env_vars")  # what its file says of itself

_ORIGIN = ("mlflow.user", "mlflow.source.")  # tags that say who began what, from where


def send(run_id: str, write: Write) -> None:
    """Make a write of a run."""
    _SEND[write.kind](mlflow.MlflowClient(), run_id, write)


def _send_values(client: mlflow.MlflowClient, run_id: str, write: Write) -> None:
    """Params and tags overwrite themselves; a metric that is there already is left out."""
    values = write.values
    metrics = [Metric(*metric) for metric in values.get("metrics", ())]
    if write.is_in_doubt and metrics:
        missing = [metric for metric in metrics if not _is_logged(client, run_id, metric)]
        write.is_new, metrics = len(missing) == len(metrics), missing
    params = [Param(name, str(value)) for name, value in values.get("params", {}).items()]
    tags = [RunTag(name, value) for name, value in values.get("tags", {}).items()]
    client.log_batch(run_id, metrics, params, tags)
    for name in values.get("untag", ()):
        if name in client.get_run(run_id).data.tags:
            client.delete_tag(run_id, name)


def _is_logged(client: mlflow.MlflowClient, run_id: str, metric: Metric) -> bool:
    history = client.get_metric_history(run_id, metric.key)
    return any((other.step, other.timestamp) == (metric.step, metric.timestamp) for other in history)


def _send_datasets(client: mlflow.MlflowClient, run_id: str, write: Write) -> None:
    """A run's datasets are told apart by name and digest."""
    datasets = [
        DatasetInput(Dataset(**dataset), [InputTag("mlflow.data.context", part)])
        for part, dataset in write.values["datasets"].items()
    ]
    client.log_inputs(run_id, datasets)


def _send_file(client: mlflow.MlflowClient, run_id: str, write: Write) -> None:
    """A file overwrites the one of its name."""
    path = PurePosixPath(write.values["path"])
    with _file(path.name, write) as file:
        client.log_artifact(run_id, str(file), str(path.parent) if path.parent.name else None)


@contextmanager
def _file(name: str, write: Write) -> Iterator[Path]:
    """The file of a write, under its own name."""
    content, path = write.content, write.path  # another thread may move the one to the other
    if content is None and path is not None:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, name)
        file.write_bytes(content or b"")
        yield file


def _send_model(client: mlflow.MlflowClient, run_id: str, write: Write) -> None:
    """The run's model, unless it is there; one that was begun and not ended is finished, and stays linked to it."""
    if write.path is None:
        raise ValueError("a model to log needs a folder")
    flavor, model = _SavedModel(write.path), _begun_model(client, run_id)
    if model is None:
        model = _begin_model(client, run_id, write.values["name"])
        Model.log(None, flavor, model_id=model.model_id, run_id=run_id, validate_serving_input=False)
    elif model.status != LoggedModelStatus.READY:
        _finish(client, model, flavor)
    write.uri = model.model_uri


def _begin_model(client: mlflow.MlflowClient, run_id: str, name: str) -> LoggedModel:
    """A model beside its run, with the run's origin: MLflow takes both from the process that sends, if left to it."""
    run = client.get_run(run_id)
    origin = {tag: value for tag, value in run.data.tags.items() if tag.startswith(_ORIGIN)}
    return client.create_logged_model(run.info.experiment_id, name, run_id, origin, run.data.params)


def _begun_model(client: mlflow.MlflowClient, run_id: str) -> LoggedModel | None:
    """The model that the run has logged before, whole or not."""
    experiment, mine = client.get_run(run_id).info.experiment_id, f"source_run_id = '{run_id}'"
    models = mlflow.search_logged_models([experiment], mine, output_format="list")
    return models[0] if models else None


def _finish(client: mlflow.MlflowClient, begun: LoggedModel, flavor: "_SavedModel") -> None:
    """Log the files of a model anew, and say that it is whole."""
    run_id = str(begun.source_run_id)
    outputs = client.get_run(run_id).outputs
    if begun.model_id not in [output.model_id for output in (outputs.model_outputs if outputs else ())]:
        client.log_outputs(run_id, [LoggedModelOutput(begun.model_id, step=0)])
    with tempfile.TemporaryDirectory() as temporary:
        model = Model(begun.artifact_location, run_id, model_uuid=begun.model_id, model_id=begun.model_id)
        flavor.save_model(str(Path(temporary, "model")), model)
        client.log_model_artifacts(begun.model_id, str(Path(temporary, "model")))
    client.finalize_logged_model(begun.model_id, LoggedModelStatus.READY)


class _SavedModel:
    """A flavor, as MLflow calls what writes models, of a model that has been written before."""

    def __init__(self, folder: Path):
        self._folder = folder

    def save_model(self, path: str, mlflow_model: Model, **_: Any) -> None:
        """Write the model into the folder `path`, with the ids that MLflow has given it since."""
        shutil.copytree(self._folder, path)
        saved = Model.load(str(self._folder))
        for name in _OF_MODEL:
            setattr(mlflow_model, name, getattr(saved, name))
        mlflow_model.save(str(Path(path, "MLmodel")))
        record_files(Path(path), mlflow_model.model_id)


def _send_end(client: mlflow.MlflowClient, run_id: str, write: Write) -> None:
    client.set_terminated(run_id, write.values["status"], write.values["time"])


_SEND = {
    Kind.VALUES: _send_values,
    Kind.DATASETS: _send_datasets,
    Kind.FILE: _send_file,
    Kind.MODEL: _send_model,
    Kind.END: _send_end,
}
