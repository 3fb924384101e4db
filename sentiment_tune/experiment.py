"""One run from settings to logged model: where all rooms meet."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn import metrics
from torch import Tensor, nn

from sentiment_tune import __version__, flavor, models, plots, tracking
from sentiment_tune.batches import in_order
from sentiment_tune.data import Corpus, Reviews, Source
from sentiment_tune.errors import InputError
from sentiment_tune.packaging import Package
from sentiment_tune.scoring import probability
from sentiment_tune.space import Fixed, Range, Setting, Value, no_such, resolve, settings_of
from sentiment_tune.text import Reading
from sentiment_tune.training import (
    Best,
    Epoch,
    Recipe,
    Watch,
    device_of,
    fit,
    measure,
    predict,
    seeded,
    until_stale,
    unwatched,
)

# Options of `train` that are no settings of a training; a network cannot call its own settings so.
TAKEN = ("model", "settings", "experiment", "run_name", "tracking_uri", "system_metrics", "quiet")


@dataclass(frozen=True)
class Conditions:
    """What a training depends on besides network, data and recipe."""

    seed: Annotated[int, Range(0, 2**32 - 1)] = 1
    device: Annotated[str, Fixed("auto", "cpu", "cuda", "mps")] = "auto"
    threads: Annotated[int, Range(0, 4096)] = 0  # of the CPU; 0 leaves it to torch


@dataclass(frozen=True)
class Plan:
    """Everything that decides a training, complete and checked."""

    model: str  # name in the registry of networks, or package.module:Class
    source: Source
    reading: Reading
    recipe: Recipe
    conditions: Conditions
    network: Mapping[str, Value]  # settings of the network's constructor

    @classmethod
    def of(cls, model: str, given: Mapping[str, Any]) -> "Plan":
        """A plan from what is given by name, the rest by default; InputError for unknown names and bad values."""
        known, sources = settings_for(model), {field.name for field in fields(Source)}
        for name in given:
            if name not in known and name not in sources:
                raise no_such(f"setting of {model}", name, [*known, *sources])
            if name in sources and not isinstance(given[name], str):
                raise InputError(f"{name} cannot be {given[name]!r}: give a text")
        chosen = {**preferred(model), **given}
        return cls(
            model,
            Source(**{name: value for name, value in given.items() if name in sources}),
            Reading(**resolve(Reading, chosen)),  # type: ignore[arg-type]  # `resolve` has checked the types
            Recipe(**resolve(Recipe, chosen)),  # type: ignore[arg-type]
            Conditions(**resolve(Conditions, chosen)),  # type: ignore[arg-type]
            resolve(models.find(model), chosen),
        )

    @property
    def values(self) -> dict[str, Value | None]:
        """Everything by name: the params of the run and the content of its settings file."""
        parts = (self.source, self.reading, self.recipe, self.conditions)
        return {"model": self.model, **self.network} | {k: v for part in parts for k, v in asdict(part).items()}


def settings_for(model: str) -> dict[str, Setting]:
    """What can be set for a network and its training, each with the default that holds for this network."""
    own = settings_of(models.find(model))
    common = {name: line for part in (Recipe, Reading, Conditions) for name, line in settings_of(part).items()}
    both = sorted(own.keys() & {*common, *(field.name for field in fields(Source)), *TAKEN})
    if both:
        raise InputError(f"network {model!r} calls a setting {both[0]!r}, a name that is taken; choose another")
    preference = preferred(model)
    return {name: replace(line, default=preference.get(name, line.default)) for name, line in (own | common).items()}


def preferred(model: str) -> Mapping[str, Value]:
    """The training settings that a network prefers to the common defaults."""
    return getattr(models.find(model), "recipe", {})


def read_settings(path: Path) -> dict[str, Any]:
    """What a settings file holds, by name, settings left empty in it left out."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"no settings in {path}: {error}") from None
    if not isinstance(held, dict):
        raise InputError(f"no settings in {path}: it holds no JSON object of names and values")
    return {name: value for name, value in held.items() if value is not None}


@dataclass(frozen=True)
class Result:
    """What a finished run has to say."""

    run_id: str
    model_uri: str
    best: Epoch
    test: Mapping[str, float]  # by metric, as logged
    parameters: int
    seconds: float  # wall time of the training


def run(
    network: nn.Module,
    plan: Plan,
    corpus: Corpus,
    experiment: str | None = None,
    name: str | None = None,
    system_metrics: bool = False,
    watch: Watch = unwatched,
    told: Callable[[Epoch], None] = lambda epoch: None,
) -> Result:
    """Train what `built` made, by the same plan and corpus: one run of MLflow that ends with the finished model logged.

    `watch` sees each epoch's batches pass, `told` hears each epoch's record.
    """
    with tracking.opened(experiment, name or plan.model, _tags(plan, corpus, network), system_metrics) as run_id:
        tracking.log_settings(plan.values, run_id)
        tracking.log_data(corpus)
        epochs, best = _trained(network, plan, corpus, watch, told)
        tracking.log_picture("learning_curves", plots.learning_curves([asdict(epoch) for epoch in epochs]))
        test = _tested(network, plan, corpus)
        uri = _logged(Package(plan.model, network.cpu(), plan.network, corpus.vocabulary, plan.reading))
    return Result(run_id, uri, best, test, count_parameters(network), sum(epoch.seconds for epoch in epochs))


def built(plan: Plan, corpus: Corpus) -> nn.Module:
    """The network with its fresh weights, on its device, prepared with the training reviews where it asks for them."""
    device = device_for(plan.conditions.device)
    if plan.conditions.threads:
        torch.set_num_threads(plan.conditions.threads)
    with seeded(plan.conditions.seed):
        network = models.build(plan.model, plan.reading.vocabulary, plan.network)
    if hasattr(network, "prepare"):
        network.prepare(_labelled_batches(corpus.train, plan.reading))  # type: ignore[operator]
    return network.to(device)


def _labelled_batches(reviews: Reviews, reading: Reading) -> Iterator[tuple[Tensor, Tensor]]:
    for batch in in_order(reviews, reading):
        yield batch.ids, torch.from_numpy(reviews.labels[batch.rows])


def device_for(name: str) -> torch.device:
    """The device of that name; `auto` takes a GPU where there is one."""
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(device for device, is_there in present.items() if is_there))
    if not present[name]:
        raise InputError(f"device cannot be {name!r}: torch {torch.__version__} finds none here; choose auto or cpu")
    return torch.device(name)


def count_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _tags(plan: Plan, corpus: Corpus, network: nn.Module) -> dict[str, str]:
    known = {
        "network": plan.model,
        "data": corpus.name,
        "data_digest": corpus.digest,
        "data_warning": corpus.warning,
        "seed": plan.conditions.seed,
        "device": device_of(network).type,
        "parameters": count_parameters(network),
        "git_commit": tracking.git_commit(),
        "package_version": __version__,
    }
    return {name: str(value) for name, value in known.items() if value is not None}


def _trained(
    network: nn.Module, plan: Plan, corpus: Corpus, watch: Watch, told: Callable[[Epoch], None]
) -> tuple[list[Epoch], Epoch]:
    """Train to the end, log on the way, leave the best weights in the network: all epochs, the best one."""
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


def _tested(network: nn.Module, plan: Plan, corpus: Corpus) -> dict[str, float]:
    """Read the test split, once: log its figures and pictures."""
    reviews = corpus.test
    logits = predict(network, in_order(reviews, plan.reading))
    figures = test_figures(logits, reviews.labels)
    tracking.log_results(figures)
    labels, probabilities = reviews.labels, probability(logits)
    texts = {
        row: corpus.vocabulary.decode(reviews[row]) for row in plots.most_confident_mistakes(labels, probabilities)
    }
    for draw in (plots.confusion_matrix, plots.roc_curve, plots.reliability_diagram):
        tracking.log_picture(draw.__name__, draw(labels, probabilities))
    tracking.log_picture("mistakes", plots.mistakes(labels, probabilities, texts))
    return figures


def _logged(package: Package) -> str:
    """Log the finished model, and what that took; its URI."""
    started = time.perf_counter()
    uri: str = flavor.log_model(package).model_uri
    tracking.log_results({"package_seconds": time.perf_counter() - started})
    return uri


def test_figures(logits: NDArray[np.float64], labels: NDArray[np.uint8]) -> dict[str, float]:
    """Metrics of a finished model by name, from its logits and the labels [review]."""
    loss, accuracy = measure(logits, labels)
    probabilities = probability(logits)
    return {
        "test_accuracy": accuracy,
        "test_f1": float(metrics.f1_score(labels, logits > 0)),
        "test_roc_auc": float(metrics.roc_auc_score(labels, logits)),
        "test_log_loss": loss,
        "test_brier": float(metrics.brier_score_loss(labels, probabilities)),
    }
