"""What MLflow could not take: kept in order, on whatever disk takes it, and made up for without doubles."""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST, TEMPORARILY_UNAVAILABLE
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError

from sentiment_tune import api, local
from sentiment_tune.data.text import FIRST_WORD, Vocabulary
from sentiment_tune.errors import InputError, OutageError
from sentiment_tune.events import Event, WarningMessage
from sentiment_tune.inference.package import ModelPackage
from sentiment_tune.tracking import delivery, flavor, outages, runs
from sentiment_tune.tracking.journal import Journal, Kind, Write, journals, note_taken
from sentiment_tune.tracking.runs import RunSpec
from sentiment_tune.tracking.sending import send
from support import READING, SMALL, VOCABULARY, ask, built

FULL = OSError(28, "No space left on device")
GONE = f"{local.process_id().partition(':')[0]}:{2**22 + 1}:1.00"


class KilledError(BaseException):
    """Stands for SIGKILL: nothing of ours catches it."""


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv(local.STATE_VARIABLE, str(tmp_path_factory.mktemp("state")))
    for name, seconds in {"BACK": 0.5, "UNLOCKED": 0.5, "HURRY": 0.5, "PAUSE": 0.0}.items():
        monkeypatch.setattr(delivery, name, seconds)
    monkeypatch.setattr(delivery, "_told", delivery._Told())


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    words = Vocabulary([f"word{number}" for number in range(VOCABULARY - FIRST_WORD)])
    settings = {name: SMALL[name] for name in ("embedding", "hidden")}
    flavor.save_model(str(folder), ModelPackage("embedding", built("embedding", {}), settings, words, READING))
    return folder


def writes(saved: Path) -> list[Write]:
    """One of each kind, and more where the order counts."""
    data = {"name": "sample-train", "digest": "1", "source_type": "code", "source": "{}"}
    return [
        Write(Kind.VALUES, {"params": {"model": "embedding"}, "tags": {"stage": "1"}}),
        Write(Kind.DATASETS, {"datasets": {"train": data}}),
        Write(Kind.VALUES, {"metrics": [("val_loss", 0.7, 1000, 1), ("val_accuracy", 0.5, 1000, 1)]}),
        Write(Kind.VALUES, {"metrics": [("val_loss", 0.6, 2000, 2)], "tags": {"stage": "2"}}),
        Write(Kind.FILE, {"path": "plots/curve.txt"}, content=b"a curve"),
        Write(Kind.MODEL, {"name": "model"}, path=saved),
        Write(Kind.END, {"status": "FINISHED", "time": 5000}),
    ]


def begun() -> str:
    return str(MlflowClient().create_run("0").info.run_id)


def kept(saved: Path) -> str:
    """A run of which MLflow has taken nothing."""
    run_id = begun()
    journal = Journal(run_id)
    assert all(journal.keep(write) for write in writes(saved))
    return run_id


def held(run_id: str) -> dict[str, Any]:
    """All that MLflow has of a run."""
    client = MlflowClient()
    run = client.get_run(run_id)
    assert run.outputs
    models = [client.get_logged_model(output.model_id) for output in run.outputs.model_outputs]
    points = [point for name in run.data.metrics for point in client.get_metric_history(run_id, name)]
    file = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/plots/curve.txt")
    return {
        "ended": (run.info.status, run.info.end_time),
        "params": run.data.params,
        "stage": run.data.tags["stage"],
        "points": Counter((point.key, point.value, point.timestamp, point.step) for point in points),
        "data": [dataset.dataset.name for dataset in run.inputs.dataset_inputs] if run.inputs else [],
        "models": [(model.name, str(model.status), str(model.source_run_id) == run_id) for model in models],
        "begun models": len(mlflow.search_logged_models(["0"], f"source_run_id = '{run_id}'", output_format="list")),
        "file": file,
    }


def test_a_replay_that_is_killed_at_any_line_and_goes_on_doubles_nothing(
    here: Path, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = kept(saved)
    delivery.replay(Journal(whole))
    expected = held(whole)
    assert expected["points"] == Counter(
        [("val_loss", 0.7, 1000, 1), ("val_accuracy", 0.5, 1000, 1), ("val_loss", 0.6, 2000, 2)]
    )
    assert (expected["ended"], expected["stage"]) == (("FINISHED", 5000), "2")
    assert expected["models"] == [("model", "READY", True)]
    assert journals() == []
    run_id = kept(saved)
    for left in range(len(writes(saved)), 0, -1):
        assert len(Journal(run_id).pending()) == left
        with monkeypatch.context() as patch:  # MLflow has taken a write, and nobody has noted it
            patch.setattr(delivery, "note_taken", killed_at(0, note_taken))
            with pytest.raises(KilledError):
                delivery.replay(Journal(run_id))
        if left > 1:
            with monkeypatch.context() as patch:  # it has been noted, and the next one not been sent
                patch.setattr(delivery, "send", killed_at(1, send))
                with pytest.raises(KilledError):
                    delivery.replay(Journal(run_id))
    delivery.replay(Journal(run_id))
    assert held(run_id) == expected
    assert journals() == []


def killed_at(number: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, up to a call in which the process is killed."""
    calls: Iterator[int] = iter(range(number, -1, -1))

    def call(*given: Any) -> Any:
        if next(calls) == 0:
            raise KilledError
        return function(*given)

    return call


def test_a_model_that_was_being_written_is_finished_and_not_begun_anew(
    here: Path, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = kept(saved)
    for name in ("log_outputs", "log_model_artifacts", "finalize_logged_model"):
        with monkeypatch.context() as patch:
            patch.setattr(f"mlflow.MlflowClient.{name}", killed_at(0, lambda: None))
            with suppress(KilledError, OutageError):
                delivery.replay(Journal(run_id))
    delivery.replay(Journal(run_id))
    assert held(run_id)["models"] == [("model", "READY", True)]
    assert held(run_id)["begun models"] == 1
    assert len(api.load_model(f"runs:/{run_id}/model").predict(["word1 word2"])) == 1  # its files are those recorded


def test_a_model_lands_beside_its_run_whoever_sends_it(
    here: Path, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = kept(saved)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "another")
    mlflow.set_experiment("a third")
    delivery.replay(Journal(run_id))
    assert held(run_id)["begun models"] == 1
    run = mlflow.get_run(run_id)
    model = mlflow.get_logged_model(run.outputs.model_outputs[0].model_id)  # type: ignore[union-attr]
    assert model.params == run.data.params
    assert model.tags.get("mlflow.user") == run.data.tags.get("mlflow.user")


def test_a_line_that_was_being_written_is_as_if_it_had_not_been(here: Path, saved: Path) -> None:
    run_id = kept(saved)
    (folder,) = Journal(run_id).folders
    path, all_of_it = folder / "writes.jsonl", (folder / "writes.jsonl").read_bytes()
    last = all_of_it.rstrip(b"\n").rfind(b"\n") + 1
    for length in range(last, len(all_of_it)):
        path.write_bytes(all_of_it[:length])
        assert [write.kind for write in Journal(run_id).pending()] == [write.kind for write in writes(saved)[:-1]]
    again = Journal(run_id)
    assert again.keep(writes(saved)[-1])
    assert [write.number for write in Journal(run_id).pending()] == list(range(1, 8))


def test_where_one_disk_is_full_the_next_is_taken_and_the_order_stays(
    here: Path, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = begun()
    journal, (first, *others) = Journal(run_id), writes(saved)
    beside = here / ".sentiment_tune"
    fsync = "sentiment_tune.tracking.journal.os.fsync"
    assert journal.keep(first)
    with monkeypatch.context() as patch:
        patch.setattr("sentiment_tune.tracking.journal.private_folders", full_in(beside))
        assert all(journal.keep(write) for write in others[:3])
        patch.setattr(fsync, raising(FULL))
        assert not journal.keep(others[3])
    assert all(journal.keep(write) for write in others[3:])
    assert [write.number for write in Journal(run_id).pending()] == list(range(1, 8))
    assert len(Journal(run_id).folders) == 2
    delivery.replay(Journal(run_id))
    assert held(run_id)["ended"] == ("FINISHED", 5000)
    assert journals() == []


def full_in(full: Path) -> Callable[..., Path]:
    def folder(root: Path, *names: str) -> Path:
        return raising(FULL)() if root == full else local.private_folders(root, *names)

    return folder


def raising(error: BaseException) -> Callable[..., Any]:
    def call(*given: Any, **more: Any) -> Any:
        raise error

    return call


def open_run(told: list[Event], hold: Callable[[], Any] = lambda: None) -> runs.ActiveRun:
    """A run with ten epochs, in the middle of which something is done."""
    with runs.start_run(RunSpec(), told.append) as run:
        for epoch in range(1, 11):
            if epoch == 4:
                hold()
            runs.log_metrics({"val_loss": 1 / epoch}, step=epoch)
        runs.log_text("text", "note.txt")
    return run


def points(run_id: str) -> list[int]:
    return [point.step for point in MlflowClient().get_metric_history(run_id, "val_loss")]


def test_an_outage_is_told_once_and_made_up_for(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Event] = []
    answers: Iterator[int] = iter(range(100))
    log_batch = MlflowClient.log_batch

    def away(client: MlflowClient, *given: Any, **more: Any) -> Any:
        if next(answers) in range(4, 8):
            raise FULL
        return log_batch(client, *given, **more)

    monkeypatch.setattr("mlflow.MlflowClient.log_batch", away)
    run = open_run(told)
    assert points(run.run_id) == list(range(1, 11))
    lines = [event.text for event in told if isinstance(event, WarningMessage)]
    assert len(lines) == 2, lines
    assert "No space left on device" in lines[0]
    assert (run.undelivered, journals()) == (None, [])


def test_a_model_that_is_given_up_while_it_is_sent_is_no_outage(
    here: Path, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Event] = []
    is_sending, is_gone, asked = threading.Event(), threading.Event(), iter([True])

    def sending(run_id: str, write: Write) -> None:
        if write.kind == Kind.MODEL:
            is_sending.set()
            is_gone.wait()
            raise FileNotFoundError(2, "No such file or directory", str(saved))
        send(run_id, write)

    def end_if_asked() -> None:
        if is_sending.is_set() and next(asked, False):
            raise KeyboardInterrupt

    monkeypatch.setattr(delivery, "send", sending)
    monkeypatch.setattr("sentiment_tune.signals.end_if_asked", end_if_asked)
    ours = delivery.Delivery(begun(), told.append)
    with pytest.raises(KeyboardInterrupt):
        ours.write(Write(Kind.MODEL, {"name": "model"}, path=saved))
    is_gone.set()
    assert ours.end("KILLED") is None
    assert (mlflow.get_run(ours.run_id).info.status, told) == ("KILLED", [])


def test_a_write_that_is_wrong_is_told_at_once(here: Path) -> None:
    with pytest.raises(MlflowException, match="Invalid"), runs.start_run(RunSpec()):
        runs.log_metrics({"no/../name": 1.0})
    assert journals() == []


def test_what_could_not_be_delivered_is_left_for_upload(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[Event] = []
    with monkeypatch.context() as patch:
        run = open_run(told, lambda: patch.setattr("mlflow.MlflowClient.log_batch", raising(FULL)))
        assert str(run.undelivered).endswith("`sentiment-tune upload` brings it in")
    (journal,) = journals()
    assert (journal.run_id, journal.is_left) == (run.run_id, False)
    assert ask("upload").out.startswith("nothing is kept")  # this process may still do it
    monkeypatch.setattr("sentiment_tune.tracking.journal.is_process_gone", lambda process: True)
    assert f"run {run.run_id} has" in ask("doctor").out
    assert ask("upload").out == f"run {run.run_id} is whole in MLflow now\n"
    assert points(run.run_id) == list(range(1, 11))
    assert MlflowClient().get_run(run.run_id).info.status == "FINISHED"
    assert (journals(), ask("upload").code) == ([], 0)


def test_the_next_run_of_the_same_process_brings_in_what_was_left(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        left = open_run([], lambda: patch.setattr("mlflow.MlflowClient.log_batch", raising(FULL)))
    assert delivery.undelivered()
    open_run([])
    assert (points(left.run_id), delivery.undelivered()) == (list(range(1, 11)), [])


def test_a_run_that_no_disk_takes_is_told_as_lost(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Event] = []

    def fill() -> None:
        monkeypatch.setattr("mlflow.MlflowClient.log_batch", raising(FULL))
        monkeypatch.setattr("sentiment_tune.tracking.journal.os.fsync", raising(FULL))

    run = open_run(told, fill)
    assert run.is_lost
    assert "no disk takes" in str(run.undelivered)
    assert len(told) == 1


def test_a_database_that_another_has_replaced_takes_nothing(here: Path) -> None:
    def replace() -> None:
        (here / "mlflow.db").rename(here / "moved.db")
        (here / "mlflow.db").write_bytes(b"")

    run = open_run([], replace)
    assert "another file has taken the place" in str(run.undelivered)
    (here / "moved.db").replace(here / "mlflow.db")
    delivery.deliver_left()
    assert points(run.run_id) == list(range(1, 11))


def test_what_a_dead_process_of_the_run_has_kept_comes_in_before_it_goes_on(here: Path) -> None:
    run_id = begun()
    journal = Journal(run_id)
    assert journal.keep(Write(Kind.VALUES, {"metrics": [("val_loss", 0.5, 1000, 1)]}))
    with runs.start_run(RunSpec(run_id=run_id, resumed=True)):
        for epoch in (1, 2):  # as a training does that goes on from a checkpoint
            runs.log_metrics({"val_loss": 0.5}, step=epoch)
    assert points(run_id) == [1, 2]
    assert journals() == []


def test_a_journal_of_a_run_that_was_killed_ends_it(here: Path) -> None:
    run_id = begun()
    assert Journal(run_id).keep(Write(Kind.VALUES, {"metrics": [("val_loss", 0.5, 1000, 1)]}))
    delivery.replay(Journal(run_id))
    assert (MlflowClient().get_run(run_id).info.status, points(run_id)) == ("KILLED", [1])


def test_a_journal_of_another_user_is_not_replayed(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Journal(begun()).keep(Write(Kind.VALUES, {"tags": {"stage": "1"}}))
    uid = os.getuid()
    monkeypatch.setattr("sentiment_tune.tracking.journal.os.getuid", lambda: uid + 1)
    assert journals() == []


def test_a_run_gives_signs_of_life(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "BEAT", 0.01)
    monkeypatch.setattr("time.time", lambda: 12345.6)
    seen = threading.Event()
    set_tag = MlflowClient.set_tag

    def set_and_tell(client: MlflowClient, run_id: str, key: str, value: str) -> None:
        set_tag(client, run_id, key, value)
        seen.set()

    monkeypatch.setattr("mlflow.MlflowClient.set_tag", set_and_tell)
    with runs.start_run(RunSpec(tags={"seen": "1"})) as run:
        assert seen.wait(10)
    assert MlflowClient().get_run(run.run_id).data.tags["seen"] == "12346"


@pytest.mark.parametrize(
    ("error", "is_away"),
    [
        (FULL, True),
        (ConnectionRefusedError("refused"), True),
        (TimeoutError("no answer"), True),
        (OperationalError("SELECT", None, Exception("database is locked")), True),
        (DatabaseError("SELECT", None, Exception("database disk image is malformed")), True),
        (MlflowException("(sqlite3.DatabaseError) database disk image is malformed", BAD_REQUEST), True),
        (MlflowException("API request failed with error code 503", TEMPORARILY_UNAVAILABLE), True),
        (OutageError("away"), True),
        (IntegrityError("INSERT", None, Exception("UNIQUE")), False),
        (MlflowException.invalid_parameter_value("no such name"), False),
        (InputError("wrong"), False),
        (RuntimeError("a fault of ours"), False),
        (ArithmeticError("nan"), False),
    ],
)
def test_what_is_away_is_told_from_what_is_wrong(error: Exception, is_away: bool) -> None:
    assert outages.is_outage(error) == is_away
    assert outages.is_outage(made_of(error)) == is_away
    assert "\n" not in outages.reason_of(error)


def made_of(error: Exception) -> Exception:
    """An error that another library has made of an error."""
    try:
        try:
            raise error
        except Exception as cause:
            raise LookupError("something went wrong") from cause
    except LookupError as outer:
        return outer
