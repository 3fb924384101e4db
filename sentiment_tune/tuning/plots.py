"""Pictures of a study: one interactive page, and each picture of it as an image."""

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


def study_page(study: optuna.Study) -> str:
    """All pictures as one HTML page that needs no network; plotly's code is in it once."""
    parts = [
        f"<h2>{title}</h2>{figure.to_html(full_html=False, include_plotlyjs=not number)}"
        for number, (title, figure) in enumerate(_figures(study, visualization))
    ]
    head = f"<meta charset='utf-8'><title>{study.study_name}</title><style>body{{font-family:sans-serif}}</style>"
    return f"<!doctype html>{head}<h1>Study {study.study_name}</h1>{''.join(parts)}"


def draw_study(study: optuna.Study) -> Iterator[tuple[str, Figure]]:
    """The name of each picture and the picture."""
    names = {title: name for name, title in _NAMES.items()}
    for title, axes in _figures(study, visualization.matplotlib):
        first = axes.flat[0] if hasattr(axes, "flat") else axes
        figure: Figure = first.figure
        figure.set_size_inches(max(9.0, 3.2 * len(figure.axes)), 5.5)
        for one in figure.axes:
            one.tick_params(axis="x", which="both", labelrotation=45)  # a log scale's labels are long
        yield names[title], figure
        pyplot.close(figure)


def _figures(study: optuna.Study, library: Any) -> Iterator[tuple[str, Any]]:
    """Title and figure of each picture that the study has enough trials for, drawn by one of Optuna's libraries."""
    complete = [trial for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE]
    values = {trial.value for trial in complete}
    for name, title in _NAMES.items():
        if name == "param_importances" and len(values) < 2:
            continue
        draw: Callable[..., Any] = getattr(library, f"plot_{name}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # Optuna's, of its pictures by matplotlib
            warnings.simplefilter("ignore", UserWarning)
            yield title, draw(study, **({} if name == "intermediate_values" else _TARGET))
