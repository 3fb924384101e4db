"""What a study's run shows in MLflow: while the study runs its best value so far, and at its end the report."""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from sentiment_tune.config import describe
from sentiment_tune.evaluation import pages
from sentiment_tune.evaluation.metrics import measured, words_for
from sentiment_tune.events import Event, Listener
from sentiment_tune.experiment import optional_picture
from sentiment_tune.space import Value
from sentiment_tune.tracking import runs as tracking
from sentiment_tune.tracking import ui
from sentiment_tune.tracking.outages import is_outage
from sentiment_tune.tracking.schema import Artifact, Metric, Tag
from sentiment_tune.tuning.front import KNEE
from sentiment_tune.tuning.liveness import ERROR, EXCESS, RUN_ID, finished_trials
from sentiment_tune.tuning.objectives import ACCURACY, shown
from sentiment_tune.tuning.search import StudyConfig
from sentiment_tune.tuning.trials import TrialEnd, accuracy_of, best_trials, rank_of

if TYPE_CHECKING:
    import pandas as pd

    from sentiment_tune.tuning.confirm import Confirmation

UNCONFIRMED = "by the trials' own values, in part luck: nothing was trained again"
PAUSE = 2.0  # seconds between two looks at what other processes have done


class History:
    """The best value so far, trial by trial: a metric of the study's run, which MLflow's page draws while it runs."""

    def __init__(self, study: optuna.Study, run_id: str, metric: str = ACCURACY):
        """`metric` is what judges the trials."""
        self._study = study
        self._name = Metric.BEST_VAL_ACCURACY if metric == ACCURACY else Metric.BEST_VAL_SCORE
        self._told = tracking.logged_series(run_id, self._name)  # by trial, if the study was begun before
        self._next = 0.0

    def look(self) -> None:
        """Log what the processes of the study have done, now and then; storages that are away are asked again."""
        if time.monotonic() < self._next:
            return
        try:
            self.log()
        except Exception as error:
            if not is_outage(error):
                raise
        self._next = time.monotonic() + PAUSE

    def log(self, ended: bool = False) -> None:
        """Log the best value after each trial of which it is known; of an ended study after every one."""
        for number, best in best_so_far(self._study.get_trials(deepcopy=False), ended).items():
            if self._told.get(number) != best:
                tracking.log_metrics({self._name: best}, number)
                self._told[number] = best

    def follow(self, listener: Listener) -> Listener:
        """A listener that logs each trial that it hears of, before the other hears of it."""

        def tell(event: Event) -> None:
            if isinstance(event, TrialEnd):
                self._next = 0.0
                self.look()
            listener(event)

        return tell


def best_so_far(trials: Sequence[FrozenTrial], ended: bool) -> dict[int, float]:
    """The best value of the trials up to each, by number; not beyond one that has still to come to its end."""
    best: float | None = None
    values: dict[int, float] = {}
    for trial in trials:
        if trial.state in (TrialState.RUNNING, TrialState.WAITING):
            if ended:
                continue
            break
        accuracy = accuracy_of(trial)
        if trial.state == TrialState.COMPLETE and accuracy is not None:
            best = accuracy if best is None else max(best, accuracy)
        if best is not None:
            values[trial.number] = best
    return values


def log_search(search: StudyConfig, study: optuna.Study, data: str) -> None:
    """Log what the study searches, and how, as params and as the description of its run."""
    pruner = "none" if search.is_pareto else type(study.pruner).__name__
    how: dict[str, Value] = {"sampler": search.sampler, "pruner": pruner, "seed": search.seed}
    if search.is_pareto:
        how["objectives"] = ",".join(search.objectives)
    how |= {f"max_{name}": limit for name, limit in search.limits.items()}
    if search.folds:
        how["folds"] = search.folds
    if search.from_study:
        how["from_study"] = search.from_study
    budget = {"trials": search.trials, "timeout": search.timeout, "stale": search.stale, "workers": search.workers}
    space = {f"space.{name}": bounds for name, bounds in search.bounds.items()}
    fixed = {name: value for name, value in search.fixed.items() if name not in how}
    tracking.log_params({"networks": ", ".join(search.models), **how, **budget, **space, **fixed})
    tracking.set_tags({Tag.NOTE: _about(search, study, data)})


def _about(search: StudyConfig, study: optuna.Study, data: str) -> str:
    space = "\n".join(f"- {name}: {bounds}" for name, bounds in search.bounds.items())
    fixed = describe({name: value for name, value in search.fixed.items() if name != "data"}) or "nothing else"
    pruner = "" if search.is_pareto else f" and {type(study.pruner).__name__}"  # of several objectives none is heard
    return (
        f"{search.trials} trials of **{', '.join(search.models)}** on **{data}**, by {search.sampler}{pruner}, "
        f"over\n\n{space}\n\nFixed: {fixed}."
    )


def log_report(search: StudyConfig, study: optuna.Study) -> Mapping[str, str]:
    """Log what the study found: figures, pictures, the trials as a table, the best settings as a file.

    The pictures by their titles, for the page that names the winner.
    """
    best = best_trials(study, 1)[0]
    trials = study.get_trials(deepcopy=False)
    tracking.log_metrics({Metric.TRIALS: len(finished_trials(trials))})
    tracking.set_tags({Tag.BEST_TRIAL: best.number, Tag.BEST_RUN: best.user_attrs.get(RUN_ID)})
    tracking.log_text(
        trials_frame(study, search.objectives[1:]).to_csv(index=False, lineterminator="\r\n"), Artifact.STUDY_TRIALS
    )
    if not search.is_pareto:
        tracking.log_json(search.trial_config(best.params).as_dict, Artifact.BEST_SETTINGS)
    drawn: dict[str, str] = {}
    with optional_picture("of the study"):
        from sentiment_tune.evaluation.plots import svg
        from sentiment_tune.tuning import plots

        for name, title, picture in plots.draw_study(study, search.drawn_measure):
            tracking.log_figure(name, picture, Artifact.STUDY, bbox_inches="tight")
            drawn[title] = svg(picture, bbox_inches="tight")
    log_page(search, study, drawn)
    return drawn


def log_winner(
    search: StudyConfig,
    study: optuna.Study,
    pictures: Mapping[str, str],
    confirmations: "Sequence[Confirmation]",
    test: float,
    data: str,
    front: "Sequence[Confirmation]" = (),
    chosen: "Mapping[str, Confirmation] | None" = None,
) -> None:
    """Log what came of training the best trials again, the best first: figures, settings, and the page with both."""
    winner = confirmations[0]
    if not search.is_pareto:
        tracking.log_json(winner.config.as_dict, Artifact.BEST_SETTINGS)
    name = Metric.CONFIRMED_VAL_ACCURACY if search.metric == ACCURACY else Metric.CONFIRMED_VAL_SCORE
    tracking.log_metrics({name: winner.mean, Metric.CONFIRMED_SPREAD: winner.spread})
    log_page(search, study, pictures, confirmations, test, front, chosen)
    page = ui.run_page(tracking.open_experiment(), winner.run_id)
    found = (
        f"Winner: [trial {winner.trial}]({page}) ({winner.config.title}): {search.measure} "
        f"**{measured(search.metric, winner.mean):.4f}**"
        f"{winner.spread_in_words}, test accuracy **{test:.4f}**."
    )
    lines = (found, *_chosen_lines(search, chosen or {}), _about(search, study, data))
    tracking.set_tags({Tag.WINNER: winner.run_id, Tag.NOTE: "\n\n".join(lines)})


def log_found(
    search: StudyConfig,
    study: optuna.Study,
    pictures: Mapping[str, str],
    data: str,
    front: "Sequence[Confirmation]",
    chosen: "Mapping[str, Confirmation]",
) -> None:
    """Log what came of the trials by themselves, of several objectives: the page and the description name the front."""
    log_page(search, study, pictures, front=front, chosen=chosen)
    tracking.set_tags({Tag.NOTE: "\n\n".join((*_chosen_lines(search, chosen), _about(search, study, data)))})


def _chosen_lines(search: StudyConfig, chosen: "Mapping[str, Confirmation]") -> list[str]:
    """What the front's knee and ends are, a paragraph and a list; nothing without a front."""
    if not chosen:
        return []
    told = "" if chosen[KNEE].is_confirmed else f", {UNCONFIRMED}"
    lines = []
    for name, one in chosen.items():
        costs = "".join(f", {cost} {shown(cost, value)}" for cost, value in one.costs.items())
        value = f"{search.measure} {measured(search.metric, one.mean):.4f}"
        lines.append(f"- {name}: trial {one.trial} ({one.config.title}): {value}{costs}")
    return [f"Of the front{told}:", "\n".join(lines)]


def log_front(
    search: StudyConfig, study: optuna.Study, front: "Sequence[Confirmation]", chosen: "Mapping[str, Confirmation]"
) -> Mapping[str, str]:
    """Log the front: its picture, a table, and the settings of its knee and its ends, those of the knee as the best.

    The pictures by their titles.
    """
    for name, one in chosen.items():
        tracking.log_json(one.config.as_dict, f"{Artifact.STUDY}/settings_{name}.json")
    tracking.log_json(chosen[KNEE].config.as_dict, Artifact.BEST_SETTINGS)
    tracking.log_text(front_frame(front, chosen).to_csv(index=False, lineterminator="\r\n"), Artifact.STUDY_FRONT)
    drawn: dict[str, str] = {}
    with optional_picture("of the front"):
        from sentiment_tune.evaluation.plots import svg
        from sentiment_tune.tuning import plots

        for column, cost in enumerate(search.objectives[1:], 1):
            picture = plots.draw_front(study, front, chosen, cost, column, search.drawn_measure)
            tracking.log_figure(f"front_{cost}", picture, Artifact.STUDY)
            drawn[f"{search.measure.capitalize()} against {cost}"] = svg(picture)
    return drawn


def front_frame(front: "Sequence[Confirmation]", chosen: "Mapping[str, Confirmation]") -> "pd.DataFrame":
    """A row a member of the front: trial, accuracy, spread, its costs, what it was chosen for, run_id."""
    import pandas as pd

    rows = [
        {
            "trial": one.trial,
            ACCURACY: one.mean,
            "spread": one.spread,
            **one.costs,
            "chosen": " ".join(name for name, other in chosen.items() if other.trial == one.trial),
            "run_id": one.run_id,
        }
        for one in front
    ]
    return pd.DataFrame(rows)


def front_rows(
    front: "Sequence[Confirmation]", chosen: "Mapping[str, Confirmation]", metric: str
) -> tuple[list[str], list[list[str]]]:
    """The front as a table that people read: its columns, and the cells of each member."""
    mean = "mean " if front[0].is_confirmed else ""
    columns = ["trial", f"{mean}validation {words_for(metric)}", *front[0].costs, "is the"]
    rows = [
        [
            str(one.trial),
            f"{measured(metric, one.mean):.4f}",
            *map(shown, one.costs, one.costs.values()),
            ", ".join(name for name, other in chosen.items() if other.trial == one.trial),
        ]
        for one in front
    ]
    return columns, rows


def log_page(
    search: StudyConfig,
    study: optuna.Study,
    pictures: Mapping[str, str],
    confirmations: "Sequence[Confirmation]" = (),
    test: float | None = None,
    front: "Sequence[Confirmation]" = (),
    chosen: "Mapping[str, Confirmation] | None" = None,
) -> None:
    """Log the study as a page: its winner with its seeds, its front, its trials, its pictures."""
    columns, rows = trial_rows(study.get_trials(deepcopy=False), search.objectives, search.metric)
    repeats = len(confirmations[0].accuracies) if confirmations else 0
    page = pages.render(
        "study.html.j2",
        f"Study {study.study_name}",
        confirmations=confirmations,
        seeds=range(search.seed + 1, search.seed + 1 + repeats),
        test=test,
        measure=search.measure,
        measured=partial(measured, search.metric),
        columns=columns,
        trials=rows,
        front=front_rows(front, chosen or {}, search.metric) if front else None,
        unconfirmed="" if not front or front[0].is_confirmed else UNCONFIRMED,
        pictures=pictures.items(),
    )
    tracking.log_text(page, Artifact.STUDY_PAGE)


def trial_rows(
    trials: Sequence[FrozenTrial], objectives: Sequence[str], metric: str
) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """All trials with their settings as a table: its columns, and of each trial, the best first, state and cells."""
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    columns = ["trial", "state", f"validation {words_for(metric)}", *objectives[1:], *names]
    rows = [
        [*_values(trial, objectives, metric), *(_short(trial.params.get(name)) for name in names)]
        for trial in sorted(trials, key=rank_of)
    ]
    return columns, [(row[1], row) for row in rows]


def _values(trial: FrozenTrial, objectives: Sequence[str], metric: str) -> list[str]:
    values = list(trial.values or ())
    texts = [f"{measured(metric, value):.4f}" for value in values[:1]]
    texts += map(shown, objectives[1:], values[1:])
    return [str(trial.number), trial.state.name.lower(), *texts, *[""] * (len(objectives) - len(texts))]


def _short(value: Value | None) -> str:
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value).lower()


def trials_frame(study: optuna.Study, costs: Sequence[str] = ()) -> "pd.DataFrame":
    """A row a trial: trial, state, val_accuracy, its costs, seconds, epochs, run_id, error, and its parameters."""
    trials = study.get_trials(deepcopy=False)
    frame = study.trials_dataframe(("number", "state", "duration", "params", "user_attrs"), multi_index=False)
    parameters = sorted(name for name in frame if name.startswith("params_"))
    table = frame[["number", "state"]].set_axis(["trial", "state"], axis=1)
    for column, name in enumerate(("val_accuracy", *costs)):
        table[name] = np.array(
            [(trial.values or [float("nan")] * (1 + len(costs)))[column] for trial in trials], dtype=np.float64
        )
    table["seconds"] = frame["duration"].dt.total_seconds()
    table["epochs"] = [trial.last_step for trial in trials]
    for name in (RUN_ID, ERROR, *([EXCESS] if f"user_attrs_{EXCESS}" in frame else [])):
        table[name] = frame.get(f"user_attrs_{name}")
    return table.join(frame[parameters].rename(columns=lambda name: name.removeprefix("params_")))
