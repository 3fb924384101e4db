"""The networks as a scikit-learn classifier: what scikit-learn does with any classifier works with this one."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sentiment_tune import InputError, SentimentClassifier
from sentiment_tune.data import sample
from support import runs

TRAIN, TEST = sample.reviews()
TEXTS, LABELS = [text for text, _ in TRAIN[:400]], np.array([label for _, label in TRAIN[:400]])
SETTINGS: dict[str, Any] = {"epochs": 2, "vocabulary": 500, "length": 80, "device": "cpu"}


def classifier(**settings: Any) -> SentimentClassifier:
    return SentimentClassifier("linear", **{**SETTINGS, **settings})


def test_parameters_are_known_set_and_cloned() -> None:
    original = classifier(order=2)
    assert original.get_params() == {"model": "linear", "track": False, **SETTINGS, "order": 2}
    copy = clone(original).set_params(order=1, model="embedding")
    assert (copy.get_params()["order"], copy.model, original.get_params()["order"]) == (1, "embedding", 2)
    assert is_classifier(original)


def test_it_learns_and_repeats_itself(bare: Path) -> None:
    first, second = (classifier(epochs=4).fit(TEXTS, LABELS) for _ in range(2))
    probabilities = first.predict_proba(TEXTS)
    assert np.array_equal(probabilities, second.predict_proba(TEXTS))
    assert probabilities.shape == (400, 2)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert np.array_equal(first.predict(TEXTS), first.classes_[probabilities.argmax(1)])
    assert first.score(TEXTS, LABELS) > 0.8
    assert list(bare.iterdir()) == []  # MLflow was not touched
    assert first.run_id_ is None


@pytest.mark.parametrize("classes", [("neg", "pos"), ("negative", "positive"), (0, 1), (False, True)])
def test_it_answers_with_the_labels_it_was_taught(classes: tuple[object, object]) -> None:
    labels = np.array(classes)[LABELS]
    fitted = classifier().fit(TEXTS, labels)
    assert fitted.classes_.tolist() == list(classes)
    assert set(fitted.predict(TEXTS).tolist()) == set(classes)
    assert fitted.score(TEXTS, labels) > 0.7


def test_a_scorer_of_scikit_learns_finds_each_class_in_its_column() -> None:
    worth = {
        names: cross_val_score(classifier(epochs=4), TEXTS, np.array(names)[LABELS], cv=2, scoring="neg_log_loss")
        for names in (("a", "b"), ("2", "10"), ("bad", "Good"))
    }
    for values in worth.values():
        np.testing.assert_allclose(values, worth["a", "b"])


def test_words_are_found_by_the_rule_that_is_asked_for() -> None:
    texts = [f"It\u2019s\u00a0{'lovely!' if label else 'dull.'}" for label in LABELS]
    scores = {}
    for rule in ("unicode", "punctuation"):
        fitted = classifier(text_rule=rule).fit(texts, LABELS)
        assert fitted.get_params()["text_rule"] == rule
        scores[rule] = fitted.predict_proba(["it's lovely", "it's dull"])[:, 1].tolist()
    assert scores["unicode"][0] > 0.5 > scores["unicode"][1]
    assert scores["punctuation"] != scores["unicode"]


def test_cross_validation_grid_search_and_pipelines() -> None:
    assert cross_val_score(classifier(), TEXTS, LABELS, cv=2).mean() > 0.6
    search = GridSearchCV(classifier(), {"order": [1, 2]}, cv=2).fit(TEXTS, LABELS)
    assert search.best_params_["order"] in (1, 2)
    shout = FunctionTransformer(lambda texts: [text.upper() for text in texts])
    pipeline: Pipeline = make_pipeline(shout, classifier()).fit(TEXTS, LABELS)
    assert np.array_equal(pipeline.predict(TEXTS), classifier().fit(TEXTS, LABELS).predict(TEXTS))


def test_a_refit_learns_from_the_validation_texts_too() -> None:
    plain, refit = classifier().fit(TEXTS, LABELS), classifier(refit=True).fit(TEXTS, LABELS)
    assert not np.array_equal(plain.predict_proba(TEXTS), refit.predict_proba(TEXTS))


def test_it_is_tracked_when_asked(here: Path) -> None:
    fitted = SentimentClassifier("linear", track=True, **SETTINGS).fit(TEXTS, LABELS)
    (run,) = runs(f"sqlite:///{here}/mlflow.db")
    assert run.info.run_id == fitted.run_id_
    assert run.data.metrics["best_val_accuracy"] == max(epoch["val_accuracy"] for epoch in fitted.epochs_)


def test_what_is_not_fitted_predicts_nothing() -> None:
    with pytest.raises(NotFittedError):
        classifier().predict(TEXTS)


@pytest.mark.parametrize(
    ("settings", "labels", "message"),
    [
        ({"hiden": 3}, LABELS, "no setting of linear 'hiden'"),
        ({}, np.zeros(400), "0 positive reviews in train; each part needs both: give more of what is missing$"),
        ({}, np.arange(400), "400 different labels"),
        ({}, [*LABELS[:398] * 2, 1, 3], "is '1', 1 in validation .*: give more of what is missing$"),
        ({}, LABELS[:7], "400 texts and 7 labels"),
        (
            {},
            np.array(["pos", 0], object)[LABELS],
            "labels are of several types, int, str: give all as texts, or all as",
        ),
        ({"data": "x.csv"}, LABELS, "data='x.csv' is not read here: fit is given texts and labels, leave it out"),
        ({"group": "film"}, LABELS, "group='film' goes with a table: texts and labels have no columns, leave it out"),
        ({"labels": "stars"}, LABELS, "labels='stars' .* are learned as they are, leave it out"),
        ({"validation": "films"}, LABELS, "validation=films is for IMDB, .*: leave it out"),
    ],
)
def test_what_cannot_be_is_an_error(settings: dict[str, Any], labels: Any, message: str) -> None:
    with pytest.raises(InputError, match=message), warnings.catch_warnings():
        classifier(**settings).fit(TEXTS, labels)
