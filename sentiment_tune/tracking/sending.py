"""How each kind of write is made in MLflow, so that made twice it is there once."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

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

_PART = "mlflow.data.context"  # tag of a run's dataset that says what it is for
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
        DatasetInput(Dataset(**dataset), [InputTag(_PART, part)]) for part, dataset in write.values["datasets"].items()
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
    model = _begun_model(client, run_id) or _begin_model(client, run_id, write.values["name"])
    if model.status != LoggedModelStatus.READY:
        _finish(client, model, write.path)
    write.uri = model.model_uri


def _begin_model(client: mlflow.MlflowClient, run_id: str, name: str) -> LoggedModel:
    """A model beside its run, with the run's origin: MLflow takes both from the process that sends, if left to it."""
    run = client.get_run(run_id)
    origin = {tag: value for tag, value in run.data.tags.items() if tag.startswith(_ORIGIN)}
    return client.create_logged_model(run.info.experiment_id, name, run_id, origin, run.data.params)


def _send_figures(client: mlflow.MlflowClient, run_id: str, write: Write) -> None:
    """Say of the run's model what the run says of it, and on which of its datasets, unless that is said."""
    model, run = _begun_model(client, run_id), client.get_run(run_id)
    if model is None:
        return
    inputs = run.inputs.dataset_inputs if run.inputs else ()
    datasets = {tag.value: one.dataset for one in inputs for tag in one.tags if tag.key == _PART}
    told = {metric.key for metric in model.metrics or ()}
    for name, part in write.values["parts"].items():
        if name in run.data.metrics and name not in told and part in datasets:
            point, data = client.get_metric_history(run_id, name)[-1], datasets[part]
            of_model = (model.model_id, data.name, data.digest, run_id)
            client.log_batch(run_id, [Metric(name, point.value, point.timestamp, point.step, *of_model)])


def _begun_model(client: mlflow.MlflowClient, run_id: str) -> LoggedModel | None:
    """The model that the run has logged before, whole or not."""
    experiment, mine = client.get_run(run_id).info.experiment_id, f"source_run_id = '{run_id}'"
    models = mlflow.search_logged_models([experiment], mine, output_format="list")
    return models[0] if models else None


def _finish(client: mlflow.MlflowClient, begun: LoggedModel, folder: Path) -> None:
    """Log the files of a model, anew if need be, and say that it is whole.

    By hand: `Model.log` of MLflow would give it the figures of its run without the data they are of.
    """
    run_id = str(begun.source_run_id)
    outputs = client.get_run(run_id).outputs
    if begun.model_id not in [output.model_id for output in (outputs.model_outputs if outputs else ())]:
        client.log_outputs(run_id, [LoggedModelOutput(begun.model_id, step=0)])
    with tempfile.TemporaryDirectory() as temporary:
        model = Model(begun.artifact_location, run_id, model_uuid=begun.model_id, model_id=begun.model_id)
        _copy_model(folder, Path(temporary, "model"), model)
        client.log_model_artifacts(begun.model_id, str(Path(temporary, "model")))
    client.finalize_logged_model(begun.model_id, LoggedModelStatus.READY)


def _copy_model(folder: Path, target: Path, model: Model) -> None:
    """Write the model of a folder into another, with the ids that MLflow has given it since."""
    shutil.copytree(folder, target)
    saved = Model.load(str(folder))
    for name in _OF_MODEL:
        setattr(model, name, getattr(saved, name))
    model.save(str(target / "MLmodel"))
    record_files(target, model.model_id)


def _send_end(client: mlflow.MlflowClient, run_id: str, write: Write) -> None:
    client.set_terminated(run_id, write.values["status"], write.values["time"])


_SEND = {
    Kind.VALUES: _send_values,
    Kind.DATASETS: _send_datasets,
    Kind.FILE: _send_file,
    Kind.MODEL: _send_model,
    Kind.FIGURES: _send_figures,
    Kind.END: _send_end,
}
