"""A study of Optuna whose trials are runs of MLflow.

A trial is what `train` does up to the finished training, in a child run of the study's run: its settings come from
Optuna, and after each epoch Optuna is asked whether it is hopeless. States map truthfully: COMPLETE is FINISHED,
PRUNED is KILLED, FAIL is FAILED with its reason, and a trial that somebody interrupted is KILLED and tried again.

The storage is all that processes share: any number of them, on any machines, work on one study until it has the
trials it is to have.
"""

import itertools
import multiprocessing
import os
import socket
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import psutil
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning, TrialPruned, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from sentiment_tune.build import build_network
from sentiment_tune.config import ExperimentConfig
from sentiment_tune.data.corpus import Corpus
from sentiment_tune.errors import InputError
from sentiment_tune.experiment import finish_training, start_training_run, train_epochs
from sentiment_tune.space import Range
from sentiment_tune.tracking import records
from sentiment_tune.tracking import runs as tracking
from sentiment_tune.tracking.runs import RunSpec
from sentiment_tune.training.loop import BestWeights
from sentiment_tune.tuning.backend import PATIENCE, create_pruner, create_sampler, open_storage
from sentiment_tune.tuning.search import MODEL, StudyConfig, check_same_facts

SEARCHED = "search"  # stage of a trial's run, told from the runs that confirm it
RETRIES = 3  # times that an interrupted trial is tried again
OWNER = "owner"  # attribute: the process that writes the report, and when it was last seen
FACTS, RUN_ID, WORKER, ERROR, RETRIED = "facts", "run_id", "worker", "error", "retried"  # attributes

Say = Callable[[optuna.Study, FrozenTrial], None]
WORKER_ID = f"{socket.gethostname()}:{os.getpid()}:{psutil.Process().create_time():.2f}"


class SurplusTrialError(Exception):
    """Two workers wanted the study's last trial; this is the one that gives way."""


def open_study(search: StudyConfig, digest: str) -> optuna.Study:
    """The study, begun with the defaults of its networks, or gone on with where it was begun with the same facts."""
    pruner = create_pruner(search)
    storage, facts = open_storage(search.storage, requeue), search.facts(digest)
    try:
        study = optuna.create_study(storage=storage, study_name=search.study, direction="maximize", pruner=pruner)
        report_alive(study)  # before the facts, for which whoever joins is waiting
        for defaults in search.defaults():
            study.enqueue_trial(defaults)
        study.set_user_attr(FACTS, facts)
    except DuplicatedStudyError:
        study = optuna.load_study(storage=storage, study_name=search.study, pruner=pruner)
        known = _facts_of(study)
        if known is None:
            raise InputError(f"study {search.study!r} was not begun by this program: give another --study") from None
        check_same_facts(search.study, known, facts)
    return study


def report_alive(study: optuna.Study) -> None:
    """Tell all who look at the study that this process owns it, and is there."""
    study.set_user_attr(OWNER, {"id": WORKER_ID, "seen": time.time()})


def _facts_of(study: optuna.Study) -> dict[str, str] | None:
    """What the study was begun with; another process may have made it just now, and not be done with it."""
    for _ in range(PATIENCE * 10):
        if FACTS in study.user_attrs:
            return dict(study.user_attrs[FACTS])
        time.sleep(0.1)
    return None


def finished_trials(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that count: those that came to an end by themselves, well or badly."""
    ends = (TrialState.COMPLETE, TrialState.PRUNED)
    return [trial for trial in trials if trial.state in ends or (trial.state == TrialState.FAIL and _failed(trial))]


def _failed(trial: FrozenTrial) -> bool:
    """Whether a trial of state FAIL failed, and was not just interrupted."""
    return ERROR in trial.user_attrs


def run_trials(
    search: StudyConfig,
    study: optuna.Study,
    corpus: Corpus,
    run_id: str,
    say: Say,
    worker: int = 0,
) -> None:
    """Run trials of the study, each a child of the run `run_id`, until it has as many as it is to have."""
    deadline = time.monotonic() + (search.timeout or float("inf"))

    def objective(trial: Trial) -> float:
        return _run_trial(trial, search, corpus, run_id)

    while wait_for_turn(study, search, deadline):
        # A sampler of its own for each trial: a study that was interrupted goes on as if it had not been.
        seed = np.random.SeedSequence([search.seed, len(finished_trials(_trials(study))), worker]).generate_state(1)[0]
        study.sampler = create_sampler(search.sampler, int(seed), search.joint)
        try:
            study.optimize(objective, n_trials=1, catch=(Exception,), callbacks=[say])
        except (AssertionError, UpdateFinishedTrialError, ValueError) as error:
            if isinstance(error, ValueError) and "Cannot tell" not in str(error):
                raise
            # Somebody took this worker for dead, since it had stood still for long, and gave its trial to another.
            print("a trial came too late and does not count: it was given to another worker", file=sys.stderr)


def _trials(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False)


def wait_for_turn(study: optuna.Study, search: StudyConfig, deadline: float) -> bool:
    """Whether another trial is to begin; waits while all that is left is in the hands of others, who may die."""
    while True:
        trials = _trials(study)
        done, running = finished_trials(trials), [trial for trial in trials if trial.state == TrialState.RUNNING]
        if len(done) >= search.trials or time.monotonic() > deadline or _stale(done, search.stale):
            return False
        if len(done) + len(running) < search.trials:
            return True
        reclaim_trials(study)
        time.sleep(1)


def _stale(done: Sequence[FrozenTrial], patience: int | None) -> bool:
    """Whether the last `patience` trials brought nothing better."""
    values = [trial.value if trial.state == TrialState.COMPLETE else None for trial in done]
    known = [(value, -place) for place, value in enumerate(values) if value is not None]
    return patience is not None and bool(known) and len(done) + max(known)[1] > patience


def reclaim_trials(study: optuna.Study) -> None:
    """End the trials and runs of processes that are gone, and have their trials tried again.

    Those of this machine are known at once; Optuna's heartbeat tells of those of others.
    """
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        optuna.storages.fail_stale_trials(study)
    for trial in _trials(study):
        if trial.state == TrialState.RUNNING and is_process_gone(trial.user_attrs.get(WORKER)):
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
            requeue(study, trial)
    end_abandoned(study)


def end_abandoned(study: optuna.Study) -> None:
    """End the runs of processes that are gone, those too that had not yet told their trial of their run."""
    if RUN_ID not in study.user_attrs:
        return
    ended = {str(trial.number) for trial in _trials(study) if trial.state == TrialState.FAIL and not _failed(trial)}
    for run in records.find_running(study.user_attrs[RUN_ID]):
        if is_process_gone(run.tags.get(WORKER)) or run.tags.get("trial") in ended:
            tracking.end_abandoned_run(run.run_id, "the process that ran this training is gone")


def is_process_gone(worker: str | None) -> bool:
    """Whether a process of this machine, as named by WORKER_ID, is no more; of other machines nothing is known."""
    if worker is None:
        return False
    host, number, begun = worker.rsplit(":", 2)
    if host != socket.gethostname():
        return False
    try:
        process = psutil.Process(int(number))
        return f"{process.create_time():.2f}" != begun or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def requeue(study: optuna.Study, trial: FrozenTrial | Trial) -> None:
    retried = trial.user_attrs.get(RETRIED, 0)
    if retried < RETRIES:
        study.enqueue_trial(trial.params, user_attrs={RETRIED: retried + 1})


def _run_trial(trial: Trial, search: StudyConfig, corpus: Corpus, study_run: str) -> float:
    """Best validation accuracy of one trial, in a run of its own below the study's run; raises TrialPruned.

    Whatever else ends it is told to the trial: interrupted, it is tried again; failed, it holds the reason.
    """
    trial.set_user_attr(WORKER, WORKER_ID)
    _give_way(trial, search.trials)
    tags = {"trial": str(trial.number), "study": search.study, "stage": SEARCHED, WORKER: WORKER_ID}
    spec, state = RunSpec(name=f"trial {trial.number}", tags=tags, parent=study_run), TrialState.FAIL
    try:
        config = search.trial_config(suggest_settings(trial, search))
        with start_training_run(config, corpus, spec) as run:
            trial.set_user_attr(RUN_ID, run.run_id)
            try:
                state, accuracy = _train_trial(trial, config, corpus)
            finally:
                tracking.set_tags({"optuna_state": state.name})
            run.status = "KILLED" if state == TrialState.PRUNED else run.status
    except KeyboardInterrupt:
        requeue(trial.study, trial)
        raise
    except UpdateFinishedTrialError:
        raise
    except Exception as error:
        trial.set_user_attr(ERROR, f"{type(error).__name__}: {error}"[:500])
        raise
    if state == TrialState.PRUNED:
        raise TrialPruned
    return accuracy


def _train_trial(trial: Trial, config: ExperimentConfig, corpus: Corpus) -> tuple[TrialState, float]:
    """Train until the end or until Optuna finds it hopeless: COMPLETE or PRUNED, and the best validation accuracy."""
    network, best, epochs = build_network(config, corpus), BestWeights(), []
    owner = multiprocessing.parent_process()  # None but in a worker of ours
    accuracy = 0.0
    for epoch in train_epochs(network, config, corpus, best):
        epochs.append(epoch)
        accuracy = max(accuracy, epoch.val_accuracy)
        trial.report(accuracy, epoch.epoch)
        if owner and not owner.is_alive():
            raise KeyboardInterrupt("the process that began this one is gone")
        if trial.should_prune():
            tracking.set_tags({"pruned_at_epoch": epoch.epoch})
            return TrialState.PRUNED, accuracy
    return TrialState.COMPLETE, finish_training(network, best, epochs).val_accuracy


def _give_way(trial: Trial, most: int) -> None:
    """Surplus if the trials before this one, finished or running, are as many as the study is to have."""
    before = [held for held in _trials(trial.study) if held.number < trial.number]
    running = [held for held in before if held.state == TrialState.RUNNING]
    if len(finished_trials(before)) + len(running) >= most:
        raise SurplusTrialError


def suggest_settings(trial: Trial, search: StudyConfig) -> dict[str, Any]:
    """Parameters that Optuna proposes; of a joint study only those of the network that it has chosen."""
    chosen: dict[str, Any] = {}
    if search.joint:
        chosen[MODEL] = trial.suggest_categorical(MODEL, search.models)
    for name, setting in search.space.items():
        if search.joint and not name.startswith(f"{chosen[MODEL]}."):
            continue
        if not isinstance(setting.bounds, Range):
            chosen[name] = trial.suggest_categorical(name, list(setting.bounds))
            continue
        low, high = setting.bounds.search or (setting.bounds.low, setting.bounds.high)
        if setting.type is int:
            chosen[name] = trial.suggest_int(name, int(low), int(high), log=setting.bounds.log)
        else:
            chosen[name] = trial.suggest_float(name, low, high, log=setting.bounds.log)
    return chosen


def best_trials(study: optuna.Study, count: int) -> list[FrozenTrial]:
    """The best finished trials, the best first, each with other parameters."""
    complete = [trial for trial in _trials(study) if trial.state == TrialState.COMPLETE]
    ranked = sorted(complete, key=lambda trial: (-(trial.value or 0.0), trial.number))
    different = [next(group) for _, group in itertools.groupby(ranked, key=lambda trial: sorted(trial.params.items()))]
    return different[:count]


def default_storage() -> str:
    """A SQLite file beside the one of MLflow, or in the current folder if MLflow's is elsewhere."""
    kind, _, path = tracking.tracking_uri().partition(":///")
    folder = Path(path).parent if kind == "sqlite" else Path()
    return f"sqlite:///{folder / 'optuna.db'}"
