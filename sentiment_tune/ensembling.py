"""The champions of several networks, put together as one model.

An ensemble's logit is a weighted sum of its members'. The weights are fitted on the validation reviews, and so that
they do not judge themselves, it is judged on validation by weights fitted on the other reviews (ten parts in turn).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sentiment_tune import notes
from sentiment_tune.build import count_parameters
from sentiment_tune.data.batches import evaluation_batches
from sentiment_tune.data.corpus import Corpus, Reviews
from sentiment_tune.data.labels import THRESHOLD
from sentiment_tune.data.text import TextConfig, Vocabulary
from sentiment_tune.errors import InputError
from sentiment_tune.evaluation.finished_run import FinishedRun
from sentiment_tune.evaluation.metrics import ACCURACY, loss_and_accuracy, score_of
from sentiment_tune.events import Listener, WarningMessage, ignore
from sentiment_tune.experiment import evaluate_on_test, log_model, start_model_run
from sentiment_tune.inference.package import ModelPackage
from sentiment_tune.inference.predict import predict, resolve_device
from sentiment_tune.models.ensemble import Ensemble
from sentiment_tune.models.registry import ENSEMBLE, create_ensemble
from sentiment_tune.tracking import logged_models, records, registry, runs, schema, server
from sentiment_tune.tracking.registry import Version
from sentiment_tune.tracking.runs import RunSpec
from sentiment_tune.tracking.schema import Metric, Tag, VersionTag
from sentiment_tune.training.balance import AUTO, threshold_by

FOLDS, SEED = 10, 1  # of the validation reviews
PENALTY = 0.01  # nat per squared distance of the weights to equal ones


@dataclass(frozen=True)
class Member:
    """A champion, loaded."""

    name: str  # in the registry
    version: int
    uri: str
    package: ModelPackage
    run: FinishedRun
    finds_threshold: bool  # on validation, by which its classes part


@dataclass(frozen=True)
class EnsembleResult:
    """An ensemble's run, its members and their weights, and what they are worth."""

    run_id: str
    members: Sequence[Member]
    weights: NDArray[np.float64]  # [member]
    alone: NDArray[np.float64]  # [member], of each on validation by the metric that judges, more is better
    validation: float  # the same of all together
    test: float  # accuracy
    metric: str = ACCURACY  # that judges


def load_members(names: Sequence[str], corpus: Corpus, trust_code: bool = False) -> list[Member]:
    """The champions of these names, or with none named those of every network on this data; InputError below two."""
    versions: dict[str, Version] = {}  # by run
    for name in names or _networks():
        version = registry.champion(name)
        if version is None:
            raise InputError(f"no champion of {name!r} at {server.tracking_uri()}: tune or register it first")
        objection = _objection(version, corpus) or _twice(version, versions.get(version.run_id))
        if objection is None:
            versions[version.run_id] = version
        elif names:
            raise InputError(objection)
    if len(versions) < 2:
        raise InputError(
            f"an ensemble needs two champions or more on {corpus.name}, {corpus.digest}, and finds {len(versions)}: "
            "tune more networks"
        )
    return [_load_member(version, trust_code) for version in versions.values()]


def _networks() -> list[str]:
    """Names under which networks have champions, one of each model; neither the best of all nor an ensemble is one."""
    others = {registry.BEST, registry.registered_name(ENSEMBLE)}
    names = [[name for name in of_run if name not in others] for of_run in registry.champions().values()]
    return sorted(min(each, key=lambda name: not name.startswith(f"{registry.BEST}-")) for each in names if each)


def _objection(version: Version, corpus: Corpus) -> str | None:
    """Why a champion cannot be a member of an ensemble on this corpus, if it cannot."""
    digest = version.tags.get(VersionTag.DATA_DIGEST)
    if digest != corpus.digest:
        return (
            f"the champion of {version.name!r} was trained on other data, {digest}, than {corpus.name}, "
            f"{corpus.digest}: leave it out, or give --data"
        )
    if records.finished_run(records.read_run(version.run_id)).is_refit:
        return (
            f"the champion of {version.name!r} was trained on the validation reviews too (refit), on which weights are "
            "to be found: leave it out, or promote another version"
        )
    return None


def _twice(version: Version, earlier: Version | None) -> str | None:
    """What to say of a champion whose model is a member already."""
    if earlier is None:
        return None
    return f"the champion of {version.name!r} is a member already, as that of {earlier.name!r}: name it once"


def _load_member(version: Version, trust_code: bool) -> Member:
    package, run = logged_models.load(version.uri, trust_code), records.read_run(version.run_id)
    finds = Metric.THRESHOLD in run.metrics
    return Member(version.name, version.version, version.uri, package, records.finished_run(run), finds)


def build_ensemble(
    names: Sequence[str], corpus: Corpus, spec: RunSpec, trust_code: bool = False, listener: Listener = ignore
) -> EnsembleResult:
    """Put champions together: one run of MLflow, with weights, validation and test accuracy, and the model."""
    members = load_members(names, corpus, trust_code)
    text_config = common_text_config([member.package.text_config for member in members])
    vocabulary = common_vocabulary([member.package.vocabulary for member in members])
    judged = _judged_by(members, listener)
    settings = {
        "model": ENSEMBLE,
        "members": " ".join(member.uri for member in members),
        **asdict(text_config),
        "text_rule": vocabulary.rule,
        **judged,
    }
    with start_model_run(ENSEMBLE, settings, SEED, corpus, spec, listener) as run:
        # [review, member], of more than two classes [review, class, member]
        logits = np.stack([_validation_logits(member.package, corpus) for member in members], -1)
        weights, bias = fit_weights(logits, corpus.validation.labels)
        figures, threshold = _judge(judged, logits, corpus.validation)
        network = assemble(members, weights, bias, text_config.vocabulary, len(corpus.classes))
        _log_training(members, weights, figures, count_parameters(network))
        test = evaluate_on_test(network.to(resolve_device("auto")), text_config, corpus, threshold)
        facts = {"members": _describe(members)}
        package = ModelPackage(ENSEMBLE, network.cpu(), facts, vocabulary, text_config, corpus.classes, threshold)
        model = log_model(package)
        result = notes.Result(figures[Metric.BEST_VAL_ACCURACY], test[Metric.TEST_ACCURACY], model.location)
        shares = {f"{member.name} version {member.version}": w for member, w in zip(members, weights, strict=True)}
        runs.set_tags({Tag.NOTE: notes.ensembled(shares, corpus, run, result)})
    metric = judged.get("metric", ACCURACY)
    alone = _alone(members, metric, logits, corpus.validation)
    validation = schema.score_of(figures)
    return EnsembleResult(run.run_id, members, weights, alone, validation, test[Metric.TEST_ACCURACY], metric)


def _judged_by(members: Sequence[Member], listener: Listener) -> dict[str, str]:
    """The metric that judges all members and where their classes part, as settings; nothing where that is as usual.

    What was judged by several metrics is judged by accuracy, which is told.
    """
    by_metric = sorted({member.run.metric for member in members})
    if len(by_metric) > 1:
        told = f"the members were judged by {' and '.join(by_metric)}: together they are by accuracy"
        listener(WarningMessage(f"{told}; name those of one metric with --members"))
    metric = by_metric[0] if len(by_metric) == 1 else ACCURACY
    given = {str(member.package.threshold) for member in members}
    threshold = given.pop() if len(given) == 1 else str(THRESHOLD)
    threshold = AUTO if any(member.finds_threshold for member in members) else threshold
    usual = {"metric": ACCURACY, "threshold": str(THRESHOLD)}
    return {name: value for name, value in (("metric", metric), ("threshold", threshold)) if value != usual[name]}


def _judge(judged: Mapping[str, str], logits: NDArray[np.float64], reviews: Reviews) -> tuple[dict[str, float], float]:
    """What the ensemble is worth on reviews that its weights have not seen, as logged, and where its classes part."""
    unseen, labels, metric = cross_validate(logits, reviews.labels), reviews.labels, judged.get("metric", ACCURACY)
    given = judged.get("threshold", str(THRESHOLD))
    threshold = threshold_by(given, metric, unseen, reviews)
    loss, accuracy = loss_and_accuracy(unseen, labels, threshold)
    figures = {Metric.BEST_VAL_ACCURACY: accuracy, Metric.BEST_VAL_LOSS: loss}
    if metric != ACCURACY:
        figures[Metric.BEST_VAL_SCORE] = score_of(metric, unseen, labels, reviews.classes, threshold)
    if given == AUTO:
        figures[Metric.THRESHOLD] = threshold
    return figures, threshold


def _alone(
    members: Sequence[Member], metric: str, logits: NDArray[np.float64], reviews: Reviews
) -> NDArray[np.float64]:
    """What each member is worth by the metric [member], its classes parted as its own."""
    answers = zip(members, np.moveaxis(logits, -1, 0), strict=True)
    return np.array(
        [score_of(metric, own, reviews.labels, reviews.classes, member.package.threshold) for member, own in answers]
    )


def common_text_config(configs: Sequence[TextConfig]) -> TextConfig:
    """How much of a review must be read so that every member finds what it reads; InputError if they cannot agree."""
    ends = {config.keep for config in configs}
    if len(ends) > 1:
        raise InputError("the members keep different ends of long reviews: leave out those of one --keep")
    return TextConfig(
        max(config.vocabulary for config in configs), max(config.length for config in configs), ends.pop()
    )


def common_vocabulary(vocabularies: Sequence[Vocabulary]) -> Vocabulary:
    """What all members read words by, whose ids are the same; InputError if they find them by different rules."""
    rules = sorted({vocabulary.rule for vocabulary in vocabularies})
    if len(rules) > 1:
        raise InputError(f"the members find words by different rules, {', '.join(rules)}: leave out those of one")
    return vocabularies[0]


def _validation_logits(package: ModelPackage, corpus: Corpus) -> NDArray[np.float64]:
    """A member's logits of the validation reviews [review], of more than two classes [review, class]."""
    network = package.network.to(resolve_device("auto"))
    logits = predict(network, evaluation_batches(corpus.validation, package.text_config))
    network.cpu()
    return logits


def _log_training(
    members: Sequence[Member], weights: NDArray[np.float64], figures: Mapping[str, float], parameters: int
) -> None:
    """Log what a training logs: an ensemble takes the seconds of its members, and has a weight for each."""
    runs.set_tags({Tag.DEVICE: "cpu", Tag.PARAMETERS: parameters})
    runs.log_metrics(
        {
            **figures,
            Metric.TRAIN_SECONDS: sum(member.run.train_seconds for member in members),
            **{f"{Metric.WEIGHT}{member.name}": float(weight) for member, weight in zip(members, weights, strict=True)},
        }
    )


def _describe(members: Sequence[Member]) -> str:
    """The members as JSON, of which `create_ensemble` makes their networks."""
    packages = [member.package for member in members]
    return json.dumps(
        [
            {
                "model": package.model,
                "network": dict(package.settings),
                "reading": asdict(package.text_config),
            }
            for package in packages
        ]
    )


Loss = Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]]  # of parameters: the loss and its gradient


def fit_weights(
    logits: NDArray[np.float64], labels: NDArray[np.uint8]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights [member], none below 0, and the bias with the least log loss; logits [review, member], labels [review].

    A weight below 0 would trust a member to be wrong. PENALTY times the squared distance to equal weights is added to
    the loss, which decides between members that predict the same. Of more than two classes the logits are
    [review, class, member], and there is a bias for each class; of two there is one.
    """
    from scipy.optimize import minimize  # slow to import

    members, biases = logits.shape[-1], 1 if logits.ndim == 2 else logits.shape[1]
    loss = _loss_of_two(logits, labels) if logits.ndim == 2 else _loss_of_many(logits, labels)
    bounds = [(0.0, None)] * members + [(None, None)] * biases
    start = np.append(np.full(members, 1 / members), np.zeros(biases))
    fitted = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B").x
    return fitted[:members], fitted[members:]


def _loss_of_two(logits: NDArray[np.float64], labels: NDArray[np.uint8]) -> Loss:
    signs = np.where(labels == 1, 1.0, -1.0)
    equal = np.full(logits.shape[1], 1 / logits.shape[1])

    def loss_and_gradient(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights, bias = parameters[:-1], parameters[-1]
        margin = signs * (logits @ weights + bias)  # [review]
        slope = -signs * np.exp(-np.logaddexp(0, margin)) / len(labels)
        difference = weights - equal
        loss = np.logaddexp(0, -margin).mean() + PENALTY * difference @ difference
        return float(loss), np.append(logits.T @ slope + 2 * PENALTY * difference, slope.sum())

    return loss_and_gradient


def _loss_of_many(logits: NDArray[np.float64], labels: NDArray[np.uint8]) -> Loss:
    members = logits.shape[2]
    truth = np.eye(logits.shape[1])[labels]  # [review, class]

    def loss_and_gradient(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights, biases = parameters[:members], parameters[members:]
        answers = logits @ weights + biases  # [review, class]
        normalizer = np.logaddexp.reduce(answers, axis=1, keepdims=True)
        slope = (np.exp(answers - normalizer) - truth) / len(labels)
        difference = weights - 1 / members
        loss = (normalizer[:, 0] - (answers * truth).sum(1)).mean() + PENALTY * difference @ difference
        gradient = np.einsum("rcm,rc->m", logits, slope) + 2 * PENALTY * difference
        return float(loss), np.append(gradient, slope.sum(0))

    return loss_and_gradient


def cross_validate(logits: NDArray[np.float64], labels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The ensemble's logits of each review, by weights that were fitted without it: [review] or [review, class]."""
    folds = np.random.default_rng(SEED).permutation(len(labels)) % FOLDS
    ensembled = np.empty(logits.shape[:-1])
    for fold in range(FOLDS):
        weights, bias = fit_weights(logits[folds != fold], labels[folds != fold])
        ensembled[folds == fold] = logits[folds == fold] @ weights + (bias if logits.ndim > 2 else bias[0])
    return ensembled


def assemble(
    members: Sequence[Member],
    weights: NDArray[np.float64],
    bias: NDArray[np.float64],
    vocabulary: int,
    classes: int = 2,
) -> Ensemble:
    """The ensemble as one network."""
    network = create_ensemble(vocabulary, _describe(members), classes)
    for copy, member in zip(network.members, members, strict=True):
        copy.load_state_dict(member.package.network.state_dict())
    with torch.no_grad():
        network.weights.copy_(torch.from_numpy(weights))
        network.bias.copy_(torch.from_numpy(bias))
    return network.eval()
