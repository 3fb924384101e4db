"""A study from its first trial to its report: in one process or in many, by one owner and whoever joins.

The process that begins a study, or takes it up when its owner is gone, owns the study's run in MLflow: it opens it,
runs or starts the workers, and writes the report. Whoever comes while the owner is at work only adds trials.
"""

import csv
import hashlib
import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import optuna

from sentiment_tune.data.corpus import Corpus
from sentiment_tune.errors import InputError
from sentiment_tune.tracking import runs as tracking
from sentiment_tune.tracking.runs import RunSpec
from sentiment_tune.tuning.search import StudyConfig
from sentiment_tune.tuning.trials import (
    OWNER,
    RUN_ID,
    WORKER_ID,
    Say,
    best_trials,
    finished_trials,
    is_process_gone,
    open_study,
    reclaim_trials,
    report_alive,
    run_trials,
)
from sentiment_tune.tuning.workers import run_in_processes

BEST_SETTINGS = "study/best_settings.json"
BEAT, SILENCE = 30, 300  # seconds between signs of life, and without one until another machine may take over


@dataclass(frozen=True)
class StudyResult:
    """A study that has the trials it was to have."""

    search: StudyConfig
    study: optuna.Study
    run_id: str
    owned: bool  # whether this process is the one to go on with it


@contextmanager
def run_study(search: StudyConfig, corpus: Corpus, place: RunSpec, say: Say) -> Iterator[StudyResult]:
    """Run the study to its end; the owner's block runs within the study's open run, with the report written.

    InputError if no trial of the study could be finished.
    """
    study = open_study(search, corpus.digest)
    reclaim_trials(study)
    joined = _run_of_another(study)
    if not joined and RUN_ID in study.user_attrs:  # several may have come to take it over: the last to say so does
        report_alive(study)
        time.sleep(1)
        joined = _run_of_another(study)
    if joined:
        if not tracking.run_exists(joined):
            raise InputError(
                f"the runs of study {search.study!r} are not at {tracking.tracking_uri()}: give the --tracking-uri of the "
                "process that began it"
            )
        tracking.detach_project_run()
        _run_trials(search, study, corpus, joined, say, first=_number())
        yield StudyResult(search, study, joined, owned=False)
        return
    with _owning(study), tracking.start_run(_place(study, search, place)) as run:
        study.set_user_attr(RUN_ID, run.run_id)
        tracking.log_data(corpus)
        _run_trials(search, study, corpus, run.run_id, say)
        reclaim_trials(study)
        if not best_trials(study, 1):
            raise InputError(f"no trial of study {search.study!r} was finished: see its runs for the reasons")
        _report(search, study)
        yield StudyResult(search, study, run.run_id, owned=True)


def _place(study: optuna.Study, search: StudyConfig, place: RunSpec) -> RunSpec:
    """The study's run of before if it is at this address, else a new one."""
    before = study.user_attrs.get(RUN_ID)
    if before and tracking.run_exists(before):
        tracking.detach_project_run()
        return RunSpec(run_id=before)
    facts = {"study": search.study, "storage": search.storage.rpartition("@")[2], "stage": "study"}
    return RunSpec(place.experiment, place.name or search.study, {**facts, **place.tags})


def _run_of_another(study: optuna.Study) -> str | None:
    """The study's run if another process that is alive owns the study; it may be about to begin it."""
    while _alive(study.user_attrs.get(OWNER)):
        if RUN_ID in study.user_attrs:
            return str(study.user_attrs[RUN_ID])
        time.sleep(0.2)
    return None


def _alive(owner: dict[str, Any] | None) -> bool:
    """Whether the owner is a process other than this one that has not ended, as far as can be seen from here."""
    if not owner or owner["id"] == WORKER_ID or is_process_gone(owner["id"]):
        return False
    return bool(time.time() - owner["seen"] < SILENCE)


@contextmanager
def _owning(study: optuna.Study) -> Iterator[None]:
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


def _number() -> int:
    """A number for the first worker of one who joins: no two who begin together are to try the same settings."""
    return int.from_bytes(hashlib.sha256(WORKER_ID.encode()).digest()[:4])


def _run_trials(
    search: StudyConfig,
    study: optuna.Study,
    corpus: Corpus,
    run_id: str,
    say: Say,
    first: int = 0,
) -> None:
    if search.workers == 1:
        run_trials(search, study, corpus, run_id, say, first)
        return
    # The trial of a worker that dies goes to the others at once.
    job = partial(_trials_of, search, run_id, say, first)
    run_in_processes(search.workers, search.source, job, partial(reclaim_trials, study))


def _trials_of(search: StudyConfig, run_id: str, say: Say, first: int, corpus: Corpus, number: int) -> None:
    """What a worker of the study does."""
    run_trials(search, open_study(search, corpus.digest), corpus, run_id, say, first + number)


def _report(search: StudyConfig, study: optuna.Study) -> None:
    """Log what the study found: figures, pictures, the trials as a table, the best settings as a file."""
    from sentiment_tune.tuning import plots as study_plots

    trials = study.get_trials(deepcopy=False)
    best = best_trials(study, 1)[0]
    tracking.log_metrics({"best_val_accuracy": best.value or 0.0, "trials": len(finished_trials(trials))})
    tracking.set_tags({"best_trial": best.number, "best_run": best.user_attrs.get(RUN_ID)})
    tracking.log_text(_table(trials), "study/trials.csv")
    tracking.log_json(search.trial_config(best.params).as_dict, BEST_SETTINGS)
    tracking.log_text(study_plots.study_page(study), "study/study.html")
    for name, picture in study_plots.draw_study(study):
        tracking.log_figure(name, picture, "study", bbox_inches="tight")


def _table(trials: list[optuna.trial.FrozenTrial]) -> str:
    names = sorted({name for trial in trials for name in trial.params})
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["trial", "state", "val_accuracy", "seconds", "epochs", "run_id", "error", *names])
    for trial in trials:
        known = trial.user_attrs
        seconds = trial.duration.total_seconds() if trial.duration else None
        facts = [trial.number, trial.state.name, trial.value, seconds, trial.last_step, known.get(RUN_ID)]
        writer.writerow([*facts, known.get("error"), *(trial.params.get(name) for name in names)])
    return text.getvalue()
