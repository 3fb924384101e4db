"""More than two classes, and two of another name or size, from the labels to the registry and back to a score."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch

import sentiment_tune as st
from sentiment_tune.errors import InputError
from sentiment_tune.tracking.registry import champion
from support import artifact, ask, runs

SMALL: dict[str, Any] = {"vocabulary": 300, "length": 60, "epochs": 4, "device": "cpu", "progress": False}
TOLD = {"1": "awful", "2": "weak", "3": "usual", "4": "good", "5": "superb"}
TEXTS = ["an awful film", "a superb story", "the usual plot"]


def reviews(labels: Sequence[Any], count: int = 300) -> pd.DataFrame:
    """Reviews whose one word tells their class, most of them of the first ones."""
    rng = np.random.default_rng(4)
    numbers = np.minimum(rng.geometric(0.35, count) - 1, len(labels) - 1)
    plain = np.array(["film", "plot", "story", "actor", "scene", "music"])
    words = list(TOLD.values())
    texts = [" ".join([*rng.choice(plain, 6), words[number], *rng.choice(plain, 3)]) for number in numbers]
    return pd.DataFrame({"text": texts, "label": [labels[number] for number in numbers]})


def evaluate(model: str, frame: pd.DataFrame) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's evaluators warn, of what is not ours
        return mlflow.models.evaluate(model, frame, targets="label", model_type="classifier")  # type: ignore[no-untyped-call]


def run_of(folder: Path, run_id: str) -> Any:
    return next(run for run in runs(f"sqlite:///{folder}/mlflow.db") if run.info.run_id == run_id)


@pytest.fixture
def stars(here: Path) -> "st.TrainedRun":
    return st.train("linear", reviews(list(TOLD)), metric="macro_f1", class_weights="balanced", **SMALL)


def test_stars_are_told_apart_and_scored_through_every_door(stars: "st.TrainedRun", here: Path) -> None:
    model = stars.model
    assert model.classes == ("1", "2", "3", "4", "5")
    answers = model.predict(TEXTS, all_probabilities=True)
    assert answers["label"].tolist() == ["1", "5", "3"]
    each = answers[[f"probability_{name}" for name in model.classes]].to_numpy()
    np.testing.assert_allclose(each.sum(1), 1)
    assert answers["probability"].tolist() == each.max(1).tolist()
    assert model.predict_proba(TEXTS).tolist() == each.tolist()
    assert model.classify(TEXTS).tolist() == [0, 4, 2]
    assert model.predict_proba([]).shape == (0, 5)

    logged = mlflow.pyfunc.load_model(stars.model_uri)
    assert logged.predict(TEXTS).drop(columns="error").equals(model.predict(TEXTS))
    assert logged.predict(TEXTS, params={"all_probabilities": True}).drop(columns="error").columns.tolist() == [
        "probability",
        "label",
        *(f"probability_{name}" for name in model.classes),
    ]
    assert logged.predict([TEXTS[0], None])["label"].tolist() == ["1", ""]
    network = mlflow.pytorch.load_model(stars.model_uri)
    assert network(torch.ones(3, 7, dtype=torch.int64)).shape == (3, 5)


@pytest.mark.slow
def test_the_commands_score_more_classes(stars: "st.TrainedRun", here: Path) -> None:
    pd.DataFrame({"id": [1, 2, 3], "text": TEXTS}).to_csv("new.csv", index=False)
    assert ask("score", "--input", "new.csv", "--output", "out.parquet", "--all-probabilities").code == 0
    scored = pd.read_parquet("out.parquet")
    assert scored.columns[:4].tolist() == ["id", "text", "probability", "label"]
    assert scored["label"].tolist() == ["1", "5", "3"]
    assert scored["probability_5"].tolist() == pytest.approx(stars.model.predict_proba(TEXTS)[:, 4])
    one = ask("score", TEXTS[1])
    assert one.out.startswith("5  p(5)=0.")
    assert "p(1)=0." in ask("score", TEXTS[1], "--all-probabilities").out


@pytest.mark.slow
def test_a_run_says_what_it_was_judged_by_and_beside_what(stars: "st.TrainedRun", here: Path) -> None:
    (run,) = runs(f"sqlite:///{here}/mlflow.db")
    assert run.data.tags["classes"] == '["1", "2", "3", "4", "5"]'
    assert (run.data.tags["metric"], run.data.params["class_weights"]) == ("macro_f1", "balanced")
    metrics = run.data.metrics
    assert metrics["best_val_score"] == stars.metrics["best_val_score"]
    assert {"test_kappa", "test_mean_absolute_error", "test_macro_f1", "test_majority_accuracy"} <= metrics.keys()
    assert "test_f1" not in metrics
    assert 0.25 < metrics["test_majority_accuracy"] < 0.45
    assert len(json.loads(artifact(run, "golden.json"))["probabilities"]) == 8
    assert "the most frequent class 0." in run.data.tags["mlflow.note.content"]


@pytest.mark.slow
def test_only_what_was_judged_by_the_same_metric_is_compared(stars: "st.TrainedRun", here: Path) -> None:
    other = st.train("linear", reviews(list(TOLD)), seed=2, **SMALL)
    assert [one.alias for one in st.register(stars.run_id)] == ["champion", "champion"]
    (second,) = st.register(other.run_id)
    assert second.alias == "challenger"
    assert second.reason == "version 1 was judged by macro_f1, this one by accuracy: no comparison is fair"
    version = champion("sentiment-linear")
    assert version is not None
    assert version.tags["metric"] == "macro_f1"
    board = st.leaderboard()
    assert sorted(board["metric"]) == ["accuracy", "macro_f1"]
    assert board["verdict"].tolist() == ["leads", "leads"]
    card = artifact(run_of(here, stars.run_id), "cards/sentiment-linear.md").decode()
    assert "reviews of 5 classes apart: 1, 2, 3, 4, 5. It returns the likeliest" in card
    assert "It was judged by macro f1" in card


@pytest.mark.slow
def test_champions_of_more_classes_are_put_together(here: Path) -> None:
    for network in ("linear", "embedding"):
        st.register(st.train(network, reviews(["bad", "so so", "good"]), **SMALL).run_id)
    result = st.ensemble(data=reviews(["bad", "so so", "good"]))
    assert result.validation >= result.alone.max() - 0.1
    answers = st.load_model(f"runs:/{result.run_id}/model").predict(["an awful film", "the weak plot"])
    assert answers["label"].tolist() == ["bad", "so so"]


@pytest.mark.slow
@pytest.mark.parametrize("labels", [["bad", "so so", "good"], [1, 2, 3]])
def test_mlflow_evaluates_more_classes(labels: list[Any], here: Path) -> None:
    frame = reviews(labels)
    run = st.train("linear", frame, **SMALL)
    found = evaluate(run.model_uri, frame)
    right = run.model.predict(frame["text"])["label"] == frame["label"].astype(str)
    assert found.metrics["accuracy_score"] == pytest.approx(right.mean())


@pytest.mark.slow
def test_a_study_of_more_classes_is_judged_by_its_metric(here: Path) -> None:
    study = st.tune("linear", reviews(list(TOLD)), trials=2, top=1, seeds=2, metric="balanced_accuracy", **SMALL)
    assert study.trials["state"].tolist() == ["COMPLETE", "COMPLETE"]
    best = run_of(here, str(study.winner))
    assert best.data.tags["metric"] == "balanced_accuracy"
    assert best.data.metrics["best_val_score"] == pytest.approx(study.trials["val_accuracy"].max(), abs=0.5)
    metrics = run_of(here, study.run_id).data.metrics
    assert metrics["confirmed_val_score"] == pytest.approx(study.confirmations["mean"][0])
    assert "confirmed_val_accuracy" not in metrics


def test_two_classes_of_another_name_and_size_have_a_threshold_that_travels(here: Path) -> None:
    frame = reviews(["ham", "spam"])
    run = st.train("linear", frame, threshold="auto", metric="macro_f1", **SMALL | {"epochs": 1})
    model = st.load_model(run.model_uri)
    assert model.classes == ("ham", "spam")
    assert model.threshold == run.model.threshold == runs(f"sqlite:///{here}/mlflow.db")[0].data.metrics["threshold"]
    probabilities = model.predict_proba(frame["text"])[:, 1]
    said = model.predict(frame["text"])["label"] == "spam"
    assert said.tolist() == (probabilities > model.threshold).tolist()
    assert (
        mlflow.pyfunc.load_model(run.model_uri).predict(frame["text"])["label"].tolist()
        == np.where(said, "spam", "ham").tolist()
    )


def test_a_threshold_for_more_classes_begins_no_run(bare: Path) -> None:
    with pytest.raises(InputError, match="threshold cannot be auto: it parts two classes, and the data have 5"):
        st.train("linear", reviews(list(TOLD)), threshold="auto", **SMALL)
    with pytest.raises(InputError, match="no class '6'"):
        st.train("linear", reviews(list(TOLD)), class_weights="6=2", **SMALL)
    assert not (bare / "mlflow.db").exists()


def test_a_classifier_knows_as_many_classes_as_its_labels(here: Path) -> None:
    frame = reviews(["so so", "good", "bad"])
    classifier = st.SentimentClassifier("linear", vocabulary=300, length=60, epochs=4, device="cpu")
    classifier.fit(frame["text"], frame["label"])
    assert classifier.classes_.tolist() == ["bad", "good", "so so"]
    assert classifier.predict_proba(TEXTS).shape == (3, 3)
    assert classifier.score(frame["text"], frame["label"]) > 0.9
