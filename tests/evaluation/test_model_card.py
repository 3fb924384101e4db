"""The model card states what the run has logged, and nothing that it has not."""

from dataclasses import replace

import numpy as np

from sentiment_tune.evaluation.finished_run import FinishedRun
from sentiment_tune.evaluation.metrics import Proportion
from sentiment_tune.evaluation.model_card import render_card

RUN = FinishedRun(
    run_id="0123",
    network="cnn",
    data="films",
    data_digest="abcd",
    reviews_train=20_000,
    reviews_validation=200,
    reviews_test=4,
    seed=3,
    package_version="0.1.0",
    git_commit=None,
    parameters=1_234_567,
    is_refit=False,
    best_val_accuracy=0.905,
    test_accuracy=0.75,
    test_f1=0.8,
    test_macro_f1=0.7,
    test_roc_auc=0.9,
    test_log_loss=0.5,
    test_brier=0.16,
    test_reviews_per_second=1000.0,
    train_seconds=10.0,
    refit_seconds=0.0,
    model_bytes=1e6,
)
ADDRESS = "models:/sentiment-cnn/7"
PREDICTIONS = {
    "labels": np.array([0, 1, 1, 0], dtype=np.uint8),
    "probabilities": np.array([0.01, 0.99, 0.8, 0.6]),
    "lengths": np.array([10, 20, 150, 700]),
    "threshold": np.array(0.5),
}
ERROR_RATES: dict[str, tuple[Proportion, str | None]] = {
    "negation": (Proportion(3, 1200), "not <b>bad</b> & all"),
    "contrast": (Proportion(0, 12), None),
}


def card(run: FinishedRun = RUN, **predictions: np.ndarray) -> str:
    settings = {"model": "cnn", "filters": 100, "text": None}
    docs = {"filters": "units of the layer"}
    return render_card("sentiment-cnn", ADDRESS, run, settings, docs, PREDICTIONS | predictions, ERROR_RATES)


def test_the_card_states_the_run() -> None:
    lines = card().splitlines()
    for line in (
        "# sentiment-cnn",
        "`films`, digest `abcd`; reviews: 20,000 for train, 200 for validation, 4 for test. Nothing else was learned "
        "from.",
        "| validation, by which it was chosen | 0.9050 | 0.8564 to 0.9383 |",
        "| test, read once | 0.7500 | 0.3006 to 0.9544 |",
        "| 1 to 100 | 2 | 1.0000 | 0.3424 to 1.0000 |",
        "| over 500 | 1 | 0.0000 | 0.0000 to 0.7935 |",
        "Of the 50% of reviews it is surest of, beyond 0.95, 100.00% are right.",
        "| negation | 1,200 | 0.0025 | 0.0009 to 0.0073 |",
        'negation, its most confident mistake: "not <b>bad</b> & all"',
        "- model: cnn",
        "- filters: 100 (units of the layer)",
    ):
        assert line in lines
    assert "1,234,567 parameters" in card()
    assert "commit unknown, seed 3" in card()
    assert "commit abc, seed 3" in card(replace(RUN, git_commit="abc"))


def test_the_card_says_how_to_load_this_very_version() -> None:
    assert f'load_model("{ADDRESS}")' in card()
    assert f"score --model {ADDRESS} " in card()
    assert "@champion" not in card()


def test_the_card_leaves_out_what_there_is_not() -> None:
    unsure = card(probabilities=np.array([0.4, 0.6, 0.7, 0.6]))
    assert "surest" not in unsure
    assert "contrast, its most confident" not in unsure
    assert "- text" not in unsure


def test_the_sections_are_set_apart_by_one_empty_line() -> None:
    lines = card().splitlines()
    assert not [row for row in range(1, len(lines)) if not lines[row] and not lines[row - 1]]
    for row in range(1, len(lines)):
        assert not lines[row].startswith("## ") or lines[row - 1] == lines[row + 1] == ""


def test_no_table_runs_into_what_stands_below_it() -> None:
    lines = card().splitlines()
    for row, line in enumerate(lines):
        if line.startswith("|") and not lines[row + 1].startswith("|"):  # MLflow's page leaves no space below a table
            assert lines[row + 1] == ""
            assert not lines[row + 2].startswith("#")


def test_settings_that_are_as_by_default_are_one_line() -> None:
    settings, defaults = {"model": "cnn", "filters": 64, "hidden": 100}, {"filters": 100, "hidden": 100}
    lines = render_card("sentiment-cnn", ADDRESS, RUN, settings, {}, PREDICTIONS, ERROR_RATES, defaults).splitlines()
    assert "- filters: 64" in lines
    assert "All else as by default: hidden 100." in lines
    assert not [line for line in lines if line.startswith("- hidden")]
