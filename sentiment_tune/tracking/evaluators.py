"""What `mlflow.models.evaluate(uri, frame, targets="label", model_type="classifier")` makes of a logged model.

MLflow's evaluator of classifiers wants of `predict` a label a row, spelled as the table's are, and no probabilities;
that of explanations fails at a column of texts. For models of ours, and only for them, these take their place.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models.evaluation.base import EvaluationResult
from mlflow.models.evaluation.evaluators import classifier, shap
from numpy.typing import NDArray

from sentiment_tune.data.labels import Classes
from sentiment_tune.errors import InputError
from sentiment_tune.tracking.text_model import ALL

_OF_CLASS = "probability_"
LOADER = "sentiment_tune.tracking.flavor"


def is_text_model(model: Any) -> bool:
    """Whether MLflow has loaded the model through this package's flavor."""
    metadata = getattr(model, "metadata", None)
    return metadata is not None and metadata.flavors["python_function"]["loader_module"] == LOADER


class ReviewEvaluator(classifier.ClassifierEvaluator):
    """Takes probabilities from the table that a model of ours answers with, and its labels in the truth's spelling."""

    def _generate_model_predictions(self, model: Any, input_df: pd.DataFrame) -> Any:
        if not is_text_model(model):
            return super()._generate_model_predictions(model, input_df)  # type: ignore[no-untyped-call]
        answers = model.predict(input_df, params={ALL: True})
        error = next(filter(None, answers["error"]), None)
        if error:
            raise InputError(f"{error}; evaluate rows with texts only")
        names = [name.removeprefix(_OF_CLASS) for name in answers.columns if name.startswith(_OF_CLASS)]
        probabilities = answers[[_OF_CLASS + name for name in names]].to_numpy(float)
        spellings = _spellings(self.y_true, names)
        self.label_list = self.label_list or spellings.tolist()  # all, also where the table has some of them
        if len(names) == 2:
            self.pos_label = spellings[1] if self.pos_label is None else self.pos_label
        in_order = probabilities[:, np.argsort(spellings)]  # as MLflow sorts the labels
        return spellings[[names.index(label) for label in answers["label"]]], in_order


def _spellings(truth: NDArray[Any], names: Sequence[str]) -> NDArray[Any]:
    """How the true labels spell the classes of these names, in words or in numbers."""
    classes = Classes(tuple(names))
    numbers = np.array([classes.number_of(str(label)) for label in truth.tolist()])
    others = names if truth.dtype.kind in "OUT" else range(len(names))
    return np.array(
        [truth[numbers == label][0] if label in numbers else others[label] for label in range(len(names))],
        dtype=truth.dtype,
    )


class TextShapEvaluator(shap.ShapEvaluator):
    """Explains no model of ours: there are no columns of numbers to explain it by."""

    def _evaluate(self, model: Any, *args: Any, **more: Any) -> EvaluationResult | None:
        return None if is_text_model(model) else super()._evaluate(model, *args, **more)


def replace_evaluators(registry_module: Any) -> None:
    """Have MLflow ask these two in place of its own, whether or not it has its own registered yet."""
    classifier.ClassifierEvaluator, shap.ShapEvaluator = ReviewEvaluator, TextShapEvaluator  # type: ignore[misc]
    for evaluator in (ReviewEvaluator, TextShapEvaluator):
        registry_module._model_evaluation_registry.register_builtin(evaluator.name, evaluator)
