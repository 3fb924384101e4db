"""Studies that begin with what was good before, and the studies that are stored."""

import csv
import json
import time
from pathlib import Path
from typing import Any

import optuna
import pytest

import sentiment_tune as st
from sentiment_tune.tuning.search import StudyConfig
from sentiment_tune.tuning.warm_start import EarlierSettings, first_parameters, taken_over
from support import ask, runs

SMALL = ("--data", "sample", "--vocabulary", "300", "--length", "60", "--epochs", "1", "--device", "cpu", "--top", "0")


def study_of(folder: Path, name: str) -> optuna.Study:
    return optuna.load_study(study_name=name, storage=f"sqlite:///{folder}/optuna.db")


def test_what_another_network_had_is_moved_into_the_space_and_tried_once() -> None:
    values = {"hidden": 8, "dropout": 0.5, "filters": 7, "learning_rate": "none", "seed": 3}
    earlier = (EarlierSettings("cnn", values), EarlierSettings("cnn", {**values, "hidden": 9}))
    search = StudyConfig("s", ("embedding",), {"data": "sample"}, 1, "sqlite://", earlier=earlier)
    (first,) = first_parameters(search)
    assert (first["hidden"], first["dropout"]) == (32, 0.5)  # the least that is searched
    assert first["learning_rate"] == search.defaults[0]["learning_rate"]
    assert first.keys() == search.space.keys()
    joint = StudyConfig("s", ("embedding", "cnn"), {"data": "sample"}, 1, "sqlite://", earlier=earlier[:1])
    assert [parameters["model"] for parameters in first_parameters(joint)] == ["cnn"]
    assert first_parameters(StudyConfig("s", ("embedding",), {"data": "sample"}, 1, "sqlite://")) == []


def test_what_is_taken_over_is_counted() -> None:
    def told(*values: dict[str, Any]) -> str:
        earlier = tuple(EarlierSettings("cnn", each) for each in values)
        of = StudyConfig("s", ("embedding",), {"data": "sample"}, 1, "sqlite://", earlier=earlier, from_study="x.json")
        return taken_over(of)

    one = {"hidden": 77, "filters": 7, "seed": 3, "dropout": 0.25}
    assert told(one) == "1 trial begins with 2 settings taken over from x.json: hidden, dropout"
    assert told(one, {"hidden": 80}).startswith("2 trials begin with 2 settings taken over from x.json")
    assert told({"filters": 7}) == "nothing is taken over from x.json: the study begins with that anyway"


@pytest.mark.slow
def test_a_study_begins_with_the_best_of_another(here: Path) -> None:
    assert ask("tune", "--model", "embedding", *SMALL, "--trials", "3").code == 0
    best = max(study_of(here, "embedding-sample").get_trials(), key=lambda trial: (trial.value, -trial.number))
    words = ("tune", "--model", "feedforward", *SMALL, "--trials", "3", "--from-study", "embedding-sample")
    answer = ask(*words)
    assert (answer.code, answer.err) == (0, "")
    assert " settings taken over from embedding-sample: " in answer.out
    study = study_of(here, "feedforward-sample")
    trials = study.get_trials()
    assert study.user_attrs["from_study"] == "embedding-sample"
    taken = [trial for trial in trials if trial.user_attrs.get("from_study") == "embedding-sample"]
    shared = best.params.keys() & trials[0].params.keys()
    assert {"hidden", "learning_rate"} <= shared
    if best.number:  # else its best are the defaults
        assert {name: taken[0].params[name] for name in shared} == {name: best.params[name] for name in shared}
    found = [run for run in runs(f"sqlite:///{here}/mlflow.db") if run.data.tags.get("stage") == "study"]
    (run,) = (run for run in found if run.data.tags["study"] == "feedforward-sample")
    assert run.data.params["from_study"] == "embedding-sample"
    assert ask(*words).code == 0
    assert len(study_of(here, "feedforward-sample").get_trials()) == len(trials)
    refused = ask(
        "tune", "--model", "embedding", *SMALL, "--trials", "4", "--hidden", "8", "--from-study", study.study_name
    )
    assert "was begun with" in refused.refusal
    begun = study_of(here, "embedding-sample")
    assert ("from_study" in begun.user_attrs, len(begun.get_trials())) == (False, 3)


@pytest.mark.slow
def test_settings_of_a_file_of_a_recipe_and_of_the_registry_are_tried_first(here: Path) -> None:
    (here / "mine.json").write_text(json.dumps({"model": "embedding", "hidden": 77, "dropout": 0.25}))
    run = st.train("embedding", "sample", epochs=1, vocabulary=300, hidden=44, embedding=40, progress=False)
    st.register(run.run_id)
    sources = {"mine.json": 77, "embedding": 32, "models:/sentiment-embedding@champion": 44, "models:/sentiment/1": 44}
    for number, (source, hidden) in enumerate(sources.items()):
        words = ("tune", "--model", "embedding", *SMALL, "--trials", "2", "--study", f"s{number}")
        assert ask(*words, "--from-study", source).code == 0
        second = study_of(here, f"s{number}").get_trials()[1]
        assert second.user_attrs["from_study"] == source
        assert second.params["hidden"] == hidden


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("nothing", "from_study cannot be 'nothing': give a study of"),
        ("models:/nothing@champion", "no registered model 'models:/nothing@champion'"),
        ("models:/", "no registered model 'models:/'"),
        (
            "models:/sentiment-cnn",
            "'models:/sentiment-cnn': give models:/NAME@ALIAS or models:/NAME/VERSION",
        ),
        ("models:/sentiment-cnn@", "no registered model 'models:/sentiment-cnn@': give models:/NAME@ALIAS"),
        ("odd.json", "from_study cannot be 'odd.json': hidden cannot be 'many': choose a whole number"),
        ("odd.json", "; embedding has no setting 'foo'"),
        ("far.json", "hidden cannot be 0"),
        ("new.json", "no network 'ebedding'; did you mean 'embedding'"),
        ("other.json", "other.json does not say which network its settings are of"),
    ],
)
def test_what_holds_no_settings_is_one_line(source: str, told: str, here: Path) -> None:
    (here / "other.json").write_text("{}")
    (here / "odd.json").write_text('{"model": "embedding", "hidden": "many", "foo": 3, "text": "review"}')
    (here / "far.json").write_text('{"model": "cnn", "hidden": 0}')
    (here / "new.json").write_text('{"model": "ebedding"}')
    assert told in ask("tune", "--model", "embedding", *SMALL, "--from-study", source).refusal
    assert not (here / "optuna.db").exists()


@pytest.mark.slow
def test_the_stored_studies_are_listed_exported_and_deleted(here: Path) -> None:
    empty = ask("studies")
    assert (empty.code, empty.out.strip()) == (0, "no study is stored here: sentiment-tune tune begins one")
    assert not (here / "optuna.db").exists()
    for name in ("one", "two"):
        assert ask("tune", "--model", "embedding", *SMALL, "--trials", "2", "--study", name).code == 0
    table = st.studies().set_index("study")
    assert list(table.index) == ["two", "one"]
    assert list(table["state"]) == ["idle", "idle"]
    assert list(table["trials"]) == [2, 2]
    assert set(table["data"]) == {"sample"}
    one = study_of(here, "one")
    assert table.loc["one", "best"] == one.best_value
    one.set_user_attr("owner", {"id": "elsewhere:1:0.00", "seen": time.time()})
    assert st.studies().set_index("study").loc["one", ["state", "owner"]].tolist() == ["running", "elsewhere:1:0.00"]
    assert "is running in process elsewhere:1:0.00" in ask("studies", "--delete", "one").refusal
    one.set_user_attr("owner", None)
    assert ask("studies", "--study", "one", "--export", "trials.csv").code == 0
    rows = list(csv.DictReader((here / "trials.csv").read_text().splitlines()))
    assert [float(row["val_accuracy"]) for row in rows] == [trial.value for trial in one.get_trials()]
    assert "give either --delete one or --study one" in ask("studies", "--delete", "one", "--study", "one").refusal
    assert ask("studies", "--study", "one").code == 0
    answer = ask("studies", "--delete", "one", "--export", "left.csv")
    assert (answer.code, "study one is deleted" in answer.out) == (0, True)
    assert [row["study"] for row in csv.DictReader((here / "left.csv").read_text().splitlines())] == ["two"]
    assert "no study 'one'" in ask("studies", "--delete", "one").refusal
    assert len(runs(f"sqlite:///{here}/mlflow.db")) == 6
