"""From a config and its data to a network that is ready to be trained."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import torch
from torch import Tensor, nn

from sentiment_tune.config import ExperimentConfig
from sentiment_tune.data.batches import evaluation_batches
from sentiment_tune.data.corpus import Corpus, Reviews
from sentiment_tune.data.labels import SENTIMENT, Classes
from sentiment_tune.data.text import TextConfig
from sentiment_tune.errors import InputError, without_exit
from sentiment_tune.events import Listener, ignore
from sentiment_tune.inference.package import ModelPackage
from sentiment_tune.inference.predict import device_of, predict, resolve_device
from sentiment_tune.models import registry
from sentiment_tune.training.balance import AUTO, check_threshold, class_weights, find_threshold
from sentiment_tune.training.checkpoint import Checkpoints
from sentiment_tune.training.loop import BestWeights, fit, seeded
from sentiment_tune.training.step import embedding_tables


def build_network(config: ExperimentConfig, corpus: Corpus) -> nn.Module:
    """The network with its fresh weights, on its device, prepared with the training reviews where it asks for them."""
    if config.runtime.threads:
        torch.set_num_threads(config.runtime.threads)
    with seeded(config.runtime.seed), without_exit():
        check_classes(config, corpus)
        network = create_network(config, corpus.classes)
        if hasattr(network, "prepare"):
            network.prepare(_labelled_batches(corpus.train, config.text))  # type: ignore[operator]
    return network.to(resolve_device(config.runtime.device))


def check_classes(config: ExperimentConfig, corpus: Corpus) -> None:
    """InputError if what is to be made up for classes of unequal size cannot be for those of the corpus."""
    check_threshold(config.training.threshold, corpus.classes, config.training.metric)
    class_weights(config.training.class_weights, corpus.train)  # refuses classes that there are not


def create_network(config: ExperimentConfig, classes: Classes = SENTIMENT) -> nn.Module:
    """The network that knows no data yet; InputError if it, its device or its training cannot be as configured."""
    resolve_device(config.runtime.device)
    network = registry.create_network(config.model, config.text.vocabulary, config.network, len(classes))
    if config.training.adversarial and not embedding_tables(network):
        raise InputError(
            f"adversarial cannot be {config.training.adversarial:g} for {config.model}: it has no vectors of words to "
            "change, leave it at 0"
        )
    return network


def refit_network(
    config: ExperimentConfig,
    corpus: Corpus,
    epochs: int,
    listener: Listener = ignore,
    checkpoints: Checkpoints | None = None,
) -> nn.Module:
    """A network trained anew on train and validation, for as many epochs as validation chose.

    What an epoch says of the validation reviews means nothing then.
    """
    everything = replace(corpus, train=corpus.train.union(corpus.validation))
    network, last = build_network(config, everything), BestWeights()
    training = fit(
        network,
        everything.train,
        corpus.validation,
        config.training.for_reviews(len(corpus.train)),  # not fewer epochs for more reviews: `epochs` is one of those
        config.text,
        config.runtime.seed,
        listener,
        checkpoints,
        threads=config.runtime.threads,
    )
    for epoch in islice(training, epochs):
        if epoch.epoch == epochs:
            last.update(epoch, network)
    last.restore(network)
    return network


def threshold_of(network: nn.Module, config: ExperimentConfig, corpus: Corpus) -> float:
    """Where a finished network's two classes part: as was given, for `auto` as is best on the validation reviews."""
    given = config.training.threshold
    if given != AUTO:
        return float(given)
    logits = predict(network, evaluation_batches(corpus.validation, config.text, device_of(network)))
    return find_threshold(config.training.metric, logits, corpus.validation)


def package_of(network: nn.Module, config: ExperimentConfig, corpus: Corpus, threshold: float) -> ModelPackage:
    """A finished network with all that it takes to score."""
    return ModelPackage(
        config.model, network, config.network, corpus.vocabulary, config.text, corpus.classes, threshold
    )


def count_parameters(network: nn.Module) -> int:
    """How many numbers a network learns."""
    return sum(parameter.numel() for parameter in network.parameters())


def _labelled_batches(reviews: Reviews, text: TextConfig) -> Iterator[tuple[Tensor, Tensor]]:
    for batch in evaluation_batches(reviews, text):
        yield batch.ids, torch.from_numpy(reviews.labels[batch.rows])
