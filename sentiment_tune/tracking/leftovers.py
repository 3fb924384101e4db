"""What processes that are gone have left in MLflow: runs that are still said to be running, models half written."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.entities import LoggedModel, LoggedModelStatus
from mlflow.utils.file_utils import local_file_uri_to_path

from sentiment_tune.local import is_of_this_machine, is_process_gone
from sentiment_tune.tracking import ending, records
from sentiment_tune.tracking.records import RunRecord, read_record
from sentiment_tune.tracking.schema import Tag

SILENCE = 600  # seconds without a sign of life after which a process of another machine counts as gone


@dataclass(frozen=True)
class HalfWrittenModel:
    """A logged model that was begun, by a run that does not go on."""

    model_id: str
    run_id: str
    folder: Path | None  # of its files, where they are on this machine


def is_abandoned(run: RunRecord) -> bool:
    """Whether the process of a running run is gone: on this machine that is known, on another it is long silence."""
    process = run.tags.get(Tag.PROCESS)
    if run.status != "RUNNING" or process is None:
        return False
    if is_of_this_machine(process):
        return is_process_gone(process)
    return time.time() - float(run.tags.get(Tag.SEEN, "inf")) > SILENCE


def end_run(run_id: str) -> None:
    """End an abandoned run as KILLED, unless somebody has gone on with it in the meantime."""
    if is_abandoned(records.read_run(run_id)):
        ending.end_abandoned_run(run_id, ending.ABANDONED)


def notice() -> str | None:
    """A line about what was left, for who begins something else; None where nothing was."""
    abandoned = sum(map(is_abandoned, records.find_running()))
    if not abandoned:
        return None
    some = "a run is" if abandoned == 1 else f"{abandoned} runs are"
    return f"{some} said to be running whose process is gone: sentiment-tune doctor shows what was left and mends it"


def half_written_models() -> list[HalfWrittenModel]:
    """Models whose logging was begun and not ended, by runs that have ended or whose process is gone."""
    client = mlflow.MlflowClient()
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    models = mlflow.search_logged_models(experiments, output_format="list") if experiments else []
    unfinished = [model for model in models if model.status == LoggedModelStatus.PENDING]
    return [_half_written(model) for model in unfinished if _is_left(model)]


def _half_written(model: LoggedModel) -> HalfWrittenModel:
    address: str = model.artifact_location
    is_here = address.startswith(("/", "file:"))
    folder = Path(local_file_uri_to_path(address)) if is_here else None  # type: ignore[no-untyped-call]
    return HalfWrittenModel(model.model_id, model.source_run_id or "", folder)


def _is_left(model: LoggedModel) -> bool:
    if not model.source_run_id:
        return False
    run = read_record(mlflow.get_run(model.source_run_id))
    return Tag.NETWORK in run.tags and (run.status != "RUNNING" or is_abandoned(run))


def delete_model(model: HalfWrittenModel) -> None:
    """Delete a half-written model, and its files where they are on this machine."""
    mlflow.MlflowClient().delete_logged_model(model.model_id)
    if model.folder:
        shutil.rmtree(model.folder, ignore_errors=True)
