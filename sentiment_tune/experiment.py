"""One run from settings to logged model: where all rooms meet.

`run` is the whole way. Its parts stand by themselves for who goes only part of it: a trial of a study is `recorded`
and `trained`, and its winner is `tested` later.
"""

import ctypes
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice

import torch
from torch import Tensor, nn

from sentiment_tune import __version__
from sentiment_tune.config import ExperimentConfig
from sentiment_tune.data.batches import evaluation_batches
from sentiment_tune.data.corpus import Corpus, Reviews
from sentiment_tune.data.text import TextConfig
from sentiment_tune.errors import InputError
from sentiment_tune.evaluation import metrics as evaluation
from sentiment_tune.inference.package import GOLDEN, ModelPackage
from sentiment_tune.inference.predict import device_of, predict, resolve_device
from sentiment_tune.inference.scorer import sigmoid
from sentiment_tune.models import registry as models
from sentiment_tune.space import Value
from sentiment_tune.tracking import flavor
from sentiment_tune.tracking import runs as tracking
from sentiment_tune.tracking.runs import RunSpec
from sentiment_tune.training.loop import BestWeights, EpochRecord, Watch, early_stopping, fit, seeded, unwatched
from sentiment_tune.training.step import embedding_tables

Told = Callable[[EpochRecord], None]
REFIT = "refit"  # tag of a run whose model has seen the validation reviews


def untold(epoch: EpochRecord) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class Result:
    """What a finished run has to say."""

    run_id: str
    model_uri: str
    best: EpochRecord
    test: dict[str, float]  # by metric, as logged
    parameters: int
    seconds: float  # wall time of the training


def run_experiment(
    network: nn.Module,
    config: ExperimentConfig,
    corpus: Corpus,
    place: RunSpec,
    watch: Watch = unwatched,
    told: Told = untold,
) -> Result:
    """Train what `built` made, by the same config and corpus: one run of MLflow that ends with the finished model logged.

    `watch` sees each epoch's batches pass, `told` hears each epoch's record.
    """
    with start_training_run(config, corpus, place) as run_id:
        epochs, best = train_network(network, config, corpus, watch, told)
        log_learning_curves(epochs)
        seconds = sum(epoch.seconds for epoch in epochs)
        if config.training.refit:
            network, more = refit(config, corpus, best.epoch, watch)
            seconds += more
        test = evaluate_on_test(network, config.text, corpus)
        uri = log_model(ModelPackage(config.model, network.cpu(), config.network, corpus.vocabulary, config.text))
    return Result(run_id, uri, best, test, count_parameters(network), seconds)


def build_network(config: ExperimentConfig, corpus: Corpus) -> nn.Module:
    """The network with its fresh weights, on its device, prepared with the training reviews where it asks for them."""
    keep_freed_memory()
    if config.runtime.threads:
        torch.set_num_threads(config.runtime.threads)
    with seeded(config.runtime.seed):
        network = create_network(config)
        if hasattr(network, "prepare"):
            network.prepare(_labelled_batches(corpus.train, config.text))  # type: ignore[operator]
    return network.to(resolve_device(config.runtime.device))


def keep_freed_memory() -> None:
    """Let this process keep up to 1 GiB of freed memory for what asks next; glibc only, elsewhere nothing happens.

    Else each step gets the memory of its large tensors from the system anew, page by page: a seventh of an LSTM's time.
    """
    if platform.libc_ver()[0] == "glibc":
        trim_threshold, mmap_threshold = -1, -3  # numbers of malloc.h
        for parameter in (trim_threshold, mmap_threshold):
            ctypes.CDLL(None).mallopt(parameter, 2**30)


def create_network(config: ExperimentConfig) -> nn.Module:
    """The network that knows no data yet; InputError if it, its device or its recipe cannot be as planned."""
    resolve_device(config.runtime.device)
    network = models.create_network(config.model, config.text.vocabulary, config.network)
    if config.training.adversarial and not embedding_tables(network):
        raise InputError(
            f"adversarial cannot be {config.training.adversarial:g} for {config.model}: it has no vectors of words to "
            "change, leave it at 0"
        )
    return network


def _labelled_batches(reviews: Reviews, reading: TextConfig) -> Iterator[tuple[Tensor, Tensor]]:
    for batch in evaluation_batches(reviews, reading):
        yield batch.ids, torch.from_numpy(reviews.labels[batch.rows])


def count_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@contextmanager
def start_training_run(config: ExperimentConfig, corpus: Corpus, place: RunSpec) -> Iterator[str]:
    """The run of a training, which knows its settings, its data and where it comes from; yields its id."""
    with start_model_run(config.model, config.as_dict, config.runtime.seed, corpus, place) as run_id:
        yield run_id


@contextmanager
def start_model_run(
    model: str,
    settings: Mapping[str, Value | None],
    seed: int,
    corpus: Corpus,
    place: RunSpec,
) -> Iterator[str]:
    """A run of MLflow that ends with a model, and says at its beginning what it is about; yields its id."""
    known = {
        "network": model,
        "data": corpus.name,
        "data_digest": corpus.digest,
        "data_warning": corpus.warning,
        "reviews_train": len(corpus.train),
        "reviews_validation": len(corpus.validation),
        "reviews_test": len(corpus.test),
        "seed": seed,
        "git_commit": tracking.git_commit(),
        "package_version": __version__,
    }
    with tracking.start_run(place) as run_id:
        tracking.set_tags({name: value for name, value in known.items() if value is not None})
        tracking.log_settings(settings, run_id)
        tracking.log_data(corpus)
        yield run_id


def train_network(
    network: nn.Module,
    config: ExperimentConfig,
    corpus: Corpus,
    watch: Watch = unwatched,
    told: Told = untold,
) -> tuple[list[EpochRecord], EpochRecord]:
    """Train to the end, log on the way, leave the best weights in the network: all epochs, the best one."""
    tracking.set_tags({"device": device_of(network).type, "parameters": count_parameters(network)})
    epochs, best = [], BestWeights()
    training = fit(network, corpus.train, corpus.validation, config.training, config.text, config.runtime.seed, watch)
    for epoch in early_stopping(training, config.training.patience):
        epochs.append(epoch)
        best.update(epoch, network)
        tracking.log_epoch(epoch)
        told(epoch)
    chosen = best.restore(network)
    tracking.log_metrics(
        {
            "best_epoch": chosen.epoch,
            "best_val_accuracy": chosen.val_accuracy,
            "best_val_loss": chosen.val_loss,
            "train_seconds": sum(epoch.seconds for epoch in epochs),
        }
    )
    return epochs, chosen


def refit(config: ExperimentConfig, corpus: Corpus, epochs: int, watch: Watch = unwatched) -> tuple[nn.Module, float]:
    """A network trained anew on train and validation, for as many epochs as validation chose; and the seconds it took.

    What an epoch says of the validation reviews means nothing then, and is not logged.
    """
    everything = replace(corpus, train=corpus.train.union(corpus.validation))
    network, end, started = build_network(config, everything), BestWeights(), time.perf_counter()
    training = fit(
        network, everything.train, corpus.validation, config.training, config.text, config.runtime.seed, watch
    )
    for epoch in islice(training, epochs):
        if epoch.epoch == epochs:
            end.update(epoch, network)
    end.restore(network)
    seconds = time.perf_counter() - started
    tracking.set_tags({REFIT: True})
    tracking.log_metrics({"refit_seconds": seconds})
    return network, seconds


def log_learning_curves(epochs: Sequence[EpochRecord]) -> None:
    """Log the learning curves; a study's trials go without, since hundreds of pictures are looked at by nobody."""
    from sentiment_tune.evaluation import plots  # slow to import, and not needed before

    tracking.log_figure("learning_curves", plots.learning_curves([asdict(epoch) for epoch in epochs]))


def evaluate_on_test(network: nn.Module, reading: TextConfig, corpus: Corpus) -> dict[str, float]:
    """Read the test split, once: log its figures, its pictures and what was said of each review."""
    from sentiment_tune.evaluation import plots

    reviews, started = corpus.test, time.perf_counter()
    logits = predict(network, evaluation_batches(reviews, reading, device_of(network)))
    seconds = time.perf_counter() - started
    labels, probabilities = reviews.labels, sigmoid(logits)
    figures = {
        f"test_{name}": value for name, value in evaluation.compute_metrics(labels, probabilities, logits).items()
    }
    figures["test_reviews_per_second"] = len(reviews) / seconds
    tracking.log_metrics(figures)
    tracking.log_test_predictions(labels, probabilities, reviews.lengths)
    tracking.log_error_rates(evaluation.error_rates_by_kind(corpus, probabilities, reading.length))
    texts = {
        row: corpus.vocabulary.decode(reviews[row]) for row in plots.most_confident_mistakes(labels, probabilities)
    }
    for draw in (plots.confusion_matrix, plots.roc_curve, plots.reliability_diagram):
        tracking.log_figure(draw.__name__, draw(labels, probabilities))
    tracking.log_figure("mistakes", plots.mistakes(labels, probabilities, texts))
    return figures


def log_model(package: ModelPackage) -> str:
    """Log the finished model, what that took, and what it says of a few texts; its URI."""
    started = time.perf_counter()
    model = flavor.log_model(package)
    tracking.log_metrics({"package_seconds": time.perf_counter() - started, "model_bytes": flavor.size_of(model)})
    tracking.log_golden(GOLDEN, package.scorer.predict_proba(GOLDEN))
    uri: str = model.model_uri
    return uri
