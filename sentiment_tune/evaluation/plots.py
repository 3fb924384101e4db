"""Pictures of what a training run leaves: how it learnt, how far its probabilities can be trusted, where it errs.

Every function returns a `matplotlib.figure.Figure` of its own; nothing here touches pyplot's global state. In all of
them `labels` are 0 (negative) or 1 (positive) [review], `probabilities` those of class positive [review] in 0..1, and
a review is predicted positive where its probability exceeds 0.5.
"""

import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.textpath import TextToPath
from matplotlib.ticker import LogFormatter, MaxNLocator, StrMethodFormatter
from matplotlib.transforms import BboxBase
from numpy.typing import ArrayLike, NDArray
from sklearn import metrics

from sentiment_tune.evaluation.metrics import wilson_interval

_CLASSES = ("negative", "positive")
_BINS = 10
_BLUE, _ORANGE, _GREY, _INK = "#0072B2", "#D55E00", "#767676", "#222222"  # Okabe and Ito's, for the colour-blind
_HEADING: dict[str, Any] = {"size": 14, "weight": "bold", "color": _INK}
_PAGE_WIDTH, _TEXT_LEFT, _HEADER, _ROW = 9.8, 2.4, 0.65, 0.82  # inches, of the page of mistakes
_TEXT_SIZE = 10.0  # points
_GAP = " [...] "
_LINE_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)


def learning_curves(epochs: Sequence[Mapping[str, float]]) -> Figure:
    """Show whether training converged or overfitted, and which epoch was the best.

    Each record holds epoch (from 1), train_loss, val_loss [nat], train_accuracy and val_accuracy [share].
    """
    # A diverged loss is not a number, which must not win a tie.
    best = max(epochs, key=lambda record: (record["val_accuracy"], -np.nan_to_num(record["val_loss"], nan=np.inf)))
    figure = _figure(9.6, 4.8, f"Best validation accuracy {best['val_accuracy']:.3f} in epoch {best['epoch']:.0f}")
    loss, accuracy = figure.subplots(1, 2)
    _style(loss, "epoch", "loss [nat per review]")
    _style(accuracy, "epoch", "accuracy [share of reviews]")
    _draw_measure(loss, epochs, "loss", best)
    _draw_measure(accuracy, epochs, "accuracy", best)
    _legend(figure, loss)
    return figure


def confusion_matrix(labels: ArrayLike, probabilities: ArrayLike) -> Figure:
    """Show which class is mistaken for which: counts, and their shares of the true class."""
    truth, chances = _arrays(labels, probabilities)
    counts = metrics.confusion_matrix(truth, chances > 0.5, labels=[0, 1])
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    figure = _figure(8.0, 5.6, f"Accuracy {np.trace(counts) / len(truth):.3f} on {_counted(len(truth), 'review')}")
    axes = figure.subplots()
    _style(axes, "predicted class", "true class")
    axes.grid(False)
    axes.pcolormesh(shares, cmap="Blues", vmin=0, vmax=1.25, edgecolors="white", linewidth=6)  # 1.25: not near black
    axes.invert_yaxis()
    for (row, column), count in np.ndenumerate(counts):
        ink = "white" if shares[row, column] > 0.7 else _INK
        share = f"{shares[row, column]:.1%} of {_CLASSES[row]} reviews" if totals[row] else "no such reviews"
        axes.text(column + 0.5, row + 0.47, f"{count:,}", size=24, weight="bold", color=ink, ha="center", va="center")
        axes.text(column + 0.5, row + 0.64, share, size=12, color=ink, ha="center", va="center")
    axes.set_xticks([0.5, 1.5], _CLASSES, size=12)
    axes.set_yticks([0.5, 1.5], _CLASSES, size=12, rotation=90, va="center")
    return figure


def roc_curve(labels: ArrayLike, probabilities: ArrayLike) -> Figure:
    """Show how well the probabilities rank positive reviews above negative ones, at every threshold."""
    truth, chances = _arrays(labels, probabilities)
    reviews = _counted(len(truth), "review")
    for number, name in enumerate(_CLASSES):
        if not np.any(truth == number):
            return _notice(f"No ROC curve: none of {reviews} is {name}")
    false_positive, true_positive, _ = metrics.roc_curve(truth, chances)
    area = metrics.auc(false_positive, true_positive)
    across, upward = (np.mean(chances[truth == number] > 0.5) for number in (0, 1))
    figure = _figure(7.2, 7.4, f"Area under the ROC curve {area:.3f} on {reviews}")
    axes = figure.subplots()
    _style(axes, "false positive rate [share of negative reviews]", "true positive rate [share of positive reviews]")
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.plot([0, 1], [0, 1], "--", color=_GREY, label="chance")
    axes.plot(false_positive, true_positive, color=_BLUE, linewidth=2, label="network", clip_on=False)
    label = f"threshold 0.5 (false {across:.3f}, true {upward:.3f})"
    axes.plot(across, upward, "o", color=_ORANGE, markersize=10, clip_on=False, zorder=5, label=label)
    _legend(figure, axes)
    return figure


def reliability_diagram(labels: ArrayLike, probabilities: ArrayLike) -> Figure:
    """Show whether a probability can be taken at its word, in ten bins of equal width."""
    truth, chances = _arrays(labels, probabilities)
    brier = np.mean((chances - truth) ** 2)
    error = expected_calibration_error(truth, chances)
    figure = _figure(7.2, 8.6, f"Expected calibration error {error:.3f}, Brier score {brier:.3f}")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    _style(upper, "", "share of positive reviews")
    _style(lower, "predicted probability of class positive", "reviews per bin")
    upper.set(xlim=(0, 1), ylim=(0, 1))
    counts, positives, total = _bins(truth, chances)
    lower.bar((np.arange(_BINS) + 0.5) / _BINS, counts, width=0.92 / _BINS, color=_BLUE)
    lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    counts, positives, total = (values[counts > 0] for values in (counts, positives, total))
    mean, low, high = total / counts, *wilson_interval(positives, counts)
    upper.plot([0, 1], [0, 1], "--", color=_GREY, label="perfect calibration")
    upper.vlines(mean, low, high, color=_BLUE, linewidth=1.8, label="95 % interval (Wilson)", clip_on=False)
    upper.plot(mean, positives / counts, "o", color=_BLUE, label="network, per bin", clip_on=False, zorder=5)
    _legend(figure, upper)
    return figure


def mistakes(labels: ArrayLike, probabilities: ArrayLike, texts: Mapping[int, str] | Sequence[str]) -> Figure:
    """Show the reviews that fooled the network most, long ones among the `texts` [review] cut in the middle."""
    truth, chances = _arrays(labels, probabilities)
    wrong, reviews = int(np.sum((chances > 0.5) != truth)), _counted(len(truth), "review")
    if not wrong:
        return _notice(f"No mistake in {reviews}")
    rows = most_confident_mistakes(truth, chances)
    height = _HEADER + _ROW * len(rows)
    figure = Figure(figsize=(_PAGE_WIDTH, height), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, _PAGE_WIDTH), ylim=(height, 0))
    axes.set_axis_off()
    chosen = f"The {len(rows)} most confident of " if wrong > len(rows) else ""
    finding = f"{chosen}{_counted(wrong, 'mistake')} in {reviews} ({wrong / len(truth):.1%})"
    axes.text(_PAGE_WIDTH / 2, _HEADER / 2, finding, ha="center", va="center", **_HEADING)
    for place, row in enumerate(rows):
        _draw_mistake(axes, _HEADER + _ROW * place, row, chances[row], texts[row])
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
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
    chosen = np.array([bool(names) for names in champion_of], dtype=np.bool_)
    axes.plot(times[~chosen], values[~chosen], "o", color=_BLUE, markersize=8, label="run")
    if chosen.any():
        axes.plot(times[chosen], values[chosen], "*", color=_ORANGE, markersize=16, label="champion of the registry")
    axes.margins(0.2, 0.12)
    _legend(figure, axes)
    told = [
        f"{network}: {', '.join(names)}" if names else network
        for network, names in zip(networks, champion_of, strict=True)
    ]
    _label(figure, axes, times, values, told)
    return figure


def _label(figure: Figure, axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], texts: Sequence[str]) -> None:
    """Write each point's text beside it, on the first side where it meets neither another text nor the edge."""
    figure.draw_without_rendering()  # lays the axes out, so that places are final
    edge = axes.bbox
    taken: list[BboxBase] = []
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


_BESIDE = ((9, 5), (9, -12), (-9, 5), (-9, -12), (9, 19), (9, -26), (-9, 19), (-9, -26))  # points from a point


def png(figure: Figure) -> bytes:
    """The figure as the bytes of a PNG."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def most_confident_mistakes(labels: ArrayLike, probabilities: ArrayLike, count: int = 10) -> list[int]:
    """Row numbers of at most `count` mistakes, the most confident first; equals keep the order of the rows."""
    truth, chances = _arrays(labels, probabilities)
    rows = np.flatnonzero((chances > 0.5) != truth)
    order = np.argsort(-np.abs(chances[rows] - 0.5), kind="stable")
    return [int(row) for row in rows[order[:count]]]


def expected_calibration_error(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean distance of probability and share of positives over ten bins of equal width, weighted by their reviews."""
    _, positives, total = _bins(*_arrays(labels, probabilities))
    return float(np.abs(positives - total).sum() / np.size(labels))


def _arrays(labels: ArrayLike, probabilities: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    return np.asarray(labels, dtype=np.int64), np.asarray(probabilities, dtype=np.float64)


def _bins(truth: NDArray[np.int64], chances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Reviews, positive reviews and sum of probabilities [3, bin]; probability 1 belongs to the last bin."""
    bins = np.minimum((chances * _BINS).astype(np.int64), _BINS - 1)
    columns = np.ones_like(chances), truth, chances
    return np.array([np.bincount(bins, weights, _BINS) for weights in columns], dtype=np.float64)


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


def _draw_mistake(axes: Axes, top: float, row: int, chance: float, text: str) -> None:
    """One row of the page, `top` inches below its edge: what was predicted, what is true, and the text."""
    predicted = int(chance > 0.5)
    colours = (_ORANGE, _BLUE)
    axes.axhline(top, 0.02, 0.98, color="#D0D0D0", linewidth=0.8)
    said, true = f"predicted {_CLASSES[predicted]}", f"truly {_CLASSES[1 - predicted]}"
    axes.text(0.2, top + 0.2, said, size=11, weight="bold", color=colours[predicted], va="center")
    axes.text(0.2, top + 0.41, true, size=11, color=colours[1 - predicted], va="center")
    axes.text(0.2, top + 0.62, f"P(positive) {chance:.3f}, review {row}", size=8.5, color=_GREY, va="center")
    body = _fitted(_readable(text))
    axes.text(_TEXT_LEFT, top + _ROW / 2, body, size=_TEXT_SIZE, color=_INK, va="center", parse_math=False)


@cache
def _glyphs() -> frozenset[int]:
    """Code points that the font can draw: matplotlib warns of any other."""
    return frozenset(get_font(findfont(FontProperties())).get_charmap())


def _readable(text: str) -> str:
    """One line of characters that can be drawn, `?` for those that cannot."""
    printable = "".join(letter if letter.isprintable() else " " for letter in _LINE_BREAK.sub(" ", text))
    return "".join(letter if ord(letter) in _glyphs() else "?" for letter in " ".join(printable.split()))


def _fitted(text: str) -> str:
    """The text in at most three lines, with as many letters a line as the page is wide: capitals take more room."""
    layouts = (_wrapped(text, letters) for letters in range(120, len(_GAP), -3))
    room = 72 * (_PAGE_WIDTH - _TEXT_LEFT - 0.2)
    return next(layout for layout in layouts if _width(layout) <= room)


def _wrapped(text: str, letters: int) -> str:
    """Three lines of that many letters, which keep start and end of the text, where reviewers say what they think."""
    half = int(1.4 * letters) - len(_GAP)
    start, end = text[:half].rsplit(" ", 1)[0], text[-half:].split(" ", 1)[-1]
    shortened = text if len(text) <= 2 * half else start + _GAP + end
    return "\n".join(textwrap.wrap(shortened, letters, max_lines=3, placeholder=_GAP)) or "(no text)"


def _width(layout: str) -> float:
    """Points that the longest line takes."""
    font = FontProperties(size=_TEXT_SIZE)
    measure = TextToPath().get_text_width_height_descent
    return max(float(measure(line, font, ismath=False)[0]) for line in layout.split("\n"))
