"""From the best trials of a study to a champion of the registry.

The best value of a search is a lucky maximum. So the best few trials are trained again with fresh seeds, and the mean
of their validation accuracies decides; only the winner reads the test split. Before a model is registered it must say
in a fresh process, through both doors, what it said when it was made.
"""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean, stdev

import numpy as np

from sentiment_tune.config import Plan
from sentiment_tune.data.load import Corpus
from sentiment_tune.errors import InputError
from sentiment_tune.evaluation import model_card as cards
from sentiment_tune.experiment import built, logged, pictured, recorded, tested, trained
from sentiment_tune.inference import package as packaging
from sentiment_tune.inference.package import Package
from sentiment_tune.tracking import records, registry
from sentiment_tune.tracking import runs as tracking
from sentiment_tune.tracking.records import Recorded
from sentiment_tune.tracking.registry import Entry
from sentiment_tune.tracking.runs import Place
from sentiment_tune.tuning.study import Studied
from sentiment_tune.tuning.trials import WORKER, WORKER_ID, best_trials, end_abandoned
from sentiment_tune.tuning.workers import side_by_side

CONFIRMED = "confirm"  # stage of a run that trains a trial's settings again
TOLERANCE = 1e-6  # of a probability, between the process that made a model and another
VERIFY = """
import json, sys
import mlflow.pyfunc, mlflow.pytorch, torch
texts = json.loads(sys.stdin.read())
scored = mlflow.pyfunc.load_model(sys.argv[1]).predict(texts)["probability"].tolist()
mlflow.pytorch.load_model(sys.argv[1])(torch.ones(2, 3, dtype=torch.int64))
print(json.dumps(scored))
"""


@dataclass(frozen=True)
class Confirmed:
    """A trial's settings, trained again with several seeds."""

    trial: int
    plan: Plan  # with the seed of the best run
    accuracies: tuple[float, ...]  # validation, by seed
    run_id: str  # of the best run, by validation

    @property
    def mean(self) -> float:
        return fmean(self.accuracies)

    @property
    def spread(self) -> float:
        """Standard deviation over the seeds; 0 for a single one."""
        return stdev(self.accuracies) if len(self.accuracies) > 1 else 0.0


def confirm(studied: Studied, corpus: Corpus, top: int, seeds: int, say: Callable[[str], None]) -> list[Confirmed]:
    """Train the settings of the best trials again with seeds that the search has not seen; the best mean first.

    Runs that are there from an earlier, interrupted confirmation are taken as they are.
    """
    search, parent, found = studied.search, studied.run_id, []
    plans = {
        trial.number: [search.plan(trial.params, seed=search.seed + 1 + number) for number in range(seeds)]
        for trial in best_trials(studied.study, top)
    }
    end_abandoned(studied.study)
    if search.workers > 1:
        shared = [(trial, plan) for trial, several in plans.items() for plan in several]
        share = partial(_share, shared, search.workers, parent, say)
        side_by_side(search.workers, search.source, share, partial(end_abandoned, studied.study))
    for trial, several in plans.items():
        # What a worker has left undone is done here, where its failure is told.
        runs = [_again(trial, plan, parent) or _trained_again(trial, plan, parent, corpus, say) for plan in several]
        accuracies = tuple(run.metrics["best_val_accuracy"] for run in runs)
        best = max(range(seeds), key=lambda place: accuracies[place])
        found.append(Confirmed(trial, several[best], accuracies, runs[best].run_id))
    return sorted(found, key=lambda one: -one.mean)


def _share(
    shared: Sequence[tuple[int, Plan]],
    workers: int,
    parent: str,
    say: Callable[[str], None],
    corpus: Corpus,
    worker: int,
) -> None:
    """What one of several workers does: every so many-th of the trainings, unless it is there."""
    for trial, plan in shared[worker::workers]:
        try:
            _again(trial, plan, parent) or _trained_again(trial, plan, parent, corpus, say)
        except Exception as error:  # its run is FAILED and holds the traceback
            say(f"trial {trial} again with seed {plan.conditions.seed}: {error}; it is tried once more at the end")


def _again(trial: int, plan: Plan, parent: str) -> Recorded | None:
    """The run that has trained a trial's settings again, if it is there."""
    return records.child(parent, {"trial": trial, "stage": CONFIRMED, "seed": plan.conditions.seed})


def _trained_again(trial: int, plan: Plan, parent: str, corpus: Corpus, say: Callable[[str], None]) -> Recorded:
    seed = plan.conditions.seed
    tags = {"trial": str(trial), "stage": CONFIRMED, WORKER: WORKER_ID}
    with recorded(plan, corpus, Place(name=f"trial {trial}, seed {seed}", tags=tags, parent=parent)) as run_id:
        network = built(plan, corpus)
        pictured(trained(network, plan, corpus)[0])
        logged(Package(plan.model, network.cpu(), plan.network, corpus.vocabulary, plan.reading))
    run = records.read(run_id)
    say(f"trial {trial} again with seed {seed}: validation {run.metrics['best_val_accuracy']:.4f}")
    return run


def test_once(winner: Confirmed, corpus: Corpus) -> None:
    """Let the winner read the test split, unless it has; its figures go to its run."""
    if "test_accuracy" in records.read(winner.run_id).metrics:
        return
    package = packaging.load(records.fetch(f"runs:/{winner.run_id}/model"))
    with tracking.opened(Place(run_id=winner.run_id)):
        tested(package.network, winner.plan.reading, corpus)


def register(run_id: str, name: str | None = None) -> list[Entry]:
    """Register the model of a finished run, once it has been verified: under its network's name or the one given.

    A champion of its network's name is registered as `sentiment` too, the best of all networks. InputError, with
    nothing registered, where the run is not finished or tested or its model is not what was logged.
    """
    run = records.read(run_id)
    network = run.tags.get("network")
    if network is None:
        raise InputError(f"run {run_id!r} trained no network, as a study's own: choose the run of a training")
    if run.status != "FINISHED":
        raise InputError(f"run {run_id!r} did not finish (status {run.status}): choose another")
    if "test_accuracy" not in run.metrics:
        raise InputError(f"run {run_id!r} has not been tested, as only a study's winner is: choose a run of `train`")
    if not all(math.isfinite(value) for value in run.metrics.values()):
        raise InputError(f"run {run_id!r} has figures that are not finite: choose another")
    uri = records.model_of(run_id)
    verify(run_id, uri)
    tags = {
        registry.DIGEST: run.tags["data_digest"],
        registry.VALIDATION: str(run.metrics["best_val_accuracy"]),
        registry.NETWORK: network,
        "test_accuracy": str(run.metrics["test_accuracy"]),
    }
    first = _registered(name or registry.name_for(network), uri, run, tags)
    if name is not None or first.alias != registry.CHAMPION:
        return [first]
    return [first, _registered(registry.BEST, uri, run, tags)]


def _registered(name: str, uri: str, run: Recorded, tags: Mapping[str, str]) -> Entry:
    """The run's version of this name: a new one, unless it has one with an alias."""
    present = registry.version_of(run.run_id, name)
    if present:
        return present
    card = _card(name, run)
    tracking.add_text(run.run_id, f"cards/{name}.md", card)
    return registry.add(name, uri, run.run_id, tags, card)


def _card(name: str, run: Recorded) -> str:
    return cards.card(
        name,
        records.artifact_json(run.run_id, tracking.SETTINGS),
        run.tags,
        run.metrics,
        records.test_of(run.run_id),
        records.artifact_json(run.run_id, tracking.MISTAKES),
    )


def verify(run_id: str, uri: str) -> None:
    """Load the model in a fresh process, where no pickle may be read, and compare; InputError if it is another."""
    packaging.load(records.fetch(uri))  # hashes and finite weights
    golden = records.artifact_json(run_id, tracking.GOLDEN_FILE)
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
        env={**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "MLFLOW_TRACKING_URI": tracking.address()},
        capture_output=True,
        text=True,
    )
    if finished.returncode:
        reason = (finished.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"the model at {uri} cannot be loaded in a fresh process: {reason}")
    said: list[float] = json.loads(finished.stdout.splitlines()[-1])
    return said
