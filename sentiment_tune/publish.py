"""From a finished run to a registered model: verified in a fresh process, with a model card."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from sentiment_tune import notes, signals
from sentiment_tune.config import DATA_NAMES, settings_for
from sentiment_tune.data.batches import evaluation_batches
from sentiment_tune.data.corpus import encode_texts
from sentiment_tune.errors import InputError
from sentiment_tune.evaluation.finished_run import FinishedRun
from sentiment_tune.evaluation.model_card import render_card
from sentiment_tune.inference.description import Trust
from sentiment_tune.inference.package import ModelPackage, data_folder, load_package
from sentiment_tune.models.registry import ENSEMBLE
from sentiment_tune.tracking import logged_models, records, registry, runs
from sentiment_tune.tracking.registry import Claim, Registration
from sentiment_tune.tracking.schema import Artifact, Metric, Stage, Tag
from sentiment_tune.tracking.server import tracking_uri

TOLERANCE = 1e-6  # of a probability, between the process that made a model and another
# Both doors, opened through MLflow: raw texts, and batches of word ids.
VERIFY = """
import json, sys
import mlflow.pyfunc, mlflow.pytorch, torch
texts, batches = json.loads(sys.stdin.read())
scored = mlflow.pyfunc.load_model(sys.argv[1]).predict(texts)["probability"].tolist()
network = mlflow.pytorch.load_model(sys.argv[1])
with torch.no_grad():
    logits = [network(torch.tensor([ids]))[0] for ids in batches]
    exported = [float(one.softmax(-1).amax() if one.ndim else one.sigmoid()) for one in logits]
print(json.dumps([scored, exported]))
"""


def register_run(run_id: str, name: str | None = None, trust_code: bool = False) -> list[Registration]:
    """Register the model of a finished run, once it has been verified: under its network's name or the one given.

    Of repeats, trainings that differ in their seed alone, it is the best by validation.
    A champion of its network's name is registered as `sentiment` too, the best of all networks. InputError, with
    nothing registered, where the run is not finished or tested, its model is not what was logged, or code would have
    to run that is neither of this package nor trusted.
    """
    run_id = _single_run(run_id)
    run = _registrable_run(run_id)
    uri = records.logged_model_uri(run_id)
    verify_model(run_id, uri, trust_code)
    first = _register(name or registry.registered_name(run.network), uri, run)
    if name is not None or first.alias != registry.CHAMPION:
        return [first]
    return [first, _register(registry.BEST, uri, run)]


def register_as(run_id: str, claim: Claim, trust_code: bool = False) -> Registration:
    """Register the model of a finished run, if it is not yet, with the alias of its network's name that it may earn.

    InputError where `register_run` raises one.
    """
    run = _registrable_run(run_id)
    name, uri = registry.registered_name(run.network), records.logged_model_uri(run_id)
    if registry.find_version(run_id, name) is None:
        verify_model(run_id, uri, trust_code)
    return registry.claim_alias(name, uri, run, partial(_logged_card, name, run), claim)


def _single_run(run_id: str) -> str:
    """The run, or if it is one above repeats the best of them; of its id a beginning will do."""
    run_id = records.whole_id(run_id)
    tags = records.read_run(run_id).tags
    return tags.get(Tag.BEST_RUN, run_id) if tags.get(Tag.STAGE) == Stage.REPEATS else run_id


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
    return registry.register_version(name, uri, run, partial(_logged_card, name, run))


def _logged_card(name: str, run: FinishedRun, address: str) -> str:
    card = _card(name, run, address)
    runs.add_text(run.run_id, f"{Artifact.CARDS}/{name}.md", card)
    return card


def _card(name: str, run: FinishedRun, address: str) -> str:
    settings = {} if run.network == ENSEMBLE else settings_for(run.network)  # an ensemble has none of its own
    chosen = records.read_json(run.run_id, Artifact.SETTINGS)
    given = {"data", *notes.data_given(chosen)}
    usual = {name: chosen[name] for name in DATA_NAMES if name in chosen and name not in given}
    return render_card(
        name,
        address,
        run,
        chosen,
        {name: setting.doc for name, setting in settings.items()},
        records.read_test_predictions(run.run_id),
        records.read_error_rates(run.run_id),
        {name: setting.default for name, setting in settings.items()} | usual,
    )


def verify_model(run_id: str, uri: str, trust_code: bool = False) -> None:
    """Load the model in a fresh process, where no pickle may be read, and compare; InputError if it is another.

    Its files are a copy that nobody else can change, and nothing of them runs before they are what was logged.
    """
    model = logged_models.find(uri)
    if model.digest is None and not trust_code:
        raise InputError(
            f"the model of run {run_id!r} cannot be held to what was logged, which earlier versions did not record: "
            "train again, or let the code in it run with --trust-code true"
        )
    golden = records.read_golden(run_id)
    with logged_models.fetched(model) as folder:
        trust = Trust(folder / "code") if trust_code else None
        package = load_package(data_folder(folder, uri), trust)
        scores = _score_in_fresh_process(uri, folder, golden.texts, _ids(package, golden.texts))
    for door, probabilities in zip(("mlflow.pyfunc", "mlflow.pytorch"), scores, strict=True):
        difference = float(np.max(np.abs(np.subtract(probabilities, golden.probabilities))))
        if not difference <= TOLERANCE:
            raise InputError(
                f"the model of run {run_id!r} scores otherwise than when it was made, by {difference:g} through "
                f"{door}: train again"
            )


def _ids(package: ModelPackage, texts: Sequence[str]) -> list[list[int]]:
    """The word ids of each text that its network reads."""
    reviews = encode_texts(texts, package.vocabulary)
    batches = list(evaluation_batches(reviews, package.text_config))
    rows = {int(row): ids.tolist() for batch in batches for row, ids in zip(batch.rows, batch.ids, strict=True)}
    return [rows[row] for row in range(len(texts))]


def _score_in_fresh_process(
    uri: str, folder: Path, texts: Sequence[str], ids: Sequence[Sequence[int]]
) -> tuple[list[float], list[float]]:
    """Probabilities of the texts through both doors: raw texts, and their ids."""
    with signals.interruptible():
        process = subprocess.run(
            [sys.executable, "-P", "-W", "ignore", "-c", VERIFY, str(folder)],
            input=json.dumps([texts, ids]),
            cwd=folder.parent,
            env={
                **os.environ,
                "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
                "MLFLOW_TRACKING_URI": tracking_uri(),
            },
            capture_output=True,
            text=True,
        )
    if process.returncode:
        reason = (process.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"the model at {uri} cannot be loaded in a fresh process: {reason}")
    scored, exported = json.loads(process.stdout.splitlines()[-1])
    return scored, exported
