"""Who is at work on a study: signs of life, what becomes of the trials and runs of processes that are gone.

A process may die between any two writes, so each is enough by itself: a trial names its process from its first moment,
and an interrupted one is queued again by whoever sees that nobody has done it.
"""

import copy
import hashlib
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import optuna
from filelock import Timeout
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from sentiment_tune import signals
from sentiment_tune.local import is_of_this_machine, is_process_gone, lock, process_id
from sentiment_tune.tracking import ending, records
from sentiment_tune.tracking.schema import Tag

RETRIES = 3  # times that an interrupted trial is tried again
BEAT, SILENCE = 30, 300  # seconds between signs of life, and without one until another process may take over
TURN = 30  # seconds to wait for others of this machine who change the queue; one of them may be stopped
# User attributes of a study and its trials.
OWNER = "owner"  # the process that writes the report, and when it was last seen
FACTS = "facts"  # what the study was begun with
SOURCE, FROM = "source", "from_study"  # where its data come from, and the settings that it tried first
RUN_ID, WORKER, SEEN, ERROR = "run_id", "worker", "seen", "error"
SURPLUS = "surplus"  # of a trial that gave way, since another was the study's last
_CONSTRAINT = "constraints:"  # begins the names under which Optuna keeps what a limit was compared with
EXCESS = "excess"  # of a trial whose network has more than it may, and was not trained


class SharedStudy(optuna.Study):
    """A study whose trials name their process from their first moment: Optuna has a trial running before any name."""

    def _pop_waiting_trial_id(self) -> int:
        """The next trial for this process: one that waits, else a new one."""
        claim = {SEEN: time.time(), WORKER: process_id()}
        with turn(self.study_name):
            for waiting in self.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
                with suppress(UpdateFinishedTrialError):
                    for name, value in claim.items():
                        self._storage.set_trial_user_attr(waiting._trial_id, name, value)
                    if self._storage.set_trial_state_values(waiting._trial_id, TrialState.RUNNING):
                        return waiting._trial_id
            new = create_trial(state=TrialState.RUNNING, user_attrs=claim)
            return self._storage.create_new_trial(self._study_id, new)


@contextmanager
def turn(study_name: str) -> Iterator[None]:
    """A block in which no other process of this machine begins the study or changes its queue."""
    held = lock("study", study_name)
    with suppress(Timeout):
        held.acquire(timeout=TURN)
    try:
        yield
    finally:
        held.release()


def first_worker_number() -> int:
    """A number for the first worker of one who joins: no two who begin together are to try the same settings."""
    return int.from_bytes(hashlib.sha256(process_id().encode()).digest()[:4])


def report_alive(study: optuna.Study) -> None:
    """Tell all who look at the study that this process owns it, and is there."""
    study.set_user_attr(OWNER, {"id": process_id(), "seen": time.time()})


@contextmanager
def own_study(study: optuna.Study) -> Iterator[None]:
    """A block during which others see that the study's owner is alive."""
    report_alive(study)
    try:
        with _signs_of_life(lambda: report_alive(study)):
            yield
    finally:
        with signals.unbroken():
            study.set_user_attr(OWNER, None)


@contextmanager
def alive(trial: Trial) -> Iterator[None]:
    """A block during which others see that somebody works on the trial."""
    trial.set_user_attr(WORKER, process_id())  # again, for another machine may have claimed it at the same moment
    with _signs_of_life(lambda: trial.set_user_attr(SEEN, time.time())):
        yield


@contextmanager
def _signs_of_life(tell: Callable[[], None]) -> Iterator[None]:
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT):
            with suppress(Exception):  # the database may be back at the next beat
                tell()

    beating = threading.Thread(target=beat, daemon=True)
    beating.start()
    try:
        yield
    finally:
        ended.set()
        beating.join(timeout=1)  # the database may be away


def run_of_other_owner(study: optuna.Study) -> str | None:
    """The study's run if another process that is alive owns the study; it may be about to begin it."""
    while is_other_alive(study.user_attrs.get(OWNER)):
        if RUN_ID in study.user_attrs:
            return str(study.user_attrs[RUN_ID])
        signals.wait(0.2)
    return None


def is_other_alive(owner: dict[str, Any] | None) -> bool:
    """Whether the owner is a process other than this one that has not ended, as far as can be seen from here."""
    if not owner or owner["id"] == process_id() or is_process_gone(owner["id"]):
        return False
    return bool(time.time() - owner["seen"] < SILENCE)


def finished_trials(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that count: those that were trained and came to an end by themselves, well or badly."""
    ends = (TrialState.COMPLETE, TrialState.PRUNED)
    ended = [trial for trial in trials if trial.state in ends or (trial.state == TrialState.FAIL and _failed(trial))]
    return [trial for trial in ended if EXCESS not in trial.user_attrs]


def is_interrupted(trial: FrozenTrial) -> bool:
    """Whether a trial did not come to an end by itself: its process is gone, or something it needed was away."""
    return trial.state == TrialState.FAIL and not _failed(trial) and SURPLUS not in trial.user_attrs


def _failed(trial: FrozenTrial) -> bool:
    """Whether a trial of state FAIL failed, and was not just interrupted."""
    return ERROR in trial.user_attrs


def requeue(study: optuna.Study, trial: FrozenTrial) -> None:
    """Have the settings of an interrupted trial tried again, unless they have been too often."""
    retry = copy.deepcopy(trial)
    retry.user_attrs = {}  # those name the process and the run that are gone
    constraints = {f"{_CONSTRAINT}{name}" for name in trial.constraints}  # measured anew: Optuna keeps the first
    retry.system_attrs = {name: value for name, value in retry.system_attrs.items() if name not in constraints}
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        RetryHeartbeatStaleTrialCallback(max_retry=RETRIES)(study, retry)


def give_up_own(study: optuna.Study) -> None:
    """End the trials of this process without a result, and have them tried again."""
    with turn(study.study_name):
        _give_up(study, lambda trial: bool(trial.user_attrs.get(WORKER) == process_id()))
        _queue_interrupted(study)


def _give_up(study: optuna.Study, which: Callable[[FrozenTrial], bool]) -> None:
    for trial in filter(which, study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))):
        with suppress(UpdateFinishedTrialError):
            study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)


def _queue_interrupted(study: optuna.Study) -> None:
    """Queue each interrupted trial again, unless somebody has: whoever ended it may have died before that."""
    trials = study.get_trials(deepcopy=False)
    retried = {number for trial in trials for number in trial.system_attrs.get("retry_history", [])}
    for trial in trials:
        if is_interrupted(trial) and trial.number not in retried and _is_ours_to_queue(trial):
            requeue(study, trial)


def is_abandoned(trial: FrozenTrial) -> bool:
    """Whether nobody works on a running trial: of this machine that is known at once, of others by their silence."""
    if trial.user_attrs.get(WORKER) == process_id():
        return False
    seen = trial.user_attrs.get(SEEN) or _seconds(trial.datetime_start)
    return is_process_gone(trial.user_attrs.get(WORKER)) or time.time() - seen > SILENCE


def is_dead(trial: FrozenTrial) -> bool:
    """Whether the process of a running trial is gone: one of this machine that stands still is not."""
    worker = trial.user_attrs.get(WORKER)
    return is_process_gone(worker) if worker and is_of_this_machine(worker) else is_abandoned(trial)


def reclaim_trials(
    study: optuna.Study, again: bool = True, which: Callable[[FrozenTrial], bool] = is_abandoned
) -> None:
    """End the trials and runs of processes that are gone; the trials are tried `again` where the study goes on."""
    with turn(study.study_name):
        _give_up(study, which)
        if again:
            _queue_interrupted(study)
    end_abandoned_runs(study)


def _is_ours_to_queue(trial: FrozenTrial) -> bool:
    """Whether no process of another machine is about to queue an interrupted trial again."""
    return (
        is_of_this_machine(trial.user_attrs.get(WORKER, process_id()))
        or time.time() - _seconds(trial.datetime_complete) > BEAT
    )


def _seconds(moment: datetime | None) -> float:
    return moment.timestamp() if moment else 0.0


def end_abandoned_runs(study: optuna.Study) -> None:
    """End the runs of processes that are gone, those too that had not yet told their trial of their run."""
    if RUN_ID not in study.user_attrs:
        return
    interrupted = {str(trial.number) for trial in study.get_trials(deepcopy=False) if is_interrupted(trial)}
    for run in records.find_descendants(study.user_attrs[RUN_ID]):
        left = is_process_gone(run.tags.get(Tag.PROCESS)) or run.tags.get(Tag.TRIAL) in interrupted
        if left and run.status == "RUNNING":
            ending.end_abandoned_run(run.run_id, ending.ABANDONED, run.tags.get(Tag.PROCESS))
