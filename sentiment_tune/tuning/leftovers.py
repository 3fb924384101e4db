"""What processes that are gone have left in Optuna's storage: trials that nobody works on, trials without a run."""

import json
from collections.abc import Iterator

import optuna
from optuna.trial import FrozenTrial, TrialState

from sentiment_tune.evaluation.metrics import ACCURACY
from sentiment_tune.tracking import records
from sentiment_tune.tracking import runs as tracking
from sentiment_tune.tracking.schema import Metric, Stage, Tag
from sentiment_tune.tuning.backend import has_storage, open_storage
from sentiment_tune.tuning.liveness import FACTS, RUN_ID, is_dead


def stored_studies(storage: str) -> Iterator[optuna.Study]:
    """The studies of this package in a storage; none where a local one is not there."""
    if not has_storage(storage):
        return
    opened = open_storage(storage)
    for name in optuna.get_all_study_names(opened):
        study = optuna.load_study(study_name=name, storage=opened)
        if FACTS in study.user_attrs:
            yield study


def metric_of(study: optuna.Study) -> str:
    """What judges the trials of a study, which it has among its facts."""
    facts = study.user_attrs.get(FACTS, {})
    return next((str(json.loads(value)) for name, value in facts.items() if name.endswith(".metric")), ACCURACY)


def lost_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that are said to be running whose process is gone."""
    return list(filter(is_dead, study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))))


def trials_without_run(study: optuna.Study) -> list[FrozenTrial]:
    """Finished trials whose run is not at this address, where the study's own run is."""
    study_run = str(study.user_attrs.get(RUN_ID))
    if not tracking.run_exists(study_run):
        return []
    known = {run.tags.get(Tag.TRIAL) for run in records.find_children(study_run)}
    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    return [trial for trial in ended if str(trial.number) not in known]


def restore_run(study: optuna.Study, trial: FrozenTrial) -> None:
    """Give a trial a run again, with what the study knows of it: settings, what it was worth on validation, times."""
    score = Metric.BEST_VAL_ACCURACY if metric_of(study) == ACCURACY else Metric.BEST_VAL_SCORE
    state = "FINISHED" if trial.state == TrialState.COMPLETE else "KILLED"
    tracking.record_run(
        str(study.user_attrs[RUN_ID]),
        f"trial {trial.number}",
        {
            Tag.TRIAL: str(trial.number),
            Tag.STUDY: study.study_name,
            Tag.STAGE: Stage.SEARCH,
            Tag.OPTUNA_STATE: trial.state.name,
            Tag.RESTORED: "from the study's storage",
        },
        trial.params,
        {score: trial.intermediate_values},
        state,
        (trial.datetime_start, trial.datetime_complete),
    )
