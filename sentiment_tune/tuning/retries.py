"""The next attempt at a training of a study that was cut off: the run it goes on in, if it can."""

from collections.abc import Callable

from optuna.trial import FrozenTrial

from sentiment_tune.experiment import has_checkpoints
from sentiment_tune.local import is_process_gone, process_id
from sentiment_tune.tracking import records
from sentiment_tune.tracking.ending import ABANDONED
from sentiment_tune.tracking.records import RunRecord
from sentiment_tune.tracking.schema import Tag


def run_of_earlier_attempt(trial: FrozenTrial, study_run: str, stage: str) -> str | None:
    """Id of the run in which an earlier attempt at a trial's settings was cut off, if this one can go on in it."""
    earlier = {str(number) for number in trial.system_attrs.get("retry_history", ())}
    if not earlier:
        return None
    return run_to_go_on(study_run, lambda run: run.tags.get(Tag.TRIAL) in earlier and run.tags.get(Tag.STAGE) == stage)


def run_to_go_on(parent: str, which: Callable[[RunRecord], bool]) -> str | None:
    """Id of the newest run below `parent` that nobody works on, and whose checkpoints are on this machine."""
    for run in records.find_children(parent):
        if which(run) and _is_left(run) and has_checkpoints(run.run_id):
            return run.run_id
    return None


def _is_left(run: RunRecord) -> bool:
    """Whether a run was cut off and its process writes to it no more: one that was only taken for dead may."""
    if run.status == "FINISHED":
        return False
    process = run.tags.get(Tag.PROCESS)
    has_ended = run.status != "RUNNING" and run.tags.get(Tag.ERROR) != ABANDONED
    return has_ended or process == process_id() or is_process_gone(process)
