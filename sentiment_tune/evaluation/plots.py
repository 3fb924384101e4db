"""Pictures of what a training run leaves: how it learned, how far its probabilities can be trusted, where it errs.

Every function returns a `matplotlib.figure.Figure` of its own; no figure is made by pyplot, which would keep it. In all
of them `labels` are the numbers of the classes [review], `probabilities` those of the second of two [review] or of each
of more [review, class], in 0..1.
"""

import io
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import matplotlib
import numpy as np
import sklearn.metrics
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox, BboxBase
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import ConfusionMatrixDisplay, RocCurveDisplay

from sentiment_tune.data.labels import SENTIMENT, THRESHOLD, Classes, classify
from sentiment_tune.evaluation.metrics import (
    BINS,
    as_two,
    brier_score,
    calibration_bins,
    expected_calibration_error,
    is_correct,
    wilson_interval,
)

_BLUE, _ORANGE, _GREY, _INK = "#0072B2", "#D55E00", "#767676", "#222222"  # Okabe and Ito's, for the colour-blind
_MOST_WRITTEN, _MOST_CURVES = 12, 10  # classes whose counts are written out, and that have a curve each
_HEADING: dict[str, Any] = {"size": 14, "weight": "bold", "color": _INK}


def learning_curves(epochs: Sequence[Mapping[str, float]]) -> Figure:
    """Show whether training converged or overfitted, and which epoch was the best.

    Each record holds epoch (from 1), train_loss, val_loss [nat], train_accuracy and val_accuracy [share].
    """
    # A diverged loss is not a number, which must not win a tie.
    best = max(epochs, key=lambda record: (_score(record), -np.nan_to_num(record["val_loss"], nan=np.inf)))
    figure = _figure(9.6, 4.8, f"Best validation accuracy {best['val_accuracy']:.3f} in epoch {best['epoch']:.0f}")
    loss, accuracy = figure.subplots(1, 2)
    _style(loss, "epoch", "loss [nat per review]")
    _style(accuracy, "epoch", "accuracy [share of reviews]")
    _draw_measure(loss, epochs, "loss", best)
    _draw_measure(accuracy, epochs, "accuracy", best)
    _legend(figure, loss)
    return figure


def _score(record: Mapping[str, float]) -> float:
    """By which an epoch was judged: its accuracy, unless it has a score of its own."""
    return record.get("val_score", record["val_accuracy"])


def confusion_matrix(
    labels: ArrayLike, probabilities: ArrayLike, classes: Classes = SENTIMENT, threshold: float = THRESHOLD
) -> Figure:
    """Show which class is mistaken for which: counts, and their shares of the true class."""
    targets, chances = _arrays(labels, probabilities)
    if len(classes) > _MOST_WRITTEN:
        return _confusion_map(targets, chances, classes)
    counts = sklearn.metrics.confusion_matrix(targets, classify(chances, threshold), labels=range(len(classes)))
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    reviews = _counted(len(targets), "review")
    wide, large = max(8.0, 2.0 * len(classes)), 24 if classes.are_two else 16
    figure = _figure(wide, 0.7 * wide, f"Accuracy {is_correct(targets, chances, threshold).mean():.3f} on {reviews}")
    axes = figure.subplots()
    display = ConfusionMatrixDisplay(shares, display_labels=classes.names).plot(
        ax=axes,
        cmap="Blues",
        colorbar=False,
        im_kw={"vmin": 0, "vmax": 1.25, "aspect": "auto"},  # 1.25: not near black
        text_kw={"size": large, "weight": "bold"},
    )
    for (row, column), text in np.ndenumerate(display.text_):
        of = f"{classes.names[row]} reviews" if classes.are_two else classes.names[row]
        share = f"{shares[row, column]:.1%} of {of}" if totals[row] else "no such reviews"
        ink = "white" if shares[row, column] > 0.7 else _INK
        text.set(text=f"{counts[row, column]:,}", color=ink)
        axes.text(
            column,
            row + (0.17 if classes.are_two else 0.27),
            share,
            size=large / 2,
            color=ink,
            ha="center",
            va="center",
        )
    _style(axes, "predicted class", "true class")
    axes.grid(False)
    for edge in range(1, len(classes)):
        axes.axhline(edge - 0.5, color="white", linewidth=6)
        axes.axvline(edge - 0.5, color="white", linewidth=6)
    axes.tick_params(labelsize=12)
    axes.set_yticks(range(len(classes)), classes.names, rotation=90, va="center")
    return figure


def _confusion_map(targets: NDArray[np.int64], chances: NDArray[np.float64], classes: Classes) -> Figure:
    """The same of more classes than can be written into: shares as colours."""
    figure = _figure(10.0, 9.0, f"Accuracy {is_correct(targets, chances).mean():.3f} on {len(targets):,} reviews")
    axes = figure.subplots()
    counts = sklearn.metrics.confusion_matrix(targets, classify(chances), labels=range(len(classes)))
    image = axes.imshow(counts / np.maximum(counts.sum(1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class")
    _style(axes, "predicted class", "true class")
    axes.grid(False)
    size = min(10.0, 500 / len(classes))
    axes.set_xticks(range(len(classes)), classes.names, rotation=90, size=size)
    axes.set_yticks(range(len(classes)), classes.names, size=size)
    return figure


def roc_curve(
    labels: ArrayLike, probabilities: ArrayLike, classes: Classes = SENTIMENT, threshold: float = THRESHOLD
) -> Figure:
    """Show how well the probabilities rank reviews of the second of two classes above the others, at every threshold.

    Of more classes each has a curve, against all others.
    """
    targets, chances = _arrays(labels, probabilities)
    if not classes.are_two:
        return _roc_curves(targets, chances, classes)
    reviews = _counted(len(targets), "review")
    for label, name in enumerate(classes.names):
        if not np.any(targets == label):
            return _notice(f"No ROC curve: none of {reviews} is {name}")
    area = sklearn.metrics.roc_auc_score(targets, chances)
    figure = _figure(7.2, 7.4, f"Area under the ROC curve {area:.3f} on {reviews}")
    axes = figure.subplots()
    RocCurveDisplay.from_predictions(
        targets,
        chances,
        ax=axes,
        curve_kwargs={"color": _BLUE, "linewidth": 2, "label": "network", "clip_on": False},
        plot_chance_level=True,
        chance_level_kw={"color": _GREY, "label": "chance"},
    )
    false_rate, true_rate = (classify(chances[targets == label], threshold).mean() for label in (0, 1))
    told = f"threshold {threshold:.3g} (false {false_rate:.3f}, true {true_rate:.3f})"
    axes.plot(false_rate, true_rate, "o", color=_ORANGE, markersize=10, clip_on=False, zorder=5, label=told)
    rates = zip(("false", "true"), classes.names, strict=True)
    _style(axes, *(f"{kind} {classes.names[1]} rate [share of {name} reviews]" for kind, name in rates))
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="auto")
    axes.legend_ = None  # scikit-learn's, inside the axes
    _legend(figure, axes)
    return figure


def _roc_curves(targets: NDArray[np.int64], chances: NDArray[np.float64], classes: Classes) -> Figure:
    """A curve for each class that some but not all reviews are of; of many classes the ten with the most reviews."""
    counts = np.bincount(targets, minlength=len(classes))
    shown = [int(one) for one in np.argsort(-counts, kind="stable")[:_MOST_CURVES] if 0 < counts[one] < len(targets)]
    if not shown:
        return _notice(f"No ROC curve: the {len(targets):,} reviews are of one class")
    areas = [sklearn.metrics.roc_auc_score(targets == one, chances[:, one]) for one in shown]
    figure = _figure(7.2, 8.0, f"Area under the ROC curves {np.mean(areas):.3f}, the mean of all")
    axes = figure.subplots()
    for one, area in zip(sorted(shown), (areas[shown.index(one)] for one in sorted(shown)), strict=True):
        false_rates, true_rates, _ = sklearn.metrics.roc_curve(targets == one, chances[:, one])
        axes.plot(false_rates, true_rates, linewidth=2, label=f"{classes.names[one]:.30} ({area:.3f})", clip_on=False)
    axes.plot([0, 1], [0, 1], "--", color=_GREY, label="chance")
    _style(axes, "false positive rate [share of all other classes]", "true positive rate [share of the class]")
    axes.set(xlim=(0, 1), ylim=(0, 1))
    _legend(figure, axes)
    return figure


def reliability_diagram(labels: ArrayLike, probabilities: ArrayLike, classes: Classes = SENTIMENT) -> Figure:
    """Show whether a probability can be taken at its word, in bins of equal width.

    Of more than two classes it is that of the likeliest.
    """
    targets, chances = _arrays(labels, probabilities)
    brier, error = brier_score(targets, chances), expected_calibration_error(targets, chances)
    targets, chances = _arrays(*as_two(targets, chances))
    figure = _figure(7.2, 8.6, f"Expected calibration error {error:.3f}, Brier score {brier:.3f}")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    of = f"class {classes.names[1]}" if classes.are_two else "the likeliest class"
    _style(upper, "", f"share of {classes.names[1]} reviews" if classes.are_two else "share of reviews of that class")
    _style(lower, f"predicted probability of {of}", "reviews per bin")
    upper.set(xlim=(0, 1), ylim=(0, 1))
    counts, positives, total = calibration_bins(targets, chances)
    lower.bar((np.arange(BINS) + 0.5) / BINS, counts, width=0.92 / BINS, color=_BLUE)
    lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    counts, positives, total = (values[counts > 0] for values in (counts, positives, total))
    mean, low, high = total / counts, *wilson_interval(positives, counts)
    upper.plot([0, 1], [0, 1], "--", color=_GREY, label="perfect calibration")
    upper.vlines(mean, low, high, color=_BLUE, linewidth=1.8, label="95 % interval (Wilson)", clip_on=False)
    upper.plot(mean, positives / counts, "o", color=_BLUE, label="network, per bin", clip_on=False, zorder=5)
    _legend(figure, upper)
    return figure


def accuracy_against_time(
    seconds: ArrayLike, accuracies: ArrayLike, networks: Sequence[str], champion_of: Sequence[Sequence[str]]
) -> Figure:
    """Show what accuracy on test [share of reviews] costs in training [s, log scale]: one point a run [run].

    A champion's point tells the names under which it is registered.
    """
    times, values = np.asarray(seconds, dtype=np.float64), np.asarray(accuracies, dtype=np.float64)
    best = int(values.argmax())
    figure = _figure(
        9.6, 6.0, f"Best on test: {networks[best]}, {values[best]:.4f} after {times[best]:,.0f} s of training"
    )
    axes = figure.subplots()
    _style(axes, "training time [s]", "test accuracy [share of reviews]")
    _log_scale(axes)
    chosen = np.array([bool(names) for names in champion_of], dtype=np.bool_)
    axes.plot(times[~chosen], values[~chosen], "o", color=_BLUE, markersize=8, label="run")
    if chosen.any():
        axes.plot(times[chosen], values[chosen], "*", color=_ORANGE, markersize=16, label="champion of the registry")
    axes.margins(0.2, 0.12)
    _legend(figure, axes)
    texts = [
        f"{network}: {', '.join(names)}" if names else network
        for network, names in zip(networks, champion_of, strict=True)
    ]
    _label(figure, axes, times, values, texts)
    return figure


def accuracy_against_cost(
    tried: Mapping[int, tuple[float, float]],
    front: Mapping[int, tuple[float, float]],
    texts: Sequence[str],
    cost: str,
    best_cost: str,
    measure: str = "validation accuracy",
    members: str = "front, mean of several seeds",
) -> Figure:
    """Show what validation accuracy [share of reviews] costs [log scale]: all that was tried, and the front.

    Cost and accuracy of each by its trial, which the group `trial-NUMBER` of its point in an SVG names. The texts
    [member] stand beside the front's points; a line joins those that no other beats in both. The cost of the most
    accurate one is given as it is to be read, and `members` is what the legend calls the front.
    """
    costs, accuracies = np.array(list(front.values()), dtype=np.float64).T
    figure = _figure(9.6, 6.0, f"Best {measure}: {accuracies.max():.4f} with {best_cost}")
    axes = figure.subplots()
    unit = " [share of reviews]" if measure == "validation accuracy" else ""
    _style(axes, cost, measure + unit)
    _log_scale(axes)
    for points, label, color, alpha, size in ((tried, "trial", _BLUE, 0.4, 6), (front, members, _ORANGE, 1.0, 9)):
        draw = partial(axes.plot, color=color, alpha=alpha, marker="o", linestyle="none", markersize=size)
        draw([], [], label=label)
        for trial, (cost_of_it, accuracy) in points.items():
            draw([cost_of_it], [accuracy], gid=f"trial-{trial}")
    order = np.lexsort((-accuracies, costs))
    highest = np.maximum.accumulate(accuracies[order])
    unbeaten = order[np.append(True, highest[1:] > highest[:-1])]
    axes.plot(costs[unbeaten], accuracies[unbeaten], color=_ORANGE)
    axes.margins(0.2, 0.12)
    _legend(figure, axes)
    _label(figure, axes, costs, accuracies, texts)
    return figure


def _log_scale(axes: Axes) -> None:
    """Make x logarithmic, with its figures written out; between powers of ten 2 and 5 stand where there is room."""
    axes.set_xscale("log")

    def written(value: float, _: float) -> str:
        return f"{value:,.0f}" if value >= 1 else f"{value:g}"

    def between(value: float, position: float) -> str:
        low, high = axes.get_xlim()
        return written(value, position) if high < 300 * low and f"{value:e}"[0] in "25" else ""

    axes.xaxis.set_major_formatter(written)
    axes.xaxis.set_minor_formatter(between)


def _label(figure: Figure, axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], texts: Sequence[str]) -> None:
    """Write each point's text beside it, on the first side where it meets neither another text nor the edge."""
    figure.draw_without_rendering()  # lays the axes out, so that places are final
    edge = axes.bbox
    marks = axes.transData.transform(np.column_stack([x, y]))
    taken: list[BboxBase] = [Bbox.from_extents(*(mark - _MARK), *(mark + _MARK)) for mark in marks]
    for row in np.argsort(-y, kind="stable"):
        point = (float(x[row]), float(y[row]))
        text = axes.annotate(texts[row], point, (0, 0), textcoords="offset points", size=10, color=_INK)
        for across, up in (*_BESIDE, _BESIDE[0]):  # where nowhere is room: better crowded than unnamed
            text.xyann = (across, up)
            text.set_horizontalalignment("left" if across > 0 else "right")
            box = text.get_window_extent()
            if edge.x0 <= box.x0 and box.x1 <= edge.x1 and not box.count_overlaps(taken):
                break
        taken.append(box)


_MARK = 6  # pixels around a point that no text may cover
_BESIDE = ((9, 5), (9, -12), (-9, 5), (-9, -12), (9, 19), (9, -26), (-9, 19), (-9, -26))  # points from a point


def png(figure: Figure) -> bytes:
    """The figure as the bytes of a PNG."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def svg(figure: Figure, **saving: Any) -> str:
    """The figure as SVG for a page, without a background of its own; what is more goes to matplotlib's savefig."""
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": ""}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None}, **saving)
    drawn = file.getvalue()
    return drawn[drawn.index("<svg") :]


def _arrays(labels: ArrayLike, probabilities: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    return np.asarray(labels, dtype=np.int64), np.asarray(probabilities, dtype=np.float64)


def _counted(count: int, noun: str) -> str:
    return f"1 {noun}" if count == 1 else f"{count:,} {noun}s"


def _figure(width: float, height: float, finding: str) -> Figure:
    """An empty figure of that many inches under the sentence that it is to prove."""
    figure = Figure(figsize=(width, height), dpi=100, layout=ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12))
    figure.suptitle(finding, **_HEADING)
    return figure


def _notice(finding: str) -> Figure:
    """A page for the case that there is nothing to draw."""
    figure = Figure(figsize=(7.2, 1.6), dpi=100)
    figure.text(0.5, 0.5, finding, ha="center", va="center", **_HEADING)
    return figure


def _style(axes: Axes, across: str, upward: str) -> None:
    axes.set_xlabel(across, size=11, color=_INK)
    axes.set_ylabel(upward, size=11, color=_INK)
    axes.grid(color="#E3E3E3", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, pad=8, labelcolor=_INK)
    axes.spines[:].set_visible(False)


def _legend(figure: Figure, axes: Axes) -> None:
    """Explain the marks below the axes, where no curve can run into the words."""
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)


def _draw_measure(axes: Axes, epochs: Sequence[Mapping[str, float]], name: str, best: Mapping[str, float]) -> None:
    """Training and validation curve of one measure, with the best epoch marked."""
    numbers = [record["epoch"] for record in epochs]
    axes.axvline(best["epoch"], color=_GREY, linestyle=":", linewidth=1.2)
    for part, label, colour in (("train", "training", _ORANGE), ("val", "validation", _BLUE)):
        values = [record[f"{part}_{name}"] for record in epochs]
        axes.plot(numbers, values, "o-", color=colour, markersize=4, linewidth=1.8, label=label)
    ring: dict[str, Any] = {"markersize": 13, "markerfacecolor": "none", "markeredgewidth": 2}
    axes.plot(best["epoch"], best[f"val_{name}"], "o", color=_BLUE, label=f"best epoch: {best['epoch']:.0f}", **ring)
    axes.margins(y=0.08)
    axes.set_xlim(min(numbers) - 0.5, max(numbers) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, min_n_ticks=1))
