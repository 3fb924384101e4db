"""The networks as a scikit-learn classifier of texts."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from sentiment_tune.data.labels import parse_labels
from sentiment_tune.errors import InputError

if TYPE_CHECKING:
    from sentiment_tune.config import ExperimentConfig
    from sentiment_tune.data.corpus import Corpus


def _sorted(labels: NDArray[Any]) -> NDArray[Any]:
    """Each label once; InputError where they are of types that have no order."""
    try:
        return np.unique(labels)
    except TypeError:
        types = ", ".join(sorted({type(label).__name__ for label in labels}))
        raise InputError(f"labels are of several types, {types:.100}: give all as texts, or all as numbers") from None


class SentimentClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Any of the networks, trained and asked as scikit-learn does it.

    A tenth of the texts is set apart to choose the epoch by. MLflow is not touched unless `track` is true.

        SentimentClassifier("cnn", hidden=64).fit(texts, labels).predict(texts)

    Args:
        model: a network's name, or `package.module:Class` of your own.
        track: whether `fit` logs a run, with the model, to MLflow.
        **settings: of the network and its training, as for `train`; `get_params` and `set_params` know them.

    Attributes:
        classes_: the labels, sorted.
        model_: the trained model, which scores as `load_model`'s do.
        epochs_: a row an epoch, as dictionaries.
        run_id_: of the run in MLflow, or None.
    """

    def __init__(self, model: str = "rnn", *, track: bool = False, **settings: Any):
        self.model = model
        self.track = track
        self.settings = settings

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002 - there is nothing below
        """All parameters by name, the settings among them."""
        return {"model": self.model, "track": self.track, **self.settings}

    def set_params(self, **params: Any) -> "SentimentClassifier":
        """Change parameters by name; what is neither `model` nor `track` is a setting, checked by `fit`."""
        self.model = params.pop("model", self.model)
        self.track = params.pop("track", self.track)
        self.settings = {**self.settings, **params}
        return self

    def fit(self, texts: Iterable[str], labels: Iterable[Any]) -> "SentimentClassifier":
        """Train a network.

        Args:
            texts: a text a row.
            labels: of two classes or more, up to a hundred, in whatever spelling.

        Returns:
            The classifier itself.

        Raises:
            InputError: a setting, a text or a label is not as it must be, or there are too few texts.
        """
        from sentiment_tune.config import IN_MEMORY, ExperimentConfig
        from sentiment_tune.data.load import DataConfig, check_names_films, encode_training_texts

        labels = np.asarray(labels)
        config = ExperimentConfig.of(self.model, {"data": IN_MEMORY, **self.settings})
        if config.data.data not in (IN_MEMORY, DataConfig.data):
            raise InputError(
                f"data={config.data.data!r:.100} is not read here: fit is given texts and labels, leave it out"
            )
        check_names_films(config.data)
        corpus = encode_training_texts(texts, labels, config.data)
        config = config.read_by(corpus.vocabulary.rule)
        spellings = _sorted(labels)
        numbers, classes = parse_labels(spellings.tolist(), "labels")
        if len(spellings) > len(classes):
            raise InputError(
                f"labels are spelt in {len(spellings)} ways, {spellings.tolist()!s:.100}: spell each class in one"
            )
        self.classes_: NDArray[Any] = spellings  # sorted, as scikit-learn's scorers take them to be
        self._numbers = np.asarray(numbers, np.int64)  # of the classes in the model
        (self._track if self.track else self._train)(config, corpus)
        return self

    def _train(self, config: "ExperimentConfig", corpus: "Corpus") -> None:
        from sentiment_tune.api import Model
        from sentiment_tune.build import build_network, package_of, refit_network, threshold_of
        from sentiment_tune.training.loop import BestWeights, early_stopping, fit

        network, best = build_network(config, corpus), BestWeights()
        common = (network, corpus.train, corpus.validation, config.training, config.text, config.runtime.seed)
        training = fit(*common, threads=config.runtime.threads)
        epochs = []
        for epoch in early_stopping(training, config.training.patience):
            best.update(epoch, network)
            epochs.append(epoch)
        chosen = best.restore(network)
        threshold = threshold_of(network, config, corpus)
        if config.training.refit:
            network = refit_network(config, corpus, chosen.epoch)
        self.model_: Model = Model(package_of(network.cpu(), config, corpus, threshold))
        self.epochs_ = [epoch.figures for epoch in epochs]
        self.run_id_: str | None = None

    def _track(self, config: "ExperimentConfig", corpus: "Corpus") -> None:
        from sentiment_tune.api import Model
        from sentiment_tune.build import build_network
        from sentiment_tune.experiment import run_experiment
        from sentiment_tune.tracking import server
        from sentiment_tune.tracking.runs import RunSpec

        network = build_network(config, corpus)
        server.connect()
        result = run_experiment(network, config, corpus, RunSpec(name=config.model))
        self.model_, self.run_id_ = Model(result.package), result.run_id
        self.epochs_ = [epoch.figures for epoch in result.epochs]

    def predict_proba(self, texts: Iterable[str]) -> NDArray[np.float64]:
        """Probabilities [text, class] in the order of `classes_`; raises NotFittedError before `fit`."""
        check_is_fitted(self, "model_")
        return self.model_.predict_proba(texts)[:, self._numbers]

    def predict(self, texts: Iterable[str]) -> NDArray[Any]:
        """The likelier label of each text, as it was spelt in training: [text]."""
        check_is_fitted(self, "model_")
        predicted: NDArray[Any] = self.classes_[np.argsort(self._numbers)[self.model_.classify(texts)]]
        return predicted

    def __sklearn_tags__(self) -> Any:
        """Texts in, classes out."""
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.two_d_array, tags.input_tags.one_d_array = True, False, True
        tags.non_deterministic = False
        return tags
