"""The model card: what a registered model is, what it was trained on, how good it is and where it fails."""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from numpy.typing import NDArray

from sentiment_tune.evaluation.finished_run import FinishedRun
from sentiment_tune.evaluation.metrics import (
    Proportion,
    accuracy_by_length,
    confidence,
    expected_calibration_error,
    is_correct,
    measured,
)

_CONFIDENT = 0.95  # probability of the likeliest class beyond which a model counts as sure


def render_card(
    name: str,
    address: str,
    run: FinishedRun,
    settings: Mapping[str, Any],
    docs: Mapping[str, str],
    predictions: Mapping[str, NDArray[Any]],
    error_rates: Mapping[str, tuple[Proportion, str | None]],
    defaults: Mapping[str, Any] | None = None,
) -> str:
    """Markdown, from what a run has logged: `predictions` as of `tracking.records.read_test_predictions`.

    `address` is what loads this very version, as `models:/NAME@ALIAS` or `models:/NAME/VERSION`.
    `docs` says what a setting does, by its name, for those that have a declaration; those that are as in `defaults` are
    told in one line.
    """
    labels, probabilities = predictions["labels"], predictions["probabilities"]
    correct = is_correct(labels, probabilities, float(predictions["threshold"]))
    validated = run.reviews_validation
    usual = ((name, value) for name, value in (defaults or {}).items() if settings.get(name) == value)
    return _template().render(
        name=name,
        address=address,
        run=run,
        judged=measured(run.metric, run.score),
        validation=Proportion(round(run.best_val_accuracy * validated), validated),
        test=Proportion.of(correct),
        accuracies=accuracy_by_length(correct, predictions["lengths"]),
        calibration_error=expected_calibration_error(labels, probabilities),
        confident=Proportion.of(correct[confidence(probabilities) > _CONFIDENT]),
        threshold=float(predictions["threshold"]),
        error_rates=error_rates,
        settings=settings,
        defaults=defaults or {},
        usual=", ".join(f"{name} {value}" for name, value in usual if value is not None),
        docs=docs,
    )


def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("sentiment_tune.evaluation"),
        undefined=StrictUndefined,
        autoescape=False,  # Markdown
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["share"] = _share
    return environment.get_template("model_card.md.j2")


def _share(proportion: Proportion) -> str:
    """A share and its interval, as two cells of a table."""
    low, high = proportion.interval
    return f"{proportion.value:.4f} | {low:.4f} to {high:.4f}"
