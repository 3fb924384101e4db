"""Who is at work on a study: signs of life, what becomes of the trials and runs of processes that are gone."""

import copy
import hashlib
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState

from sentiment_tune.local import PROCESS_ID, is_process_gone
from sentiment_tune.tracking import records
from sentiment_tune.tracking import runs as tracking
from sentiment_tune.tracking.schema import Tag

RETRIES = 3  # times that an interrupted trial is tried again
BEAT, SILENCE = 30, 300  # seconds between signs of life, and without one until another machine may take over
# User attributes of a study and its trials.
OWNER = "owner"  # the process that writes the report, and when it was last seen
FACTS = "facts"  # what the study was begun with
RUN_ID, WORKER, ERROR = "run_id", "worker", "error"


def first_worker_number() -> int:
    """A number for the first worker of one who joins: no two who begin together are to try the same settings."""
    return int.from_bytes(hashlib.sha256(PROCESS_ID.encode()).digest()[:4])


def report_alive(study: optuna.Study) -> None:
    """Tell all who look at the study that this process owns it, and is there."""
    study.set_user_attr(OWNER, {"id": PROCESS_ID, "seen": time.time()})


@contextmanager
def own_study(study: optuna.Study) -> Iterator[None]:
    """A block during which others see that the study's owner is alive."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT):
            with suppress(Exception):  # the database may be back at the next beat
                report_alive(study)

    report_alive(study)
    beating = threading.Thread(target=beat, daemon=True)
    beating.start()
    try:
        yield
    finally:
        ended.set()
        beating.join()
        study.set_user_attr(OWNER, None)


def run_of_other_owner(study: optuna.Study) -> str | None:
    """The study's run if another process that is alive owns the study; it may be about to begin it."""
    while _is_other_alive(study.user_attrs.get(OWNER)):
        if RUN_ID in study.user_attrs:
            return str(study.user_attrs[RUN_ID])
        time.sleep(0.2)
    return None


def _is_other_alive(owner: dict[str, Any] | None) -> bool:
    """Whether the owner is a process other than this one that has not ended, as far as can be seen from here."""
    if not owner or owner["id"] == PROCESS_ID or is_process_gone(owner["id"]):
        return False
    return bool(time.time() - owner["seen"] < SILENCE)


def finished_trials(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that count: those that came to an end by themselves, well or badly."""
    ends = (TrialState.COMPLETE, TrialState.PRUNED)
    return [trial for trial in trials if trial.state in ends or (trial.state == TrialState.FAIL and _failed(trial))]


def is_interrupted(trial: FrozenTrial) -> bool:
    """Whether a trial did not come to an end by itself: its process is gone, or was taken for gone."""
    return trial.state == TrialState.FAIL and not _failed(trial)


def _failed(trial: FrozenTrial) -> bool:
    """Whether a trial of state FAIL failed, and was not just interrupted."""
    return ERROR in trial.user_attrs


def requeue(study: optuna.Study, trial: FrozenTrial) -> None:
    """Have the settings of an interrupted trial tried again, unless they have been too often."""
    retry = copy.copy(trial)
    retry.user_attrs = {}  # those name the process and the run that are gone
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        RetryHeartbeatStaleTrialCallback(max_retry=RETRIES)(study, retry)


def reclaim_trials(study: optuna.Study) -> None:
    """End the trials and runs of processes that are gone, and have their trials tried again.

    Those of this machine are known at once; Optuna's heartbeat tells of those of others.
    """
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        optuna.storages.fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if is_process_gone(trial.user_attrs.get(WORKER)):
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
            requeue(study, trial)
    end_abandoned_runs(study)


def end_abandoned_runs(study: optuna.Study) -> None:
    """End the runs of processes that are gone, those too that had not yet told their trial of their run."""
    if RUN_ID not in study.user_attrs:
        return
    interrupted = {str(trial.number) for trial in study.get_trials(deepcopy=False) if is_interrupted(trial)}
    for run in records.find_running(study.user_attrs[RUN_ID]):
        if is_process_gone(run.tags.get(Tag.PROCESS)) or run.tags.get(Tag.TRIAL) in interrupted:
            tracking.end_abandoned_run(run.run_id, "the process that ran this training is gone")
