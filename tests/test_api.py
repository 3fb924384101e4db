"""The Python door: each call does what its command does, and returns what came of it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

import sentiment_tune as st
from sentiment_tune.data import sample
from sentiment_tune.events import Event
from sentiment_tune.training.loop import EpochRecord, StepEnd
from support import ROOT, artifact, ask, runs

SMALL: dict[str, Any] = {"vocabulary": 300, "length": 60, "epochs": 2, "device": "cpu", "progress": False}
TEXTS = ["a clever, charming film", "dull", ""]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Reviews as somebody has them in a notebook, half of them positive."""
    train, _ = sample.reviews()
    return pd.DataFrame(train[:400], columns=["text", "label"])


def test_importing_is_light_and_lists_what_there_is() -> None:
    code = """
import sys, sentiment_tune as st
loaded = {"torch", "mlflow", "sklearn", "pandas"} & sys.modules.keys()
print(sorted(loaded), st.train.__name__, sorted({"torch", "mlflow"} & sys.modules.keys()), "tune" in dir(st))
try:
    st.trian
except AttributeError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines() == [
        "[] train [] True",
        "module 'sentiment_tune' has no attribute 'trian'",
    ]


def test_texts_whose_words_are_hardly_known_are_warned_of_once_a_call(here: Path) -> None:
    run = st.train("embedding", data="sample", **SMALL)
    strange = ["a clever, charming film", "zzyzx qwrtp", "das Buch ist sehr langweilig"]
    for ask_model in (run.model.predict, run.model.predict_proba):
        with pytest.warns(UserWarning, match="2 of 3 texts have hardly a word that the model knows") as told:
            ask_model(strange)
        assert [one.filename for one in told] == [__file__]
        ask_model(strange[:1])  # of which nothing is told: warnings are errors here


def test_texts_come_as_a_column_of_a_table_too(here: Path) -> None:
    model = st.train("embedding", data="sample", **SMALL).model
    texts = ["a clever, charming film", "a dull plot", "a fine cast"]
    answers = model.predict(texts)["probability"].tolist()
    for columns in ({"text": texts}, {"id": [1, 2, 3], "text": texts}, {"review": texts}):
        frame = pd.DataFrame(columns, index=[7, 8, 9])
        scored = model.predict(frame)
        assert (scored["probability"].tolist(), scored.index.tolist()) == (answers, [7, 8, 9])
        assert model.predict_proba(frame)[:, 1].tolist() == answers
    with pytest.raises(st.InputError, match="a table of the columns 'id, review': give one of them"):
        model.predict(pd.DataFrame({"id": [1], "review": ["fine"]}))
    with pytest.raises(st.InputError, match=r"texts cannot be \{'text'"):
        model.predict({"text": ["fine"]})


def test_a_training_returns_what_its_run_holds(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = st.train("embedding", data="sample", **SMALL)
    (logged,) = runs(f"sqlite:///{here}/mlflow.db")
    assert run.run_id == logged.info.run_id
    assert {name: logged.data.metrics[name] for name in run.metrics} == pytest.approx(dict(run.metrics))
    assert run.epochs["epoch"].tolist() == [1, 2]
    assert run.epochs["val_accuracy"].max() == run.metrics["best_val_accuracy"]
    assert (run.data, run.settings["vocabulary"]) == ("sample", 300)
    again = mlflow.pyfunc.load_model(run.model_uri).predict(TEXTS)
    pd.testing.assert_frame_equal(run.model.predict(TEXTS), again.drop(columns="error"), rtol=1e-6)
    assert capsys.readouterr().out == ""


def test_a_call_and_its_command_train_the_same(here: Path) -> None:
    run = st.train("embedding", data="sample", hidden=8, **SMALL)
    words = "train --model embedding --data sample --hidden 8 --vocabulary 300 --length 60 --epochs 2 --device cpu"
    assert ask(*words.split(), "--quiet").code == 0
    command, call = runs(f"sqlite:///{here}/mlflow.db")
    assert artifact(command, "golden.json") == artifact(call, "golden.json")
    assert artifact(command, "settings.json") == artifact(call, "settings.json")
    assert (
        run.settings.items()
        <= st.settings(str(here / "mlruns" / "1" / run.run_id / "artifacts" / "settings.json")).items()
    )


def test_a_frame_and_a_pair_train_like_the_same_reviews_in_a_file(here: Path, frame: pd.DataFrame) -> None:
    frame.to_csv("reviews.csv", index=False)
    from_file = st.train("embedding", data="reviews.csv", **SMALL)
    renamed = frame.rename(columns={"text": "review", "label": "stars"})
    from_frame = st.train("embedding", data=renamed, text="review", label="stars", **SMALL)
    from_pair = st.train("embedding", data=(frame["text"], frame["label"]), **SMALL)
    scores = [run.model.predict_proba(TEXTS) for run in (from_file, from_frame, from_pair)]
    assert np.array_equal(scores[0], scores[1])
    assert np.array_equal(scores[0], scores[2])
    digests = {run.data.tags["data_digest"] for run in runs(f"sqlite:///{here}/mlflow.db")}
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "rrn"}, "no network 'rrn'; did you mean 'rnn'"),
        ({"hiden": 3}, "no setting of embedding 'hiden'; did you mean 'hidden'"),
        ({"hidden": 0}, "hidden cannot be 0"),
        ({"data": "smaple"}, "no data 'smaple'; did you mean 'sample'"),
        ({"data": 5}, "data cannot be 5"),
        ({"data": pd.DataFrame({"text": ["a"], "lable": [1]})}, "no column 'label'"),
        ({"data": (["a", None], [0, 1])}, "row 2: the text in 'text' is missing"),
        ({"data": (["a"] * 40, [0, 1, None, 0] * 10)}, "row 3: no label None"),
        ({"data": (["a", "b"], [0])}, "2 texts and 1 label"),
        ({"data": (["a", "b"], [0, 1])}, "reviews"),
    ],
)
def test_what_cannot_be_is_an_input_error_and_leaves_nothing(
    arguments: dict[str, Any], message: str, bare: Path
) -> None:
    with pytest.raises(st.InputError, match=message) as caught:
        st.train(**{"model": "embedding", "data": "sample", **SMALL, **arguments})
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)
    assert list(bare.iterdir()) == []


def test_a_listener_hears_of_every_step_and_epoch(here: Path) -> None:
    events: list[Event] = []
    st.train("embedding", data="sample", **SMALL, listener=events.append)
    steps = [(event.epoch, event.step, event.steps) for event in events if isinstance(event, StepEnd)]
    assert steps == [(epoch, step, 29) for epoch in (1, 2) for step in range(1, 30)]
    assert [event.epoch for event in events if isinstance(event, EpochRecord)] == [1, 2]


def test_progress_is_a_line_an_epoch_where_no_bar_can_be_seen(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    st.train("embedding", data="sample", **{**SMALL, "progress": True})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["embedding", "on"], ["epoch", "1"], ["epoch", "2"]]


def test_from_a_training_to_the_champion_and_the_leaderboard(here: Path) -> None:
    run = st.train("embedding", data="sample", **SMALL)
    own, best = st.register(run)
    assert (own.name, own.alias, best.name) == ("sentiment-embedding", "champion", "sentiment")
    champion = st.load_model("models:/sentiment@champion")
    assert np.array_equal(champion.predict_proba(TEXTS), run.model.predict_proba(TEXTS))
    series = pd.Series(TEXTS, index=[7, 8, 9])
    assert champion.predict(series).index.tolist() == [7, 8, 9]
    st.train("linear", data="sample", **SMALL)
    board = st.leaderboard()
    assert board["network"].tolist() == ["linear", "embedding"]
    st.register(board["run_id"][0])
    result = st.ensemble(data="sample")
    assert [member.name for member in result.members] == ["sentiment-embedding", "sentiment-linear"]
    assert st.promote("sentiment-embedding", 1).reason == "promoted by hand"


def test_a_study_returns_its_trials_its_best_settings_and_the_champion(here: Path) -> None:
    study = st.tune(
        "embedding", data="sample", trials=2, top=1, seeds=2, vocabulary=300, length=60, epochs=1, progress=False
    )
    assert study.trials["state"].tolist() == ["COMPLETE", "COMPLETE"]
    assert study.best_settings["epochs"] == 1
    assert study.winner is not None
    assert st.load_model("models:/sentiment-embedding@champion").predict(TEXTS).shape == (3, 2)
    assert [registration.name for registration in study.registrations] == ["sentiment-embedding", "sentiment"]


def test_a_recipe_is_found_by_name() -> None:
    assert st.settings("cnn")["model"] == "cnn"
    with pytest.raises(st.InputError, match="a file of settings or a recipe: cnn, "):
        st.settings("cmm")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["first_training", "own_data", "own_network"])
def test_the_examples_run(name: str, here: Path) -> None:
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{here}/mlflow.db", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", str(ROOT / "examples" / f"{name}.py")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
