import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping

import numpy as np

from sentiment_tune.errors import InputError
from sentiment_tune.evaluation import model_card as cards
from sentiment_tune.inference import package as packaging
from sentiment_tune.tracking import records, registry
from sentiment_tune.tracking import runs as tracking
from sentiment_tune.tracking.records import RunRecord
from sentiment_tune.tracking.registry import Registration


def register_run(run_id: str, name: str | None = None) -> list[Registration]:
    """Register the model of a finished run, once it has been verified: under its network's name or the one given.

    A champion of its network's name is registered as `sentiment` too, the best of all networks. InputError, with
    nothing registered, where the run is not finished or tested or its model is not what was logged.
    """
    run = records.read_run(run_id)
    network = run.tags.get("network")
    if network is None:
        raise InputError(f"run {run_id!r} trained no network, as a study's own: choose the run of a training")
    if run.status != "FINISHED":
        raise InputError(f"run {run_id!r} did not finish (status {run.status}): choose another")
    if "test_accuracy" not in run.metrics:
        raise InputError(f"run {run_id!r} has not been tested, as only a study's winner is: choose a run of `train`")
    if not all(math.isfinite(value) for value in run.metrics.values()):
        raise InputError(f"run {run_id!r} has figures that are not finite: choose another")
    uri = records.logged_model_uri(run_id)
    verify_model(run_id, uri)
    tags = {
        registry.DIGEST: run.tags["data_digest"],
        registry.VALIDATION: str(run.metrics["best_val_accuracy"]),
        registry.NETWORK: network,
        "test_accuracy": str(run.metrics["test_accuracy"]),
    }
    first = _registered(name or registry.registered_name(network), uri, run, tags)
    if name is not None or first.alias != registry.CHAMPION:
        return [first]
    return [first, _registered(registry.BEST, uri, run, tags)]


def _registered(name: str, uri: str, run: RunRecord, tags: Mapping[str, str]) -> Registration:
    """The run's version of this name: a new one, unless it has one with an alias."""
    present = registry.version_of(run.run_id, name)
    if present:
        return present
    card = _card(name, run)
    tracking.add_text(run.run_id, f"cards/{name}.md", card)
    return registry.register_version(name, uri, run.run_id, tags, card)


def _card(name: str, run: RunRecord) -> str:
    return cards.render_card(
        name,
        records.read_json(run.run_id, tracking.SETTINGS),
        run.tags,
        run.metrics,
        records.read_test_predictions(run.run_id),
        records.read_json(run.run_id, tracking.MISTAKES),
    )


def verify_model(run_id: str, uri: str) -> None:
    """Load the model in a fresh process, where no pickle may be read, and compare; InputError if it is another."""
    packaging.load_package(records.download_model(uri))  # hashes and finite weights
    golden = records.read_json(run_id, tracking.GOLDEN_FILE)
    said = _fresh_process(uri, golden["texts"])
    apart = float(np.max(np.abs(np.subtract(said, golden["probabilities"]))))
    if not apart <= TOLERANCE:
        raise InputError(
            f"the model of run {run_id!r} scores otherwise than when it was made, by {apart:g}: train again"
        )


def _fresh_process(uri: str, texts: list[str]) -> list[float]:
    finished = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", VERIFY, uri],
        input=json.dumps(texts),
        env={
            **os.environ,
            "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
            "MLFLOW_TRACKING_URI": tracking.tracking_uri(),
        },
        capture_output=True,
        text=True,
    )
    if finished.returncode:
        reason = (finished.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"the model at {uri} cannot be loaded in a fresh process: {reason}")
    said: list[float] = json.loads(finished.stdout.splitlines()[-1])
    return said


VERIFY = """
import json, sys
import mlflow.pyfunc, mlflow.pytorch, torch
texts = json.loads(sys.stdin.read())
scored = mlflow.pyfunc.load_model(sys.argv[1]).predict(texts)["probability"].tolist()
mlflow.pytorch.load_model(sys.argv[1])(torch.ones(2, 3, dtype=torch.int64))
print(json.dumps(scored))
"""
TOLERANCE = 1e-6  # of a probability, between the process that made a model and another
"""From a finished run to a registered model: verified in a fresh process, with a model card."""
