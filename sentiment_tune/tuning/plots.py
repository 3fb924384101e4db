"""Pictures of a study."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import optuna
from matplotlib import pyplot, rc_context
from matplotlib.figure import Figure
from optuna import visualization
from optuna.exceptions import ExperimentalWarning
from optuna.trial import TrialState

from sentiment_tune.evaluation.plots import accuracy_against_cost
from sentiment_tune.tuning.objectives import OBJECTIVES, shown

if TYPE_CHECKING:
    from sentiment_tune.tuning.confirm import Confirmation

_NAMES = {
    "optimization_history": "Best {measure}, trial by trial",
    "param_importances": "Which settings matter (PED-ANOVA)",
    "parallel_coordinate": "Settings of every trial",
    "slice": "{measure} by each setting",
    "intermediate_values": "Best {measure} so far, epoch by epoch",
}


def draw_front(
    study: optuna.Study,
    front: "Sequence[Confirmation]",
    chosen: "Mapping[str, Confirmation]",
    cost: str,
    column: int,
    measure: str,
) -> Figure:
    """The measure against one of a study's costs, whose values stand in that column of a trial's values."""
    trials = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    tried = {trial.number: (trial.values[column], trial.values[0]) for trial in trials}
    names = [" ".join(name for name, other in chosen.items() if other.trial == one.trial) for one in front]
    how = "mean of several seeds" if front[0].is_confirmed else "of the trials, not trained again"
    members = {one.trial: (one.costs[cost], one.mean) for one in front}
    best_cost = f"{cost} {shown(cost, front[0].costs[cost])}"
    return accuracy_against_cost(tried, members, names, OBJECTIVES[cost].doc, best_cost, measure, f"front, {how}")


def draw_study(study: optuna.Study, measure: str) -> Iterator[tuple[str, str, Figure]]:
    """Name, title and figure of each picture that the study has enough trials for."""
    for name, title in _NAMES.items():
        axes = _axes(study, name, measure)
        if axes is None:
            continue
        first = axes.flat[0] if hasattr(axes, "flat") else axes
        figure: Figure = first.figure
        figure.set_size_inches(max(9.0, 3.2 * len(figure.axes)), 5.5)
        for one in figure.axes:
            one.tick_params(axis="x", which="both", labelrotation=45)  # a log scale's labels are long
            for place in ("left", "center", "right"):  # the page has the title
                one.set_title("", loc=place)
        figure.suptitle("")
        shown = title.format(measure=measure)
        yield name, shown[0].upper() + shown[1:], figure
        pyplot.close(figure)


def _axes(study: optuna.Study, name: str, measure: str) -> Any:
    """What Optuna draws of a study under this name; None where it has too few trials for that."""
    values = {trial.values[0] for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE}
    is_pareto = len(study.directions) > 1
    if (name == "param_importances" and len(values) < 2) or (name == "intermediate_values" and is_pareto):
        return None
    target: dict[str, Any] = {"target_name": measure}
    if is_pareto:
        target["target"] = lambda trial: trial.values[0]
    draw: Callable[..., Any] = getattr(visualization.matplotlib, f"plot_{name}")
    with warnings.catch_warnings(), rc_context():  # Optuna chooses a style of its own for all that is drawn later
        warnings.simplefilter("ignore", ExperimentalWarning)  # Optuna's, of its pictures by matplotlib
        warnings.simplefilter("ignore", UserWarning)
        return draw(study, **({} if name == "intermediate_values" else target))
