"""One run from settings to logged model: where all rooms meet.

`run_experiment` is the whole way. Its parts stand by themselves for who goes only part of it: a trial of a study is a
run and `train_epochs`, and its winner is tested later.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from torch import nn

from sentiment_tune import __version__
from sentiment_tune.build import count_parameters, refit_network
from sentiment_tune.config import ExperimentConfig
from sentiment_tune.data.batches import evaluation_batches
from sentiment_tune.data.corpus import Corpus
from sentiment_tune.data.text import TextConfig
from sentiment_tune.evaluation import metrics
from sentiment_tune.events import Event, Listener, ignore
from sentiment_tune.inference.package import GOLDEN, ModelPackage
from sentiment_tune.inference.predict import device_of, predict
from sentiment_tune.space import Value
from sentiment_tune.tracking import flavor, runs
from sentiment_tune.tracking.runs import ActiveRun, RunSpec
from sentiment_tune.tracking.schema import Metric, Tag
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


def run_experiment(
    network: nn.Module, config: ExperimentConfig, corpus: Corpus, spec: RunSpec, listener: Listener = ignore
) -> RunResult:
    """Train what `build_network` made of the same config and corpus: one run of MLflow, with the finished model."""
    listener(TrainingStart(config, corpus))
    with start_training_run(config, corpus, spec) as run:
        best = BestWeights()
        epochs = list(train_epochs(network, config, corpus, best, listener))
        chosen = finish_training(network, best, epochs)
        log_learning_curves(epochs)
        seconds = sum(epoch.seconds for epoch in epochs)
        if config.training.refit:
            network, refit_seconds = refit(config, corpus, chosen.epoch, listener)
            seconds += refit_seconds
        test = evaluate_on_test(network, config.text, corpus) if len(corpus.test) else {}
        package = ModelPackage(config.model, network.cpu(), config.network, corpus.vocabulary, config.text)
        uri = log_model(package)
    return RunResult(run.run_id, uri, package, epochs, chosen, test, count_parameters(network), seconds)


@contextmanager
def start_training_run(config: ExperimentConfig, corpus: Corpus, spec: RunSpec) -> Iterator[ActiveRun]:
    """A run of MLflow for a training."""
    with start_model_run(config.model, config.as_dict, config.runtime.seed, corpus, spec) as run:
        yield run


@contextmanager
def start_model_run(
    model: str, settings: Mapping[str, Value | None], seed: int, corpus: Corpus, spec: RunSpec
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
        Tag.GIT_COMMIT: runs.git_commit(),
        Tag.PACKAGE_VERSION: __version__,
    }
    with runs.start_run(spec) as run:
        runs.set_tags({name: value for name, value in tags.items() if value is not None})
        runs.log_settings(settings, run.run_id)
        runs.log_data(corpus)
        yield run


def train_epochs(
    network: nn.Module, config: ExperimentConfig, corpus: Corpus, best: BestWeights, listener: Listener = ignore
) -> Iterator[EpochRecord]:
    """Train until validation stands still: each epoch is logged, kept in `best` if it is, and yielded.

    The listener hears of it before. Whoever iterates may stop earlier.
    """
    runs.set_tags({Tag.DEVICE: device_of(network).type, Tag.PARAMETERS: count_parameters(network)})
    epochs = fit(network, corpus.train, corpus.validation, config.training, config.text, config.runtime.seed, listener)
    for epoch in early_stopping(epochs, config.training.patience):
        best.update(epoch, network)
        runs.log_epoch(epoch)
        listener(epoch)
        yield epoch


def finish_training(network: nn.Module, best: BestWeights, epochs: Sequence[EpochRecord]) -> EpochRecord:
    """Put the best weights back and log the best epoch, which is returned, and the seconds of all."""
    chosen = best.restore(network)
    runs.log_metrics(
        {
            Metric.BEST_EPOCH: chosen.epoch,
            Metric.BEST_VAL_ACCURACY: chosen.val_accuracy,
            Metric.BEST_VAL_LOSS: chosen.val_loss,
            Metric.TRAIN_SECONDS: sum(epoch.seconds for epoch in epochs),
        }
    )
    return chosen


def refit(
    config: ExperimentConfig, corpus: Corpus, epochs: int, listener: Listener = ignore
) -> tuple[nn.Module, float]:
    """A network trained on train and validation, and the seconds it took; its epochs are not logged."""
    started = time.perf_counter()
    network = refit_network(config, corpus, epochs, listener)
    seconds = time.perf_counter() - started
    runs.set_tags({Tag.REFIT: True})
    runs.log_metrics({Metric.REFIT_SECONDS: seconds})
    return network, seconds


def log_learning_curves(epochs: Sequence[EpochRecord]) -> None:
    """Log the learning curves; a study's trials go without, since hundreds of pictures are looked at by nobody."""
    from sentiment_tune.evaluation import plots  # slow to import, and not needed before

    runs.log_figure("learning_curves", plots.learning_curves([asdict(epoch) for epoch in epochs]))


def evaluate_on_test(network: nn.Module, text: TextConfig, corpus: Corpus) -> dict[str, float]:
    """Read the test split, once: log its metrics, its pictures, its mistakes and the probability of each review."""
    reviews, started = corpus.test, time.perf_counter()
    logits = predict(network, evaluation_batches(reviews, text, device_of(network)))
    seconds = time.perf_counter() - started
    labels, probabilities = reviews.labels, expit(logits)
    values = metrics.compute_metrics(labels, probabilities, logits)
    test = {f"{Metric.TEST}{name}": value for name, value in values.items()}
    test[Metric.TEST_REVIEWS_PER_SECOND] = len(reviews) / seconds
    runs.log_metrics(test)
    runs.log_test_predictions(labels, probabilities, reviews.lengths)
    runs.log_error_rates(metrics.error_rates_by_kind(corpus, probabilities, text.length))
    runs.log_mistakes(metrics.mistakes_table(corpus, probabilities))
    _log_test_plots(labels, probabilities)
    return test


def _log_test_plots(labels: NDArray[np.uint8], probabilities: NDArray[np.float64]) -> None:
    from sentiment_tune.evaluation import plots

    for plot in (plots.confusion_matrix, plots.roc_curve, plots.reliability_diagram):
        runs.log_figure(plot.__name__, plot(labels, probabilities))


def log_model(package: ModelPackage) -> str:
    """Log the finished model, the seconds that took, and its scores of a few texts; the model's URI."""
    started = time.perf_counter()
    model = flavor.log_model(package)
    runs.log_metrics({Metric.PACKAGE_SECONDS: time.perf_counter() - started, Metric.MODEL_BYTES: flavor.size_of(model)})
    runs.log_golden(GOLDEN, package.scorer.predict_proba(GOLDEN))
    uri: str = model.model_uri
    return uri
