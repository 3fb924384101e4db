"""What `mlflow.pyfunc` asks a logged model: a table, a list or a request of texts in, a row of answers for each.

The model has no input schema, since MLflow would use one to drop columns in silence; which column holds the texts is
decided here, the same for every form of request.
"""

import ast
import os
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from numpy.typing import NDArray

from sentiment_tune.errors import InputError
from sentiment_tune.inference.scorer import Scorer, unreadable

COLUMN = "text"
ANSWER = Schema(
    [
        ColSpec(DataType.double, "probability", required=False),
        ColSpec(DataType.string, "label"),
        ColSpec(DataType.string, "error"),
    ]
)
ALL = "all_probabilities"  # the parameter
PARAMETERS = ParamSchema([ParamSpec(ALL, DataType.boolean, False)])
_SERVING = "_MLFLOW_IS_IN_SERVING_ENVIRONMENT"  # MLflow's variable in a process that answers requests
_WIDTH_OF_NUMBERS = np.array(["", 0]).dtype.itemsize // np.dtype("U1").itemsize
_TRUTH = re.compile("True|False")
_NUMBER = re.compile(rf"{_TRUTH.pattern}|-?\d+(\.\d+)?(e[+-]?\d+)?")


class TextModel:
    """The logged model as MLflow's raw-text door has it."""

    def __init__(self, scorer: Scorer):
        self.scorer = scorer

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Score the column `text` of a table, its only column, or a list of texts, as `find_texts` finds them.

        Each row has its answer, in order and under its index: `probability`, of the second of two classes (positive),
        of more that of the label; `label`; and `error`, which is empty. A row that is no text has no probability, an
        empty label, and why in `error`. With the parameter `all_probabilities` each class has a column too.
        """
        try:
            texts = find_texts(model_input)
        except InputError as error:  # a request is then refused with this line; of others servers show the stack
            raise MlflowException.invalid_parameter_value(str(error)) from None
        return self._answers(texts, bool((params or {}).get(ALL)))

    def _answers(self, texts: "pd.Series[Any]", all_classes: bool) -> pd.DataFrame:
        errors = [unreadable(row, text) for row, text in enumerate(texts)]
        scored = np.array([not error for error in errors], dtype=bool)
        found = self.scorer.answers(self.scorer.predict_proba(texts[scored]), all_classes)
        labels = np.full(len(texts), "", dtype=object)
        labels[scored] = found.pop("label")
        columns: dict[str, Any] = {"probability": None, "label": labels, "error": errors}
        for name, probabilities in found.items():
            columns[name] = np.full(len(texts), np.nan)
            columns[name][scored] = probabilities
        answers = pd.DataFrame(columns, texts.index)
        # JSON has no NaN: of this type what is missing becomes null there, and in Spark.
        return answers if scored.all() else answers.astype(dict.fromkeys(found, "Float64"))


def find_texts(given: Any) -> "pd.Series[Any]":
    """The texts of a request: the column `text` of a table, its only column whatever the name, a list, one text.

    InputError names the columns of a table that leaves open which holds the texts.
    """
    table = _table(given)
    if table is None:
        return given if isinstance(given, pd.Series) else pd.Series(_rows(given), dtype=object)
    if _is_serving() and table.index.dtype.kind not in "iu":
        # So pandas reads a CSV whose line has more fields than its header: the first ones become the row's name.
        raise InputError(f"rows are named {list(table.index[:1])}: quote a text that holds commas, and name no rows")
    names = list(table.columns)
    if names.count(COLUMN) == 1:
        return table[COLUMN]
    if len(names) == 1:
        return table.iloc[:, 0]
    if table.shape == (0, 0):
        return pd.Series(dtype=object)
    raise InputError(f"columns {names}: call the one to score {COLUMN!r}, or give one column (Spark: a struct of both)")


def _table(given: Any) -> pd.DataFrame | None:
    """What was given as a table; None where it is a row of texts."""
    if isinstance(given, pd.DataFrame):
        return given
    if isinstance(given, np.ndarray) and given.ndim > 1:
        return _columns(dict(enumerate(map(_rows, given.reshape(len(given), -1).T))))
    if isinstance(given, dict):
        return _columns({name: _rows(cells) for name, cells in given.items()})
    if isinstance(given, list) and given and all(isinstance(row, dict) for row in given):
        names = dict.fromkeys(name for row in given for name in row)
        return _columns({name: [_cell(row.get(name)) for row in given] for name in names})
    if isinstance(given, list) and given and all(isinstance(row, list | np.ndarray) for row in given):
        return pd.DataFrame(given, dtype=object)
    return None


def _columns(columns: dict[Any, list[Any]]) -> pd.DataFrame:
    sizes = {name: len(cells) for name, cells in columns.items()}
    if len(set(sizes.values())) > 1:
        raise InputError(f"columns of different lengths, {sizes}: give each row a text")
    return pd.DataFrame({name: pd.Series(cells, dtype=object) for name, cells in columns.items()})


def _rows(given: Any) -> list[Any]:
    """The rows of a column; what is no column is a row."""
    cell = _cell(given)
    if isinstance(cell, str | bytes) or not isinstance(cell, Iterable):
        return [cell]
    if isinstance(cell, np.ndarray) and cell.dtype.kind == "U" and _is_serving():
        return _with_numbers(cell)
    return list(map(_cell, cell))


def _with_numbers(column: NDArray[np.str_]) -> list[Any]:
    """The rows of a request's list, of whose numbers MLflow's server has made texts where others were texts.

    NumPy widens the column for them, so that a narrow one had none.
    """
    width = column.dtype.itemsize // np.dtype("U1").itemsize
    spelling = _NUMBER if width >= _WIDTH_OF_NUMBERS else _TRUTH
    return [ast.literal_eval(text) if spelling.fullmatch(text) else text for text in column.tolist()]


def _is_serving() -> bool:
    return os.environ.get(_SERVING) == "true"


def _cell(value: Any) -> Any:
    """A value as it was before MLflow's server put it into an array without dimensions."""
    return value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value
