"""What the description of a run says in MLflow's UI: what it is, what came of it, how to load and repeat it."""

import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass

from sentiment_tune.config import DATA_NAMES, IN_MEMORY, ExperimentConfig, describe, short_name
from sentiment_tune.data.corpus import Corpus
from sentiment_tune.data.load import DataConfig
from sentiment_tune.models.registry import ENSEMBLE
from sentiment_tune.space import Value
from sentiment_tune.tracking import records, ui
from sentiment_tune.tracking.outages import Attempt
from sentiment_tune.tracking.runs import ActiveRun
from sentiment_tune.tracking.schema import Artifact, Metric, Tag

AUTO = "auto"  # the data that is chosen by what is at hand
LINEAR = "linear"  # the network against which others are held
PATIENCE = 2.0  # seconds for MLflow to say how good the linear one is: a note can do without


@dataclass(frozen=True)
class Result:
    """What came of a training."""

    validation: float  # accuracy
    test: float | None  # accuracy, if the test split was read
    model: str  # where MLflow has it, or a folder until it has


def about(config: ExperimentConfig, corpus: Corpus) -> str:
    """What a training is, before it has begun."""
    parts = {"train": corpus.train, "validation": corpus.validation, "test": corpus.test}
    reviews = ", ".join(f"{len(part):,} {name}" for name, part in parts.items())
    changed = describe(config.changed) or "all settings by default"
    return f"**{short_name(config.model)}** ({changed}) on **{corpus.name}** (reviews: {reviews})"


def finished(
    config: ExperimentConfig, corpus: Corpus, run: ActiveRun, result: Result, study_run: str | None = None
) -> str:
    """What a training is and what came of it, with the way to its model and, of a study's, to the study."""
    link, load = _way_to_model(run, result)
    if study_run:
        link += f" · [study]({ui.run_page(run.experiment_id, study_run)})"
    lines = (about(config, corpus) + link, _accuracy(corpus, config.model, result), load, _repeat(config, corpus))
    return "\n\n".join(lines)


def _way_to_model(run: ActiveRun, result: Result) -> tuple[str, str]:
    """The link to its page, where it has one, and the line that says how to load it."""
    uri = result.model if result.model.startswith("models:/") else f"runs:/{run.run_id}/{Artifact.MODEL}"
    page = ui.logged_model_page(run.experiment_id, uri)
    load = f'Load it: `mlflow.pyfunc.load_model("{uri}").predict(["a fine film"])`'
    return f" · [model]({page})" if page else "", load


def ensembled(weights: Mapping[str, float], corpus: Corpus, run: ActiveRun, result: Result) -> str:
    """What an ensemble is made of, by member, and what it came to."""
    members = "\n".join(f"- {name}: weight {weight:.3f}" for name, weight in weights.items())
    link, load = _way_to_model(run, result)
    lines = (f"**{ENSEMBLE}** on **{corpus.name}**{link} of", members, _accuracy(corpus, ENSEMBLE, result), load)
    return "\n\n".join(lines)


def repeated(
    config: ExperimentConfig,
    corpus: Corpus,
    run: ActiveRun,
    repeats: Mapping[str, int],
    summary: Mapping[str, float],
    best: str,
) -> str:
    """What trainings that differ in their seed alone, or in their fold, came to, with the way to the best of them.

    `repeats` is how many there are, by the name of the option: seeds or folds.
    """
    page = ui.run_page(run.experiment_id, best)
    figures = {"Validation": Metric.BEST_VAL_ACCURACY, "Test": Metric.TEST_ACCURACY}
    means = [
        f"{part} accuracy **{summary[Metric.MEAN + name]:.4f}** ± {summary[Metric.SPREAD + name]:.4f}, from "
        f"{summary[Metric.LEAST + name]:.4f} to {summary[Metric.MOST + name]:.4f}"
        for part, name in figures.items()
        if Metric.MEAN + name in summary
    ]
    ((kind, count),) = repeats.items()
    title = f"{about(config, corpus)}, {count} {kind} · [the best]({page})"
    lines = (title, *means, _repeat(config, corpus, repeats if count > 1 else {}))
    return "\n\n".join(lines)


def _accuracy(corpus: Corpus, model: str, result: Result) -> str:
    """The accuracies, beside what is to be had for less."""
    validation = f"validation accuracy {result.validation:.4f}"
    if result.test is None:
        return validation.capitalize()
    baselines = {"the most frequent class": corpus.majority, "linear": _linear(corpus.digest, model)}
    beside = ", ".join(f"{name} {value:.4f}" for name, value in baselines.items() if value is not None)
    return f"Test accuracy **{result.test:.4f}** ({beside}), {validation}"


def _linear(digest: str, model: str) -> float | None:
    """Test accuracy of the best linear model on the same data, if there is one and MLflow says so at once."""
    if model == LINEAR:
        return None
    with suppress(Exception):
        runs = Attempt(lambda: records.find_runs({Tag.NETWORK: LINEAR, Tag.DATA_DIGEST: digest})).answer(PATIENCE)
        tested = [run.metrics for run in runs if Metric.TEST_ACCURACY in run.metrics]
        return max(tested, key=lambda metrics: metrics[Metric.BEST_VAL_ACCURACY])[Metric.TEST_ACCURACY]
    return None


def _repeat(config: ExperimentConfig, corpus: Corpus, repeats: Mapping[str, int] | None = None) -> str:
    """How to train the same again: a command, or for data in memory a call."""
    chosen: dict[str, Value] = {**config.changed, **(repeats or {})}
    if config.data.data == IN_MEMORY:
        if not config.data.has_usual_rule:
            chosen["text_rule"] = config.data.rule_of_texts
        given = "".join(f", {name}={value!r}" for name, value in chosen.items())
        return f"Repeat it: `sentiment_tune.train({config.model!r}, data{given})`"
    data = data_given({**asdict(config.data), **({"data": corpus.name} if config.data.data == AUTO else {})})
    return f"Repeat it: `sentiment-tune train {options({'model': config.model, **data, **chosen})}`"


def data_given(settings: Mapping[str, Value | None]) -> dict[str, Value]:
    """What of a training's settings says where its data comes from, and is not the default."""
    default = asdict(DataConfig())
    chosen = {name: settings.get(name) for name in DATA_NAMES}
    if DataConfig(str(chosen["data"]), text_rule=settings.get("text_rule")).has_usual_rule:  # type: ignore[arg-type]
        del chosen["text_rule"]
    return {name: value for name, value in chosen.items() if value is not None and value != default[name]}


def options(settings: Mapping[str, Value]) -> str:
    """Settings as the command line takes them."""
    texts = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in settings.items()}
    return " ".join(f"--{name.replace('_', '-')} {shlex.quote(text)}" for name, text in texts.items())
