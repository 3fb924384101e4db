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
from sentiment_tune.config import Plan
from sentiment_tune.data.batches import in_order
from sentiment_tune.data.load import Corpus, Reviews
from sentiment_tune.data.text import Reading
from sentiment_tune.errors import InputError
from sentiment_tune.evaluation import metrics as evaluation
from sentiment_tune.inference.package import GOLDEN, Package
from sentiment_tune.inference.scorer import probability
from sentiment_tune.models import registry as models
from sentiment_tune.space import Value
from sentiment_tune.tracking import flavor
from sentiment_tune.tracking import runs as tracking
from sentiment_tune.tracking.runs import Place
from sentiment_tune.training.loop import (
    Best,
    Epoch,
    Watch,
    device_of,
    fit,
    lookup_tables,
    predict,
    seeded,
    until_stale,
    unwatched,
)

Told = Callable[[Epoch], None]
REFIT = "refit"  # tag of a run whose model has seen the validation reviews


def untold(epoch: Epoch) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class Result:
    """What a finished run has to say."""

    run_id: str
    model_uri: str
    best: Epoch
    test: dict[str, float]  # by metric, as logged
    parameters: int
    seconds: float  # wall time of the training


def run(
    network: nn.Module, plan: Plan, corpus: Corpus, place: Place, watch: Watch = unwatched, told: Told = untold
) -> Result:
    """Train what `built` made, by the same plan and corpus: one run of MLflow that ends with the finished model logged.

    `watch` sees each epoch's batches pass, `told` hears each epoch's record.
    """
    with recorded(plan, corpus, place) as run_id:
        epochs, best = trained(network, plan, corpus, watch, told)
        pictured(epochs)
        seconds = sum(epoch.seconds for epoch in epochs)
        if plan.recipe.refit:
            network, more = refitted(plan, corpus, best.epoch, watch)
            seconds += more
        test = tested(network, plan.reading, corpus)
        uri = logged(Package(plan.model, network.cpu(), plan.network, corpus.vocabulary, plan.reading))
    return Result(run_id, uri, best, test, count_parameters(network), seconds)


def built(plan: Plan, corpus: Corpus) -> nn.Module:
    """The network with its fresh weights, on its device, prepared with the training reviews where it asks for them."""
    keep_freed_memory()
    if plan.conditions.threads:
        torch.set_num_threads(plan.conditions.threads)
    with seeded(plan.conditions.seed):
        network = fresh(plan)
        if hasattr(network, "prepare"):
            network.prepare(_labelled_batches(corpus.train, plan.reading))  # type: ignore[operator]
    return network.to(device_for(plan.conditions.device))


def keep_freed_memory() -> None:
    """Let this process keep up to 1 GiB of freed memory for what asks next; glibc only, elsewhere nothing happens.

    Else each step gets the memory of its large tensors from the system anew, page by page: a seventh of an LSTM's time.
    """
    if platform.libc_ver()[0] == "glibc":
        trim_threshold, mmap_threshold = -1, -3  # numbers of malloc.h
        for parameter in (trim_threshold, mmap_threshold):
            ctypes.CDLL(None).mallopt(parameter, 2**30)


def fresh(plan: Plan) -> nn.Module:
    """The network that knows no data yet; InputError if it, its device or its recipe cannot be as planned."""
    device_for(plan.conditions.device)
    network = models.build(plan.model, plan.reading.vocabulary, plan.network)
    if plan.recipe.adversarial and not lookup_tables(network):
        raise InputError(
            f"adversarial cannot be {plan.recipe.adversarial:g} for {plan.model}: it has no vectors of words to "
            "change, leave it at 0"
        )
    return network


def _labelled_batches(reviews: Reviews, reading: Reading) -> Iterator[tuple[Tensor, Tensor]]:
    for batch in in_order(reviews, reading):
        yield batch.ids, torch.from_numpy(reviews.labels[batch.rows])


def device_for(name: str) -> torch.device:
    """The device of that name; `auto` takes CUDA where it is, and leaves alone MPS, on which nobody has tried this."""
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device("cuda" if present["cuda"] else "cpu")
    if not present[name]:
        raise InputError(f"device cannot be {name!r}: torch {torch.__version__} finds none here; choose auto or cpu")
    return torch.device(name)


def count_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@contextmanager
def recorded(plan: Plan, corpus: Corpus, place: Place) -> Iterator[str]:
    """The run of a training, which knows its settings, its data and where it comes from; yields its id."""
    with described(plan.model, plan.values, plan.conditions.seed, corpus, place) as run_id:
        yield run_id


@contextmanager
def described(
    model: str, settings: Mapping[str, Value | None], seed: int, corpus: Corpus, place: Place
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
    with tracking.opened(place) as run_id:
        tracking.set_tags({name: value for name, value in known.items() if value is not None})
        tracking.log_settings(settings, run_id)
        tracking.log_data(corpus)
        yield run_id


def trained(
    network: nn.Module, plan: Plan, corpus: Corpus, watch: Watch = unwatched, told: Told = untold
) -> tuple[list[Epoch], Epoch]:
    """Train to the end, log on the way, leave the best weights in the network: all epochs, the best one."""
    tracking.set_tags({"device": device_of(network).type, "parameters": count_parameters(network)})
    epochs, best = [], Best()
    training = fit(network, corpus.train, corpus.validation, plan.recipe, plan.reading, plan.conditions.seed, watch)
    for epoch in until_stale(training, plan.recipe.patience):
        epochs.append(epoch)
        best.see(epoch, network)
        tracking.log_epoch(epoch)
        told(epoch)
    chosen = best.restore(network)
    tracking.log_results(
        {
            "best_epoch": chosen.epoch,
            "best_val_accuracy": chosen.val_accuracy,
            "best_val_loss": chosen.val_loss,
            "train_seconds": sum(epoch.seconds for epoch in epochs),
        }
    )
    return epochs, chosen


def refitted(plan: Plan, corpus: Corpus, epochs: int, watch: Watch = unwatched) -> tuple[nn.Module, float]:
    """A network trained anew on train and validation, for as many epochs as validation chose; and the seconds it took.

    What an epoch says of the validation reviews means nothing then, and is not logged.
    """
    everything = replace(corpus, train=corpus.train.and_those_of(corpus.validation))
    network, end, started = built(plan, everything), Best(), time.perf_counter()
    training = fit(network, everything.train, corpus.validation, plan.recipe, plan.reading, plan.conditions.seed, watch)
    for epoch in islice(training, epochs):
        if epoch.epoch == epochs:
            end.see(epoch, network)
    end.restore(network)
    seconds = time.perf_counter() - started
    tracking.set_tags({REFIT: True})
    tracking.log_results({"refit_seconds": seconds})
    return network, seconds


def pictured(epochs: Sequence[Epoch]) -> None:
    """Log the learning curves; a study's trials go without, since hundreds of pictures are looked at by nobody."""
    from sentiment_tune.evaluation import plots  # slow to import, and not needed before

    tracking.log_picture("learning_curves", plots.learning_curves([asdict(epoch) for epoch in epochs]))


def tested(network: nn.Module, reading: Reading, corpus: Corpus) -> dict[str, float]:
    """Read the test split, once: log its figures, its pictures and what was said of each review."""
    from sentiment_tune.evaluation import plots

    reviews, started = corpus.test, time.perf_counter()
    logits = predict(network, in_order(reviews, reading, device_of(network)))
    seconds = time.perf_counter() - started
    labels, probabilities = reviews.labels, probability(logits)
    figures = {f"test_{name}": value for name, value in evaluation.figures(labels, probabilities, logits).items()}
    figures["test_reviews_per_second"] = len(reviews) / seconds
    tracking.log_results(figures)
    tracking.log_test(labels, probabilities, reviews.lengths)
    tracking.log_mistakes(evaluation.mistakes_by_kind(corpus, probabilities, reading.length))
    texts = {
        row: corpus.vocabulary.decode(reviews[row]) for row in plots.most_confident_mistakes(labels, probabilities)
    }
    for draw in (plots.confusion_matrix, plots.roc_curve, plots.reliability_diagram):
        tracking.log_picture(draw.__name__, draw(labels, probabilities))
    tracking.log_picture("mistakes", plots.mistakes(labels, probabilities, texts))
    return figures


def logged(package: Package) -> str:
    """Log the finished model, what that took, and what it says of a few texts; its URI."""
    started = time.perf_counter()
    model = flavor.log_model(package)
    tracking.log_results({"package_seconds": time.perf_counter() - started, "model_bytes": flavor.size_of(model)})
    tracking.log_golden(GOLDEN, package.scorer.probabilities(GOLDEN))
    uri: str = model.model_uri
    return uri
