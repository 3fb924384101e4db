"""What processes that are gone have left behind, in MLflow, in Optuna's storage and on this machine, and its mending.

Nothing that a live process works on is touched: of this machine's processes that is known, one of another machine
counts as gone after minutes without a sign of life: ten for a run, five for a trial.
"""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from sentiment_tune import local
from sentiment_tune.data import store
from sentiment_tune.errors import OutageError, hide_passwords
from sentiment_tune.events import Event
from sentiment_tune.tracking import leftovers, records, runs, server
from sentiment_tune.tracking.delivery import replay
from sentiment_tune.tracking.journal import journals
from sentiment_tune.tracking.schema import Tag
from sentiment_tune.tuning import backend, liveness
from sentiment_tune.tuning import leftovers as trials_left

LEFT, MENDED = "left", "mended"


@dataclass(frozen=True)
class Finding(Event):
    """Something that was left behind.

    Attributes:
        what: a line that names it.
        remedy: what mending it does, or what its user can do, as the end of a sentence.
        mend: ends, deletes or brings in what was left; None where it is for the user to choose.
        outcome: `left`, `mended`, or why it could not be.
    """

    what: str
    remedy: str
    mend: Callable[[], object] | None = field(default=None, repr=False, compare=False)
    outcome: str = LEFT


def mend(finding: Finding) -> Finding:
    """The finding with what came of its mending, where it can be mended."""
    if finding.mend is None:
        return finding
    try:
        finding.mend()
    except (OSError, OutageError) as error:
        return replace(finding, outcome=f"cannot be mended: {hide_passwords(str(error))}")
    return replace(finding, outcome=MENDED)


def examine(storage: str | None = None) -> Iterator[Finding]:
    """Everything that was left, found anew as it is asked for: `storage` is Optuna's, by default beside MLflow's."""
    if not server.is_missing():
        yield from _journals()
        yield from _runs()
        yield from _models()
    yield from _trials(storage or backend.default_storage())
    if server.has_state():
        yield from _checkpoints(server.state_folder())
    yield from _files()


def _journals() -> Iterator[Finding]:
    for journal in journals():
        if journal.is_left:
            line = f"run {journal.run_id} has {len(journal.pending())} writes that MLflow could not take"
            yield Finding(line, "brings them in, as `sentiment-tune upload` does", partial(replay, journal))


def _runs() -> Iterator[Finding]:
    kept = {journal.run_id for journal in journals()}  # how those ended is not known before they are brought in
    for run in records.find_running():
        if run.run_id in kept:
            continue
        line = f"run {run.run_id} ({run.name}) is said to be running"
        if leftovers.is_abandoned(run):
            end = partial(leftovers.end_run, run.run_id)
            yield Finding(f"{line}, and its process is gone", "ends it as KILLED", end)
        elif Tag.PROCESS not in run.tags:
            yield Finding(f"{line}, by an earlier version, which told no process", "end it in the MLflow UI", None)


def _models() -> Iterator[Finding]:
    for model in leftovers.half_written_models():
        line = f"model {model.model_id} of run {model.run_id} is half written"
        yield Finding(line, "deletes it", partial(leftovers.delete_model, model))


def _trials(storage: str) -> Iterator[Finding]:
    for study in trials_left.stored_studies(storage):
        for trial in trials_left.lost_trials(study):
            line = f"trial {trial.number} of study {study.study_name} is said to be running, and its process is gone"
            again = partial(liveness.reclaim_trials, study, which=liveness.is_dead)
            yield Finding(line, "has it tried again when the study goes on", again)
        for trial in trials_left.trials_without_run(study):
            line = f"trial {trial.number} of study {study.study_name} has no run"
            yield Finding(
                line, "gives it one, with what the study knows", partial(trials_left.restore_run, study, trial)
            )


def _checkpoints(state: Path) -> Iterator[Finding]:
    for folder in sorted(state.glob("checkpoints/*")):
        status = runs.status_of(folder.name)
        if status in (None, "FINISHED"):
            why = "that is finished" if status else "that is not there"
            yield Finding(f"checkpoints of run {folder.name}, {why}", "deletes them", partial(shutil.rmtree, folder))
        elif status != "RUNNING":
            tags = records.read_run(folder.name).tags
            command = f"sentiment-tune train --resume {folder.name}"
            if Tag.TRIAL in tags:
                command = "the `tune` command of its study"
            yield Finding(f"checkpoints of run {folder.name}, which is {status}", f"go on with it: {command}", None)


def _files() -> Iterator[Finding]:
    """Half-written files and folders, temporary folders, and the locks that earlier versions kept among all users'."""
    beside = [server.state_folder()] if server.has_state() else []
    for folder in (*beside, local.user_folder(), store.cache_folder()):
        for path in local.partial_paths_left(folder):
            yield Finding(f"{path} is half written", "deletes it", partial(local.delete, path))
    shared = local.shared_temporary_folder()
    if folders := local.temporary_folders_left():
        line = f"temporary folders in {shared} of {len(folders)} processes that are gone"
        yield Finding(line, "deletes them", partial(_delete_all, folders))
    if locks := list(filter(_is_free, shared.glob("sentiment_tune-*.lock"))):
        line = f"{len(locks)} locks of an earlier version in {shared} that nobody holds"
        yield Finding(line, "deletes them", partial(_delete_all, locks))


def _delete_all(paths: Sequence[Path]) -> None:
    for path in paths:
        local.delete(path)


def _is_free(path: Path) -> bool:
    with contextlib.suppress(Timeout, OSError), FileLock(path, timeout=0):
        return True
    return False
