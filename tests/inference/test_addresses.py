"""Scoring again finds its model without MLflow, and never one that the address means no more."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import mlflow
import pytest
from test_package import make_package

import sentiment_tune as st
from sentiment_tune.inference import addresses
from sentiment_tune.inference import package as packaging
from sentiment_tune.inference.addresses import Place
from sentiment_tune.tracking import lookup
from support import ended, started

SMALL: dict[str, Any] = {"vocabulary": 300, "length": 60, "epochs": 1, "progress": False}
SCORED = (
    "import sys, sentiment_tune as st; model = st.load_model(*sys.argv[1:]); "
    "print(float(model.predict_proba(['a fine film'])[0, 1]), 'mlflow' in sys.modules)"
)


def age(database: Path) -> None:
    """What was written is long ago."""
    os.utime(database, ns=(10**18, 10**18 + database.stat().st_mtime_ns % 10**9))


def score(here: Path, *uri: str) -> tuple[float, bool, str]:
    """What a process of its own scores, whether it loaded MLflow, and what it said of the model."""
    answer = ended(started(here, sys.executable, "-c", SCORED, *uri, MLFLOW_TRACKING_URI=f"sqlite:///{here}/mlflow.db"))
    assert answer.code == 0, answer.err
    probability, loaded = answer.out.split()
    return float(probability), loaded == "True", answer.err


@pytest.mark.slow
def test_the_second_time_a_model_is_found_without_mlflow_and_a_moved_alias_is_seen(here: Path) -> None:
    database = here / "mlflow.db"
    first, second = (st.train("embedding", data="sample", **{**SMALL, "seed": seed}) for seed in (1, 2))
    st.register(first)
    expected = [float(run.model.predict_proba(["a fine film"])[0, 1]) for run in (first, second)]
    assert expected[0] != expected[1]
    age(database)
    found, loaded, told = score(here)
    assert loaded
    assert found == pytest.approx(expected[0], abs=1e-9)
    assert told.startswith("scored by models:/sentiment@champion (version 1): embedding on sample")
    assert score(here) == (found, False, told)
    assert score(here, "models:/sentiment-embedding@champion")[1:] == (True, "")  # another question
    assert score(here, "models:/sentiment-embedding@champion") == (found, False, "")
    st.register(second)
    st.promote("sentiment-embedding", 2)
    assert score(here, "models:/sentiment-embedding@champion")[0] == pytest.approx(expected[1], abs=1e-9)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A saved model, in a process where MLflow is not loaded."""
    monkeypatch.setenv("SENTIMENT_TUNE_STATE", str(tmp_path / "state"))
    monkeypatch.delitem(sys.modules, "mlflow")
    packaging.save_package(make_package("embedding", {}), tmp_path / "model")
    names = ("manifest.json", "settings.json", "vocabulary.txt")
    digests = {name: packaging.digest_of((tmp_path / "model" / name).read_bytes()) for name in names}
    return Place(str(tmp_path / "model"), digests, "scored by it")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "runs.db"
    path.write_bytes(b"runs")
    age(path)
    return path


def keep(place: Place, database: Path) -> str:
    question = addresses.ask("models:/a@champion", None)
    addresses.remember(question, place, database, addresses.stamp(database))
    return question


def test_it_is_recalled_with_what_was_said(place: Place, database: Path) -> None:
    found = addresses.recall(keep(place, database))
    assert found is not None
    assert (found.said, found.package.model) == ("scored by it", "embedding")


def test_nothing_is_recalled_where_mlflow_is_loaded(place: Place, database: Path) -> None:
    question = keep(place, database)
    sys.modules["mlflow"] = mlflow
    assert addresses.recall(question) is None


@pytest.mark.parametrize("change", ["uri", "tracking", "variable", "folder"])
def test_another_question_has_no_answer(
    place: Place, database: Path, change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(place, database)
    if change == "variable":
        monkeypatch.setenv("MLFLOW_REGISTRY_URI", "sqlite:///other.db")
    if change == "folder":
        monkeypatch.chdir(tmp_path)
    uri = "models:/a@other" if change == "uri" else "models:/a@champion"
    question = addresses.ask(uri, "sqlite:///x.db" if change == "tracking" else None)
    assert addresses.recall(question) is None


@pytest.mark.parametrize("change", ["content", "touched", "replaced", "log", "deleted"])
def test_a_database_that_changed_is_asked_again(place: Place, database: Path, change: str) -> None:
    question = keep(place, database)
    match change:
        case "content":
            database.write_bytes(b"other")
            age(database)
        case "touched":
            os.utime(database)
        case "replaced":
            shutil.copy2(database, database.with_name("copy"))
            database.with_name("copy").replace(database)
        case "log":
            database.with_name("runs.db-wal").write_bytes(b"a commit")
        case "deleted":
            database.unlink()
    assert addresses.recall(question) is None


@pytest.mark.parametrize("change", ["weights.safetensors", "vocabulary.txt", "manifest.json", "gone"])
def test_files_that_changed_are_looked_up_again(place: Place, database: Path, change: str) -> None:
    question, folder = keep(place, database), Path(place.folder)
    match change:
        case "gone":
            shutil.rmtree(folder)
        case _:
            with (folder / change).open("ab") as file:
                file.write(b"\n")
    assert addresses.recall(question) is None


def test_a_database_that_is_being_written_is_not_trusted_yet(place: Place, database: Path) -> None:
    os.utime(database)
    assert addresses.recall(keep(place, database)) is None


def test_a_database_that_changed_during_the_search_is_not_kept(place: Place, database: Path) -> None:
    before = addresses.stamp(database)
    database.write_bytes(b"another")
    age(database)
    addresses.remember("question", place, database, before)
    assert addresses.recall("question") is None


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"question": 1}', "null", "{" * 100_000])
def test_what_stands_there_may_be_anything(place: Place, database: Path, tmp_path: Path, content: str) -> None:
    question = keep(place, database)
    (tmp_path / "state" / "last_model.json").write_text(content)
    assert addresses.recall(question) is None


def test_passwords_are_not_written(
    place: Place, database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cret")
    keep(place, database)
    assert "s3cret" not in (tmp_path / "state" / "last_model.json").read_text()


def test_a_state_folder_that_cannot_be_written_costs_only_time(
    place: Place, database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SENTIMENT_TUNE_STATE", str(tmp_path / "file" / "state"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    assert addresses.recall(keep(place, database)) is None


def test_code_that_is_trusted_is_looked_up_each_time(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = st.train("embedding", data="sample", **SMALL)
    kept: list[Place] = []
    monkeypatch.setattr(addresses, "remember", lambda question, place, *rest: kept.append(place))
    for trusted in (True, False):
        lookup.find_model(run.model_uri, trusted, None, "question")
    assert [json.loads((Path(place.folder) / "files.json").read_text()) != {} for place in kept] == [True]
