"""Runs in MLflow: how they begin, what they hold, how they end."""

import functools
import getpass
import hashlib
import os
import subprocess
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import requests
from filelock import FileLock
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.dataset_source import DatasetSource
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.meta_dataset import MetaDataset
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray

from sentiment_tune.data.corpus import Corpus
from sentiment_tune.errors import InputError
from sentiment_tune.evaluation.metrics import Proportion
from sentiment_tune.space import Value
from sentiment_tune.training.loop import EpochRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXPERIMENT = "sentiment"
PATIENCE = 5  # seconds for a server to answer
PROJECT_RUN = "MLFLOW_RUN_ID"  # the variable in which `mlflow run` names the run it has begun
SETTINGS, TEST, MISTAKES, GOLDEN_FILE = "settings.json", "test.npz", "mistakes.json", "golden.json"


def configure(uri: str | None = None) -> None:
    """Point MLflow at `uri`, or at what its own variables say; nothing is made or asked there yet."""
    if uri:
        mlflow.set_tracking_uri(uri)


def connect(uri: str | None = None, make: bool = True) -> None:
    """Point MLflow at `uri`, or at what its own variables say, and see that something answers there.

    A local database that is not there is made, under a lock, since processes that make one together leave it unusable;
    or is refused, where there is nothing to `make`. InputError where nothing answers.
    """
    configure(uri)
    uri = tracking_uri()
    if not make and _missing():
        raise InputError(f"no finished run at {uri}: train one first, or give --tracking-uri or --model FOLDER")
    try:
        if uri.startswith("http"):
            requests.head(uri, timeout=PATIENCE)  # MLflow itself tries for minutes where no server answers
        if uri.startswith("sqlite:///"):
            check_database_path(Path(uri.removeprefix("sqlite:///")))
        with creation_lock(uri):
            mlflow.search_experiments(max_results=1)
    except Exception as error:  # each kind of store raises what its own library does
        reason = str(error).partition("\n")[0]
        raise InputError(f"no MLflow tracking at {uri!r}: {reason}; start it, or give another --tracking-uri") from None


def check_database_path(path: Path) -> None:
    """OSError at once where no database can be or be made; MLflow and SQLAlchemy try again for minutes."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise PermissionError(f"{path} cannot be written")


def creation_lock(uri: str) -> FileLock:
    """A lock that a user's processes on this machine hold one after another, by what they are about to make.

    Another user's lock cannot be opened.
    """
    name = hashlib.sha256(f"{getpass.getuser()} {uri}".encode()).hexdigest()
    return FileLock(Path(tempfile.gettempdir(), f"sentiment_tune-{name}.lock"))


def tracking_uri() -> str:
    """Where the runs are."""
    uri: str = mlflow.get_tracking_uri()
    return uri


def _missing() -> bool:
    """Whether the runs are to be in a local database that nobody has made yet; asking MLflow would make it."""
    kind, _, path = tracking_uri().partition(":///")
    return kind == "sqlite" and not Path(path).exists()


@dataclass(frozen=True)
class RunSpec:
    """Where in MLflow a run goes."""

    experiment: str | None = None  # by default the one of MLflow's variable, or `sentiment`
    name: str | None = None  # by default one that MLflow makes up
    tags: Mapping[str, str] = field(default_factory=dict)
    system_metrics: bool = False
    parent: str | None = None  # id of the run it belongs to, and whose experiment it shares
    run_id: str | None = None  # of a run that goes on


@dataclass
class ActiveRun:
    """A run that is under way, and the status with which it ends if nothing goes wrong."""

    run_id: str
    status: str = "FINISHED"  # or KILLED, of a training that was given up


@contextmanager
def start_run(spec: RunSpec) -> Iterator[ActiveRun]:
    """A run that tells how it ended: with its own status, FAILED with the reason as tag `error`, or KILLED.

    Under `mlflow run` the first is the project's run, which stays in the experiment that command chose.
    """
    run = ActiveRun(_begin_run(spec).info.run_id)
    try:
        yield run
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt)
        try:
            mlflow.set_tag("error", f"{type(error).__name__}: {error}")
            if not interrupted:
                mlflow.log_text(traceback.format_exc(), "traceback.txt")
        finally:  # what went wrong may be that nothing can be logged
            mlflow.end_run("KILLED" if interrupted else "FAILED")
        raise
    mlflow.end_run(run.status)


def _begin_run(spec: RunSpec) -> mlflow.ActiveRun:
    tags = dict(spec.tags)  # told with the run's beginning: one that is cut off at once can still be told from others
    if spec.parent:
        experiment = mlflow.get_run(spec.parent).info.experiment_id
        return mlflow.start_run(
            experiment_id=experiment, run_name=spec.name, parent_run_id=spec.parent, nested=True, tags=tags
        )
    if spec.run_id:
        run = mlflow.start_run(run_id=spec.run_id, nested=True, tags=tags)
        if "error" in run.data.tags:
            mlflow.delete_tag("error")
        return run
    if PROJECT_RUN not in os.environ:
        _enter(spec.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or _project_experiment() or EXPERIMENT)
    return mlflow.start_run(run_name=spec.name, log_system_metrics=spec.system_metrics, tags=tags)


def add_text(run_id: str, name: str, text: str) -> None:
    """Log a text to a run that has ended, without opening it again: what fails here is no fault of the run."""
    mlflow.MlflowClient().log_text(run_id, text, name)


def end_abandoned_run(run_id: str, reason: str) -> None:
    """End a run whose process is gone, if it is still said to be running."""
    if mlflow.get_run(run_id).info.status == "RUNNING":
        client = mlflow.MlflowClient()
        client.set_tag(run_id, "error", reason)
        client.set_terminated(run_id, "KILLED")


def run_exists(run_id: str) -> bool:
    """Whether there is a run of that id at this address."""
    try:
        return bool(mlflow.get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException:
        return False


def _project_experiment() -> str | None:
    """Name of the experiment that `mlflow run` has chosen."""
    chosen = os.environ.get("MLFLOW_EXPERIMENT_ID")
    return str(mlflow.get_experiment(chosen).name) if chosen else None


def detach_project_run() -> None:
    """Go on outside of the run that `mlflow run` has begun; that command ends it."""
    os.environ.pop(PROJECT_RUN, None)


def _enter(experiment: str) -> None:
    try:
        mlflow.set_experiment(experiment)
    except MlflowException as error:
        raise InputError(f"no experiment {experiment!r}: {error.message}") from None


def set_tags(tags: Mapping[str, object]) -> None:
    mlflow.set_tags({name: str(value) for name, value in tags.items()})


def log_settings(settings: Mapping[str, Value | None], run_id: str) -> None:
    """Log the params and, as `settings.json`, the file that `train --settings` takes to do the same again.

    `mlflow run` has logged what it was given, in the user's spelling, and MLflow refuses another: that one stays.
    """
    already = mlflow.get_run(run_id).data.params
    mlflow.log_params({name: value for name, value in settings.items() if name not in already and value is not None})
    mlflow.log_dict(dict(settings), SETTINGS)


def log_data(corpus: Corpus) -> None:
    """Log each part of the corpus as a dataset with its name, source and digest."""
    source = _source(corpus.source)
    parts = {"train": corpus.train, "validation": corpus.validation, "test": corpus.test}
    mlflow.log_inputs(
        [_dataset(source, f"{corpus.name}-{part}", reviews.digest) for part, reviews in parts.items()],
        list(parts),
        [None] * len(parts),
    )


def _dataset(source: DatasetSource, name: str, digest: str) -> MetaDataset:
    return MetaDataset(source, name=name, digest=digest)  # type: ignore[abstract]  # its own documentation makes it


def _source(source: str) -> DatasetSource:
    if source.startswith("sentiment_tune"):
        return CodeDatasetSource({"mlflow.source.name": source})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow finds two names for one kind of source
        return resolve_dataset_source(source)


def log_epoch(epoch: EpochRecord) -> None:
    figures = asdict(epoch)
    mlflow.log_metrics(figures, step=figures.pop("epoch"))


def log_metrics(figures: Mapping[str, float]) -> None:
    mlflow.log_metrics(dict(figures))


def log_test_predictions(
    labels: NDArray[np.uint8], probabilities: NDArray[np.float64], lengths: NDArray[np.integer]
) -> None:
    """Keep what a model said of each test review, so that two models can be compared review by review."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, TEST)
        np.savez_compressed(path, labels=labels, probabilities=probabilities, lengths=lengths)
        mlflow.log_artifact(str(path))


def log_error_rates(kinds: Mapping[str, tuple[Proportion, str | None]]) -> None:
    """Keep where the mistakes are, for the model card."""
    held = {name: {**asdict(share), "example": example} for name, (share, example) in kinds.items()}
    mlflow.log_dict(held, MISTAKES)


def log_golden(texts: Sequence[str], probabilities: NDArray[np.float64]) -> None:
    mlflow.log_dict({"texts": list(texts), "probabilities": probabilities.tolist()}, GOLDEN_FILE)


def log_figure(name: str, picture: "Figure", folder: str = "plots", **saving: Any) -> None:
    """Log a picture as PNG; what is more goes to matplotlib's savefig."""
    mlflow.log_figure(picture, f"{folder}/{name}.png", save_kwargs=saving)


def log_json(values: Mapping[str, object], path: str) -> None:
    mlflow.log_dict(dict(values), path)


def log_text(text: str, path: str) -> None:
    mlflow.log_text(text, path)


@functools.cache  # what runs is what was there at the start
def git_commit() -> str | None:
    """Commit of the checkout this package runs from, `-dirty` behind it where files differ; None outside of one."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40", "--match="]
    try:
        known = subprocess.run(["git", "-C", str(here), "ls-files", "--error-unmatch", __file__], capture_output=True)
        return None if known.returncode else subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:
        return None
