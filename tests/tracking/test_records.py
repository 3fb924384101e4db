"""A finished run is read as typed values, or refused in one line that names what is missing."""

import uuid
from pathlib import Path

import mlflow
import pytest

from sentiment_tune.errors import InputError
from sentiment_tune.tracking import records
from sentiment_tune.tracking.records import RunRecord, finished_run

TAGS = {
    "network": "cnn",
    "data": "films",
    "data_digest": "abcd",
    "reviews_train": "20000",
    "reviews_validation": "200",
    "reviews_test": "400",
    "seed": "3",
    "package_version": "0.1.0",
    "parameters": "1234567",
}
NAMES = ("accuracy", "f1", "roc_auc", "log_loss", "brier", "reviews_per_second")
METRICS = {
    **{f"test_{name}": 0.5 for name in NAMES},
    "best_val_accuracy": 0.9,
    "train_seconds": 10.0,
    "model_bytes": 1e6,
}


def record(tags: dict[str, str], metrics: dict[str, float]) -> RunRecord:
    return RunRecord("0123", "cnn", "FINISHED", 0, {}, metrics, tags)


def test_tags_become_numbers() -> None:
    run = finished_run(record(TAGS, METRICS))
    assert (run.network, run.parameters, run.reviews_validation) == ("cnn", 1_234_567, 200)
    assert (run.git_commit, run.is_refit, run.refit_seconds) == (None, False, 0.0)
    refitted = finished_run(record(TAGS | {"refit": "True"}, METRICS | {"refit_seconds": 4.0}))
    assert (refitted.is_refit, refitted.refit_seconds) == (True, 4.0)


@pytest.mark.parametrize("name", [*TAGS, *(name for name in METRICS if name != "test_f1")])
def test_what_a_run_lacks_is_named(name: str) -> None:
    tags = {key: value for key, value in TAGS.items() if key != name}
    metrics = {key: value for key, value in METRICS.items() if key != name}
    with pytest.raises(InputError, match=f"run '0123' has logged no {name}: choose another"):
        finished_run(record(tags, metrics))


def test_a_tag_that_is_no_number_is_named() -> None:
    with pytest.raises(InputError, match=r"run '0123' has a tag that is no number: .*'many'"):
        finished_run(record(TAGS | {"parameters": "many"}, METRICS))


def test_the_beginning_of_an_id_is_a_run_s_if_no_other_begins_so(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = uuid.uuid4
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID("abcdef" + drawn().hex[6:]))
    ids = []
    for _ in range(2):
        with mlflow.start_run() as run:
            ids.append(str(run.info.run_id))
    assert [records.whole_id(each[:16]) for each in ids] == ids
    with pytest.raises(InputError, match=f"several runs begin with 'abcdef': {min(ids)}, {max(ids)}; give more"):
        records.whole_id("abcdef")
    for other in ("abcde", "fedcba", ids[0], "abc%ef", "ABCDEF11"):
        assert records.whole_id(other) == other
    mlflow.delete_run(ids[1])
    assert records.whole_id("abcdef") == ids[0]
