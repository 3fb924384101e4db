"""From the best trials of a study to its winner.

The best value of a search is a lucky maximum. So the best few trials are trained again with fresh seeds, and the mean
of their validation accuracies decides; only the winner reads the test split.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import fmean, stdev

from optuna.trial import FrozenTrial

from sentiment_tune import notes
from sentiment_tune.build import build_network, package_of
from sentiment_tune.config import ExperimentConfig
from sentiment_tune.data.corpus import Corpus
from sentiment_tune.errors import InputError, hide_passwords
from sentiment_tune.evaluation.metrics import measured, words_for
from sentiment_tune.events import Listener, Message
from sentiment_tune.experiment import (
    evaluate_on_test,
    finish_training,
    log_learning_curves,
    log_model,
    log_threshold,
    open_checkpoints,
    start_training_run,
    train_epochs,
)
from sentiment_tune.repeats import start_repeats
from sentiment_tune.tracking import logged_models, records
from sentiment_tune.tracking import runs as tracking
from sentiment_tune.tracking.records import RunRecord
from sentiment_tune.tracking.runs import RunSpec
from sentiment_tune.tracking.schema import Artifact, Metric, Stage, Tag, score_of
from sentiment_tune.training.loop import BestWeights
from sentiment_tune.tuning.liveness import RUN_ID, end_abandoned_runs
from sentiment_tune.tuning.objectives import LATENCY, excess, measure_before
from sentiment_tune.tuning.retries import run_to_go_on
from sentiment_tune.tuning.search import StudyConfig
from sentiment_tune.tuning.study import FinishedStudy
from sentiment_tune.tuning.trials import best_trials
from sentiment_tune.tuning.workers import run_in_processes


@dataclass(frozen=True)
class Confirmation:
    """A trial's settings, trained again with several seeds."""

    trial: int
    config: ExperimentConfig  # with the seed of the best run
    accuracies: tuple[float, ...]  # validation, by seed
    run_id: str  # of the best run, by validation
    costs: Mapping[str, float] = field(default_factory=dict)  # the study's other objectives, by name
    is_confirmed: bool = True  # else it is the trial itself, whose value is in part luck

    @property
    def mean(self) -> float:
        return fmean(self.accuracies)

    @property
    def spread(self) -> float:
        """Standard deviation over the seeds; 0 for a single one."""
        return stdev(self.accuracies) if len(self.accuracies) > 1 else 0.0

    @property
    def spread_in_words(self) -> str:
        """What follows the mean in a sentence; nothing of a single seed."""
        return f" ± {self.spread:.4f} over {len(self.accuracies)} seeds" if len(self.accuracies) > 1 else ""


def confirm_trials(
    finished: FinishedStudy, corpus: Corpus, top: int, seeds: int, listener: Listener
) -> list[Confirmation]:
    """Train the settings of the best trials again with seeds that the search has not seen; the best mean first.

    Of a study of several objectives these are all of its front, whatever `top` is. Trials whose latency, measured once
    more, is beyond the study's limit are left out; InputError if that is so of all.
    Runs that are there from an earlier, interrupted confirmation are taken as they are.
    """
    search = finished.search
    best = _still_within(search, best_trials(finished.study), None if search.is_pareto else top, corpus, listener)
    costs = {trial.number: dict(zip(search.objectives[1:], trial.values[1:], strict=True)) for trial in best}
    configs = {
        trial.number: [search.trial_config(trial.params, seed=search.seed + 1 + number) for number in range(seeds)]
        for trial in best
    }
    end_abandoned_runs(finished.study)
    if search.workers > 1:
        tasks = [task for trial, repeats in configs.items() for task in _scheduled(trial, repeats, finished.run_id)]
        share = partial(_train_share, tasks, search.workers, listener)
        source = corpus if search.in_memory else search.source
        run_in_processes(search.workers, source, share, partial(end_abandoned_runs, finished.study), listener)
    # What a worker has left undone is done here, where its failure is told.
    confirmations = [
        replace(_confirm(trial, repeats, finished.run_id, corpus, listener), costs=costs[trial])
        for trial, repeats in configs.items()
    ]
    return sorted(confirmations, key=lambda confirmation: -confirmation.mean)


def unconfirmed(finished: FinishedStudy) -> list[Confirmation]:
    """The front of a study of several objectives by its trials' own values, where nothing is trained again."""
    search = finished.search
    return [
        Confirmation(
            trial.number,
            search.trial_config(trial.params),
            (trial.values[0],),
            trial.user_attrs.get(RUN_ID, ""),
            dict(zip(search.objectives[1:], trial.values[1:], strict=True)),
            is_confirmed=False,
        )
        for trial in best_trials(finished.study)
    ]


def _still_within(
    search: StudyConfig, trials: Sequence[FrozenTrial], count: int | None, corpus: Corpus, listener: Listener
) -> list[FrozenTrial]:
    """So many of the trials, the first ones that keep the study's limits when they are measured once more.

    The best of many trials is one whose latency was measured with luck; what else has a limit does not change.
    """
    limits = {name: limit for name, limit in search.limits.items() if name == LATENCY}
    if not limits:
        return list(trials[:count])
    kept: list[FrozenTrial] = []
    for trial in trials:
        if len(kept) == count:
            break
        config = search.trial_config(trial.params)
        told = excess(limits, measure_before(limits, build_network(config, corpus), config, corpus))
        if told is None:
            kept.append(trial)
        else:
            listener(Message(f"trial {trial.number} is left out: measured once more, {told}"))
    if not kept:
        raise InputError(
            f"no trial of study {search.study!r} keeps its latency when it is measured once more: give more "
            "--trials, or a larger --max-latency"
        )
    return kept


def _confirm(
    trial: int, configs: Sequence[ExperimentConfig], study_run: str, corpus: Corpus, listener: Listener
) -> Confirmation:
    with start_repeats(configs, corpus, _spec_above(trial, configs, study_run), listener) as repeats:
        for config in configs:
            task = _Task(trial, config, repeats.run.run_id, study_run)
            run = _find(task) or _train(task, corpus, listener)
            repeats.figures[run.run_id] = run.metrics
    accuracies = tuple(map(score_of, repeats.figures.values()))
    best = list(repeats.figures).index(repeats.best)
    return Confirmation(trial, configs[best], accuracies, repeats.best)


def _scheduled(trial: int, configs: Sequence[ExperimentConfig], study_run: str) -> "list[_Task]":
    """The trainings of a trial's settings below a run that waits for them: workers share out those of all trials."""
    spec = _spec_above(trial, configs, study_run)
    above = spec.run_id or tracking.schedule_run(spec)
    return [_Task(trial, config, above, study_run) for config in configs]


def _spec_above(trial: int, configs: Sequence[ExperimentConfig], study_run: str) -> RunSpec:
    """Of the run above the trainings of a trial's settings: that of an earlier confirmation, if there is one."""
    tags = {Tag.TRIAL: str(trial), Tag.STAGE: Stage.REPEATS}
    earlier = (run.run_id for run in records.find_children(study_run) if tags.items() <= run.tags.items())
    name = f"trial {trial}, {len(configs)} seeds: {configs[0].title_of_repeats}"
    return RunSpec(name=name, tags=tags, parent=study_run, run_id=next(earlier, None))


@dataclass(frozen=True)
class _Task:
    """A training of a trial's settings with another seed."""

    trial: int
    config: ExperimentConfig
    parent: str  # id of the run above it
    study_run: str

    @property
    def tags(self) -> dict[str, str]:
        """What tells its run."""
        return {Tag.TRIAL: str(self.trial), Tag.STAGE: Stage.CONFIRM, Tag.SEED: str(self.config.runtime.seed)}


def _train_share(
    tasks: Sequence[_Task],
    workers: int,
    listener: Listener,
    corpus: Corpus,
    worker: int,
) -> None:
    """What one of several workers does: every so many-th of the trainings, unless it is there."""
    for task in tasks[worker::workers]:
        try:
            _find(task) or _train(task, corpus, listener)
        except Exception as error:  # its run is FAILED and holds the traceback
            again = f"trial {task.trial} again with seed {task.config.runtime.seed}"
            listener(Message(f"{again}: {hide_passwords(str(error))}; it is tried once more at the end"))


def _find(task: _Task) -> RunRecord | None:
    """The run that has trained a trial's settings again, if it is there."""
    return records.find_child(task.parent, task.tags)


def _train(task: _Task, corpus: Corpus, listener: Listener) -> RunRecord:
    """Train a trial's settings with another seed, in a run of its own: in the one that was cut off, if any."""
    trial, config, seed = task.trial, task.config, task.config.runtime.seed
    begun = run_to_go_on(task.parent, lambda run: task.tags.items() <= run.tags.items())
    name = f"trial {trial}, seed {seed}: {config.title_of_repeats}"
    spec = RunSpec(name=name, tags=task.tags, parent=task.parent, run_id=begun, resumed=bool(begun))
    with start_training_run(config, corpus, spec, listener) as run:
        network, best = build_network(config, corpus), BestWeights()
        checkpoints = open_checkpoints(run.run_id, config, corpus, listener)
        epochs = list(train_epochs(network, config, corpus, best, checkpoints=checkpoints))
        chosen = finish_training(network, best, epochs)
        log_learning_curves(epochs)
        threshold = log_threshold(network, config, corpus)
        model = log_model(package_of(network.cpu(), config, corpus, threshold))
        result = notes.Result(chosen.val_accuracy, None, model.location)
        tracking.set_tags({Tag.NOTE: notes.finished(config, corpus, run, result, task.study_run)})
    record = records.read_run(run.run_id)
    metric = config.training.metric
    score = f"{words_for(metric)} {measured(metric, score_of(record.metrics)):.4f}"
    listener(Message(f"trial {trial} again with seed {seed}: validation {score}"))
    return record


def evaluate_winner(winner: Confirmation, corpus: Corpus, study_run: str, listener: Listener) -> float:
    """Let the winner read the test split, unless it has; its metrics go to its run. The accuracy."""
    metrics = records.read_run(winner.run_id).metrics
    if Metric.TEST_ACCURACY in metrics:
        return metrics[Metric.TEST_ACCURACY]
    uri = records.logged_model_uri(winner.run_id)
    package = logged_models.load(f"runs:/{winner.run_id}/{Artifact.MODEL}", trust_code=winner.config.is_own)
    with tracking.start_run(RunSpec(run_id=winner.run_id), listener) as run:
        accuracy = evaluate_on_test(package.network, winner.config.text, corpus, package.threshold)[
            Metric.TEST_ACCURACY
        ]
        tracking.log_model_figures()
        result = notes.Result(metrics[Metric.BEST_VAL_ACCURACY], accuracy, uri)
        tracking.set_tags({Tag.NOTE: notes.finished(winner.config, corpus, run, result, study_run)})
    return accuracy
