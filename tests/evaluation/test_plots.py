"""What the pictures claim must be true of the data, and no text may break them."""

import io
import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray
from sklearn import metrics

from sentiment_tune.evaluation import plots
from sentiment_tune.evaluation.metrics import wilson_interval

pytestmark = pytest.mark.filterwarnings("error")

Data = tuple[NDArray[np.int64], NDArray[np.float64]]


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def page(figure: Figure) -> str:
    return " ".join("\n".join(words(figure)).split())


def png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def sample(reviews: int, strength: float = 1.0) -> Data:
    """Labels and probabilities of a classifier, the better the greater its strength; 0 guesses."""
    random = np.random.default_rng(7)
    labels = random.integers(0, 2, reviews)
    return labels, 1 / (1 + np.exp(-strength * (2 * labels - 1) - random.normal(size=reviews)))


def records(accuracies: list[float], losses: list[float]) -> list[dict[str, float]]:
    return [
        {"epoch": epoch, "train_loss": 0.5, "val_loss": loss, "train_accuracy": 0.9, "val_accuracy": accuracy}
        for epoch, (accuracy, loss) in enumerate(zip(accuracies, losses, strict=True), 1)
    ]


@pytest.mark.parametrize(
    ("accuracies", "losses", "best"),
    [
        ([0.7], [0.6], 1),
        ([0.7, 0.893, 0.8], [0.6, 0.5, 0.4], 2),
        ([0.8, 0.8, 0.8], [0.6, 0.4, 0.5], 2),
        ([0.8, 0.8], [np.nan, 0.5], 2),
        ([0.8, 0.8], [np.inf, 0.5], 2),
        ([0.5], [np.nan], 1),
        (list(np.linspace(0.5, 0.9, 30)), [0.5] * 30, 30),
    ],
)
def test_learning_curves_mark_the_best_epoch(
    accuracies: list[float], losses: list[float], best: int, caplog: pytest.LogCaptureFixture
) -> None:
    figure = plots.learning_curves(records(accuracies, losses))
    assert f"Best validation accuracy {accuracies[best - 1]:.3f} in epoch {best}" in words(figure)
    assert f"best epoch: {best}" in words(figure)
    for axes, values in zip(figure.axes, (losses, accuracies), strict=True):
        ring = next(line for line in axes.lines if line.get_label() == f"best epoch: {best}")
        np.testing.assert_array_equal(ring.get_xydata(), [[best, values[best - 1]]])
    assert png(figure)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_learning_curves_show_every_value_against_whole_epochs() -> None:
    figure = plots.learning_curves(records([0.6, 0.7, 0.65], [0.6, 0.5, 0.55]))
    png(figure)
    accuracy = next(line for line in figure.axes[1].lines if line.get_label() == "validation")
    np.testing.assert_array_equal(accuracy.get_xydata(), [[1, 0.6], [2, 0.7], [3, 0.65]])
    assert {"1", "2", "3"} <= set(words(figure))
    assert "2.5" not in words(figure)


@pytest.mark.parametrize("data", [sample(2000), sample(10), sample(300, 0.0)])
def test_confusion_matrix_shows_the_counts_of_sklearn(data: Data) -> None:
    labels, probabilities = data
    counts = metrics.confusion_matrix(labels, probabilities > 0.5)
    axes = plots.confusion_matrix(labels, probabilities).axes[0]
    shown = {text.get_position(): text.get_text() for text in axes.texts}
    cells = [text for (_, height), text in sorted(shown.items(), key=lambda cell: cell[0][::-1]) if "%" not in text]
    assert cells == [f"{count:,}" for count in counts.ravel()]
    shares = counts / counts.sum(axis=1, keepdims=True)
    assert {f"{shares[0, 1]:.1%} of negative reviews", f"{shares[1, 0]:.1%} of positive reviews"} <= set(shown.values())


def test_a_probability_of_one_half_is_negative() -> None:
    assert "100.0% of positive reviews" in words(plots.confusion_matrix([0, 1], [0.5, 0.51]))
    assert plots.most_confident_mistakes([0, 1], [0.5, 0.5]) == [1]


def test_confusion_matrix_of_an_absent_class() -> None:
    assert words(plots.confusion_matrix([1, 1], [0.9, 0.1])).count("no such reviews") == 2


def test_roc_curve_states_its_area_and_marks_the_threshold() -> None:
    labels, probabilities = sample(500)
    figure = plots.roc_curve(labels, probabilities)
    assert f"Area under the ROC curve {metrics.roc_auc_score(labels, probabilities):.3f} on 500 reviews" in page(figure)
    rates = metrics.confusion_matrix(labels, probabilities > 0.5, normalize="true")[:, 1]
    point = next(line for line in figure.axes[0].lines if str(line.get_label()).startswith("threshold 0.5"))
    np.testing.assert_allclose(point.get_xydata(), [rates])


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_alone_has_no_roc_curve(label: int) -> None:
    figure = plots.roc_curve([label] * 3, [0.2, 0.4, 0.6])
    assert words(figure) == [f"No ROC curve: none of 3 reviews is {('positive', 'negative')[label]}"]
    assert png(figure)


def test_calibration_error_is_zero_where_shares_equal_probabilities() -> None:
    tenths = np.arange(10) / 10 + 0.05
    labels = np.concatenate([np.arange(100) < round(100 * chance) for chance in tenths]).astype(int)
    assert plots.expected_calibration_error(labels, np.repeat(tenths, 100)) == pytest.approx(0)


def test_calibration_error_of_a_constant_classifier() -> None:
    assert plots.expected_calibration_error([0, 1] * 50, [0.9] * 100) == pytest.approx(0.4)
    assert plots.expected_calibration_error([1, 0], [0.0, 1.0]) == pytest.approx(1)
    assert plots.expected_calibration_error([0, 1], [0.0, 1.0]) == 0


def test_reliability_diagram_states_and_draws_its_bins() -> None:
    labels, probabilities = sample(1000)
    figure = plots.reliability_diagram(labels, probabilities)
    error = plots.expected_calibration_error(labels, probabilities)
    brier = metrics.brier_score_loss(labels, probabilities)
    assert f"Expected calibration error {error:.3f}, Brier score {brier:.3f}" in words(figure)
    heights = [bar.get_height() for bar in figure.axes[1].patches]
    np.testing.assert_array_equal(heights, np.histogram(probabilities, 10, (0, 1))[0])


def test_wilson_interval_matches_a_published_value() -> None:
    """Newcombe (1998), Statistics in Medicine 17, table I, method 3: 81/263, 15/148, 0/20, 1/29."""
    positives, counts = np.array([81.0, 15, 0, 1]), np.array([263.0, 148, 20, 29])
    expected = [[0.2553, 0.0624, 0.0, 0.0061], [0.3662, 0.1605, 0.1611, 0.1718]]
    np.testing.assert_allclose(wilson_interval(positives, counts), expected, atol=6e-5)


@pytest.mark.parametrize("count", [0, 3, 10, 1000])
def test_mistakes_come_in_order_of_confidence(count: int) -> None:
    labels, probabilities = sample(200)
    rows = plots.most_confident_mistakes(labels, probabilities, count)
    wrong = (probabilities > 0.5) != labels
    confidence = np.abs(probabilities - 0.5)
    assert len(rows) == min(count, wrong.sum())
    assert all(wrong[rows])
    assert np.all(np.diff(confidence[rows]) <= 0)
    left = np.setdiff1d(np.flatnonzero(wrong), rows)
    assert not rows or not len(left) or confidence[left].max() <= confidence[rows].min()


def test_equally_confident_mistakes_keep_their_order() -> None:
    assert plots.most_confident_mistakes([1, 0, 1, 1, 0], [0.25, 0.75, 0.9, 0.25, 1.0]) == [4, 0, 1, 3]


def test_mistakes_show_text_probability_and_classes() -> None:
    start, end = "A dreadful opening.", "It broke my heart."
    texts = [f"{start}<br /><br />{'dull ' * 300}{end}", "Never shown.", "Fine for $5 and $6."]
    shown = page(plots.mistakes([1, 1, 0], [0.125, 0.9, 0.75], texts))
    assert "2 mistakes in 3 reviews (66.7%)" in shown
    assert start in shown
    assert "[...] dull" in shown
    assert end in shown
    assert "<br" not in shown
    assert "Never shown." not in shown
    assert "predicted negative truly positive P(positive) 0.125, review 0" in shown
    assert "predicted positive truly negative P(positive) 0.750, review 2 Fine for $5 and $6." in shown


def test_at_most_ten_mistakes_are_shown() -> None:
    figure = plots.mistakes(np.zeros(30, int), np.linspace(0.6, 0.99, 30), [f"text {row}" for row in range(30)])
    assert [text for text in words(figure) if text.startswith("text ")] == [f"text {row}" for row in range(29, 19, -1)]
    assert "The 10 most confident of 30 mistakes in 30 reviews (100.0%)" in words(figure)


def test_no_mistake_is_said() -> None:
    figure = plots.mistakes([0, 1], [0.1, 0.9], ["bad", "good"])
    assert words(figure) == ["No mistake in 2 reviews"]
    assert png(figure)


HOSTILE = [
    "$\\frac{1}{0}$ costs $5, not $6",
    "\x00\x07\x1b[31m\r\n\t\u202e",
    "映画 \U0001f3ac \ud800 \uffff e\u0301 العربية",
    "W" * 3000,
    "word " * 1000 + "END",
    "lower case " * 12 + "AND SHOUTED ALOUD " * 12,
    "",
    "<br />" * 9,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_on_the_page(text: str) -> None:
    figure = plots.mistakes([0], [0.9], [text])
    assert png(figure)
    for drawn in figure.axes[0].texts:
        extent = drawn.get_window_extent()
        assert extent.x0 >= 0
        assert extent.x1 <= figure.bbox.x1
        assert extent.y0 >= 0


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(st.characters(), max_size=400), min_size=1, max_size=4))
def test_any_text_can_be_drawn(texts: list[str]) -> None:
    assert png(plots.mistakes([0] * len(texts), [0.9] * len(texts), texts))


@pytest.mark.parametrize("reviews", [10, 400])
@pytest.mark.parametrize("scale", [1.0, 0.5], ids=["both classes predicted", "all predicted negative"])
def test_every_picture_of_a_classifier_saves(reviews: int, scale: float) -> None:
    labels, probabilities = sample(reviews)
    for draw in (plots.confusion_matrix, plots.roc_curve, plots.reliability_diagram):
        assert png(draw(labels, probabilities.astype(np.float32) * scale))


def test_accuracy_against_time_names_every_run_and_its_champions() -> None:
    names = [(), ("sentiment", "sentiment-cnn"), ()]
    figure = plots.accuracy_against_time([12.0, 140.0, 390.0], [0.88, 0.92, 0.89], ["linear", "cnn", "gru"], names)
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert texts == {"linear", "cnn: sentiment, sentiment-cnn", "gru"}
    assert figure.get_suptitle() == "Best on test: cnn, 0.9200 after 140 s of training"
    assert plots.png(figure).startswith(b"\x89PNG\r\n\x1a\n")


def test_the_names_of_neighbours_do_not_overlap() -> None:
    networks = ["feedforward", "rnn", "cnn", "cnn_lstm"]
    champion_of = [(f"sentiment-{network}",) for network in networks]
    figure = plots.accuracy_against_time(
        [67.0, 81.0, 82.0, 560.0], [0.8818, 0.8825, 0.8826, 0.88], networks, champion_of
    )
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert not any(box.count_overlaps(boxes[:place]) for place, box in enumerate(boxes))
    assert all(box.x0 >= figure.bbox.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
