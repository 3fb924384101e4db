"""Pictures of a study."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import optuna
from matplotlib import pyplot
from matplotlib.figure import Figure
from optuna import visualization
from optuna.exceptions import ExperimentalWarning
from optuna.trial import TrialState

from sentiment_tune.space import Value

_NAMES = {
    "optimization_history": "Best validation accuracy, trial by trial",
    "param_importances": "Which settings matter (PED-ANOVA)",
    "parallel_coordinate": "Settings of every trial",
    "slice": "Validation accuracy by each setting",
    "intermediate_values": "Best validation accuracy so far, epoch by epoch",
}
_TARGET: dict[str, Value] = {"target_name": "validation accuracy"}


def draw_study(study: optuna.Study) -> Iterator[tuple[str, str, Figure]]:
    """Name, title and figure of each picture that the study has enough trials for."""
    for name, title in _NAMES.items():
        axes = _axes(study, name)
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
        yield name, title, figure
        pyplot.close(figure)


def _axes(study: optuna.Study, name: str) -> Any:
    """What Optuna draws of a study under this name; None where it has too few trials for that."""
    values = {trial.value for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE}
    if name == "param_importances" and len(values) < 2:
        return None
    draw: Callable[..., Any] = getattr(visualization.matplotlib, f"plot_{name}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # Optuna's, of its pictures by matplotlib
        warnings.simplefilter("ignore", UserWarning)
        return draw(study, **({} if name == "intermediate_values" else _TARGET))
