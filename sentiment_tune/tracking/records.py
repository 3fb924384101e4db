"""Reading from MLflow what runs have logged: params, metrics and tags, artifacts, models."""

import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import mlflow
import numpy as np
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray

from sentiment_tune.data.labels import SENTIMENT, THRESHOLD
from sentiment_tune.data.packing import archive_size, unpack_limit
from sentiment_tune.errors import InputError
from sentiment_tune.evaluation.finished_run import FinishedRun
from sentiment_tune.evaluation.metrics import ACCURACY, Proportion
from sentiment_tune.inference.files import check_names, parse_json, read_file
from sentiment_tune.tracking.schema import Artifact, Metric, Stage, Tag
from sentiment_tune.tracking.server import tracking_uri

_LARGEST_ARTIFACT = 2**28  # bytes
_BEGINNING = "[0-9a-f]{6,31}"  # of a run's id


@dataclass(frozen=True)
class Golden:
    """Texts, and the probabilities that a model gave when it was made."""

    texts: Sequence[str]
    probabilities: Sequence[float]


@dataclass(frozen=True)
class RunRecord:
    """What a run has logged, as MLflow keeps it."""

    run_id: str
    name: str
    status: str
    started: int  # milliseconds since 1970
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    experiment_id: str = ""


def read_record(run: Run) -> RunRecord:
    info, data = run.info, run.data
    return RunRecord(
        info.run_id,
        info.run_name or "",
        info.status,
        info.start_time,
        data.params,
        data.metrics,
        data.tags,
        info.experiment_id,
    )


def read_run(run_id: str) -> RunRecord:
    """A run by its id; InputError if there is none."""
    try:
        run = mlflow.get_run(run_id)
    except MlflowException:
        raise InputError(
            f"no run {run_id!r} at {tracking_uri()}: see the ids in the MLflow UI, or give --tracking-uri"
        ) from None
    if run.info.lifecycle_stage != "active":
        raise InputError(f"run {run_id!r} is deleted: choose another, or restore it, mlflow runs restore --run-id ID")
    return read_record(run)


def digest_above(run_id: str) -> str | None:
    """Digest of the data that was cut into folds, one of which validated this run; None of any other run."""
    with suppress(InputError):  # a run that is no more, or that a version has never had
        tags = read_run(run_id).tags
        return read_run(tags[Tag.PARENT_RUN]).tags.get(Tag.DATA_DIGEST) if Tag.FOLD in tags else None
    return None


def whole_id(beginning: str) -> str:
    """The id of the run that begins so, as tables show it; what is no beginning of an id is given back as it is.

    InputError where several runs begin so.
    """
    if not re.fullmatch(_BEGINNING, beginning):
        return beginning
    found = [run.run_id for run in _search(f"attributes.run_id LIKE '{beginning}%'", newest=10)]
    if len(found) > 1:
        raise InputError(f"several runs begin with {beginning!r}: {', '.join(sorted(found))}; give more of the id")
    return found[0] if found else beginning


def finished_run(run: RunRecord) -> FinishedRun:
    """The typed values of a run that has tested its model; InputError naming the run and what it lacks."""
    tags, metrics = run.tags, run.metrics
    try:
        return FinishedRun(
            run_id=run.run_id,
            network=tags[Tag.NETWORK],
            data=tags[Tag.DATA],
            data_digest=tags[Tag.DATA_DIGEST],
            reviews_train=int(tags[Tag.REVIEWS_TRAIN]),
            reviews_validation=int(tags[Tag.REVIEWS_VALIDATION]),
            reviews_test=int(tags[Tag.REVIEWS_TEST]),
            seed=int(tags[Tag.SEED]),
            package_version=tags[Tag.PACKAGE_VERSION],
            git_commit=tags.get(Tag.GIT_COMMIT),
            parameters=int(tags[Tag.PARAMETERS]),
            is_refit=Tag.REFIT in tags,
            best_val_accuracy=metrics[Metric.BEST_VAL_ACCURACY],
            test_accuracy=metrics[Metric.TEST_ACCURACY],
            test_f1=metrics.get(Metric.TEST_F1),
            test_macro_f1=metrics.get(Metric.TEST_MACRO_F1),
            test_roc_auc=metrics[Metric.TEST_ROC_AUC],
            test_log_loss=metrics[Metric.TEST_LOG_LOSS],
            test_brier=metrics[Metric.TEST_BRIER],
            test_reviews_per_second=metrics[Metric.TEST_REVIEWS_PER_SECOND],
            train_seconds=metrics[Metric.TRAIN_SECONDS],
            refit_seconds=metrics.get(Metric.REFIT_SECONDS, 0.0),
            model_bytes=metrics[Metric.MODEL_BYTES],
            experiment_id=run.experiment_id,
            parent=tags.get(Tag.PARENT_RUN),
            metric=tags.get(Tag.METRIC, ACCURACY),
            best_val_score=metrics.get(Metric.BEST_VAL_SCORE),
            classes=tuple(json.loads(tags.get(Tag.CLASSES, json.dumps(SENTIMENT.names)))),
            test_majority=metrics.get(Metric.TEST_MAJORITY),
        )
    except KeyError as error:
        raise InputError(
            f"run {run.run_id!r} has logged no {error.args[0]}: choose another run, or train again"
        ) from None
    except ValueError as error:
        raise InputError(f"run {run.run_id!r} has a tag that is no number: {error}; train again") from None


def quoted(value: object) -> str:
    """A text in a filter of MLflow's, which knows two kinds of quotes and no way to write one within its own."""
    text = str(value)
    if "'" in text and '"' in text:
        raise InputError(f"{text!r} holds both kinds of quotes, which MLflow cannot search for: choose another name")
    return f'"{text}"' if "'" in text else f"'{text}'"


def find_runs(conditions: Mapping[str, object], *, newest: int = 10_000) -> list[RunRecord]:
    """Finished runs with these tags, in whatever experiment, the newest first."""
    tags = [f"tags.`{name}` = {quoted(value)}" for name, value in conditions.items()]
    return _search("attributes.status = 'FINISHED'", f"tags.{Tag.NETWORK} LIKE '%'", *tags, newest=newest)


def find_unfinished() -> list[RunRecord]:
    """Runs of trainings that have not ended well, in whatever experiment, the newest first."""
    return _search("attributes.status != 'FINISHED'", f"tags.{Tag.NETWORK} LIKE '%'", newest=100)


def find_child(parent: str, conditions: Mapping[str, object]) -> RunRecord | None:
    """A finished run that belongs to `parent` and has these tags."""
    return next(iter(find_runs({Tag.PARENT_RUN: parent, **conditions}, newest=1)), None)


def find_running() -> list[RunRecord]:
    """Runs of this package that are said to be running, in whatever experiment."""
    own = {Tag.PROCESS, Tag.NETWORK, Tag.STAGE}
    return [run for run in _search("attributes.status = 'RUNNING'") if run.tags.keys() & own]


def find_children(parent: str) -> list[RunRecord]:
    """Runs that belong to `parent`, whatever became of them."""
    return _search(f"tags.`{Tag.PARENT_RUN}` = {quoted(parent)}")


def find_descendants(run_id: str) -> list[RunRecord]:
    """Runs that belong to a run, and those that belong to repeats among them."""
    children = find_children(run_id)
    repeats = [run.run_id for run in children if run.tags.get(Tag.STAGE) == Stage.REPEATS]
    return [*children, *(run for above in repeats for run in find_children(above))]


def _search(*conditions: str, newest: int = 50_000) -> list[RunRecord]:
    """Runs of all experiments that fulfil these conditions of MLflow's filter, the newest first."""
    runs = mlflow.search_runs(
        search_all_experiments=True,
        filter_string=" and ".join(conditions),
        order_by=["attributes.start_time DESC"],
        max_results=newest,
        output_format="list",
    )
    return list(map(read_record, runs))


def logged_model_uri(run_id: str) -> str:
    """URI of the model that a run has logged; InputError if it has none that is ready."""
    outputs = mlflow.get_run(run_id).outputs
    for output in outputs.model_outputs if outputs else ():
        with suppress(MlflowException):  # one that was half written when the run was cut off may be deleted
            model = mlflow.get_logged_model(output.model_id)
            if str(model.status) == "READY":
                uri: str = model.model_uri
                return uri
    raise InputError(f"run {run_id!r} has no finished model: choose another run, or train again")


def read_json(run_id: str, name: str) -> Any:
    """The content of a JSON artifact; InputError if the run has none of that name, or it is damaged."""
    with _artifact(run_id, name) as path:
        return parse_json(read_file(path, _LARGEST_ARTIFACT))


def read_golden(run_id: str) -> Golden:
    """The scores that a run's model gave when it was made."""
    with _explained(run_id, Artifact.GOLDEN):
        golden = check_names(read_json(run_id, Artifact.GOLDEN), ("texts", "probabilities"), "it")
        texts, probabilities = golden["texts"], golden["probabilities"]
        if not (texts and len(texts) == len(probabilities) and all(isinstance(text, str) for text in texts)):
            raise ValueError("it must hold a probability for each text")
        return Golden(texts, [float(probability) for probability in probabilities])


def read_error_rates(run_id: str) -> dict[str, tuple[Proportion, str | None]]:
    """Error rate of each kind of test review, with the most confident mistake as an example."""
    rows = read_json(run_id, Artifact.ERROR_RATES)
    with _explained(run_id, Artifact.ERROR_RATES):
        return {kind: (Proportion(row["count"], row["reviews"]), row["example"]) for kind, row in rows.items()}


def read_test_predictions(run_id: str) -> dict[str, NDArray[Any]]:
    """A model's predictions of the test reviews: labels, probabilities and lengths [review], and the threshold [].

    Of more than two classes the probabilities are [review, class].
    """
    with _artifact(run_id, Artifact.TEST_PREDICTIONS) as path, np.load(path, allow_pickle=False) as arrays:
        if archive_size(arrays.zip) > unpack_limit(path, None):
            raise ValueError("it unpacks to far more than predictions can be")
        threshold = {"threshold": arrays["threshold"]} if "threshold" in arrays else {"threshold": np.array(THRESHOLD)}
        return {**threshold, **{name: arrays[name] for name in ("labels", "probabilities", "lengths")}}


@contextmanager
def _explained(run_id: str, name: str) -> Iterator[None]:
    """Whatever is wrong with the content of an artifact as an InputError."""
    try:
        yield
    except InputError:
        raise
    except (OSError, AttributeError, KeyError, TypeError, ValueError, BadZipFile) as error:
        raise InputError(f"{name} of run {run_id!r} is damaged: {error}; train again") from None


@contextmanager
def _artifact(run_id: str, name: str) -> Iterator[Path]:
    """A copy of an artifact, for as long as it is read: MLflow itself would leave each for good."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            path = mlflow.artifacts.download_artifacts(f"runs:/{run_id}/{name}", dst_path=folder)
        except (MlflowException, OSError):
            raise InputError(f"run {run_id!r} has no {name}: it was made by an earlier version, train again") from None
        with _explained(run_id, name):
            yield Path(path)


def newest_training() -> RunRecord:
    """The newest finished run that has logged a model, in whatever experiment."""
    run = next((run for run in find_runs({}, newest=1000) if Metric.PACKAGE_SECONDS in run.metrics), None)
    if run is None:
        raise InputError(f"no finished run at {tracking_uri()}: train one first, or give --model URI")
    return run
