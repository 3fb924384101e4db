"""A study from its first trial to its report: in one process or in many, by one owner and whoever joins.

The process that begins a study, or takes it up when its owner is gone, owns the study's run in MLflow: it opens it,
runs or starts the workers, and writes the report. Whoever comes while the owner is at work only adds trials.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import optuna
from optuna.exceptions import ExperimentalWarning

from sentiment_tune import signals
from sentiment_tune.data.corpus import Corpus
from sentiment_tune.errors import InputError, hide_passwords
from sentiment_tune.events import Listener
from sentiment_tune.local import is_process_gone
from sentiment_tune.tracking import records, server
from sentiment_tune.tracking import runs as tracking
from sentiment_tune.tracking.runs import RunSpec
from sentiment_tune.tracking.schema import Stage, Tag
from sentiment_tune.tuning.backend import PATIENCE, create_pruner, open_storage
from sentiment_tune.tuning.liveness import (
    EXCESS,
    FACTS,
    FROM,
    OWNER,
    RUN_ID,
    SOURCE,
    SharedStudy,
    first_worker_number,
    is_other_alive,
    own_study,
    reclaim_trials,
    report_alive,
    run_of_other_owner,
    turn,
)
from sentiment_tune.tuning.objectives import OBJECTIVES, shown
from sentiment_tune.tuning.report import History, log_report, log_search
from sentiment_tune.tuning.search import StudyConfig, check_same_facts
from sentiment_tune.tuning.trials import best_trials, run_trials
from sentiment_tune.tuning.warm_start import first_parameters
from sentiment_tune.tuning.workers import run_in_processes


@dataclass(frozen=True)
class FinishedStudy:
    """A study that has the trials it was to have."""

    search: StudyConfig
    study: optuna.Study
    run_id: str
    experiment_id: str
    owned: bool  # whether this process is the one to go on with it
    pictures: Mapping[str, str] = field(default_factory=dict)  # of its report, by title


@contextmanager
def run_study(search: StudyConfig, corpus: Corpus, spec: RunSpec, listener: Listener) -> Iterator[FinishedStudy]:
    """Run the study to its end; the owner's block runs within the study's open run, with the report written.

    InputError if no trial of the study could be finished.
    """
    study = open_study(search, corpus)
    reclaim_trials(study)
    joined = run_of_other_owner(study)
    if not joined and RUN_ID in study.user_attrs:  # several may have come to take it over: the last to say so does
        report_alive(study)
        signals.wait(1)
        joined = run_of_other_owner(study)
    if joined:
        _join(search, study, corpus, joined, listener)
        yield FinishedStudy(search, study, joined, records.read_run(joined).experiment_id, owned=False)
        return
    with own_study(study), tracking.start_run(_run_spec(study, search, spec), listener) as run:
        study.set_user_attr(RUN_ID, run.run_id)
        tracking.log_data(corpus)
        tracking.log_data_checks(corpus)
        log_search(search, study, corpus.name)
        history = History(study, run.run_id, search.metric)
        _run_workers(search, study, corpus, run.run_id, listener, history=history)
        reclaim_trials(study, again=False)
        if not best_trials(study, 1):
            raise InputError(f"no trial of study {search.study!r} was finished: {_reason(search, study)}")
        history.log(ended=True)
        yield FinishedStudy(search, study, run.run_id, run.experiment_id, True, log_report(search, study))


def _reason(search: StudyConfig, study: optuna.Study) -> str:
    """Why no trial was finished: the limits that none has kept, with the least that was seen, or where to look."""
    measured = [trial.constraints for trial in study.get_trials(deepcopy=False) if EXCESS in trial.user_attrs]
    told = []
    for name, limit in search.limits.items():
        least = min((1 + constraints[name] for constraints in measured if name in constraints), default=0) * limit
        if least > limit:
            told.append(f"max_{name} is {shown(name, limit)}, and the least that was seen {shown(name, least)}")
    return f"{', '.join(told)}: give more" if told else "see its runs for the reasons"


def open_study(search: StudyConfig, corpus: Corpus) -> optuna.Study:
    """The study, begun with the defaults of its networks, or gone on with where it was begun with the same facts."""
    pruner, storage = create_pruner(search, len(corpus.train)), open_storage(search.storage)
    with turn(search.study):
        directions = [OBJECTIVES[name].direction for name in search.objectives]
        optuna.create_study(storage=storage, study_name=search.study, directions=directions, load_if_exists=True)
        study = SharedStudy(search.study, storage, pruner=pruner)
        if FACTS not in study.user_attrs and _is_to_be_begun(study):
            report_alive(study)  # before the facts, for which whoever joins is waiting
            for parameters in search.defaults:
                study.enqueue_trial(parameters, skip_if_exists=True)
            study.set_user_attr(SOURCE, search.source.data)
            with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
                study.set_metric_names([OBJECTIVES[name].doc for name in search.objectives])
            study.set_user_attr(FACTS, search.facts(corpus.digest))
    begun_with = _facts_of(study)
    if begun_with is None:
        raise InputError(f"study {search.study!r} was not begun by this program: give another --study") from None
    check_same_facts(search, begun_with, search.facts(corpus.digest))
    if search.from_study:
        with turn(search.study):
            _begin_with_earlier(study, search)
    return study


def _begin_with_earlier(study: optuna.Study, search: StudyConfig) -> None:
    """Let the best settings of an earlier study be tried first, once."""
    if study.user_attrs.get(FROM) == search.from_study:
        return
    for parameters in first_parameters(search):
        study.enqueue_trial(parameters, {FROM: search.from_study}, skip_if_exists=True)
    study.set_user_attr(FROM, search.from_study)


def _is_to_be_begun(study: optuna.Study) -> bool:
    """Whether a study is new, or was about to be begun by a process that is gone."""
    owner = study.user_attrs.get(OWNER)
    return not is_other_alive(owner) if owner else not study.get_trials(deepcopy=False)


def _facts_of(study: optuna.Study) -> dict[str, str] | None:
    """What the study was begun with; a process of another machine may have made it just now, and not be done."""
    for _ in range(PATIENCE * 10):
        if FACTS in study.user_attrs:
            return dict(study.user_attrs[FACTS])
        signals.wait(0.1)
    return None


def _join(search: StudyConfig, study: optuna.Study, corpus: Corpus, study_run: str, listener: Listener) -> None:
    """Add trials to a study that another process owns."""
    if not tracking.run_exists(study_run):
        raise InputError(
            f"the runs of study {search.study!r} are not at {server.tracking_uri()}: give the --tracking-uri of the "
            "process that began it"
        )
    tracking.detach_project_run()
    _run_workers(search, study, corpus, study_run, listener, first=first_worker_number())


def _run_spec(study: optuna.Study, search: StudyConfig, spec: RunSpec) -> RunSpec:
    """The study's run of before if it is at this address, else a new one."""
    tags = {Tag.STUDY: search.study, Tag.STORAGE: hide_passwords(search.storage), Tag.STAGE: Stage.STUDY}
    earlier = study.user_attrs.get(RUN_ID) or _lost_run(tags)
    if earlier and tracking.run_exists(earlier):
        tracking.detach_project_run()
        return RunSpec(run_id=earlier)
    return RunSpec(spec.experiment, spec.name or search.study, {**tags, **spec.tags})


def _lost_run(tags: Mapping[str, str]) -> str | None:
    """The run of a process that is gone, and that the study has not been told of."""
    for run in records.find_running():
        if tags.items() <= run.tags.items() and is_process_gone(run.tags.get(Tag.PROCESS)):
            return run.run_id
    return None


def _run_workers(
    search: StudyConfig,
    study: optuna.Study,
    corpus: Corpus,
    study_run: str,
    listener: Listener,
    first: int = 0,
    history: History | None = None,
) -> None:
    """Run trials, here or in processes, whose history the study's owner writes while they run."""
    if search.workers == 1:
        run_trials(search, study, corpus, study_run, history.follow(listener) if history else listener, first)
        return
    # The trial of a worker that dies goes to the others at once.
    job = partial(_work, search, study_run, listener, first)
    source = corpus if search.in_memory else search.source
    look = history.look if history else None
    run_in_processes(search.workers, source, job, partial(reclaim_trials, study), listener, look)


def _work(search: StudyConfig, study_run: str, listener: Listener, first: int, corpus: Corpus, number: int) -> None:
    """What a worker of the study does."""
    run_trials(search, open_study(search, corpus), corpus, study_run, listener, first + number)
