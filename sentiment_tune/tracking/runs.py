"""Runs in MLflow: how they begin, what they hold, how they end."""

import functools
import io
import json
import math
import os
import shlex
import subprocess
import threading
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.dataset_source import DatasetSource
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import fluent
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS
from numpy.typing import NDArray

from sentiment_tune import signals
from sentiment_tune.data.corpus import Corpus
from sentiment_tune.errors import DivergenceError, InputError, OutageError, hide_passwords, without_exit
from sentiment_tune.evaluation.metrics import Proportion
from sentiment_tune.events import Listener, ignore
from sentiment_tune.local import process_id
from sentiment_tune.space import Value
from sentiment_tune.tracking import server, ui
from sentiment_tune.tracking.delivery import BACK, UNLOCKED, Delivery, deliver_left
from sentiment_tune.tracking.ending import ENDED, end_abandoned_run
from sentiment_tune.tracking.journal import Kind, Write
from sentiment_tune.tracking.outages import is_locked, is_outage, patiently, reason_of
from sentiment_tune.tracking.schema import MODEL_FIGURES, Artifact, Tag
from sentiment_tune.training.loop import EpochRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXPERIMENT = "sentiment"
_PROJECT_RUN = "MLFLOW_RUN_ID"  # the variable in which `mlflow run` names the run it has begun


@dataclass(frozen=True)
class RunSpec:
    """Where in MLflow a run goes."""

    experiment: str | None = None  # by default the one of MLflow's variable, or `sentiment`
    name: str | None = None  # by default one that MLflow makes up
    tags: Mapping[str, str] = field(default_factory=dict)
    system_metrics: bool = False
    parent: str | None = None  # id of the run it belongs to, and whose experiment it shares
    run_id: str | None = None  # of a run that goes on
    resumed: bool = False  # whether what that run has logged already is not to be logged again


@dataclass
class ActiveRun:
    """A run that is under way, and the status with which it ends if nothing goes wrong."""

    run_id: str
    experiment_id: str
    status: str = "FINISHED"  # or KILLED, of a training that was given up
    undelivered: str | None = None  # once it has ended: what to tell where MLflow has not taken all of it
    is_lost: bool = False  # and no disk has either


@dataclass
class _OpenRun:
    delivery: Delivery
    experiment_id: str
    params: Mapping[str, str]  # that it had when it was begun
    points: set[tuple[str, int]] = field(default_factory=set)  # of metrics, by name and step, before it was resumed


class _OpenRuns(threading.local):
    """The runs that a thread has open, one within the other, as MLflow counts them too."""

    def __init__(self) -> None:
        self.stack: list[_OpenRun] = []


_open = _OpenRuns()


@contextmanager
def start_run(spec: RunSpec, listener: Listener = ignore) -> Iterator[ActiveRun]:
    """A run that tells how it ended: with its own status, FAILED with the reason as tag `error`, or KILLED.

    Under `mlflow run` the first is the project's run, which stays in the experiment that command chose. While MLflow is
    away, which the listener hears, the run goes on and is made up for later. OutageError if it cannot even begin.
    """
    begun: list[str] = []
    with signals.last_words(partial(_end_begun_run, begun)):
        signals.end_if_asked()
        started = _begin_patiently(spec)
        delivery = Delivery(started.info.run_id, listener)
        run = ActiveRun(started.info.run_id, started.info.experiment_id)
        begun.append(run.run_id)
        _open.stack.append(_OpenRun(delivery, run.experiment_id, started.data.params))
        try:
            signals.end_if_asked()
            deliver_left()
            delivery.deliver_left()  # what its process before this one has kept
            if spec.resumed:
                _open.stack[-1].points = logged_points(run.run_id)
            with delivery.signs_of_life(), without_exit():
                yield run
            signals.end_if_asked()
        except BaseException as error:
            delivery.is_in_hurry = True
            with signals.unbroken():
                _tell_end(error)
            raise
        with signals.unbroken():
            run.undelivered = _end_run(run.status)
            run.is_lost = delivery.is_lost


def _tell_end(error: BaseException) -> None:
    """End the open run as KILLED by a signal or FAILED by anything else, with the reason."""
    interrupted = isinstance(error, KeyboardInterrupt)
    try:
        set_tags({Tag.ERROR: hide_passwords(f"{type(error).__name__}: {error}")})
        if not interrupted:
            log_text(hide_passwords(traceback.format_exc()), Artifact.TRACEBACK)
    finally:  # what went wrong may be that nothing can be logged
        _end_run("KILLED" if interrupted else "FAILED")


def logged_points(run_id: str) -> set[tuple[str, int]]:
    """Name and step of every value of every metric that a run has."""
    client = mlflow.MlflowClient()
    histories = [client.get_metric_history(run_id, name) for name in client.get_run(run_id).data.metrics]
    return {(point.key, point.step) for history in histories for point in history}


def logged_series(run_id: str, name: str) -> dict[int, float]:
    """The values of a metric that a run has, by step, the last of each."""
    history = mlflow.MlflowClient().get_metric_history(run_id, name)
    return {point.step: point.value for point in sorted(history, key=lambda point: point.timestamp)}


def _begin_patiently(spec: RunSpec) -> mlflow.ActiveRun:
    """Begin a run, once MLflow is there: it may just be locked or started again."""
    begun, project_run = time.monotonic(), os.environ.get(_PROJECT_RUN)
    while True:
        try:
            patiently(lambda: mlflow.search_experiments(max_results=1), BACK, UNLOCKED)
            return _begin_run(spec)
        except Exception as error:
            if not is_outage(error):
                raise
            if time.monotonic() - begun > (UNLOCKED if is_locked(error) else BACK):
                raise OutageError(f"MLflow at {server.tracking_uri()} is away: {reason_of(error)}") from error
            os.environ.update({} if project_run is None else {_PROJECT_RUN: project_run})  # MLflow reads it once
        signals.wait(0.5)


def _end_run(status: str) -> str | None:
    """End the run that was begun last; what to tell if MLflow could not take all of it."""
    undelivered = _open.stack.pop().delivery.end(status)
    if undelivered is None:
        with suppress(Exception):  # it is ended; this is for what MLflow itself holds open for it
            mlflow.end_run(status)
    else:
        # MLflow would try to end it now, and again when the process ends, for minutes.
        fluent._active_run_stack.get().pop()  # type: ignore[no-untyped-call]
    return undelivered


def _write(kind: Kind, values: dict[str, Any], content: bytes | None = None, path: Path | None = None) -> Write:
    """Have a write of the open run in MLflow, or kept for it; a safe point."""
    signals.end_if_asked()
    write = Write(kind, values, content, path)
    _open.stack[-1].delivery.write(write)
    return write


def _begin_run(spec: RunSpec) -> mlflow.ActiveRun:
    # Set with the run's beginning: one that is cut off at once can still be told from others.
    tags = {Tag.PROCESS: process_id(), Tag.SEEN: f"{time.time():.0f}", **spec.tags}
    if spec.run_id:
        # Before it is said to be running: others end the running ones of a process that is gone.
        mlflow.MlflowClient().log_batch(spec.run_id, tags=[RunTag(name, value) for name, value in tags.items()])
        run = mlflow.start_run(run_id=spec.run_id, run_name=spec.name, nested=True)
        if Tag.ERROR in run.data.tags:
            mlflow.delete_tag(Tag.ERROR)
        return run
    if spec.parent:
        experiment = mlflow.get_run(spec.parent).info.experiment_id
        return mlflow.start_run(
            experiment_id=experiment, run_name=spec.name, parent_run_id=spec.parent, nested=True, tags=tags
        )
    experiment = _enter_experiment(spec.experiment)
    return mlflow.start_run(
        experiment_id=experiment, run_name=spec.name, nested=True, log_system_metrics=spec.system_metrics, tags=tags
    )


def _enter_experiment(name: str | None) -> str:
    """Go to the experiment that a run is to be in; its id. Under `mlflow run` its own run has a place already."""
    if _PROJECT_RUN in os.environ:
        experiment = _experiment_of_project_run(os.environ[_PROJECT_RUN], name)
        return str(mlflow.set_experiment(experiment_id=experiment).experiment_id)
    around = mlflow.active_run()
    if around is not None and name is None:  # the caller's, in a program: what begins within belongs to it
        return str(around.info.experiment_id)
    return _set_experiment(name or _default_experiment())


def _experiment_of_project_run(run_id: str, asked_for: str | None) -> str:
    """Id of the experiment of the run that MLflow's variable names; InputError unless that waits for a training."""
    named = f"{_PROJECT_RUN} names run {run_id!r}"
    try:
        run = mlflow.get_run(run_id)
        experiment = mlflow.get_experiment(run.info.experiment_id)
    except MlflowException as error:
        reason = error.message.partition("\n")[0]
        raise InputError(f"{named}, which is not at {server.tracking_uri()} ({reason}): unset it") from None
    if "deleted" in (run.info.lifecycle_stage, experiment.lifecycle_stage):
        raise InputError(f"{named}, which is deleted: unset it")
    if run.info.status != "RUNNING":
        raise InputError(f"{named}, which has ended ({run.info.status}): unset it, for a run of its own")
    if {Tag.PROCESS, Tag.NETWORK, Tag.STAGE} & run.data.tags.keys():
        raise InputError(f"{named}, which holds a training already: unset it, for a run of its own")
    if asked_for not in (None, experiment.name):
        raise InputError(
            f"experiment {asked_for!r} was asked for, but `mlflow run` has begun this run in {experiment.name!r}: give "
            f"it as mlflow run --experiment-name {shlex.quote(str(asked_for))} instead"
        )
    return str(run.info.experiment_id)


def schedule_run(spec: RunSpec) -> str:
    """Id of a new run below another that nobody works on yet: it is SCHEDULED until it is started by its id."""
    client = mlflow.MlflowClient()
    tags = {**spec.tags, Tag.PARENT_RUN: str(spec.parent)}
    experiment = client.get_run(str(spec.parent)).info.experiment_id
    run_id = str(client.create_run(experiment, tags=tags, run_name=spec.name).info.run_id)
    client.update_run(run_id, "SCHEDULED")
    return run_id


def _end_begun_run(begun: Sequence[str]) -> None:
    """What a process says last: the run's end, also of one that it was about to begin."""
    for _ in range(2):
        for run_id in begun or _running_here():
            end_abandoned_run(run_id, ENDED)
        if begun:
            return
        time.sleep(0.3)


def _running_here() -> list[str]:
    """Ids of the runs of this process that are said to be running."""
    experiments = [experiment.experiment_id for experiment in mlflow.search_experiments()]
    mine = f"attributes.status = 'RUNNING' and tags.{Tag.PROCESS} = '{process_id()}'"
    return [run.info.run_id for run in mlflow.search_runs(experiments, mine, output_format="list")]


def add_text(run_id: str, name: str, text: str) -> None:
    """Log a text to a run that has ended, without opening it again: what fails here is no fault of the run."""
    mlflow.MlflowClient().log_text(run_id, text, name)


def record_run(
    parent: str,
    name: str,
    tags: Mapping[str, str],
    params: Mapping[str, Value],
    series: Mapping[str, Mapping[int, float]],
    status: str,
    times: tuple[datetime | None, datetime | None],
) -> None:
    """Write a run that has ended already, below another: its metrics by step, when it began and when it ended."""
    client = mlflow.MlflowClient()
    began, ended = (int(time.timestamp() * 1000) if time else 0 for time in times)
    experiment = client.get_run(parent).info.experiment_id
    run = client.create_run(experiment, began, {**tags, Tag.PARENT_RUN: parent}, name).info.run_id
    metrics = [Metric(key, value, ended, step) for key, values in series.items() for step, value in values.items()]
    client.log_batch(run, metrics, [Param(key, str(value)) for key, value in params.items()])
    client.set_terminated(run, status, ended)


def run_exists(run_id: str) -> bool:
    """Whether there is a run of that id at this address."""
    return status_of(run_id) is not None


def status_of(run_id: str) -> str | None:
    """The status of a run at this address; None where there is none, or it is deleted."""
    try:
        info = mlflow.get_run(run_id).info
    except MlflowException:
        return None
    return str(info.status) if info.lifecycle_stage == "active" else None


def _default_experiment() -> str:
    """Name of the experiment that MLflow's variables choose, the second being that of `mlflow run`, or else ours."""
    name, experiment_id = os.environ.get("MLFLOW_EXPERIMENT_NAME"), os.environ.get("MLFLOW_EXPERIMENT_ID")
    if name or not experiment_id:
        return name or EXPERIMENT
    try:
        return str(mlflow.get_experiment(experiment_id).name)
    except MlflowException:
        raise InputError(
            f"MLFLOW_EXPERIMENT_ID names experiment {experiment_id!r}, not to be found at {server.tracking_uri()}: "
            "unset it"
        ) from None


def detach_project_run() -> None:
    """Go on outside of the run that `mlflow run` has begun; that command ends it."""
    os.environ.pop(_PROJECT_RUN, None)


def _set_experiment(name: str) -> str:
    """Go to the experiment, made where it is not there; its id."""
    try:
        existing = mlflow.get_experiment_by_name(name)
        if existing is None or existing.lifecycle_stage == "active":
            experiment = mlflow.set_experiment(name)
            if existing is None or name == EXPERIMENT:  # and not another that is somebody's own
                ui.dress_experiment(experiment)
            return str(experiment.experiment_id)
    except MlflowException as error:
        if is_outage(error):  # which is waited for
            raise
        reason = error.message.partition("\n")[0]
        raise InputError(f"no experiment {name!r}: {reason}") from None
    raise InputError(
        f"experiment {name!r} is deleted: give another --experiment, or restore it, "
        f"mlflow experiments restore --experiment-id {existing.experiment_id}"
    )


def open_experiment() -> str:
    """Id of the experiment of the open run."""
    return _open.stack[-1].experiment_id


def set_tags(tags: Mapping[str, object]) -> None:
    _write(Kind.VALUES, {"tags": {name: str(value) for name, value in tags.items()}})


def log_settings(settings: Mapping[str, Value | None]) -> None:
    """Log the params and the settings file that `train --settings` takes to do the same again.

    `mlflow run` has logged what it was given, in the user's spelling, and MLflow refuses another: that one stays.
    """
    log_params(settings)
    log_json(settings, Artifact.SETTINGS)
    _write(Kind.VALUES, {"untag": [Tag.SETTINGS]})  # which stood for the file


def log_params(values: Mapping[str, Value | None]) -> None:
    """Log params that the run does not have yet: MLflow refuses another value of one that it has."""
    logged = _open.stack[-1].params
    params = {name: value for name, value in values.items() if name not in logged and value is not None}
    _write(Kind.VALUES, {"params": params})


def log_data(corpus: Corpus) -> None:
    """Log each part of the corpus as a dataset with its name, source and digest."""
    source = _source(corpus.source)
    parts = {"train": corpus.train, "validation": corpus.validation, "test": corpus.test}
    datasets = {part: _dataset(source, f"{corpus.name}-{part}", reviews.digest) for part, reviews in parts.items()}
    _write(Kind.DATASETS, {"datasets": {part: dataset.to_dict() for part, dataset in datasets.items()}})


def log_data_checks(corpus: Corpus) -> None:
    """Log what is odd about the reviews of a corpus, as a table."""
    if corpus.checks:
        table = pd.DataFrame([asdict(check) for check in corpus.checks])
        log_text(table.to_csv(index=False, lineterminator="\r\n"), Artifact.DATA_CHECKS)


def _dataset(source: DatasetSource, name: str, digest: str) -> MetaDataset:
    return MetaDataset(source, name=name, digest=digest)  # type: ignore[abstract]  # its own documentation makes it


def _source(source: str) -> DatasetSource:
    if source.startswith("sentiment_tune"):
        return CodeDatasetSource({"mlflow.source.name": source})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow finds two names for one kind of source
        return resolve_dataset_source(source)


def log_epoch(epoch: EpochRecord) -> None:
    figures = epoch.figures
    log_metrics(figures, int(figures.pop("epoch")))


def log_metrics(metrics: Mapping[str, float], step: int = 0) -> None:
    """Log figures, each once even if the run was cut off in between; DivergenceError if one is not finite.

    MLflow keeps an infinite one as the largest number there is, which then leads every ranking.
    """
    check_finite(metrics)
    now, before = time.time_ns() // 1_000_000, _open.stack[-1].points
    points = [(name, float(value), now, step) for name, value in metrics.items() if (name, step) not in before]
    _write(Kind.VALUES, {"metrics": points})


def check_finite(metrics: Mapping[str, float]) -> None:
    """DivergenceError naming the first figure that is not finite."""
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise DivergenceError(f"{name} is {value}, which nothing can be compared with; try a smaller learning_rate")


def log_test_predictions(
    labels: NDArray[np.uint8], probabilities: NDArray[np.float64], lengths: NDArray[np.integer], threshold: float
) -> None:
    """Log a model's prediction for each test review, so that two models can be compared review by review.

    The threshold parts two classes.
    """
    file = io.BytesIO()
    np.savez_compressed(file, labels=labels, probabilities=probabilities, lengths=lengths, threshold=threshold)
    _log_file(file.getvalue(), Artifact.TEST_PREDICTIONS)


def log_error_rates(error_rates: Mapping[str, tuple[Proportion, str | None]]) -> None:
    """Log the error rate of each kind of review with an example, for the model card."""
    rows = {kind: {**asdict(rate), "example": example} for kind, (rate, example) in error_rates.items()}
    log_json(rows, Artifact.ERROR_RATES)


def log_mistakes(table: Mapping[str, Sequence[object]]) -> None:
    """Log the most confident mistakes as a table, by column, which MLflow's UI searches."""
    # By hand: where a run that was cut off has logged them already, MLflow's log_table would append them once more.
    log_text(pd.DataFrame(dict(table)).to_json(orient="split", index=False), Artifact.MISTAKES_TABLE)
    set_tags({MLFLOW_LOGGED_ARTIFACTS: json.dumps([{"path": Artifact.MISTAKES_TABLE, "type": "table"}])})


def log_golden(texts: Sequence[str], probabilities: NDArray[np.float64]) -> None:
    """Log the scores of texts, which the model has to give again wherever it is loaded."""
    log_json({"texts": list(texts), "probabilities": probabilities.tolist()}, Artifact.GOLDEN)


def log_figure(name: str, figure: "Figure", folder: str = Artifact.PLOTS, **saving: Any) -> None:
    """Log a picture as PNG; what is more goes to matplotlib's savefig."""
    file = io.BytesIO()
    figure.savefig(file, format="png", **saving)
    _log_file(file.getvalue(), f"{folder}/{name}.png")


def log_json(values: Mapping[str, object], path: str) -> None:
    log_text(json.dumps(dict(values), indent=2, default=str), path)


def log_text(text: str, path: str) -> None:
    _log_file(text.encode(), path)


def _log_file(content: bytes, path: str) -> None:
    _write(Kind.FILE, {"path": path}, content)


def log_model(folder: Path) -> Write:
    """Log the MLflow model in a folder, which may go afterwards; where the model is then is known at the run's end."""
    return _write(Kind.MODEL, {"name": Artifact.MODEL}, path=folder)


def log_model_figures() -> None:
    """Log the run's figures of its model to the model too, each with the dataset it was measured on."""
    _write(Kind.FIGURES, {"parts": dict(MODEL_FIGURES)})


@functools.cache  # what runs is what was there at the start
def git_commit() -> str | None:
    """Commit of the checkout this package runs from, `-dirty` behind it where files differ; None outside of one."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40", "--match="]
    try:
        tracked = subprocess.run(["git", "-C", str(here), "ls-files", "--error-unmatch", __file__], capture_output=True)
        return None if tracked.returncode else subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:
        return None
