"""The champions of several networks, put together as one model.

An ensemble's logit is a weighted sum of its members'. The weights are fitted on the validation reviews, and so that
they do not judge themselves, its validation accuracy is that of weights fitted on the other reviews (ten parts in
turn).
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sentiment_tune.build import count_parameters
from sentiment_tune.data.batches import evaluation_batches
from sentiment_tune.data.corpus import Corpus
from sentiment_tune.data.text import TextConfig
from sentiment_tune.errors import InputError
from sentiment_tune.evaluation.metrics import loss_and_accuracy
from sentiment_tune.experiment import REFIT, evaluate_on_test, log_model, start_model_run
from sentiment_tune.inference import package as packaging
from sentiment_tune.inference import predict
from sentiment_tune.inference.package import ModelPackage
from sentiment_tune.models.registry import ENSEMBLE, create_ensemble
from sentiment_tune.tracking import records, registry
from sentiment_tune.tracking import runs as tracking
from sentiment_tune.tracking.runs import RunSpec

FOLDS, SEED = 10, 1  # of the parts of the validation reviews


@dataclass(frozen=True)
class Member:
    """A champion, loaded."""

    name: str  # in the registry
    version: int
    package: ModelPackage
    train_seconds: float

    @property
    def uri(self) -> str:
        return f"models:/{self.name}/{self.version}"


@dataclass(frozen=True)
class EnsembleResult:
    """An ensemble's run and what it found."""

    run_id: str
    members: Sequence[Member]
    weights: NDArray[np.float64]  # [member]
    alone: NDArray[np.float64]  # [member], validation accuracy of each
    validation: float  # accuracy
    test: float  # accuracy


def load_members(names: Sequence[str], corpus: Corpus) -> list[Member]:
    """The champions of these names, or with none named those of every network on this data; InputError below two."""
    chosen = []
    for name in names or _networks():
        present = registry.champion(name)
        if present is None:
            raise InputError(f"no champion of {name!r} at {tracking.tracking_uri()}: tune or register it first")
        objection = _objection(name, present.tags.get(registry.DIGEST), present.run_id or "", corpus)
        if objection is None:
            chosen.append(present)
        elif names:
            raise InputError(objection)
    if len(chosen) < 2:
        raise InputError(
            f"an ensemble needs two champions or more on {corpus.name}, {corpus.digest}, and finds {len(chosen)}: "
            "tune more networks"
        )
    return [
        Member(
            present.name,
            int(present.version),
            packaging.load_package(records.download_model(f"models:/{present.name}/{present.version}")),
            records.read_run(present.run_id or "").metrics["train_seconds"],
        )
        for present in chosen
    ]


def _objection(name: str, digest: str | None, run_id: str, corpus: Corpus) -> str | None:
    """Why the champion of a name, trained in a run on data of that digest, cannot be a member, if it cannot."""
    if digest != corpus.digest:
        return (
            f"the champion of {name!r} was trained on other data, {digest}, than {corpus.name}, {corpus.digest}: leave "
            "it out, or give --data"
        )
    if REFIT in records.read_run(run_id).tags:
        return (
            f"the champion of {name!r} was trained on the validation reviews too (refit), on which weights are to be "
            "found: leave it out, or promote another version"
        )
    return None


def _networks() -> list[str]:
    """Names under which networks have champions; neither the best of all nor an ensemble is one of them."""
    names = {name for several in registry.champions().values() for name in several}
    return sorted(name for name in names if name not in (registry.BEST, registry.registered_name(ENSEMBLE)))


def build_ensemble(names: Sequence[str], corpus: Corpus, place: RunSpec) -> EnsembleResult:
    """Put champions together: one run of MLflow, with weights, validation and test accuracy, and the model."""
    members = load_members(names, corpus)
    reading = common_reading([member.package.text_config for member in members])
    described_members = [
        {
            "model": member.package.model,
            "network": dict(member.package.settings),
            "reading": asdict(member.package.text_config),
        }
        for member in members
    ]
    facts = {"members": json.dumps(described_members)}
    settings = {"model": ENSEMBLE, "members": " ".join(member.uri for member in members), **asdict(reading)}
    with start_model_run(ENSEMBLE, settings, SEED, corpus, place) as run:
        labels = corpus.validation.labels
        logits = np.stack([_said(member.package, corpus) for member in members], 1)  # [review, member]
        weights, bias = fit_weights(logits, labels)
        judged = cross_validate(logits, labels)
        loss, accuracy = loss_and_accuracy(judged, labels)
        network = assemble(members, weights, bias, reading.vocabulary, facts["members"])
        tracking.set_tags({"device": "cpu", "parameters": count_parameters(network)})
        tracking.log_metrics(
            {
                "best_val_accuracy": accuracy,
                "best_val_loss": loss,
                "train_seconds": sum(member.train_seconds for member in members),
                **{f"weight_{member.name}": float(weight) for member, weight in zip(members, weights, strict=True)},
            }
        )
        test = evaluate_on_test(network.to(predict.resolve_device("auto")), reading, corpus)
        log_model(ModelPackage(ENSEMBLE, network.cpu(), facts, corpus.vocabulary, reading))
    alone = ((logits > 0) == (labels == 1)[:, None]).mean(0)
    return EnsembleResult(run.run_id, members, weights, alone, accuracy, test["test_accuracy"])


def common_reading(readings: Sequence[TextConfig]) -> TextConfig:
    """How much of a review must be read so that every member finds what it reads; InputError if they cannot agree."""
    ends = {reading.keep for reading in readings}
    if len(ends) > 1:
        raise InputError("the members keep different ends of long reviews: leave out those of one --keep")
    return TextConfig(
        max(reading.vocabulary for reading in readings), max(reading.length for reading in readings), ends.pop()
    )


def _said(package: ModelPackage, corpus: Corpus) -> NDArray[np.float64]:
    """A member's logits of the validation reviews."""
    network = package.network.to(predict.resolve_device("auto"))
    logits = predict.predict(network, evaluation_batches(corpus.validation, package.text_config))
    network.cpu()
    return logits


def fit_weights(logits: NDArray[np.float64], labels: NDArray[np.uint8]) -> tuple[NDArray[np.float64], float]:
    """Weights [member], none below 0, and the bias with the least log loss; logits [review, member], labels [review].

    A weight below 0 would trust a member to be wrong. A hundredth of the squared distance to equal weights is added to
    the loss, for members that say the same.
    """
    from scipy.optimize import minimize  # slow to import

    signs = np.where(labels == 1, 1.0, -1.0)
    equal = np.full(logits.shape[1], 1 / logits.shape[1])

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights, bias = parameters[:-1], parameters[-1]
        margin = signs * (logits @ weights + bias)
        pull = -signs * np.exp(-np.logaddexp(0, margin)) / len(labels)
        apart = weights - equal
        value = np.logaddexp(0, -margin).mean() + 0.01 * apart @ apart
        return float(value), np.append(logits.T @ pull + 0.02 * apart, pull.sum())

    bounds = [(0.0, None)] * logits.shape[1] + [(None, None)]
    found = minimize(loss, np.append(equal, 0.0), jac=True, bounds=bounds, method="L-BFGS-B").x
    return found[:-1], float(found[-1])


def cross_validate(logits: NDArray[np.float64], labels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The ensemble's logit of each review, by weights that were fitted without it: [review]."""
    part = np.random.default_rng(SEED).permutation(len(labels)) % FOLDS
    judged = np.empty(len(labels))
    for fold in range(FOLDS):
        weights, bias = fit_weights(logits[part != fold], labels[part != fold])
        judged[part == fold] = logits[part == fold] @ weights + bias
    return judged


def assemble(
    members: Sequence[Member], weights: NDArray[np.float64], bias: float, vocabulary: int, facts: str
) -> nn.Module:
    """The ensemble as one network."""
    network = create_ensemble(vocabulary, facts)
    for mine, member in zip(network.members, members, strict=True):
        mine.load_state_dict(member.package.network.state_dict())
    with torch.no_grad():
        network.weights.copy_(torch.from_numpy(weights))
        network.bias.fill_(bias)
    return network.eval()
