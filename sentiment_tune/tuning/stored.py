"""The studies that a storage holds: listed, exported, deleted."""

from typing import TYPE_CHECKING

import optuna
from optuna.trial import FrozenTrial

from sentiment_tune.errors import InputError
from sentiment_tune.evaluation.metrics import ACCURACY, measured
from sentiment_tune.space import unknown_name
from sentiment_tune.tuning.backend import open_storage
from sentiment_tune.tuning.leftovers import metric_of, stored_studies
from sentiment_tune.tuning.liveness import FACTS, OWNER, SOURCE, finished_trials, is_other_alive
from sentiment_tune.tuning.report import trials_frame
from sentiment_tune.tuning.trials import accuracy_of, best_trials

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("study", "state", "trials", "best", "data", "owner", "begun")
RUNNING, WAITING, IDLE = "running", "unfinished", "idle"


def list_studies(storage: str) -> "pd.DataFrame":
    """A row a study of this package, the newest first.

    Its name; whether it is running, unfinished (trials wait that nobody works on) or idle; how many trials it has
    finished; the best validation accuracy, or what else judges it; where its data come from; the process that owns it;
    when its first trial began, UTC.
    """
    import pandas as pd

    rows = sorted(map(_row, stored_studies(storage)), key=lambda row: str(row[-1]), reverse=True)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(study: optuna.Study) -> tuple[object, ...]:
    trials, best, owner = study.get_trials(deepcopy=False), best_trials(study)[:1], study.user_attrs.get(OWNER)
    alive = bool(owner) and is_other_alive(owner)
    open_trials = [trial for trial in trials if not trial.state.is_finished()]
    begun = min((trial.datetime_start for trial in trials if trial.datetime_start), default=None)
    return (
        study.study_name,
        RUNNING if alive else WAITING if open_trials else IDLE,
        len(finished_trials(trials)),
        _best(study, best[0]) if best else None,
        study.user_attrs.get(SOURCE) or study.user_attrs[FACTS].get("data digest"),
        owner["id"] if owner and alive else None,
        begun and begun.isoformat(" ", "seconds"),
    )


def _best(study: optuna.Study, trial: FrozenTrial) -> float | None:
    """The trial's value by the metric that judges its study."""
    score = accuracy_of(trial)
    return score and measured(metric_of(study), score)


def trials_of(name: str, storage: str) -> "pd.DataFrame":
    """A row a trial of a study, as its run in MLflow keeps them."""
    study = _find(name, storage)
    objectives = str(study.user_attrs[FACTS].get("objectives", ACCURACY))  # Optuna's own names of them are sentences
    return trials_frame(study, objectives.split(",")[1:])


def delete_study(name: str, storage: str) -> None:
    """Delete a study from the storage; its runs in MLflow stay. InputError while a process works on it."""
    owner = _find(name, storage).user_attrs.get(OWNER)
    if owner and is_other_alive(owner):
        raise InputError(f"study {name!r} is running in process {owner['id']}: end it first")
    optuna.delete_study(study_name=name, storage=open_storage(storage))


def _find(name: str, storage: str) -> optuna.Study:
    studies = {study.study_name: study for study in stored_studies(storage)}
    if name not in studies:
        raise unknown_name("study", name, studies)
    return studies[name]
