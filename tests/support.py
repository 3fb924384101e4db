"""What tests share: commands as a user starts them, what they leave in MLflow, small networks with toy reviews."""

import io
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sentiment_tune.cli.main import run
from sentiment_tune.data import batches
from sentiment_tune.data.corpus import EncodedReviews, Reviews
from sentiment_tune.data.labels import Classes
from sentiment_tune.data.text import START, TextConfig
from sentiment_tune.models import registry as models
from sentiment_tune.models.registry import NETWORKS
from sentiment_tune.space import Value, resolve
from sentiment_tune.training.config import TrainConfig
from sentiment_tune.training.loop import fit, seeded

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = str(Path(sys.executable).with_name("sentiment-tune"))
# Seconds after which a process or a condition that a test waits for has failed; a busy machine is given more patience.
TIME_LIMIT = 120 * float(os.environ.get("SENTIMENT_TUNE_TEST_PATIENCE", "1"))


class Answer(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def refusal(self) -> str:
        """The one line of an error."""
        assert (self.code, self.err.count("\n"), self.err[:16]) == (2, 1, "sentiment-tune: "), self
        return self.err


def ask(*words: str, stdin: str | bytes = "") -> Answer:
    """What the console script does, in this process."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="", write_through=True) for _ in range(2))
    before = sys.argv, sys.stdin, signal.getsignal(signal.SIGTERM)
    typed = io.BufferedReader(io.BytesIO(stdin if isinstance(stdin, bytes) else stdin.encode()))
    sys.argv, sys.stdin = ["sentiment-tune", *words], io.TextIOWrapper(typed, "utf-8")
    code: Any = 0
    try:
        with redirect_stdout(out), redirect_stderr(err):
            run()
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv, sys.stdin = before[:2]
        signal.signal(signal.SIGTERM, before[2])
    return Answer(code, *(stream.buffer.getvalue().decode() for stream in (out, err)))


def started(folder: Path, *command: str, session: bool = False, **more: str) -> subprocess.Popen[str]:
    """A process in `folder` that knows nothing of the MLflow of this one, and can be interrupted.

    In a session of its own what it leaves can be found. `more` goes to its environment.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=session,
        preexec_fn=_hear_signals,
    )


def _hear_signals() -> None:
    """What a job in the background, or one under nohup, has inherited as ignored."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def ended(process: subprocess.Popen[str], seconds: float = TIME_LIMIT) -> Answer:
    with process:
        try:
            out, err = process.communicate(timeout=seconds)
        finally:
            process.kill()
    return Answer(process.returncode, out, err)


def wait_until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + TIME_LIMIT
    while not condition():
        assert time.monotonic() < ends, f"it did not come about in {TIME_LIMIT:g} s"
        time.sleep(0.1)


def workers_of(folder: Path) -> set[str]:
    """Who works on a study, read without making a database that is not there yet."""
    try:
        with closing(sqlite3.connect(f"file:{folder}/optuna.db?mode=ro", uri=True)) as database:
            found = database.execute("SELECT value_json FROM trial_user_attributes WHERE key = 'worker'").fetchall()
    except sqlite3.Error:
        return set()
    return {worker for (worker,) in found}


@contextmanager
def alone_in(folder: Path) -> Iterator[str]:
    """A folder to work in with an MLflow of its own, whose address is given; nothing of it is left to other tests."""
    from mlflow.tracking import fluent

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID"):  # MLflow sets both; they are to go again
            patch.setenv(name, "")
            patch.delenv(name)
        yield f"sqlite:///{folder}/mlflow.db"
    fluent._active_experiment_id = None


def runs(database: str) -> list[Any]:
    """All runs, whatever their status, the newest first."""
    from mlflow import MlflowClient

    client = MlflowClient(database)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments, order_by=["attributes.start_time DESC"]))


def artifact(run: Any, name: str) -> bytes:
    return Path(run.info.artifact_uri, name).read_bytes()


# A name of a folder, of what shells, addresses and paths take for something else.
ODD = '100% a%20b #1 it\'s "fine" ü名 ?&$HOME`ls`\\[x]{y}'

VOCABULARY, A, B = 50, 10, 11
READING = TextConfig(vocabulary=VOCABULARY, length=200)
SMALL = {"embedding": 16, "hidden": 16, "filters": 16}
DEEP: dict[str, Value] = {"bidirectional": True, "layers": 2}
RECURRENT = ("rnn", "lstm", "gru", "cnn_lstm")
VARIANTS: dict[str, dict[str, Value]] = {
    **dict.fromkeys(RECURRENT, DEEP),
    "embedding": {"ngrams": 2},
    "cnn": {"ngrams": 3},
    "gru": DEEP | {"ngrams": 2},  # the others show that the layers learn without
}
CASES: list[tuple[str, dict[str, Value]]] = [(name, {}) for name in NETWORKS] + list(VARIANTS.items())
WITHOUT_ORDER = ("feedforward", "embedding")


@dataclass(frozen=True, eq=False)
class Toy(Reviews):
    """Reviews in memory, with labels."""

    @property
    def reviews(self) -> list[NDArray[np.int32]]:
        return [self[row] for row in range(len(self))]


def padded(reviews: Sequence[NDArray[np.integer]]) -> Tensor:
    """Reviews as one batch, in their order."""
    encoded = EncodedReviews.of(reviews)
    return batches.pad(torch.from_numpy(encoded.ids), encoded.starts, encoded.lengths)


def over(cases: list[tuple[str, dict[str, Value]]]) -> pytest.MarkDecorator:
    ids = [name + "-more" * bool(variant) for name, variant in cases]
    return pytest.mark.parametrize(("name", "variant"), cases, ids=ids)


BATTERY = over(CASES)
Rule = Callable[[list[int], int, np.random.Generator], list[int]]


def as_drawn(words: list[int], label: int, chance: np.random.Generator) -> list[int]:
    return words


def a_means_positive(words: list[int], label: int, chance: np.random.Generator) -> list[int]:
    return [*words[:3], A, *words[3:]] if label else words


def a_before_b_means_positive(words: list[int], label: int, chance: np.random.Generator) -> list[int]:
    position = chance.integers(len(words))
    return [*words[:position], *((A, B) if label else (B, A)), *words[position:]]


def toy(rule: Rule = as_drawn, count: int = 64, seed: int = 1) -> Toy:
    """Short reviews of words behind A and B, half of them positive, changed as the rule says."""
    chance = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    words = [chance.integers(B + 1, VOCABULARY, chance.integers(4, 12)).tolist() for _ in labels]
    texts = [rule(held, int(label), chance) for held, label in zip(words, labels, strict=True)]
    encoded = EncodedReviews.of([np.array([START, *text]) for text in texts])
    return Toy(encoded.ids, encoded.starts, encoded.lengths, labels.astype(np.uint8))


THREE = Classes(("bad", "good", "so so"))


def toy_of_three(count: int = 96, seed: int = 1) -> Toy:
    """Short reviews of three classes: with the word A, with the word B, or with neither."""
    chance = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    words = [chance.integers(B + 1, VOCABULARY, chance.integers(4, 12)).tolist() for _ in labels]
    told = [[], [A], [B]]
    encoded = EncodedReviews.of(
        [np.array([START, *held[:3], *told[label], *held[3:]]) for held, label in zip(words, labels, strict=True)]
    )
    return Toy(encoded.ids, encoded.starts, encoded.lengths, labels.astype(np.uint8), classes=THREE)


def built(name: str, variant: dict[str, Value], train: Toy | None = None, **more: Value) -> nn.Module:
    """A small network with fresh weights, prepared with toy reviews where it asks for them."""
    train = train or toy()
    given, classes = {**SMALL, **variant, **more}, len(train.classes)
    with seeded(3):
        network = models.create_network(name, VOCABULARY, resolve(models.network_class(name), given), classes)
        if hasattr(network, "prepare"):
            network.prepare([(padded(train.reviews), torch.from_numpy(train.labels))])  # type: ignore[operator]
    return network


@cache
def trained(name: str, more: bool) -> nn.Module:
    """A network, or its variant, after some steps, so that no weight is where it started."""
    network = built(name, VARIANTS[name] if more else {})
    with torch.enable_grad():  # whatever the test that asks first
        list(
            fit(
                network,
                toy(),
                toy(),
                TrainConfig(epochs=2, batch=16, learning_rate=0.01),
                READING,
                1,
            )
        )
    return network
