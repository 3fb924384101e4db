"""Trainings that differ in their seed alone, or in their fold, as one line of MLflow: a run with what they come to.

A single training is lucky or not, and so is a single validation part. What compares settings is the mean of several
trainings, which are runs below that one, and its spread.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import reduce
from statistics import fmean, stdev

import numpy as np
import pandas as pd

from sentiment_tune import notes
from sentiment_tune.build import build_network
from sentiment_tune.config import ExperimentConfig
from sentiment_tune.data.batches import evaluation_batches
from sentiment_tune.data.corpus import Corpus
from sentiment_tune.data.folds import Folds
from sentiment_tune.data.labels import probabilities_of
from sentiment_tune.errors import InputError
from sentiment_tune.events import Listener, Message, ignore
from sentiment_tune.experiment import RunResult, has_checkpoints, run_experiment, start_model_run
from sentiment_tune.inference.predict import device_of, predict
from sentiment_tune.tracking import logged_models, records, runs
from sentiment_tune.tracking.records import RunRecord
from sentiment_tune.tracking.runs import ActiveRun, RunSpec
from sentiment_tune.tracking.schema import Artifact, Metric, Stage, Tag, score_of
from sentiment_tune.training.checkpoint import MINUTES
from sentiment_tune.training.loop import EpochRecord

MOST = 1000  # seeds: more is a slip of the hand
_ONCE = {
    *(Metric.BEST_EPOCH, Metric.BEST_VAL_ACCURACY, Metric.BEST_VAL_LOSS, Metric.BEST_VAL_SCORE),
    Metric.TRAIN_SECONDS,
}


@dataclass
class Repeats:
    """The run above several trainings, and what each of them came to so far."""

    run: ActiveRun
    figures: dict[str, Mapping[str, float]] = field(default_factory=dict)  # metrics by run id, in order
    unseen: list[pd.DataFrame] = field(default_factory=list)  # of folds, what each network says of what it has not seen
    out_of_fold: pd.DataFrame | None = None  # the same of all, by row

    @property
    def best(self) -> str:
        """Id of the best run, by validation."""
        return max(self.figures, key=lambda run_id: score_of(self.figures[run_id]))


def check_seeds(count: int) -> None:
    """InputError for a number of seeds that is none."""
    if not 1 <= count <= MOST:
        raise InputError(f"seeds cannot be {count}: give from 1 to {MOST}")


def with_seeds(config: ExperimentConfig, count: int) -> list[ExperimentConfig]:
    """The training with its own seed and with those that follow; InputError for a count that is none."""
    check_seeds(count)
    settings = {name: value for name, value in config.as_dict.items() if name != "model" and value is not None}
    seeds = range(config.runtime.seed, config.runtime.seed + count)
    return [ExperimentConfig.of(config.model, {**settings, "seed": seed}) for seed in seeds]


@contextmanager
def start_repeats(
    configs: Sequence[ExperimentConfig],
    corpus: Corpus,
    spec: RunSpec,
    listener: Listener = ignore,
    kind: str = Tag.SEEDS,
) -> Iterator[Repeats]:
    """A run of MLflow above the trainings whose figures the block adds to it, which it sums up at its end.

    `kind` is the tag that says how many there are to be.
    """
    config = configs[0]
    settings = config.as_dict
    tags = {
        Tag.STAGE: Stage.REPEATS,
        kind: str(len(configs)),
        Tag.SETTINGS: json.dumps(settings),
        Tag.NOTE: notes.about(config, corpus),
    }
    spec = replace(spec, tags={**tags, **spec.tags})
    with start_model_run(config.model, settings, config.runtime.seed, corpus, spec, listener) as run:
        repeats = Repeats(run)
        yield repeats
        summary = summarize(list(repeats.figures.values()))
        counts = {Metric.REPEATS: len(configs)} | ({Metric.FOLDS: len(configs)} if kind == Tag.FOLDS else {})
        runs.log_metrics({**counts, **summary})
        note = notes.repeated(config, corpus, run, {kind: len(configs)}, summary, repeats.best)
        runs.set_tags({Tag.BEST_RUN: repeats.best, Tag.NOTE: note})


def summarize(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean, standard deviation (0 of a single one), least and most of each figure that all trainings have logged once.

    Their names are those of the figures behind `mean_`, `sd_`, `min_` and `max_`.
    """
    summary: dict[str, float] = {}
    for name in figures[0]:
        if (name in _ONCE or name.startswith(Metric.TEST)) and all(name in metrics for metrics in figures):
            values = [metrics[name] for metrics in figures]
            summary |= {
                Metric.MEAN + name: fmean(values),
                Metric.SPREAD + name: stdev(values) if len(values) > 1 else 0.0,
                Metric.LEAST + name: min(values),
                Metric.MOST + name: max(values),
            }
    return summary


@dataclass(frozen=True)
class Training:
    """One of several trainings: a seed, or a fold that validates."""

    config: ExperimentConfig
    corpus: Corpus
    tag: str  # of its run, which tells it from the others
    number: int  # and the tag's value

    @property
    def name(self) -> str:
        """Of its run."""
        return f"{self.tag} {self.number}: {self.config.title_of_repeats}"


def seeds_of(config: ExperimentConfig, count: int, corpus: Corpus) -> list[Training]:
    """The training with so many seeds; InputError for a count that is none."""
    return [Training(each, corpus, Tag.SEED, each.runtime.seed) for each in with_seeds(config, count)]


def folds_of(config: ExperimentConfig, folds: Folds) -> list[Training]:
    """The training with each fold for validation; InputError if the network were to train on that, too."""
    if config.training.refit:
        raise InputError("refit=true trains on what a fold is to validate: leave out folds, or give refit=false")
    return [Training(config, part, Tag.FOLD, number) for number, part in enumerate(folds.parts, 1)]


def run_repeats(
    trainings: Sequence[Training],
    corpus: Corpus,
    spec: RunSpec,
    listener: Listener = ignore,
    checkpoint_minutes: float = MINUTES,
) -> tuple[Repeats, RunResult]:
    """Make one training after the other, each to its finished and tested model; all of them and the best.

    Of repeats that were cut off, trainings that are finished are taken as they are, and the one that was cut off goes
    on. Of folds, what each network says of the reviews that it has not seen is logged with the run above them.
    """
    kind = Tag.FOLDS if trainings[0].tag == Tag.FOLD else Tag.SEEDS
    with start_repeats([training.config for training in trainings], corpus, spec, listener, kind) as repeats:
        earlier = records.find_children(repeats.run.run_id) if spec.resumed else []
        best = reduce(_better, _train_each(trainings, earlier, repeats, listener, checkpoint_minutes))
        if repeats.unseen:
            repeats.out_of_fold = pd.concat(repeats.unseen).sort_values("row", ignore_index=True)
            runs.log_text(repeats.out_of_fold.to_csv(index=False, lineterminator="\r\n"), Artifact.OUT_OF_FOLD)
    return repeats, best


def _better(one: RunResult, other: RunResult) -> RunResult:
    return other if other.best.score > one.best.score else one


def _train_each(
    trainings: Sequence[Training],
    earlier: Sequence[RunRecord],
    repeats: Repeats,
    listener: Listener,
    checkpoint_minutes: float,
) -> Iterator[RunResult]:
    for number, training in enumerate(trainings, 1):
        config, corpus = training.config, training.corpus
        begun = next((run for run in earlier if run.tags.get(training.tag) == str(training.number)), None)
        if begun and begun.status == "FINISHED":
            result = _read_result(begun, config)
        else:
            listener(Message(f"{training.tag} {training.number}, {number} of {len(trainings)}"))
            spec = _spec_of(training, repeats.run.run_id, begun)
            network = build_network(config, corpus)
            result = run_experiment(network, config, corpus, spec, listener, checkpoint_minutes)
        repeats.figures[result.run_id] = result.figures
        if training.tag == Tag.FOLD:
            repeats.unseen.append(_unseen(training, result))
        yield result


def _unseen(training: Training, result: RunResult) -> pd.DataFrame:
    """What a network says of its validation reviews: row of the data, fold, label, probability.

    Of more than two classes the label is a name, and each class has a column of its probability.
    """
    reviews, network = training.corpus.validation, result.package.network
    logits = predict(network, evaluation_batches(reviews, training.config.text, device_of(network)))
    probabilities, names = probabilities_of(logits), reviews.classes.names
    columns = {"row": reviews.rows, "fold": training.number}
    if reviews.classes.are_two:
        return pd.DataFrame({**columns, "label": reviews.labels, "probability": probabilities})
    each = {f"probability_{name}": column for name, column in zip(names, probabilities.T, strict=True)}
    return pd.DataFrame({**columns, "label": np.array(names)[reviews.labels], **each})


def _spec_of(training: Training, parent: str, earlier: RunRecord | None) -> RunSpec:
    """Where a training goes: in the run that was cut off, where its checkpoints are on this machine."""
    begun = earlier.run_id if earlier and has_checkpoints(earlier.run_id) else None
    tags = {training.tag: str(training.number)}
    return RunSpec(name=training.name, tags=tags, parent=parent, run_id=begun, resumed=begun is not None)


def _read_result(run: RunRecord, config: ExperimentConfig) -> RunResult:
    """What a training of a process before this one came to."""
    uri, metrics = records.logged_model_uri(run.run_id), run.metrics
    names = [field.name for field in fields(EpochRecord) if field.name != "epoch"]
    series = {name: runs.logged_series(run.run_id, name) for name in names}
    epochs = [
        EpochRecord(epoch, **{name: series[name][epoch] for name in names if series[name]})
        for epoch in sorted(series["val_accuracy"])
    ]
    return RunResult(
        run_id=run.run_id,
        model_uri=uri,
        package=logged_models.load(uri, trust_code=config.is_own),
        epochs=epochs,
        best=next(epoch for epoch in epochs if epoch.epoch == metrics[Metric.BEST_EPOCH]),
        test={name: value for name, value in metrics.items() if name.startswith(Metric.TEST)},
        parameters=int(run.tags[Tag.PARAMETERS]),
        seconds=metrics[Metric.TRAIN_SECONDS] + metrics.get(Metric.REFIT_SECONDS, 0.0),
        experiment_id=run.experiment_id,
        undelivered=None,
    )
