"""Trainings that are killed, by SIGKILL, wherever they are, and go on: the end is that of one that was left alone."""

import hashlib
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from forks import forked
from support import SCRIPT, ended, runs

pytestmark = [pytest.mark.chaos, pytest.mark.usefixtures("forking")]

SEED = int(os.environ.get("SENTIMENT_TUNE_CHAOS_SEED", time.time_ns() % 2**32))
COMMON = ("--data", "sample", "--epochs", "4", "--patience", "4", "--threads", "1")
VARIANTS = (
    "embedding --ngrams 2 --averaging 0.9 --word-dropout 0.1",
    "cnn --hidden 16 --filters 16 --adversarial 0.02 --refit true",
    "linear --order 2 --schedule cosine",
)
OFTEN = ("--checkpoint-minutes", "0.0001")
TIMES = ("seconds", "per_second", "bytes")  # parts of the names of metrics that no seed repeats


def outcome(database: str, run: Any) -> tuple[str, list[tuple[str, int, float | None]]]:
    """Digest of the logged model's weights, and every point of every metric; what is a time without its value."""
    client = MlflowClient(database)
    names = sorted(client.get_run(run.info.run_id).data.metrics)
    points = [point for name in names for point in client.get_metric_history(run.info.run_id, name)]
    table = [(one.key, one.step, None if any(part in one.key for part in TIMES) else one.value) for one in points]
    outputs = client.get_run(run.info.run_id).outputs
    assert outputs
    (output,) = outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    assert str(model.status) == "READY"
    (weights,) = Path(model.artifact_location.removeprefix("file://")).rglob("weights.safetensors")
    return hashlib.sha256(weights.read_bytes()).hexdigest(), sorted(table, key=lambda row: row[:2])


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_training_that_is_killed_at_random_and_resumed_ends_as_one_that_is_not(variant: str, here: Path) -> None:
    chance = random.Random(f"{SEED} {variant}")
    print(f"SENTIMENT_TUNE_CHAOS_SEED={SEED}")
    database = f"sqlite:///{here}/mlflow.db"
    client = MlflowClient(database)
    command = (SCRIPT, "train", "--model", *variant.split(), *COMMON, *OFTEN)
    begun = time.monotonic()
    assert ended(forked(here, *command)).code == 0
    seconds = time.monotonic() - begun
    (whole,) = runs(database)
    expected = outcome(database, whole)
    code, kills = -signal.SIGKILL, 0
    run = None
    while code == -signal.SIGKILL:
        arguments = (SCRIPT, "train", "--resume", run, *OFTEN) if run else command
        process = forked(here, *arguments)
        if kills < 4:
            time.sleep(chance.uniform(0.3, 1.1) * seconds * 0.8)
            process.kill()
        code, _, err = ended(process)
        kills += 1
        found = [one.info.run_id for one in runs(database) if one.info.run_id != whole.info.run_id]
        assert len(found) <= 1
        run = found[0] if found else None
        if run and client.get_run(run).info.status == "FINISHED":  # the kill may have come behind all that counts
            break
    assert code in (0, -signal.SIGKILL), err
    resumed = next(one for one in runs(database) if one.info.run_id == run)
    assert resumed.info.status == "FINISHED"
    assert "error" not in resumed.data.tags
    assert outcome(database, resumed) == expected
    assert code or not list((here / ".sentiment_tune" / "checkpoints").iterdir())
