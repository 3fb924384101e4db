"""What a run is called and what its description says in MLflow's UI."""

from pathlib import Path

import numpy as np
import pytest

from sentiment_tune import notes
from sentiment_tune.config import ExperimentConfig
from sentiment_tune.data.corpus import Corpus
from sentiment_tune.data.load import DataConfig, load
from sentiment_tune.tracking.runs import ActiveRun
from sentiment_tune.tuning.search import StudyConfig

RUN = ActiveRun("0123", "7")


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return load(DataConfig(data="sample"))


def test_a_run_is_called_by_what_differs() -> None:
    def title(model: str, **given: object) -> str:
        return ExperimentConfig.of(model, given).title

    assert title("cnn") == "cnn"
    assert title("gru", learning_rate=0.004) == "gru"  # which this network has by default
    assert title("gru", hidden=64, learning_rate=0.002) == "gru, hidden 64, lr 0.002"
    assert title("rnn", bidirectional=True, threads=2, seed=3) == "rnn, bidirectional true, seed 3"
    everything = dict.fromkeys(("hidden", "embedding", "batch", "epochs", "patience", "length", "seed", "warmup"), 7)
    assert len(title("rnn", **everything, word_dropout=0.1, adversarial=0.1, averaging=0.9, weight_decay=0.2)) < 250


def test_a_trial_is_called_by_its_settings() -> None:
    alone = StudyConfig("one", ("cnn",), {"data": "sample"}, trials=1, storage="")
    assert alone.trial_name(3, {"hidden": 64, "learning_rate": 0.0020001}) == "trial 3: hidden 64, lr 0.002"
    joint = StudyConfig("two", ("cnn", "rnn"), {"data": "sample"}, trials=1, storage="")
    assert joint.trial_name(4, {"model": "rnn", "rnn.hidden": 64}) == "trial 4: rnn, hidden 64"


def test_a_note_says_what_came_of_it_and_leads_on(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes, "_linear", lambda digest, model: 0.9)
    config = ExperimentConfig.of("cnn", {"data": "auto", "hidden": 64, "refit": True})
    note = notes.finished(config, corpus, RUN, notes.Result(0.8, 0.75, "models:/m-1"), study_run="4567")
    assert note.splitlines() == [
        "**cnn** (hidden 64, refit true) on **sample** (reviews: 1,800 train, 200 validation, 500 test)"
        " · [model](#/experiments/7/models/m-1?workflowType=machine_learning)"
        " · [study](#/experiments/7/runs/4567?workflowType=machine_learning)",
        "",
        "Test accuracy **0.7500** (the most frequent class 0.5000, linear 0.9000), validation accuracy 0.8000",
        "",
        'Load it: `mlflow.pyfunc.load_model("models:/m-1").predict(["a fine film"])`',
        "",
        "Repeat it: `sentiment-tune train --model cnn --data sample --hidden 64 --refit true`",
    ]


def test_a_model_that_mlflow_does_not_have_yet_is_the_run_s(corpus: Corpus) -> None:
    config = ExperimentConfig.of("linear", {"data": "memory"})
    note = notes.finished(config, corpus, RUN, notes.Result(0.8, None, "/kept/model"))
    assert 'load_model("runs:/0123/model")' in note
    assert "[model]" not in note
    assert "sentiment_tune.train('linear', data)" in note
    assert "Test accuracy" not in note


def test_a_file_with_a_blank_can_be_typed(corpus: Corpus, tmp_path: Path) -> None:
    config = ExperimentConfig.of("linear", {"data": str(tmp_path / "my films.csv"), "label": "stars"})
    note = notes.finished(config, corpus, RUN, notes.Result(0.8, 0.75, "models:/m-1"))
    assert f"--data '{tmp_path}/my films.csv' --label stars`" in note
    assert np.isclose(corpus.majority, 0.5)


def test_a_database_that_does_not_answer_costs_a_note_its_comparison_only(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("away")

    monkeypatch.setattr("sentiment_tune.tracking.records.find_runs", fail)
    note = notes.finished(ExperimentConfig.of("cnn", {}), corpus, RUN, notes.Result(0.8, 0.75, "models:/m-1"))
    assert "(the most frequent class 0.5000), validation" in note
