"""The two classes: what they are called, and when a review is positive."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from sentiment_tune.data.labels import CLASS_NAMES, is_positive, parse_labels
from sentiment_tune.errors import InputError
from sentiment_tune.inference.scorer import label_for


def test_a_review_is_positive_above_a_half() -> None:
    assert [is_positive(probability) for probability in (0.0, 0.5, 0.5000001, 1.0)] == [False, False, True, True]
    assert is_positive(np.array([0.4, 0.5, 0.6])).tolist() == [False, False, True]
    assert [label_for(probability) for probability in (0.5, np.float64(0.6))] == list(CLASS_NAMES)


def test_labels_of_every_kind_of_number_are_understood() -> None:
    ones = [1, 1.0, True, np.int64(1), np.float32(1), np.bool_(True), Decimal(1), "1", "Positive", " pos "]
    assert parse_labels(ones, "frame").tolist() == [1] * len(ones)
    assert parse_labels([0, np.bool_(False), CLASS_NAMES[0]], "frame").tolist() == [0, 0, 0]


@pytest.mark.parametrize("cell", [pd.NA, pd.NaT, np.nan, None, np.array([0, 1]), [1], 2, -1, "yes"])
def test_what_is_no_label_is_refused_by_its_row(cell: object) -> None:
    with pytest.raises(InputError, match=r"frame, row 2: no label .*; choose from 0, neg, negative, 1, pos, positive"):
        parse_labels([1, cell], "frame")
