"""What the pictures claim must be true of the data."""

import io
import logging

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from numpy.typing import NDArray
from sklearn import metrics

from sentiment_tune.evaluation import plots
from sentiment_tune.evaluation.metrics import expected_calibration_error

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


def test_confusion_matrix_of_an_absent_class() -> None:
    assert words(plots.confusion_matrix([1, 1], [0.9, 0.1])).count("no such reviews") == 2


def test_roc_curve_states_its_area_and_marks_the_threshold() -> None:
    labels, probabilities = sample(500)
    figure = plots.roc_curve(labels, probabilities)
    assert f"Area under the ROC curve {metrics.roc_auc_score(labels, probabilities):.3f} on 500 reviews" in page(figure)
    rates = metrics.confusion_matrix(labels, probabilities > 0.5, normalize="true")[:, 1]
    point = next(line for line in figure.axes[0].lines if str(line.get_label()).startswith("threshold 0.5"))
    np.testing.assert_allclose(np.asarray(point.get_xydata()), [rates])


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_alone_has_no_roc_curve(label: int) -> None:
    figure = plots.roc_curve([label] * 3, [0.2, 0.4, 0.6])
    assert words(figure) == [f"No ROC curve: none of 3 reviews is {('positive', 'negative')[label]}"]
    assert png(figure)


def test_reliability_diagram_states_and_draws_its_bins() -> None:
    labels, probabilities = sample(1000)
    figure = plots.reliability_diagram(labels, probabilities)
    error = expected_calibration_error(labels, probabilities)
    brier = metrics.brier_score_loss(labels, probabilities)
    assert f"Expected calibration error {error:.3f}, Brier score {brier:.3f}" in words(figure)
    heights = [bar.get_height() for bar in figure.axes[1].patches if isinstance(bar, Rectangle)]
    np.testing.assert_array_equal(heights, np.histogram(probabilities, 10, (0, 1))[0])


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


@pytest.mark.parametrize(
    ("costs", "shown"),
    [([200_000, 3_000_000], ["200,000", "500,000", "1,000,000", "2,000,000"]), ([0.02, 5], ["0.1", "1"])],
)
def test_costs_are_written_out(costs: list[float], shown: list[str]) -> None:
    points = {3: (costs[0], 0.8), 5: (costs[1], 0.9)}
    figure = plots.accuracy_against_cost(points, points, ["a", "b"], "cost", "cost 5")
    figure.draw_without_rendering()
    axis = figure.axes[0].xaxis
    labels = {text.get_text() for text in (*axis.get_majorticklabels(), *axis.get_minorticklabels())}
    assert set(shown) <= labels
    assert not any("e" in label for label in labels)
    assert [plots.svg(figure).count(f'id="trial-{trial}"') for trial in (3, 4, 5)] == [2, 0, 2]


def test_the_names_of_neighbours_do_not_overlap() -> None:
    networks = ["feedforward", "rnn", "cnn", "cnn_lstm"]
    champion_of = [(f"sentiment-{network}",) for network in networks]
    figure = plots.accuracy_against_time(
        [67.0, 81.0, 82.0, 560.0], [0.8818, 0.8825, 0.8826, 0.88], networks, champion_of
    )
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert not any(box.count_overlaps(boxes[:index]) for index, box in enumerate(boxes))
    assert all(box.x0 >= figure.bbox.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
