"""The real IMDB: raw texts and Keras' ids are one, and what happens where it cannot be had."""

import os
import socket
import subprocess
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from sentiment_tune.data.batches import evaluation_batches
from sentiment_tune.data.corpus import Corpus
from sentiment_tune.data.imdb import SHUFFLE_SEED
from sentiment_tune.data.load import DataConfig, load
from sentiment_tune.data.tables import read_table
from sentiment_tune.data.text import TextConfig
from sentiment_tune.evaluation.metrics import loss_and_accuracy
from sentiment_tune.inference.predict import predict
from sentiment_tune.inference.scorer import Scorer
from sentiment_tune.models import registry as models
from sentiment_tune.training.config import TrainConfig
from sentiment_tune.training.loop import fit, seeded
from support import TIME_LIMIT

SCRIPT = str(Path(sys.executable).with_name("sentiment-tune"))
WAYS = ("place imdb.npz and imdb_word_index.json in ", "data=PATH.npz", "data=sample")


class Scored(NamedTuple):
    corpus: Corpus
    texts: list[str]  # of the test split, in its order
    labels: NDArray[np.uint8]  # of the texts
    scorer: Scorer
    logits: NDArray[np.float64]  # of Keras' ids


@pytest.fixture(scope="module")
def scored(imdb_folder: Path) -> Scored:
    """A small network after two epochs on 4,000 reviews, and what it says of the whole test split."""
    corpus = load(DataConfig(str(imdb_folder / "imdb.npz")))
    few, text_config = corpus.train.take(slice(4_000)), TextConfig(length=250)
    with seeded(1):
        network = models.create_network("embedding", text_config.vocabulary, {"embedding": 16, "hidden": 8})
    training = TrainConfig(epochs=2, learning_rate=0.02, schedule="constant")
    list(fit(network, few, corpus.validation, training, text_config, 1))
    order = np.arange(25_000)
    shuffling = np.random.RandomState(SHUFFLE_SEED)
    shuffling.shuffle(np.arange(25_000))  # Keras shuffles train first
    shuffling.shuffle(order)
    rows = read_table(imdb_folder / "imdb_test.csv.xz").rows
    texts, labels = zip(*(rows[row] for row in order), strict=True)
    logits = predict(network, evaluation_batches(corpus.test, text_config))
    return Scored(
        corpus, list(texts), np.array(labels).astype(np.uint8), Scorer(network, corpus.vocabulary, text_config), logits
    )


def test_raw_texts_score_as_their_ids(scored: Scored) -> None:
    test, encode = scored.corpus.test, scored.corpus.vocabulary.encode
    different = [row for row, text in enumerate(scored.texts) if encode(text) != test[row].tolist()]
    assert different == []
    assert np.array_equal(scored.labels, test.labels)
    probabilities, accuracy = (
        scored.scorer.predict_proba(scored.texts),
        loss_and_accuracy(scored.logits, test.labels)[1],
    )
    np.testing.assert_allclose(probabilities, expit(scored.logits), rtol=1e-12)
    assert ((probabilities > 0.5) == scored.labels).mean() == accuracy
    assert accuracy > 0.75


def test_a_review_scores_the_same_alone(scored: Scored) -> None:
    alone = [scored.scorer.predict_proba([text])[0] for text in scored.texts[:20]]
    np.testing.assert_allclose(alone, expit(scored.logits)[:20], rtol=0, atol=1e-6)


# ---- without it


def run_train(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`train` where neither a download nor a proxy nor an earlier download gives IMDB."""
    environment = {
        name: value for name, value in os.environ.items() if not name.upper().startswith(("MLFLOW", "NO_PROXY"))
    }
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    away = {"KERAS_HOME": str(folder / "keras"), "https_proxy": nobody, "HTTPS_PROXY": nobody}
    return subprocess.run(
        [SCRIPT, "train", "--model", "embedding", "--embedding", "8", "--vocabulary", "500", "--epochs", "1", *words],
        cwd=folder,
        env=environment | away,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
    )


def test_auto_trains_on_the_sample_and_says_so(tmp_path: Path) -> None:
    finished = run_train(tmp_path, "--quiet")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # importing MLflow and its first store warn, of what is not ours
        from mlflow import MlflowClient

        client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
        (run,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    (warning,) = (line for line in finished.stderr.splitlines() if line.startswith("WARNING: "))
    assert (finished.returncode, run.info.status) == (0, "FINISHED")
    assert [way for way in ("the built-in sample stands in for IMDB", *WAYS) if way not in warning] == []
    assert (run.data.tags["data"], run.data.tags["data_warning"]) == ("sample", warning.removeprefix("WARNING: "))
    assert run.data.params["data"] == "auto"
    assert "on sample: " in finished.stdout


def test_imdb_that_cannot_be_had_is_one_error_that_tells_three_ways(tmp_path: Path) -> None:
    finished = run_train(tmp_path, "--data", "imdb")
    last = finished.stderr.splitlines()[-1]
    assert (finished.returncode, finished.stdout, last[:16]) == (2, "", "sentiment-tune: ")
    assert [way for way in WAYS if way not in last] == []
    assert str(tmp_path / "keras" / "datasets") in last
    assert "Traceback" not in finished.stderr
    assert not (tmp_path / "mlflow.db").exists()
