"""From a finished run to a registered model: verified in a fresh process, with a model card."""

import json
import math
import os
import subprocess
import sys

import numpy as np

from sentiment_tune.config import settings_for
from sentiment_tune.errors import InputError
from sentiment_tune.evaluation.finished_run import FinishedRun
from sentiment_tune.evaluation.model_card import render_card
from sentiment_tune.inference.package import load_package
from sentiment_tune.models.registry import ENSEMBLE
from sentiment_tune.tracking import records, registry, runs, server
from sentiment_tune.tracking.registry import Registration
from sentiment_tune.tracking.schema import Artifact, Metric, Tag

TOLERANCE = 1e-6  # of a probability, between the process that made a model and another
VERIFY = """
import json, sys
import mlflow.pyfunc, mlflow.pytorch, torch
texts = json.loads(sys.stdin.read())
scored = mlflow.pyfunc.load_model(sys.argv[1]).predict(texts)["probability"].tolist()
mlflow.pytorch.load_model(sys.argv[1])(torch.ones(2, 3, dtype=torch.int64))
print(json.dumps(scored))
"""


def register_run(run_id: str, name: str | None = None) -> list[Registration]:
    """Register the model of a finished run, once it has been verified: under its network's name or the one given.

    A champion of its network's name is registered as `sentiment` too, the best of all networks. InputError, with
    nothing registered, where the run is not finished or tested or its model is not what was logged.
    """
    run = _registrable_run(run_id)
    uri = records.logged_model_uri(run_id)
    verify_model(run_id, uri)
    first = _register(name or registry.registered_name(run.network), uri, run)
    if name is not None or first.alias != registry.CHAMPION:
        return [first]
    return [first, _register(registry.BEST, uri, run)]


def _registrable_run(run_id: str) -> FinishedRun:
    """The run, if it has a model that may be registered; InputError says why it has not."""
    run = records.read_run(run_id)
    if Tag.NETWORK not in run.tags:
        raise InputError(f"run {run_id!r} trained no network, as a study's own: choose the run of a training")
    if run.status != "FINISHED":
        raise InputError(f"run {run_id!r} did not finish (status {run.status}): choose another")
    if Metric.TEST_ACCURACY not in run.metrics:
        raise InputError(f"run {run_id!r} has not been tested, as only a study's winner is: choose a run of `train`")
    if not all(math.isfinite(value) for value in run.metrics.values()):
        raise InputError(f"run {run_id!r} has metrics that are not finite: choose another")
    return records.finished_run(run)


def _register(name: str, uri: str, run: FinishedRun) -> Registration:
    """The run's version of this name: a new one, unless it has one with an alias."""
    existing = registry.version_of(run.run_id, name)
    if existing is not None:
        return existing
    card = _card(name, run)
    runs.add_text(run.run_id, f"{Artifact.CARDS}/{name}.md", card)
    return registry.register_version(name, uri, run, card)


def _card(name: str, run: FinishedRun) -> str:
    return render_card(
        name,
        run,
        records.read_json(run.run_id, Artifact.SETTINGS),
        _setting_docs(run.network),
        records.read_test_predictions(run.run_id),
        records.read_error_rates(run.run_id),
    )


def _setting_docs(network: str) -> dict[str, str]:
    """What each setting does, by name; an ensemble has no settings of its own."""
    return {} if network == ENSEMBLE else {name: setting.doc for name, setting in settings_for(network).items()}


def verify_model(run_id: str, uri: str) -> None:
    """Load the model in a fresh process, where no pickle may be read, and compare; InputError if it is another."""
    load_package(records.download_model(uri))  # hashes and finite weights
    golden = records.read_json(run_id, Artifact.GOLDEN)
    probabilities = _score_in_fresh_process(uri, golden["texts"])
    difference = float(np.max(np.abs(np.subtract(probabilities, golden["probabilities"]))))
    if not difference <= TOLERANCE:
        raise InputError(
            f"the model of run {run_id!r} scores otherwise than when it was made, by {difference:g}: train again"
        )


def _score_in_fresh_process(uri: str, texts: list[str]) -> list[float]:
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", VERIFY, uri],
        input=json.dumps(texts),
        env={
            **os.environ,
            "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
            "MLFLOW_TRACKING_URI": server.tracking_uri(),
        },
        capture_output=True,
        text=True,
    )
    if process.returncode:
        reason = (process.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"the model at {uri} cannot be loaded in a fresh process: {reason}")
    probabilities: list[float] = json.loads(process.stdout.splitlines()[-1])
    return probabilities
