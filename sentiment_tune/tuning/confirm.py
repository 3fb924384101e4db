"""From the best trials of a study to its winner.

The best value of a search is a lucky maximum. So the best few trials are trained again with fresh seeds, and the mean
of their validation accuracies decides; only the winner reads the test split.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import fmean, stdev

from sentiment_tune import notes
from sentiment_tune.build import build_network
from sentiment_tune.config import ExperimentConfig, describe
from sentiment_tune.data.corpus import Corpus
from sentiment_tune.errors import hide_passwords
from sentiment_tune.events import Listener, Message
from sentiment_tune.experiment import (
    evaluate_on_test,
    finish_training,
    log_learning_curves,
    log_model,
    open_checkpoints,
    start_training_run,
    train_epochs,
)
from sentiment_tune.inference.package import ModelPackage
from sentiment_tune.tracking import logged_models, records
from sentiment_tune.tracking import runs as tracking
from sentiment_tune.tracking.records import RunRecord
from sentiment_tune.tracking.runs import RunSpec
from sentiment_tune.tracking.schema import Artifact, Metric, Tag
from sentiment_tune.training.loop import BestWeights
from sentiment_tune.tuning.liveness import end_abandoned_runs
from sentiment_tune.tuning.retries import run_to_go_on
from sentiment_tune.tuning.study import FinishedStudy
from sentiment_tune.tuning.trials import best_trials
from sentiment_tune.tuning.workers import run_in_processes

CONFIRMED = "confirm"  # stage of a run that trains a trial's settings again


@dataclass(frozen=True)
class Confirmation:
    """A trial's settings, trained again with several seeds."""

    trial: int
    config: ExperimentConfig  # with the seed of the best run
    accuracies: tuple[float, ...]  # validation, by seed
    run_id: str  # of the best run, by validation
    costs: Mapping[str, float] = field(default_factory=dict)  # the study's other objectives, by name

    @property
    def mean(self) -> float:
        return fmean(self.accuracies)

    @property
    def spread(self) -> float:
        """Standard deviation over the seeds; 0 for a single one."""
        return stdev(self.accuracies) if len(self.accuracies) > 1 else 0.0


def confirm_trials(
    finished: FinishedStudy, corpus: Corpus, top: int, seeds: int, listener: Listener
) -> list[Confirmation]:
    """Train the settings of the best trials again with seeds that the search has not seen; the best mean first.

    Of a study of several objectives these are all of its front, whatever `top` is.
    Runs that are there from an earlier, interrupted confirmation are taken as they are.
    """
    search, parent = finished.search, finished.run_id
    best = best_trials(finished.study, None if search.is_pareto else top)
    costs = {trial.number: dict(zip(search.objectives[1:], trial.values[1:], strict=True)) for trial in best}
    configs = {
        trial.number: [search.trial_config(trial.params, seed=search.seed + 1 + number) for number in range(seeds)]
        for trial in best
    }
    end_abandoned_runs(finished.study)
    if search.workers > 1:
        trainings = [(trial, config) for trial, repeats in configs.items() for config in repeats]
        share = partial(_train_share, trainings, search.workers, parent, listener)
        source = corpus if search.in_memory else search.source
        run_in_processes(search.workers, source, share, partial(end_abandoned_runs, finished.study), listener)
    # What a worker has left undone is done here, where its failure is told.
    confirmations = [
        replace(_confirm(trial, repeats, parent, corpus, listener), costs=costs[trial])
        for trial, repeats in configs.items()
    ]
    return sorted(confirmations, key=lambda confirmation: -confirmation.mean)


def _confirm(
    trial: int, configs: Sequence[ExperimentConfig], parent: str, corpus: Corpus, listener: Listener
) -> Confirmation:
    runs = [_find(trial, config, parent) or _train(trial, config, parent, corpus, listener) for config in configs]
    accuracies = tuple(run.metrics[Metric.BEST_VAL_ACCURACY] for run in runs)
    best = max(range(len(configs)), key=accuracies.__getitem__)
    return Confirmation(trial, configs[best], accuracies, runs[best].run_id)


def _train_share(
    trainings: Sequence[tuple[int, ExperimentConfig]],
    workers: int,
    parent: str,
    listener: Listener,
    corpus: Corpus,
    worker: int,
) -> None:
    """What one of several workers does: every so many-th of the trainings, unless it is there."""
    for trial, config in trainings[worker::workers]:
        try:
            _find(trial, config, parent) or _train(trial, config, parent, corpus, listener)
        except Exception as error:  # its run is FAILED and holds the traceback
            seed = config.runtime.seed
            reason = hide_passwords(str(error))
            listener(Message(f"trial {trial} again with seed {seed}: {reason}; it is tried once more at the end"))


def _find(trial: int, config: ExperimentConfig, parent: str) -> RunRecord | None:
    """The run that has trained a trial's settings again, if it is there."""
    tags = {Tag.TRIAL: trial, Tag.STAGE: CONFIRMED, Tag.SEED: config.runtime.seed}
    return records.find_child(parent, tags)


def _train(trial: int, config: ExperimentConfig, parent: str, corpus: Corpus, listener: Listener) -> RunRecord:
    """Train a trial's settings with another seed, in a run below the study's: in the one that was cut off, if any."""
    seed = config.runtime.seed
    tags = {Tag.TRIAL: str(trial), Tag.STAGE: CONFIRMED, Tag.SEED: str(seed)}
    begun = run_to_go_on(parent, lambda run: tags.items() <= run.tags.items())
    settings = describe({name: value for name, value in config.changed.items() if name != "seed"})
    name = f"trial {trial}, seed {seed}: {settings or 'all settings by default'}"
    spec = RunSpec(name=name, tags=tags, parent=parent, run_id=begun, resumed=bool(begun))
    with start_training_run(config, corpus, spec, listener) as run:
        network, best = build_network(config, corpus), BestWeights()
        checkpoints = open_checkpoints(run.run_id, config, corpus, listener)
        epochs = list(train_epochs(network, config, corpus, best, checkpoints=checkpoints))
        chosen = finish_training(network, best, epochs)
        log_learning_curves(epochs)
        model = log_model(ModelPackage(config.model, network.cpu(), config.network, corpus.vocabulary, config.text))
        result = notes.Result(chosen.val_accuracy, None, model.location)
        tracking.set_tags({Tag.NOTE: notes.finished(config, corpus, run, result, parent)})
    record = records.read_run(run.run_id)
    accuracy = record.metrics[Metric.BEST_VAL_ACCURACY]
    listener(Message(f"trial {trial} again with seed {seed}: validation {accuracy:.4f}"))
    return record


def evaluate_winner(winner: Confirmation, corpus: Corpus, study_run: str, listener: Listener) -> float:
    """Let the winner read the test split, unless it has; its metrics go to its run. The accuracy."""
    metrics = records.read_run(winner.run_id).metrics
    if Metric.TEST_ACCURACY in metrics:
        return metrics[Metric.TEST_ACCURACY]
    uri = records.logged_model_uri(winner.run_id)
    package = logged_models.load(f"runs:/{winner.run_id}/{Artifact.MODEL}", trust_code=winner.config.is_own)
    with tracking.start_run(RunSpec(run_id=winner.run_id), listener) as run:
        accuracy = evaluate_on_test(package.network, winner.config.text, corpus)[Metric.TEST_ACCURACY]
        result = notes.Result(metrics[Metric.BEST_VAL_ACCURACY], accuracy, uri)
        tracking.set_tags({Tag.NOTE: notes.finished(winner.config, corpus, run, result, study_run)})
    return accuracy
