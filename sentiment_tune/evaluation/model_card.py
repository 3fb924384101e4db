"""The model card: what a registered model is, what it was trained on, how good it is and where it fails."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_tune.evaluation.metrics import Proportion, accuracy_by_length, is_correct

_EXAMPLE = 300  # characters of a review that the card quotes


def render_card(
    name: str,
    settings: Mapping[str, Any],
    tags: Mapping[str, str],
    figures: Mapping[str, float],
    test: Mapping[str, NDArray[Any]],
    mistakes: Mapping[str, Mapping[str, Any]],
) -> str:
    """Markdown, from what the run holds: `test` has labels, probabilities and lengths [review]."""
    sections = {
        "What it is": _what(name, tags),
        "Data": _data(tags),
        "How good it is": _figures(figures, test, int(tags["reviews_validation"])),
        "By length of the review": _lengths(test),
        "How far its probabilities can be trusted": _calibration(figures, test),
        "Where it fails": _mistakes(mistakes),
        "Settings": (f"- {key}: {value}" for key, value in settings.items() if value is not None),
        "How to load it": _loading(name),
    }
    return f"# {name}\n" + "".join(f"\n## {title}\n\n" + "\n".join(lines) + "\n" for title, lines in sections.items())


def _what(name: str, tags: Mapping[str, str]) -> Iterator[str]:
    yield (
        f"The network `{tags['network']}` with {int(tags['parameters']):,} parameters, trained from scratch to tell "
        "positive reviews from negative ones. It returns the probability that a text is positive. Made by "
        f"sentiment_tune {tags['package_version']}, commit {tags.get('git_commit', 'unknown')}, seed {tags['seed']}."
    )


def _data(tags: Mapping[str, str]) -> Iterator[str]:
    sizes = ", ".join(f"{int(tags[f'reviews_{part}']):,} for {part}" for part in ("train", "validation", "test"))
    yield f"`{tags['data']}`, digest `{tags['data_digest']}`; reviews: {sizes}. Nothing else was learned from."


def _figures(figures: Mapping[str, float], test: Mapping[str, NDArray[Any]], validated: int) -> Iterator[str]:
    validation = Proportion(round(figures["best_val_accuracy"] * validated), validated)
    correct = is_correct(test["labels"], test["probabilities"])
    yield "| reviews | accuracy | 95 % interval |"
    yield "|---|---|---|"
    yield f"| validation, by which it was chosen | {validation.value:.4f} | {_interval(validation)} |"
    tested = Proportion(int(correct.sum()), len(correct))
    yield f"| test, read once | {tested.value:.4f} | {_interval(tested)} |"
    yield ""
    yield (
        f"On test: F1 {figures['test_f1']:.4f}, area under the ROC curve {figures['test_roc_auc']:.4f}, "
        f"log loss {figures['test_log_loss']:.4f}, Brier score {figures['test_brier']:.4f}."
    )


def _interval(share: Proportion) -> str:
    low, high = share.interval
    return f"{low:.4f} to {high:.4f}"


def _lengths(test: Mapping[str, NDArray[Any]]) -> Iterator[str]:
    yield "| words | test reviews | accuracy | 95 % interval |"
    yield "|---|---|---|---|"
    for words, share in accuracy_by_length(is_correct(test["labels"], test["probabilities"]), test["lengths"]).items():
        yield f"| {words} | {share.reviews:,} | {share.value:.4f} | {_interval(share)} |"


def _calibration(figures: Mapping[str, float], test: Mapping[str, NDArray[Any]]) -> Iterator[str]:
    from sentiment_tune.evaluation.plots import expected_calibration_error  # slow to import, and not needed before

    error = expected_calibration_error(test["labels"], test["probabilities"])
    sure = np.abs(test["probabilities"] - 0.5) > 0.45
    yield f"Expected calibration error {error:.4f} over ten bins, Brier score {figures['test_brier']:.4f}."
    if sure.any():
        correct = is_correct(test["labels"], test["probabilities"])
        yield f"Of the {sure.mean():.0%} of reviews it is surest of, beyond 0.95, {correct[sure].mean():.2%} are right."


def _mistakes(mistakes: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield "| reviews with | test reviews | mistakes | 95 % interval |"
    yield "|---|---|---|---|"
    for kind, held in mistakes.items():
        share = Proportion(held["count"], held["reviews"])
        yield f"| {kind} | {share.reviews:,} | {share.value:.4f} | {_interval(share)} |"
    for kind, held in mistakes.items():
        if held["example"]:
            yield f'\n{kind}, its most confident mistake: "{held["example"][-_EXAMPLE:]}"'


def _loading(name: str) -> Iterator[str]:
    yield "```python"
    yield "import mlflow"
    yield ""
    yield f'model = mlflow.pyfunc.load_model("models:/{name}@champion")'
    yield 'model.predict(["a fine film", "a dull one"])  # a table of probability and label'
    yield "```"
    yield ""
    yield f'or `sentiment-tune score --model models:/{name}@champion "a fine film"`.'
