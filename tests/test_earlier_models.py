"""Models that an earlier version has logged open in every later one, through each of their doors.

`assets/models-0.1.0.tar.xz` holds what version 0.1.0 logged of tiny networks, one a folder, as MLflow stored it, and
with each the scores of a few texts from the process that made it.
"""

import csv
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch

from sentiment_tune.data.rules import KERAS
from sentiment_tune.inference.package import load_package
from support import ask

ARCHIVE = Path(__file__).with_name("assets") / "models-0.1.0.tar.xz"
NETWORKS = ("feedforward", "embedding", "cnn", "rnn", "lstm", "gru", "cnn_lstm", "linear", "ensemble")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("earlier")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(params=NETWORKS)
def model(request: pytest.FixtureRequest, models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    return models / str(request.param)


def golden(model: Path) -> tuple[list[str], list[float]]:
    scores: dict[str, Any] = json.loads((model / "golden.json").read_text())
    return scores["texts"], scores["probabilities"]


def test_raw_texts_score_the_same_through_pyfunc(model: Path) -> None:
    texts, probabilities = golden(model)
    scored = mlflow.pyfunc.load_model(str(model)).predict(texts)
    np.testing.assert_allclose(scored["probability"], probabilities, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # of torch about itself
def test_the_torch_network_opens_for_ids_of_any_size(model: Path) -> None:
    network = mlflow.pytorch.load_model(str(model))
    assert network(torch.ones(3, 77, dtype=torch.int64)).shape == (3,)


def test_the_score_command_says_the_same(model: Path, here: Path) -> None:
    texts, probabilities = golden(model)
    Path("texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    answer = ask("score", "--model", str(model), "--input", "texts.jsonl")
    scored = [float(row["probability"]) for row in csv.DictReader(io.StringIO(answer.out))]
    np.testing.assert_allclose(scored, probabilities, atol=1e-6)


def test_words_are_found_by_keras_rule_which_they_do_not_name(model: Path) -> None:
    (settings,) = model.rglob("settings.json")
    assert "text_rule" not in json.loads(settings.read_text())["reading"]
    if model.name != "ensemble":
        assert load_package(settings.parent).vocabulary.rule == KERAS
