"""The trials of a study, each a run of MLflow below the study's run.

A trial is what `train` does up to the finished training: its settings come from Optuna, and after each epoch Optuna is
asked whether it is hopeless. States map truthfully: COMPLETE is FINISHED, PRUNED is KILLED, FAIL is FAILED with its
reason, and a trial that somebody interrupted is KILLED and tried again: in the same run, from its last checkpoint,
where that is on this machine.

The storage is all that processes share: any number of them, on any machines, work on one study until it has the
trials it is to have.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from statistics import fmean
from typing import Any

import numpy as np
import optuna
from optuna.exceptions import TrialPruned, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState
from torch import nn

from sentiment_tune import signals
from sentiment_tune.build import build_network, count_parameters
from sentiment_tune.config import ExperimentConfig
from sentiment_tune.data.corpus import Corpus
from sentiment_tune.data.folds import Folds, cut_folds
from sentiment_tune.errors import OutageError, hide_passwords
from sentiment_tune.events import Event, Listener, WarningMessage
from sentiment_tune.experiment import (
    finish_training,
    open_checkpoints,
    remove_checkpoints,
    start_training_run,
    train_epochs,
)
from sentiment_tune.inference.predict import device_of, resolve_device
from sentiment_tune.space import Range
from sentiment_tune.tracking import runs as tracking
from sentiment_tune.tracking.outages import is_outage, patiently, reason_of
from sentiment_tune.tracking.runs import RunSpec
from sentiment_tune.tracking.schema import Metric, Stage, Tag
from sentiment_tune.training.checkpoint import Checkpoints
from sentiment_tune.training.loop import BestWeights, EpochRecord, early_stopping, fit
from sentiment_tune.tuning.backend import create_sampler
from sentiment_tune.tuning.liveness import (
    ERROR,
    EXCESS,
    RUN_ID,
    SEEN,
    SURPLUS,
    alive,
    finished_trials,
    give_up_own,
    is_interrupted,
    reclaim_trials,
)
from sentiment_tune.tuning.objectives import (
    ACCURACY,
    MEMORY,
    OBJECTIVES,
    TRAIN_SECONDS,
    excess,
    measure_before,
    peak_memory,
    warm_up,
)
from sentiment_tune.tuning.retries import run_of_earlier_attempt
from sentiment_tune.tuning.search import MODEL, StudyConfig

PAUSES = (2, 10, 30, 60)  # seconds to wait, one after the other, while something is away
STORAGE_PATIENCE = 60  # seconds that a finished trial waits for the storage to be told
SKIPPED = 5  # times as many trials as a study is to have may have more than they may, and are not trained


@dataclass(frozen=True)
class TrialEnd(Event):
    """A trial has ended, well or badly."""

    number: int
    state: str  # COMPLETE, PRUNED or FAIL
    value: float | None  # validation accuracy, or what else judges
    seconds: float
    error: str | None  # or what kept it from being trained
    best: tuple[float, int] | None  # value and number of the best trial so far
    costs: Mapping[str, float]  # the study's other objectives, by name
    left: int  # trials that are still to come
    seconds_left: float  # that they take, at the mean of those so far
    metric: str = ACCURACY  # that judges, of whose loss a value is the negative


class SurplusTrialError(Exception):
    """Two workers wanted the study's last trial; this is the one that gives way."""


def run_trials(
    search: StudyConfig, study: optuna.Study, corpus: Corpus, study_run: str, listener: Listener, worker: int = 0
) -> None:
    """Run trials of the study, each a child of the run `study_run`, until it has as many as it is to have.

    One that ends since something it needs is away does not count: it is tried again after a while. OutageError if that
    happens again and again.
    """
    folds = cut_folds(corpus, search.folds) if search.folds else Folds(corpus, [corpus])
    deadline = time.monotonic() + (search.timeout or float("inf"))
    pauses = iter(PAUSES)
    with signals.last_words(partial(give_up_own, study)):
        while True:
            try:
                if not wait_for_turn(study, search, deadline):
                    return
                # A sampler of its own for each trial: a study that was interrupted goes on as if it had not been.
                seed = [search.seed, _ended(_trials(study)), worker]
                study.sampler = create_sampler(search.sampler, _drawn(seed), search.joint)
                _run_next_trial(search, study, folds, study_run, listener)
                pauses = iter(PAUSES)
            except Exception as error:
                if not is_outage(error):
                    raise
                _outlast(error, study, next(pauses, None), listener)


def _ended(trials: Sequence[FrozenTrial]) -> int:
    """How many trials have settings of their own that are not to be drawn again."""
    return len(finished_trials(trials)) + sum(EXCESS in trial.user_attrs for trial in trials)


def _drawn(seed: list[int]) -> int:
    return int(np.random.SeedSequence(seed).generate_state(1)[0])


def _outlast(error: Exception, study: optuna.Study, pause: float | None, listener: Listener) -> None:
    """Wait until what is away may be back; OutageError if it has been waited for long enough."""
    if pause is None:
        raise OutageError(
            f"something that study {study.study_name!r} needs is away ({reason_of(error)}): once it is back, the same "
            "command goes on with the study"
        ) from error
    listener(WarningMessage(f"{reason_of(error)}: the study waits {pause} s and tries again"))
    signals.wait(pause)
    with suppress(Exception):  # still away: then it is done before the study goes on
        give_up_own(study)


def _run_next_trial(search: StudyConfig, study: optuna.Study, folds: Folds, study_run: str, listener: Listener) -> None:
    """Ask for one trial and run it to its end, which is told; a trial that was taken from this process is not.

    Raises what was away.
    """
    begun: list[int] = []
    ended: list[FrozenTrial] = []
    away: list[Exception] = []

    def objective(trial: Trial) -> float | tuple[float, ...]:
        begun.append(trial.number)
        try:
            return _run_trial(trial, search, folds, study_run, listener)
        except Exception as error:
            if is_outage(error):
                away.append(error)
            raise

    try:
        study.optimize(objective, n_trials=1, catch=(Exception,), callbacks=[lambda _, trial: ended.append(trial)])
    except KeyboardInterrupt:
        with signals.unbroken():
            give_up_own(study)
        raise
    except Exception:
        signals.end_if_asked()
        if ended or not begun or not is_interrupted(_trials(study)[begun[0]]):
            raise
        # Somebody took this process for dead, since it had stood still for long, and gave its trial to another.
        listener(WarningMessage("a trial came too late and does not count: it was given to another worker"))
    if away:
        raise away[0]
    for trial in ended:
        listener(_trial_end(study, trial, search))


def _trial_end(study: optuna.Study, trial: FrozenTrial, search: StudyConfig) -> TrialEnd:
    finished, best = finished_trials(_trials(study)), best_trials(study, 1)
    left = max(0, search.trials - len(finished))
    seconds = [other.duration.total_seconds() for other in finished if other.duration]
    return TrialEnd(
        number=trial.number,
        state=trial.state.name,
        value=accuracy_of(trial),
        seconds=trial.duration.total_seconds() if trial.duration else 0.0,
        error=trial.user_attrs.get(ERROR) or trial.user_attrs.get(EXCESS),
        best=(accuracy_of(best[0]) or 0.0, best[0].number) if best else None,
        costs=dict(zip(search.objectives[1:], (trial.values or ())[1:], strict=False)),
        left=left,
        seconds_left=left * fmean(seconds) / search.workers if seconds else 0.0,
        metric=search.metric,
    )


def _trials(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False)


def wait_for_turn(study: optuna.Study, search: StudyConfig, deadline: float) -> bool:
    """Whether another trial is to begin; waits while all that is left is in the hands of others, who may die."""
    while True:
        signals.end_if_asked()
        trials = _trials(study)
        finished = finished_trials(trials)
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        if len(finished) >= search.trials or time.monotonic() > deadline or _is_stale(study, finished, search.stale):
            return False
        if sum(EXCESS in trial.user_attrs for trial in trials) >= search.trials * SKIPPED:
            return False
        if len(finished) + len(running) < search.trials:
            return True
        reclaim_trials(study)
        signals.wait(1)


def _is_stale(study: optuna.Study, finished: Sequence[FrozenTrial], patience: int | None) -> bool:
    """Whether the last `patience` trials brought nothing better."""
    if patience is None:
        return False
    best = best_trials(study)
    first = best[:1] if len(study.directions) == 1 else best  # the newest of a front, for each of it is a find
    positions = [position for position, trial in enumerate(finished) if trial in first]
    return bool(positions) and len(finished) - max(positions) > patience


def _run_trial(
    trial: Trial, search: StudyConfig, folds: Folds, study_run: str, listener: Listener
) -> float | tuple[float, ...]:
    """What one trial is worth in each of the study's objectives; it has a run below the study's. Raises TrialPruned.

    Whatever else ends it is told to the trial: interrupted, it is tried again; failed, it holds the reason.
    """
    _yield_to_earlier(trial, search.trials)
    tags = {
        Tag.TRIAL: str(trial.number),
        Tag.STUDY: search.study,
        Tag.STAGE: Stage.SEARCH,
    }
    state, run_id = TrialState.FAIL, None
    try:
        config = search.trial_config(suggest_settings(trial, search))
        earlier = run_of_earlier_attempt(_trials(trial.study)[trial.number], study_run, Stage.SEARCH)
        name = search.trial_name(trial.number, trial.params)
        spec = RunSpec(name=name, tags=tags, parent=study_run, run_id=earlier, resumed=earlier is not None)
        with alive(trial), start_training_run(config, folds.whole, spec, listener) as run:
            run_id = run.run_id
            trial.set_user_attr(RUN_ID, run_id)
            try:
                state, values = _train_trial(trial, search, config, folds, partial(_open_checkpoints, run_id, listener))
            finally:
                with signals.unbroken():
                    tracking.set_tags({Tag.OPTUNA_STATE: state.name})
            run.status = "KILLED" if state == TrialState.PRUNED else run.status
        patiently(partial(trial.set_user_attr, SEEN, time.time()), STORAGE_PATIENCE)  # the result is to be told next
    except UpdateFinishedTrialError:
        raise
    except Exception as error:
        if not is_outage(error):
            trial.set_user_attr(ERROR, hide_passwords(f"{type(error).__name__}: {error}")[:500])
            if run_id:
                remove_checkpoints(run_id)  # a trial that has failed is not tried again
        raise
    if state == TrialState.PRUNED:
        raise TrialPruned
    return values if search.is_pareto else values[0]


def _open_checkpoints(
    run_id: str, listener: Listener, config: ExperimentConfig, corpus: Corpus, fold: int | None = None
) -> Checkpoints | None:
    return open_checkpoints(run_id, config, corpus, listener, part=f"fold-{fold}" if fold else "training")


def _train_trial(
    trial: Trial, search: StudyConfig, config: ExperimentConfig, folds: Folds, kept: Callable[..., Checkpoints | None]
) -> tuple[TrialState, tuple[float, ...]]:
    """Train until the end or until Optuna finds it hopeless: COMPLETE or PRUNED, and the value of each objective.

    A network that has more than it may is not trained at all.
    """
    corpus, takes_memory = folds.parts[0], MEMORY in search.objectives
    network = build_network(config, corpus)
    measured = measure_before((*search.objectives, *search.limits), network, config, corpus)
    tracking.log_metrics({OBJECTIVES[name].metric: value for name, value in measured.items()})
    if _exceeds(trial, search, measured):
        return TrialState.PRUNED, ()
    if takes_memory:
        warm_up(network, config, corpus)
        del network
    with peak_memory(resolve_device(config.runtime.device)) if takes_memory else nullcontext() as peak:
        if takes_memory:
            network = build_network(config, corpus)  # anew, for it is a part of what is measured
        if search.folds:
            state, score, seconds = _train_folds(trial, config, folds, kept)
        else:
            state, score, seconds = _train_network(trial, network, config, corpus, kept(config, corpus))
    measured |= {ACCURACY: score, TRAIN_SECONDS: seconds}
    if peak:
        measured[MEMORY] = peak.bytes
        tracking.log_metrics({OBJECTIVES[MEMORY].metric: peak.bytes})
    return state, tuple(measured[name] for name in search.objectives)


def _exceeds(trial: Trial, search: StudyConfig, measured: Mapping[str, float]) -> bool:
    """Whether the network has more than it may, which its trial and its run are told."""
    for name, limit in search.limits.items():
        trial.set_constraint(name, measured[name] / limit - 1)
    told = excess(search.limits, measured)
    if told:
        trial.set_user_attr(EXCESS, told)
        tracking.set_tags({Tag.EXCESS: told})
    return told is not None


def _train_network(
    trial: Trial, network: nn.Module, config: ExperimentConfig, corpus: Corpus, checkpoints: Checkpoints | None
) -> tuple[TrialState, float, float]:
    """The training itself: how it ended, its best validation accuracy, its seconds.

    Of the epochs before a checkpoint that it goes on from, Optuna is told; it was asked when they ended.
    """
    best, epochs, score = BestWeights(), [], -math.inf
    for epoch in train_epochs(network, config, corpus, best, checkpoints=checkpoints):
        epochs.append(epoch)
        score = max(score, epoch.score)
        is_behind = checkpoints is not None and epoch.epoch <= checkpoints.epochs_behind
        if _is_hopeless(trial, score, epoch.epoch) and not is_behind:
            tracking.set_tags({Tag.PRUNED_AT_EPOCH: epoch.epoch})
            return TrialState.PRUNED, score, sum(each.seconds for each in epochs)
    return (
        TrialState.COMPLETE,
        finish_training(network, best, epochs).score,
        sum(each.seconds for each in epochs),
    )


def _train_folds(
    trial: Trial, config: ExperimentConfig, folds: Folds, kept: Callable[..., Checkpoints | None]
) -> tuple[TrialState, float, float]:
    """A training for each fold: how they ended, the mean of their best scores on validation, the seconds of all.

    Optuna is told of the mean so far after each of them. The epochs of the run stand one fold behind the other.
    """
    most = config.training.for_reviews(len(folds.parts[0].train)).epochs
    best: list[EpochRecord] = []
    seconds = 0.0
    for fold, corpus in enumerate(folds.parts, 1):
        checkpoints = kept(config, corpus, fold)
        epochs = _fold_epochs(config, corpus, checkpoints)
        for epoch in epochs:
            tracking.log_epoch(replace(epoch, epoch=(fold - 1) * most + epoch.epoch))
        best.append(max(epochs, key=attrgetter("quality")))
        seconds += sum(epoch.seconds for epoch in epochs)
        mean = fmean(epoch.score for epoch in best)
        tracking.log_metrics({Metric.FOLD_VAL_ACCURACY: best[-1].val_accuracy}, fold)
        is_behind = checkpoints is not None and len(epochs) <= checkpoints.epochs_behind
        if _is_hopeless(trial, mean, fold) and not is_behind and fold < len(folds.parts):
            tracking.set_tags({Tag.PRUNED_AT_FOLD: fold})
            return TrialState.PRUNED, mean, seconds
    loss, accuracy = (fmean(getattr(epoch, name) for epoch in best) for name in ("val_loss", "val_accuracy"))
    figures = {Metric.BEST_VAL_ACCURACY: accuracy, Metric.BEST_VAL_LOSS: loss, Metric.TRAIN_SECONDS: seconds}
    if best[0].val_score is not None:
        figures[Metric.BEST_VAL_SCORE] = mean
    tracking.log_metrics({**figures, Metric.FOLDS: len(best)})
    return TrialState.COMPLETE, mean, seconds


def _fold_epochs(config: ExperimentConfig, corpus: Corpus, checkpoints: Checkpoints | None) -> list[EpochRecord]:
    """The epochs of the training that one fold validates."""
    network, best, epochs = build_network(config, corpus), BestWeights(), []
    tracking.set_tags({Tag.DEVICE: device_of(network).type, Tag.PARAMETERS: count_parameters(network)})
    training = fit(
        network,
        corpus.train,
        corpus.validation,
        config.training,
        config.text,
        config.runtime.seed,
        checkpoints=checkpoints,
        best=best,
        threads=config.runtime.threads,
    )
    with closing(training):
        for epoch in early_stopping(training, config.training.patience):
            best.update(epoch, network)
            epochs.append(epoch)
    return epochs


def _is_hopeless(trial: Trial, score: float, epoch: int) -> bool:
    """Whether Optuna, told of an epoch, would give the trial up; while its storage is away, it is not asked.

    Of several objectives it can tell of none.
    """
    if len(trial.study.directions) > 1:
        return False
    try:
        trial.report(score, epoch)
        return trial.should_prune()
    except Exception as error:
        if not is_outage(error):
            raise
        return False


def _yield_to_earlier(trial: Trial, most: int) -> None:
    """SurplusTrialError if the trials before this one, finished or running, are as many as the study is to have."""
    before = [other for other in _trials(trial.study) if other.number < trial.number]
    running = [other for other in before if other.state == TrialState.RUNNING]
    if len(finished_trials(before)) + len(running) >= most:
        trial.set_user_attr(SURPLUS, True)
        raise SurplusTrialError


def suggest_settings(trial: Trial, search: StudyConfig) -> dict[str, Any]:
    """Parameters that Optuna proposes; of a joint study only those of the network that it has suggested."""
    suggested: dict[str, Any] = {}
    if search.joint:
        suggested[MODEL] = trial.suggest_categorical(MODEL, search.models)
    for name, setting in search.space.items():
        if search.joint and not name.startswith(f"{suggested[MODEL]}."):
            continue
        if not isinstance(setting.bounds, Range):
            suggested[name] = trial.suggest_categorical(name, list(setting.bounds))
            continue
        low, high = setting.bounds.search or (setting.bounds.low, setting.bounds.high)
        if setting.type is int:
            suggested[name] = trial.suggest_int(name, int(low), int(high), log=setting.bounds.log)
        else:
            suggested[name] = trial.suggest_float(name, low, high, log=setting.bounds.log)
    return suggested


def accuracy_of(trial: FrozenTrial) -> float | None:
    """A trial's validation accuracy, the first of its values; of one that was pruned the last it had, if any."""
    return trial.values[0] if trial.values else None


def rank_of(trial: FrozenTrial) -> tuple[float, int]:
    """By which trials are sorted: the best first, and last those without a value, which may be more than a loss's."""
    value = accuracy_of(trial)
    return math.inf if value is None else -value, trial.number


def best_trials(study: optuna.Study, count: int | None = None) -> list[FrozenTrial]:
    """The best finished trials, the most accurate first, each with other parameters.

    Of several objectives they are those that no other beats in all.
    """
    complete = [trial for trial in _trials(study) if trial.state == TrialState.COMPLETE]
    if len(study.directions) > 1:
        complete = study.best_trials if complete else []
    distinct: dict[tuple[tuple[str, Any], ...], FrozenTrial] = {}
    for trial in sorted(complete, key=rank_of):
        distinct.setdefault(tuple(sorted(trial.params.items())), trial)
    return list(distinct.values())[:count]
