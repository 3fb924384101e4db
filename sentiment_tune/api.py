"""The Python door: what the commands do, as functions that return what came of it.

Each function takes what its command takes, by the same names, and raises InputError where the command would end with
one line and exit code 2. What is heavy is imported when a function is called.
"""

import itertools
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeAlias

from sentiment_tune import arguments
from sentiment_tune.arguments import checked
from sentiment_tune.errors import InputError
from sentiment_tune.events import Listener, Message, WarningMessage, ignore

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from torch import nn

    from sentiment_tune.config import ExperimentConfig
    from sentiment_tune.data.corpus import Corpus
    from sentiment_tune.data.load import DataConfig
    from sentiment_tune.ensembling import EnsembleResult
    from sentiment_tune.experiment import RunResult
    from sentiment_tune.inference.package import ModelPackage
    from sentiment_tune.recovery import Finding
    from sentiment_tune.repeats import Repeats, Training
    from sentiment_tune.resumption import InterruptedTraining
    from sentiment_tune.tracking.registry import Registration
    from sentiment_tune.tuning.campaign import StudyOutcome
    from sentiment_tune.tuning.ranges import Given

    Data: TypeAlias = str | PathLike[str] | pd.DataFrame | tuple[Iterable[str], Iterable[Any]]


class Model:
    """A trained network that scores raw texts, with the words and the settings that it was trained with."""

    def __init__(self, package: "ModelPackage"):
        self._package = package

    @property
    def package(self) -> "ModelPackage":
        """The network with all that it takes to score, as it is saved."""
        return self._package

    @property
    def network(self) -> "nn.Module":
        """The torch network: word ids [batch, word], 0 after a text's end, to logits [batch] or [batch, class]."""
        return self._package.network

    @property
    def classes(self) -> tuple[str, ...]:
        """What a text can be, in the order of the columns of `predict_proba`."""
        return self._package.classes.names

    @property
    def threshold(self) -> float:
        """Probability of the second of two classes above which a text is said to be of it."""
        return self._package.threshold

    def predict(self, texts: Iterable[str], all_probabilities: bool = False) -> "pd.DataFrame":
        """Score texts.

        Args:
            texts: texts of any length, in a list, a Series or whatever can be iterated.
            all_probabilities: whether each class has a column of its own too, such as `probability_negative`.

        Returns:
            A row a text, in their order and with the index of a Series: `probability`, of the second of two classes
            (positive), of more that of the label, and `label`.

        Raises:
            InputError: what stands in a row is not a text.
        """
        import pandas as pd

        column = _column(texts)
        return pd.DataFrame(self._package.scorer.answers(self._scored(column), all_probabilities), column.index)

    def predict_proba(self, texts: Iterable[str]) -> "NDArray[np.float64]":
        """Probabilities of the classes.

        Args:
            texts: as for `predict`.

        Returns:
            Probabilities [text, class], in the order of `classes`: first of negative, then of positive.
        """
        from sentiment_tune.data.labels import both_columns

        return both_columns(self._scored(_column(texts)))

    def classify(self, texts: Iterable[str]) -> "NDArray[np.int64]":
        """The likeliest class of each text, as its number in `classes`; of two by the threshold.

        Args:
            texts: as for `predict`.

        Returns:
            Numbers [text].
        """
        from sentiment_tune.data.labels import classify

        return classify(self._scored(_column(texts)), self._package.threshold)

    def _scored(self, column: "pd.Series[str]") -> "NDArray[np.float64]":
        """Probabilities as the scorer has them; one warning if words of some texts are hardly known."""
        from sentiment_tune.data.text import Tally

        tally = Tally()
        probabilities = self._package.scorer.predict_proba(column, tally)
        if tally.warning:
            warnings.warn(tally.warning, stacklevel=3)
        return probabilities

    def write(self, folder: "Path") -> None:
        """Write the model's four files of data into a folder that is not there yet; `load_model` reads them there.

        Args:
            folder: to be made; the one that it will be in must be there.
        """
        from sentiment_tune.inference.package import save_package

        save_package(self._package, folder)

    def __repr__(self) -> str:
        return f"Model({self._package.model!r})"


def _column(texts: Iterable[str]) -> "pd.Series[str]":
    import pandas as pd

    from sentiment_tune.inference.scorer import unreadable

    if isinstance(texts, pd.DataFrame):
        texts = texts[_name_of_texts(texts)]
    if not isinstance(texts, Iterable) or isinstance(texts, Mapping):
        raise InputError(f"texts cannot be {texts!r:.100}: give a list of them")
    column = texts if isinstance(texts, pd.Series) else pd.Series([texts] if isinstance(texts, str) else list(texts))
    error = next(filter(None, map(unreadable, itertools.count(), column)), None)
    if error:
        raise InputError(f"{error}; give strings only")
    return column.astype(object)


def _name_of_texts(table: "pd.DataFrame") -> Any:
    """The column `text` of a table, or its only one; InputError where there is neither."""
    columns = list(table.columns)
    if columns.count("text") == 1:
        return "text"
    if len(columns) == 1:
        return columns[0]
    raise InputError(f"texts cannot be a table of the columns {', '.join(map(str, columns))!r:.60}: give one of them")


@dataclass(frozen=True)
class TrainedRun:
    """A finished training.

    Attributes:
        run_id: of its run in MLflow.
        model_uri: of the logged model, for `load_model` and MLflow.
        settings: everything that decided the training, by name; `train(**settings)` repeats it.
        data: name of the data.
        metrics: what the run logged once, by name: `best_*`, `test_*` and `train_seconds`.
        epochs: a row an epoch: epoch, train_loss, train_accuracy, val_loss, val_accuracy, seconds.
        parameters: how many numbers the network has learned.
        model: the trained model.
        undelivered: where MLflow was away and has not taken all of the run, what to do; `model_uri` is then a folder
            of this machine. Else None.
        experiment_id: of the run's experiment in MLflow.
        repeats: with several seeds or folds, a row for each: seed or fold, run_id and the figures of `metrics`; else
            None.
        repeats_run_id: with several seeds or folds, of the run above theirs.
        out_of_fold: with folds, a row for each review that is not tested on: row of the data, fold, label, and the
            probability that the network of that fold gives; else None. Rows are counted from 0, those that are left out
            too; beside a second table to test on in the first, of several files of one table one after another.
    """

    run_id: str
    model_uri: str
    settings: Mapping[str, Any]
    data: str
    metrics: Mapping[str, float]
    epochs: "pd.DataFrame"
    parameters: int
    model: Model
    undelivered: str | None = None
    experiment_id: str = ""
    repeats: "pd.DataFrame | None" = None
    repeats_run_id: str | None = None
    out_of_fold: "pd.DataFrame | None" = None


@checked
def train(
    model: str | None = None,
    data: "Data | None" = None,
    *,
    seeds: int = 1,
    folds: int | None = None,
    resume: str | None = None,
    checkpoint_minutes: float = 10.0,
    experiment: str | None = None,
    run_name: str | None = None,
    tracking_uri: str | None = None,
    system_metrics: bool = False,
    progress: bool = True,
    listener: Listener | None = None,
    **settings: Any,
) -> TrainedRun:
    """Train one network and log the run and the model to MLflow.

    Args:
        model: a network's name, or `package.module:Class` of your own; by default `rnn`.
        data: `auto`, `imdb`, `sample` or the path of a file; or a DataFrame with columns text and label; or a pair of
            texts and labels; by default `auto`.
        seeds: how many times it is trained, with as many seeds from `seed` on: a run above them has their mean, spread,
            least and most, and what is returned is the best of them by validation.
        folds: into how many parts train and validation are cut, each of which validates once what the others train: a
            run above them has the mean, spread, least and most, and what each network says of the reviews that it has
            not seen. What is of one group or film stands in one fold.
        resume: id of a run that was cut off, or `last` for the newest such: it goes on where it was, in the same run,
            and ends as if it had not been cut off. Its model, settings and data need not be given again; data in
            memory do.
        checkpoint_minutes: between two checkpoints within an epoch; with 0 there are only those at epochs' ends.
        experiment: MLflow experiment; by default MLflow's own variable or `sentiment`.
        run_name: name of the MLflow run; by default the network's, with what of its settings is not the default.
        tracking_uri: MLflow server or database; by default MLflow's own.
        system_metrics: whether MLflow logs the use of processor, memory and GPU.
        progress: whether to show a bar and a line an epoch.
        listener: called with each event (`sentiment_tune.events`) in place of what `progress` shows.
        **settings: of the network, its training and its data, as `sentiment-tune train --model NAME --help` lists them.

    Returns:
        The finished run, its metrics, epochs and model.

    Raises:
        InputError: a setting, the data or MLflow is not as it must be; nothing is left half-made.
    """
    from sentiment_tune import display
    from sentiment_tune.build import build_network
    from sentiment_tune.data.folds import cut_folds
    from sentiment_tune.experiment import run_experiment
    from sentiment_tune.repeats import folds_of, run_repeats, seeds_of
    from sentiment_tune.tracking import server
    from sentiment_tune.tracking.runs import RunSpec

    if not checkpoint_minutes >= 0:
        raise InputError(f"checkpoint_minutes cannot be {checkpoint_minutes:g}: give from 0 on")
    if resume is not None:
        interrupted, config, in_memory = _interrupted(resume, model, data, settings, tracking_uri)
        seeds, folds = interrupted.check_seeds(seeds), interrupted.check_folds(folds)
        spec = RunSpec(run_id=interrupted.run_id, name=run_name, resumed=True, system_metrics=system_metrics)
    else:
        interrupted, (config, in_memory) = None, _config(model or "rnn", "auto" if data is None else data, settings)
        title = config.title if seeds == 1 else f"{config.title_of_repeats}, {seeds} seeds"
        title = f"{config.title}, {folds} folds" if folds else title
        spec = RunSpec(experiment, run_name or title, system_metrics=system_metrics)
    _check_repeats(seeds, folds)
    with display.TrainingDisplay(quiet=not progress) as shown:
        tell = listener or shown
        corpus = _load(config.data, in_memory, tell)
        config = config.read_by(corpus.vocabulary.rule)
        cut = cut_folds(corpus, folds) if folds else None
        corpus = cut.whole if cut else corpus
        trainings = folds_of(config, cut) if cut else seeds_of(config, seeds, corpus)
        if interrupted:
            interrupted.check_data(corpus)
        network = build_network(config, corpus)  # which may be refused, before there is a run
        server.connect(tracking_uri)
        _tell_of_leftovers(tell)
        if (interrupted and interrupted.seeds) or len(trainings) > 1:
            repeats, result = run_repeats(trainings, corpus, spec, tell, checkpoint_minutes)
            return _best_run(trainings, repeats, result)
        result = run_experiment(network, config, corpus, spec, tell, checkpoint_minutes)
    return _trained_run(config, corpus, result)


def _interrupted(
    run: str, model: str | None, data: "Data | None", settings: Mapping[str, Any], tracking_uri: str | None
) -> "tuple[InterruptedTraining, ExperimentConfig, Data | None]":
    """The training of a run that was cut off, its config, and its data where that is in memory."""
    from sentiment_tune import resumption
    from sentiment_tune.config import IN_MEMORY
    from sentiment_tune.tracking import runs, server

    server.connect(tracking_uri, make=False)
    interrupted = resumption.interrupted_training(run)
    source, in_memory = (None, None) if data is None else _source(data)
    given = settings if source is None else {**settings, "data": source}
    config = interrupted.config(model, given)
    if config.data.data == IN_MEMORY and in_memory is None:
        raise InputError(f"run {interrupted.run_id} was trained on data in memory: give the same data again")
    runs.detach_project_run()
    return interrupted, config, in_memory


def _config(model: str, data: "Data", settings: Mapping[str, Any]) -> "tuple[ExperimentConfig, Data | None]":
    """The config of a training, and its data where that is in memory."""
    from sentiment_tune.config import ExperimentConfig

    source, in_memory = _source(data)
    return ExperimentConfig.of(model, {**settings, "data": source}), in_memory


def _source(data: "Data") -> "tuple[str, Data | None]":
    """What the settings call the data, and the data itself where it is in memory."""
    from sentiment_tune.config import IN_MEMORY

    if isinstance(data, tuple) and not (len(data) == 2 and all(map(_is_column, data))):
        raise InputError(f"data cannot be {data!r:.100}: give a pair, of texts and of labels")
    if isinstance(data, tuple) or hasattr(data, "columns"):
        return IN_MEMORY, data
    return str(data) if isinstance(data, PathLike) else data, None


def _is_column(column: object) -> bool:
    return isinstance(column, Iterable)


def _load(config: "DataConfig", in_memory: "Data | None", tell: Listener) -> "Corpus":
    """The corpus of a config or of what is in memory; a warning of the corpus is told."""
    from sentiment_tune.data import load
    from sentiment_tune.data.checks import HARDLY_KNOWN, UNKNOWN_WORDS, DataChecked, way_out

    if in_memory is None:
        corpus = load.load(config)
    elif isinstance(in_memory, tuple):
        texts, labels = in_memory
        corpus = load.load_texts(texts, labels, config=config)
    else:
        corpus = load.load_frame(in_memory, config)
    if corpus.warning:
        tell(WarningMessage(corpus.warning))
    for remark in corpus.remarks:
        tell(Message(remark))
    if not all(check.is_clean for check in corpus.checks):
        tell(DataChecked(corpus.name, corpus.checks))
    for check in corpus.checks:
        if check.what == UNKNOWN_WORDS and max(check.validation, check.test) > HARDLY_KNOWN:
            share = max(check.validation, check.test) / 100
            unknown = f"train has not {share:.0f} % of the words that are validated or tested on"
            tell(WarningMessage(f"{unknown}: {way_out(corpus.vocabulary.rule)}"))
    return corpus


def _tell_of_leftovers(tell: Listener) -> None:
    """A warning where processes that are gone have left something."""
    from sentiment_tune.tracking import leftovers

    if line := leftovers.notice():
        tell(WarningMessage(line))


def _trained_run(config: "ExperimentConfig", corpus: "Corpus", result: "RunResult") -> TrainedRun:
    import pandas as pd

    return TrainedRun(
        run_id=result.run_id,
        model_uri=result.model_uri,
        settings={name: value for name, value in config.as_dict.items() if value is not None},
        data=corpus.name,
        metrics=result.figures,
        epochs=pd.DataFrame([epoch.figures for epoch in result.epochs]),
        parameters=result.parameters,
        model=Model(result.package),
        undelivered=result.undelivered,
        experiment_id=result.experiment_id,
    )


def _check_repeats(seeds: int, folds: int | None) -> None:
    """InputError for numbers of seeds and folds that are none, or do not go together."""
    from sentiment_tune.data.folds import check_folds
    from sentiment_tune.repeats import check_seeds

    check_seeds(seeds)
    if folds is not None:
        check_folds(folds)
        if seeds > 1:
            raise InputError(f"seeds={seeds} and folds={folds} are two ways to repeat a training: leave one out")


def _best_run(trainings: "Sequence[Training]", repeats: "Repeats", result: "RunResult") -> TrainedRun:
    """The best of repeats, with the figures of all."""
    import pandas as pd

    rows = [
        {training.tag: training.number, "run_id": run_id, **figures}
        for training, (run_id, figures) in zip(trainings, repeats.figures.items(), strict=True)
    ]
    best = trainings[list(repeats.figures).index(result.run_id)]
    return replace(
        _trained_run(best.config, best.corpus, result),
        undelivered=result.undelivered or repeats.run.undelivered,
        repeats=pd.DataFrame(rows),
        repeats_run_id=repeats.run.run_id,
        out_of_fold=repeats.out_of_fold,
    )


@dataclass(frozen=True)
class StudyResult:
    """A study that has the trials it was to have, and what came of its best ones.

    Attributes:
        name: of the study in Optuna's storage.
        storage: Optuna's URL of it.
        data_digest: of the data, for `leaderboard`.
        run_id: of its run in MLflow, below which the trials' runs are.
        trials: a row a trial: trial, state, val_accuracy, its other objectives, seconds, epochs, run_id, error, and its
            parameters.
        best_settings: everything that decided the winner's training, by name; `train(**best_settings)` repeats it. Of
            several objectives those of the knee.
        confirmations: a row a trial that was trained again: trial, mean, spread, accuracies, run_id; the best first.
        winner: id of the winner's run, or None where nothing was trained again.
        registrations: what the winner's model became in the registry, and the ends of the front.
        experiment_id: of the study's experiment in MLflow.
        front: of several objectives, a row for each trial that no other beats in everything: trial, accuracy, spread,
            its costs, what it was chosen for, run_id; with `top=0` by the trials' own values, in part luck.
        choices: of several objectives, the settings of the front's `knee` and of its best in each, by name.
    """

    name: str
    storage: str
    data_digest: str
    run_id: str
    trials: "pd.DataFrame"
    best_settings: Mapping[str, Any]
    confirmations: "pd.DataFrame"
    winner: str | None
    registrations: "Sequence[Registration]"
    experiment_id: str
    front: "pd.DataFrame"
    choices: Mapping[str, Mapping[str, Any]]


@checked
def tune(
    model: str = "rnn",
    data: "Data" = "auto",
    *,
    trials: int = 20,
    search: "Given | None" = None,
    objectives: str | Sequence[str] = "accuracy",
    max_parameters: float | str | None = None,
    max_latency: float | str | None = None,
    max_size: int | str | None = None,
    from_study: str | None = None,
    timeout: float | None = None,
    stale: int | None = None,
    workers: int = 1,
    storage: str | None = None,
    study: str | None = None,
    sampler: str = "TPESampler",
    pruner: str | None = None,
    top: int = 3,
    seeds: int = 3,
    folds: int | None = None,
    joint: bool = False,
    experiment: str | None = None,
    tracking_uri: str | None = None,
    progress: bool = True,
    listener: Listener | None = None,
    **settings: Any,
) -> StudyResult:
    """Search the best settings of a network, and register the model that they give.

    Args:
        model: a network's name or `package.module:Class` of your own; with `joint` several with commas between, or
            `all`.
        data: as for `train`.
        trials: finished trials that the study is to have; the same call goes on with a study that has fewer.
        search: where settings are searched, by name: `{"vocabulary": (1000, 30000), "hidden": [32, 64]}`, a range or
            the values to try; or as texts, `vocabulary=1000..30000`. Others are searched as declared.
        objectives: `accuracy`, and what it may cost: `parameters`, `size`, `latency`, `train_seconds`, `memory`. With
            several the study looks for its front, no trial is pruned, and `top` counts for nothing but 0.
        max_parameters: the most that a network may learn; one with more is not trained.
        max_latency: the most that a review may take on one thread: milliseconds, or a text such as `2ms`.
        max_size: the most that a model may take on disk: bytes, or a text such as `1MB`.
        from_study: name of a study in the storage whose best ten settings are tried first; or a file of settings, a
            recipe, or `models:/NAME@ALIAS`. It may be a study of another network or of other data.
        timeout: seconds after which no further trial begins.
        stale: trials without a better one after which none begins.
        workers: processes on this machine.
        storage: Optuna's URL; by default `optuna.db` beside MLflow's database.
        study: name of the study; by default the networks and the data.
        sampler: by Optuna's name.
        pruner: by Optuna's name; by default the median rule, from 51 trials on Hyperband.
        top: best trials that are trained again; with 0 nothing is trained again or registered.
        seeds: times that each of them is.
        folds: into how many parts train and validation are cut in the search: a trial is a training for each, its value
            their mean, and it is pruned between two. The best trials are trained again with the usual validation part.
        joint: one study over several networks.
        experiment: MLflow experiment; by default MLflow's own variable or `sentiment`.
        tracking_uri: MLflow server or database; by default MLflow's own.
        progress: whether to show a line a trial and what came of them.
        listener: called with each event (`sentiment_tune.events`) in place of what `progress` shows; with several
            workers it is pickled.
        **settings: fixed in every trial; the others are searched between the bounds of their declaration.

    Returns:
        The study, its trials, and what its best ones came to.

    Raises:
        InputError: a setting, the data, the storage or MLflow is not as it must be, or no trial could be finished.
    """
    from sentiment_tune.models.registry import parse_names

    networks = parse_names(model)
    if len(networks) > 1 and not joint:
        raise InputError(f"model {model!r} is several networks: give joint=True, or ask tune_each for a study of each")
    options = _StudyOptions(
        trials=trials,
        search=search,
        objectives=objectives,
        max_parameters=max_parameters,
        max_latency=max_latency,
        max_size=max_size,
        from_study=from_study,
        timeout=timeout,
        stale=stale,
        workers=workers,
        storage=storage,
        study=study,
        sampler=sampler,
        pruner=pruner,
        top=top,
        seeds=seeds,
        folds=folds,
        experiment=experiment,
        tracking_uri=tracking_uri,
    )
    (result,) = _tune([networks], data, options, progress, listener, settings)
    return result


@checked
def tune_each(model: str = "all", data: "Data" = "auto", **options: Any) -> list[StudyResult]:
    """Search the best settings of several networks, each in a study of its own, one after another.

    Args:
        model: networks with commas between, or `all`.
        data: as for `train`.
        **options: as for `tune`; with several networks, `study` stands before each study's name.

    Returns:
        The studies, in the order of the networks.

    Raises:
        InputError: as `tune` does.
    """
    from sentiment_tune.models.registry import parse_names

    options = arguments.check(tune, options)
    own = {name: options.pop(name) for name in _STUDY_OPTIONS & options.keys()}
    progress, listener = options.pop("progress", True), options.pop("listener", None)
    groups = [(network,) for network in parse_names(model)]
    return _tune(groups, data, _StudyOptions(**own), progress, listener, options)


@dataclass(frozen=True)
class _StudyOptions:
    """What a study takes besides networks, data and settings; `tune` says what each is."""

    trials: int = 20
    search: "Given | None" = None
    objectives: str | Sequence[str] = "accuracy"
    max_parameters: float | str | None = None
    max_latency: float | str | None = None
    max_size: int | str | None = None
    from_study: str | None = None
    timeout: float | None = None
    stale: int | None = None
    workers: int = 1
    storage: str | None = None
    study: str | None = None
    sampler: str = "TPESampler"
    pruner: str | None = None
    top: int = 3
    seeds: int = 3
    folds: int | None = None
    experiment: str | None = None
    tracking_uri: str | None = None


_STUDY_OPTIONS = {field.name for field in fields(_StudyOptions)}


def _tune(
    groups: Sequence[tuple[str, ...]],
    data: "Data",
    options: _StudyOptions,
    progress: bool,
    listener: Listener | None,
    settings: Mapping[str, Any],
) -> list[StudyResult]:
    """A study for each group of networks."""
    from sentiment_tune import display
    from sentiment_tune.tracking import server
    from sentiment_tune.tracking.runs import RunSpec
    from sentiment_tune.tuning import backend, campaign
    from sentiment_tune.tuning.objectives import parse_limits, parse_objectives
    from sentiment_tune.tuning.ranges import parse_ranges, ranges_of
    from sentiment_tune.tuning.search import StudyConfig
    from sentiment_tune.tuning.warm_start import earlier_settings

    if options.top < 0 or options.seeds < 1:
        raise InputError(f"top={options.top} and seeds={options.seeds}: give from 0 trials on, and from 1 seed on")
    source, in_memory = _source(data)
    server.configure(options.tracking_uri)
    storage = options.storage or backend.default_storage()
    earlier = earlier_settings(options.from_study, storage) if options.from_study else ()
    ranges = ranges_of(parse_ranges(options.search), groups)
    searches = [
        StudyConfig(
            study=options.study or "",
            models=group,
            fixed={**settings, "data": source},
            trials=options.trials,
            storage=storage,
            timeout=options.timeout,
            stale=options.stale,
            sampler=options.sampler,
            pruner=options.pruner,
            workers=options.workers,
            ranges=ranges[group],
            objectives=parse_objectives(options.objectives),
            from_study=options.from_study,
            earlier=earlier,
            folds=options.folds,
            limits=parse_limits(options.max_parameters, options.max_latency, options.max_size),
        )
        for group in groups
    ]
    tell = listener or display.StudyDisplay(quiet=not progress)
    corpus = _load(searches[0].source, in_memory, tell)
    read_by = {"text_rule": corpus.vocabulary.rule}
    searches = [replace(search, fixed={**search.fixed, **read_by}) for search in searches]
    for search in searches:
        backend.check_backend(search, corpus)
    server.connect(options.tracking_uri)
    _tell_of_leftovers(tell)
    named = [search.with_name(corpus.name, alone=len(searches) == 1) for search in searches]
    outcomes = campaign.run_studies(named, corpus, RunSpec(options.experiment), options.top, options.seeds, tell)
    return [_study_result(outcome, corpus.digest) for outcome in outcomes]


def _study_result(outcome: "StudyOutcome", digest: str) -> StudyResult:
    import pandas as pd

    from sentiment_tune.tuning.front import KNEE
    from sentiment_tune.tuning.report import front_frame, trials_frame
    from sentiment_tune.tuning.trials import best_trials

    finished, confirmations = outcome.finished, outcome.confirmations
    best = best_trials(finished.study, 1)[0]
    config = confirmations[0].config if confirmations else finished.search.trial_config(best.params)
    if outcome.choices:
        config = outcome.choices[KNEE].config
    rows = [(one.trial, one.mean, one.spread, one.accuracies, one.run_id) for one in confirmations]
    return StudyResult(
        name=finished.search.study,
        storage=finished.search.storage,
        data_digest=digest,
        run_id=finished.run_id,
        trials=trials_frame(finished.study, finished.search.objectives[1:]),
        best_settings={name: value for name, value in config.as_dict.items() if value is not None},
        confirmations=pd.DataFrame(rows, columns=["trial", "mean", "spread", "accuracies", "run_id"]),
        winner=confirmations[0].run_id if confirmations else None,
        registrations=outcome.registrations,
        experiment_id=finished.experiment_id,
        front=front_frame(outcome.front, outcome.choices),
        choices={
            name: {setting: value for setting, value in one.config.as_dict.items() if value is not None}
            for name, one in outcome.choices.items()
        },
    )


@checked
def load_model(uri: str | None = None, *, trust_code: bool = False, tracking_uri: str | None = None) -> Model:
    """Load a model that a run has logged; nothing in it is run unless `trust_code` says so.

    Args:
        uri: `models:/...`, `runs:/...` or a folder; by default `models:/sentiment@champion` if it was trained on the
            data of the newest finished run, else that run's model; which one it is, is said on standard error.
        trust_code: whether code of somebody's own network may run: an installed module, one of the current folder, or
            else the one that was logged with the model.
        tracking_uri: MLflow server or database; by default MLflow's own.

    Raises:
        InputError: there is no such model, or its files are not what was saved.
    """
    import sys
    from pathlib import Path

    from sentiment_tune.data.tables import is_folder
    from sentiment_tune.inference import addresses
    from sentiment_tune.inference.package import load_folder

    if uri and is_folder(Path(uri)):
        return Model(load_folder(Path(uri), trust_code))
    question = addresses.ask(uri, tracking_uri)
    model = None if trust_code else addresses.recall(question)
    if model is None:
        from sentiment_tune.tracking import lookup  # loads MLflow, which neither of the other ways needs

        model = lookup.find_model(uri, trust_code, tracking_uri, question)
    if model.said:
        print(model.said, file=sys.stderr)
    return Model(model.package)


@checked
def leaderboard(
    data: str | None = None, *, sort: str = "validation", every: bool = False, tracking_uri: str | None = None
) -> "pd.DataFrame":
    """Rank the tested runs and the champions.

    Args:
        data: digest of the data, or its beginning; by default runs on any data.
        sort: validation, test, parameters, size, seconds or speed.
        every: all tested runs, not only the best of each network and the champions.
        tracking_uri: MLflow server or database; by default MLflow's own.

    Returns:
        A row a run: accuracies with the ends of the test's 95 % interval, whether the difference to the leader is more
        than noise, parameters, size in MB, training time in seconds, reviews scored a second.

    Raises:
        InputError: there is no tested run, or no such order.
    """
    import pandas as pd

    from sentiment_tune import ranking
    from sentiment_tune.tracking import server

    server.connect(tracking_uri, make=False)
    return pd.DataFrame([ranking.record(row) for row in ranking.rank_runs(data, sort, best_only=not every)])


@checked
def register(
    run: TrainedRun | str, name: str | None = None, *, trust_code: bool = False, tracking_uri: str | None = None
) -> "list[Registration]":
    """Register the model of a finished run, once a fresh process has verified it.

    Args:
        run: a run of `train`, or the id of one, of which six characters will do if no other begins so.
        name: to register it under; by default `sentiment-<network>` and, for a champion there, `sentiment`.
        trust_code: whether code logged with the model may run that is not of this package: a network of somebody's own,
            or anything in a model of an earlier version, which did not record what it had logged.
        tracking_uri: MLflow server or database; by default MLflow's own.

    Returns:
        What each name's new version became, and why.

    Raises:
        InputError: the run is not finished or tested, or its model is not what was logged; nothing is registered.
    """
    from sentiment_tune import publish
    from sentiment_tune.tracking import server

    server.connect(tracking_uri, make=False)
    return publish.register_run(run.run_id if isinstance(run, TrainedRun) else run, name, trust_code)


@checked
def promote(name: str, version: int, *, tracking_uri: str | None = None) -> "Registration":
    """Make a version the champion of its registered name on purpose.

    Raises:
        InputError: there is no such version.
    """
    from sentiment_tune.tracking import registry, server

    server.connect(tracking_uri, make=False)
    return registry.promote(name, version)


@checked
def ensemble(
    members: Sequence[str] | None = None,
    data: "Data" = "auto",
    *,
    trust_code: bool = False,
    experiment: str | None = None,
    tracking_uri: str | None = None,
    listener: Listener | None = None,
    **columns: str,
) -> "EnsembleResult":
    """Put the champions of several networks together as one model, test it once and log it.

    Args:
        members: registered names; by default those of every network that has a champion on this data.
        data: what the members were trained on, as for `train`.
        trust_code: whether the code logged with a member may run, for a network of somebody's own.
        experiment: MLflow experiment; by default MLflow's own variable or `sentiment`.
        tracking_uri: MLflow server or database; by default MLflow's own.
        listener: called with each event.
        **columns: text, label, split and test, of a table; `text_rule` and `unpack_limit`.

    Returns:
        The run, the members with their weights, and what they are worth by the metric that has judged them all, or by
        accuracy where several have; `register` takes its `run_id`.

    Raises:
        InputError: fewer than two champions fit, one is named twice, or they cannot be put together.
    """
    from sentiment_tune import display
    from sentiment_tune.config import data_config
    from sentiment_tune.ensembling import build_ensemble
    from sentiment_tune.tracking import server
    from sentiment_tune.tracking.runs import RunSpec

    server.connect(tracking_uri, make=False)
    source, in_memory = _source(data)
    tell = listener or display.TrainingDisplay(quiet=True)
    corpus = _load(data_config({**columns, "data": source}), in_memory, tell)
    return build_ensemble(members or [], corpus, RunSpec(experiment, "ensemble"), trust_code, tell)


@dataclass(frozen=True)
class Inspection:
    """What data hold, and what is odd about them.

    Attributes:
        name: of the data.
        digest: of their content.
        text_rule: by which the words of texts are found: keras, unicode or punctuation.
        reviews: a row a part: part, negative, positive.
        checks: a row a check: what, and how many reviews of train, validation and test are so.
        samples: a row a review, two of each class out of train: label, words, and the text as it is read.
    """

    name: str
    digest: str
    text_rule: str
    reviews: "pd.DataFrame"
    checks: "pd.DataFrame"
    samples: "pd.DataFrame"


@checked
def inspect(data: "Data" = "auto", *, listener: Listener | None = None, **columns: Any) -> Inspection:
    """Look at data as a training would read them, and count what is odd about them.

    Args:
        data: as for `train`.
        listener: called with each event; by default a warning is shown, and how a file was read.
        **columns: as for `train`: text, label, split, test, text_rule, encoding and so on.

    Returns:
        The parts, the checks, and a sample of each class.

    Raises:
        InputError: the data are not as they must be.
    """
    import pandas as pd

    from sentiment_tune import display
    from sentiment_tune.config import data_config

    source, in_memory = _source(data)
    corpus = _load(data_config({**columns, "data": source}), in_memory, listener or display.TrainingDisplay())
    parts = {"train": corpus.train, "validation": corpus.validation, "test": corpus.test}
    names = list(corpus.classes.names)
    counts = [[int((part.labels == label).sum()) for label in range(len(names))] for part in parts.values()]
    samples = [
        {
            "label": name,
            "words": int(corpus.train.lengths[row]) - 1,
            "text": corpus.vocabulary.decode(corpus.train[row]),
        }
        for label, name in enumerate(names)
        for row in (corpus.train.labels == label).nonzero()[0][:2]
    ]
    return Inspection(
        name=corpus.name,
        digest=corpus.digest,
        text_rule=corpus.vocabulary.rule,
        reviews=pd.DataFrame([[part, *row] for part, row in zip(parts, counts, strict=True)], columns=["part", *names]),
        checks=pd.DataFrame([asdict(check) for check in corpus.checks]),
        samples=pd.DataFrame(samples),
    )


@checked
def upload(*, tracking_uri: str | None = None) -> list[str]:
    """Bring into MLflow what was kept on this machine while it was away.

    Args:
        tracking_uri: MLflow server or database; by default MLflow's own.

    Returns:
        The ids of the runs that are whole now. Those of processes that are still at work are left to them.

    Raises:
        InputError: MLflow does not answer.
        OutageError: MLflow does not take what was kept, which stays where it is.
    """
    from sentiment_tune.tracking import server
    from sentiment_tune.tracking.delivery import replay
    from sentiment_tune.tracking.journal import journals

    server.connect(tracking_uri, make=False)
    left = [journal for journal in journals() if journal.is_left]
    for journal in left:
        replay(journal)
    return [journal.run_id for journal in left]


@checked
def doctor(
    fix: bool = False,
    *,
    storage: str | None = None,
    tracking_uri: str | None = None,
    listener: Listener | None = None,
) -> "list[Finding]":
    """Find what processes that are gone have left: runs and trials said to be running, half-written models and files.

    What a live process works on is never touched.

    Args:
        fix: whether to mend what can be mended.
        storage: Optuna's URL; by default `optuna.db` beside MLflow's database.
        tracking_uri: MLflow server or database; by default MLflow's own.
        listener: called with each finding when it has been found, and mended.

    Returns:
        What was found, each with its remedy; of what was mended too.

    Raises:
        InputError: MLflow or the storage is not as it must be.
    """
    from sentiment_tune import recovery
    from sentiment_tune.tracking import server

    server.configure(tracking_uri)
    if not server.is_missing():
        server.connect(tracking_uri)
    tell = listener or ignore
    findings = []
    for finding in recovery.examine(storage):
        found = recovery.mend(finding) if fix else finding
        tell(found)
        findings.append(found)
    return findings


@checked
def studies(study: str | None = None, *, storage: str | None = None, tracking_uri: str | None = None) -> "pd.DataFrame":
    """The studies of a storage, or the trials of one of them.

    Args:
        study: name of a study whose trials are wanted.
        storage: Optuna's URL; by default `optuna.db` beside MLflow's database.
        tracking_uri: MLflow server or database, beside which that is; by default MLflow's own.

    Returns:
        A row a study, the newest first: study, state, trials, best, data, owner, begun. Its state is `running`,
        `unfinished` where trials wait that nobody works on, or `idle`. Or a row a trial, as `StudyResult.trials`.

    Raises:
        InputError: there is no such study, or the storage cannot be reached.
    """
    from sentiment_tune.tracking import server
    from sentiment_tune.tuning import backend, stored

    server.configure(tracking_uri)
    address = storage or backend.default_storage()
    return stored.trials_of(study, address) if study else stored.list_studies(address)


@checked
def delete_study(study: str, *, storage: str | None = None, tracking_uri: str | None = None) -> None:
    """Delete a study from its storage; its runs in MLflow stay.

    Args:
        study: its name.
        storage: Optuna's URL; by default `optuna.db` beside MLflow's database.
        tracking_uri: MLflow server or database, beside which that is; by default MLflow's own.

    Raises:
        InputError: there is no such study, or a process works on it.
    """
    from sentiment_tune.tracking import server
    from sentiment_tune.tuning import backend, stored

    server.configure(tracking_uri)
    stored.delete_study(study, storage or backend.default_storage())


@checked
def settings(recipe: str) -> dict[str, Any]:
    """The settings of a recipe that comes with the package, or of a settings file, by name.

    `train(**settings("cnn"), data="imdb")` trains with them.

    Raises:
        InputError: there is neither such a recipe nor such a file.
    """
    from sentiment_tune.config import read_settings

    return read_settings(recipe)
