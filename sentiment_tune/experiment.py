"""One run from settings to logged model: where all rooms meet.

`run_experiment` is the whole way. Its parts stand by themselves for who goes only part of it: a trial of a study is a
run and `train_epochs`, and its winner is tested later.
"""

import json
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sentiment_tune import __version__, notes, signals
from sentiment_tune.build import count_parameters, package_of, refit_network, threshold_of
from sentiment_tune.config import DATA_NAMES, ExperimentConfig
from sentiment_tune.data.batches import evaluation_batches
from sentiment_tune.data.corpus import Corpus, Reviews
from sentiment_tune.data.labels import SENTIMENT, THRESHOLD, probabilities_of
from sentiment_tune.data.text import TextConfig
from sentiment_tune.errors import DivergenceError
from sentiment_tune.evaluation import metrics
from sentiment_tune.events import Event, Listener, WarningMessage, ignore
from sentiment_tune.inference.package import GOLDEN, ModelPackage
from sentiment_tune.inference.predict import device_of, predict
from sentiment_tune.local import delete
from sentiment_tune.space import Value
from sentiment_tune.tracking import flavor, runs, server
from sentiment_tune.tracking.journal import Write
from sentiment_tune.tracking.runs import ActiveRun, RunSpec
from sentiment_tune.tracking.schema import Artifact, Metric, Tag
from sentiment_tune.training.balance import AUTO
from sentiment_tune.training.checkpoint import MINUTES, Checkpoints
from sentiment_tune.training.loop import BestWeights, EpochRecord, early_stopping, fit


@dataclass(frozen=True)
class TrainingStart(Event):
    """A training is about to begin."""

    config: ExperimentConfig
    corpus: Corpus


@dataclass(frozen=True)
class RunResult:
    """A finished run: its model, its epochs and the metrics of its test."""

    run_id: str
    model_uri: str
    package: ModelPackage
    epochs: Sequence[EpochRecord]
    best: EpochRecord
    test: Mapping[str, float]  # by metric, as logged
    parameters: int
    seconds: float  # wall time of the training
    experiment_id: str
    undelivered: str | None  # what to tell where MLflow could not take all of it

    @property
    def figures(self) -> dict[str, float]:
        """What it came to, by metric: its best epoch, its seconds, its test."""
        return {**figures_of(self.best), Metric.TRAIN_SECONDS: self.seconds, **self.test}


def figures_of(best: EpochRecord) -> dict[str, float]:
    """What is logged once of the best epoch, by metric."""
    figures = {
        Metric.BEST_EPOCH: best.epoch,
        Metric.BEST_VAL_ACCURACY: best.val_accuracy,
        Metric.BEST_VAL_LOSS: best.val_loss,
    }
    return figures if best.val_score is None else {**figures, Metric.BEST_VAL_SCORE: best.val_score}


def run_experiment(
    network: nn.Module,
    config: ExperimentConfig,
    corpus: Corpus,
    spec: RunSpec,
    listener: Listener = ignore,
    checkpoint_minutes: float = MINUTES,
) -> RunResult:
    """Train what `build_network` made of the same config and corpus: one run of MLflow, with the finished model."""
    listener(TrainingStart(config, corpus))
    with start_training_run(config, corpus, spec, listener) as run, note_how_to_go_on(run.run_id):
        runs.log_data_checks(corpus)
        checkpoints = open_checkpoints(run.run_id, config, corpus, listener, checkpoint_minutes)
        best = BestWeights()
        epochs = list(train_epochs(network, config, corpus, best, listener, checkpoints))
        chosen = finish_training(network, best, epochs)
        log_learning_curves(epochs)
        seconds = sum(epoch.seconds for epoch in epochs)
        threshold = log_threshold(network, config, corpus)  # before a refit, which learns the validation reviews
        if config.training.refit:
            again = open_checkpoints(run.run_id, config, corpus, listener, checkpoint_minutes, "refit")
            network, refit_seconds = refit(config, corpus, chosen.epoch, listener, again)
            seconds += refit_seconds
        test = evaluate_on_test(network, config.text, corpus, threshold) if len(corpus.test) else {}
        package = package_of(network.cpu(), config, corpus, threshold)
        model = log_model(package)
        result = notes.Result(chosen.val_accuracy, test.get(Metric.TEST_ACCURACY), model.location)
        runs.set_tags({Tag.NOTE: notes.finished(config, corpus, run, result)})
    return RunResult(
        run_id=run.run_id,
        model_uri=model.location,
        package=package,
        epochs=epochs,
        best=chosen,
        test=test,
        parameters=count_parameters(network),
        seconds=seconds,
        experiment_id=run.experiment_id,
        undelivered=run.undelivered,
    )


@contextmanager
def start_training_run(
    config: ExperimentConfig, corpus: Corpus, spec: RunSpec, listener: Listener = ignore
) -> Iterator[ActiveRun]:
    """A run of MLflow for a training, whose checkpoints go when it has ended by itself; the listener hears of outages.

    They stay where MLflow is away and no disk has taken what it was to have.
    """
    settings = config.as_dict
    spec = replace(spec, tags={Tag.SETTINGS: json.dumps(settings), Tag.NOTE: notes.about(config, corpus), **spec.tags})
    with start_model_run(config.model, settings, config.runtime.seed, corpus, spec, listener) as run:
        try:
            yield run
        except DivergenceError:  # it would come to the same end again
            remove_checkpoints(run.run_id)
            raise
    if not run.is_lost:
        remove_checkpoints(run.run_id)


def open_checkpoints(
    run_id: str,
    config: ExperimentConfig,
    corpus: Corpus,
    listener: Listener = ignore,
    minutes: float = MINUTES,
    part: str = "training",
) -> Checkpoints | None:
    """The checkpoints of a run, or None where this user can keep none, which is told."""
    # The data count by what they hold, wherever they lie.
    origin = {name: value for name, value in config.as_dict.items() if name not in DATA_NAMES}
    try:
        return Checkpoints(_checkpoint_folder(run_id) / part, {"data": corpus.digest, **origin}, minutes, listener)
    except OSError as error:
        listener(WarningMessage(f"there are no checkpoints of this training: {error}"))
        return None


def has_checkpoints(run_id: str) -> bool:
    """Whether a training of that run can go on from a checkpoint of this machine."""
    return server.has_state() and any(_checkpoint_folder(run_id).glob("*/*"))


def remove_checkpoints(run_id: str) -> None:
    """Remove the checkpoints of a run that is not to go on."""
    with suppress(OSError):
        delete(_checkpoint_folder(run_id))


def _checkpoint_folder(run_id: str) -> Path:
    return server.state_folder() / "checkpoints" / run_id


@contextmanager
def note_how_to_go_on(run_id: str) -> Iterator[None]:
    """A block that, if it is cut off, says how its training goes on."""
    command = f"go on with it: sentiment-tune train --resume {run_id}"
    try:
        with signals.saying_way_on(command):
            yield
    except (DivergenceError, KeyboardInterrupt):
        raise
    except BaseException as error:
        error.add_note(command)
        raise


@contextmanager
def start_model_run(
    model: str,
    settings: Mapping[str, Value | None],
    seed: int,
    corpus: Corpus,
    spec: RunSpec,
    listener: Listener = ignore,
) -> Iterator[ActiveRun]:
    """A run of MLflow that is to end with a model, with its settings, its data and where it comes from."""
    tags = {
        Tag.NETWORK: model,
        Tag.DATA: corpus.name,
        Tag.DATA_DIGEST: corpus.digest,
        Tag.DATA_WARNING: corpus.warning,
        Tag.REVIEWS_TRAIN: len(corpus.train),
        Tag.REVIEWS_VALIDATION: len(corpus.validation),
        Tag.REVIEWS_TEST: len(corpus.test),
        Tag.SEED: seed,
        Tag.CLASSES: None if corpus.classes == SENTIMENT else json.dumps(corpus.classes.names),
        Tag.METRIC: settings["metric"] if settings.get("metric", metrics.ACCURACY) != metrics.ACCURACY else None,
        Tag.GIT_COMMIT: runs.git_commit(),
        Tag.PACKAGE_VERSION: __version__,
    }
    # All from the run's beginning: one that is cut off at once can be told from others, and resumed.
    known = {name: str(value) for name, value in tags.items() if value is not None}
    with runs.start_run(replace(spec, tags={**known, **spec.tags}), listener) as run:
        runs.log_settings(settings)
        runs.log_data(corpus)
        yield run


def train_epochs(
    network: nn.Module,
    config: ExperimentConfig,
    corpus: Corpus,
    best: BestWeights,
    listener: Listener = ignore,
    checkpoints: Checkpoints | None = None,
) -> Iterator[EpochRecord]:
    """Train until validation stands still: each epoch is logged, kept in `best` if it is, and yielded.

    The listener hears of it before. Whoever iterates may stop earlier. A training that goes on from a checkpoint begins
    with the epochs behind it.
    """
    runs.set_tags({Tag.DEVICE: device_of(network).type, Tag.PARAMETERS: count_parameters(network)})
    train, validation, runtime = corpus.train, corpus.validation, config.runtime
    common = (network, train, validation, config.training, config.text, runtime.seed)
    epochs = fit(*common, listener, checkpoints, best, runtime.threads)
    with closing(epochs):
        for epoch in early_stopping(epochs, config.training.patience):
            best.update(epoch, network)
            runs.log_epoch(epoch)
            listener(epoch)
            yield epoch


def finish_training(network: nn.Module, best: BestWeights, epochs: Sequence[EpochRecord]) -> EpochRecord:
    """Put the best weights back and log the best epoch, which is returned, and the seconds of all."""
    chosen = best.restore(network)
    runs.log_metrics({**figures_of(chosen), Metric.TRAIN_SECONDS: sum(epoch.seconds for epoch in epochs)})
    return chosen


def log_threshold(network: nn.Module, config: ExperimentConfig, corpus: Corpus) -> float:
    """Where a finished network's two classes part, which is logged if it was found on validation."""
    threshold = threshold_of(network, config, corpus)
    if config.training.threshold == AUTO:
        runs.log_metrics({Metric.THRESHOLD: threshold})
    return threshold


def refit(
    config: ExperimentConfig,
    corpus: Corpus,
    epochs: int,
    listener: Listener = ignore,
    checkpoints: Checkpoints | None = None,
) -> tuple[nn.Module, float]:
    """A network trained on train and validation, and the seconds it took; its epochs are not logged."""
    started = time.perf_counter()
    network = refit_network(config, corpus, epochs, listener, checkpoints)
    seconds = time.perf_counter() - started
    runs.set_tags({Tag.REFIT: True})
    runs.log_metrics({Metric.REFIT_SECONDS: seconds})
    return network, seconds


def log_learning_curves(epochs: Sequence[EpochRecord]) -> None:
    """Log the learning curves; a study's trials go without, since hundreds of pictures are looked at by nobody."""
    with optional_picture("learning_curves"):
        from sentiment_tune.evaluation import plots  # slow to import, and not needed before

        runs.log_figure("learning_curves", plots.learning_curves([epoch.figures for epoch in epochs]))


@contextmanager
def optional_picture(name: str) -> Iterator[None]:
    """A block that draws a picture and logs it: one that fails is told in a line, and costs no model."""
    try:
        yield
    except Exception as error:  # what matplotlib, a backend of the environment and a full disk raise
        reason = " ".join(str(error).split())
        logging.getLogger(__name__).warning("the picture %s is missing (%s: %s)", name, type(error).__name__, reason)


def evaluate_on_test(
    network: nn.Module, text: TextConfig, corpus: Corpus, threshold: float = THRESHOLD
) -> dict[str, float]:
    """Read the test split, once: log its metrics, its pictures, its mistakes and the probability of each review."""
    reviews, started = corpus.test, time.perf_counter()
    logits = predict(network, evaluation_batches(reviews, text, device_of(network)))
    seconds = time.perf_counter() - started
    metrics.check_finite(logits, "test reviews")
    labels, probabilities = reviews.labels, probabilities_of(logits)
    values = metrics.compute_metrics(labels, probabilities, logits, corpus.classes, threshold)
    test = {f"{Metric.TEST}{name}": value for name, value in values.items()}
    test[Metric.TEST_MAJORITY] = corpus.majority
    test[Metric.TEST_REVIEWS_PER_SECOND] = len(reviews) / seconds
    runs.log_metrics(test)
    runs.log_test_predictions(labels, probabilities, reviews.lengths, threshold)
    runs.log_error_rates(metrics.error_rates_by_kind(corpus, probabilities, text.length, threshold))
    runs.log_mistakes(metrics.mistakes_table(corpus, probabilities, threshold=threshold))
    _log_test_plots(reviews, probabilities, threshold)
    return test


def _log_test_plots(reviews: Reviews, probabilities: NDArray[np.float64], threshold: float) -> None:
    with optional_picture("confusion_matrix"):
        from sentiment_tune.evaluation import plots

        figure = plots.confusion_matrix(reviews.labels, probabilities, reviews.classes, threshold)
        runs.log_figure("confusion_matrix", figure)
    with optional_picture("roc_curve"):
        from sentiment_tune.evaluation import plots

        runs.log_figure("roc_curve", plots.roc_curve(reviews.labels, probabilities, reviews.classes, threshold))
    with optional_picture("reliability_diagram"):
        from sentiment_tune.evaluation import plots

        figure = plots.reliability_diagram(reviews.labels, probabilities, reviews.classes)
        runs.log_figure("reliability_diagram", figure)


def log_model(package: ModelPackage) -> Write:
    """Log the finished model, the seconds that took, and its scores of a few texts; it tells where the model is."""
    _check_weights(package.network)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, Artifact.MODEL)
        flavor.save_model(str(path), package)
        model, size = runs.log_model(path), flavor.size_of(path)
    runs.log_metrics({Metric.PACKAGE_SECONDS: time.perf_counter() - started, Metric.MODEL_BYTES: size})
    runs.log_model_figures()
    runs.log_golden(GOLDEN, metrics.stated(package.scorer.predict_proba(GOLDEN)))
    return model


def _check_weights(network: nn.Module) -> None:
    """DivergenceError naming what of a network is not finite: nobody could load it."""
    for name, tensor in network.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise DivergenceError(f"{name} holds numbers that are not finite; try a smaller learning_rate")
