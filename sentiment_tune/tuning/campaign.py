"""From nothing to champions: a study for each network, its best settings confirmed, tested once and registered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from optuna.trial import FrozenTrial

from sentiment_tune.data.corpus import Corpus
from sentiment_tune.events import Event, Listener
from sentiment_tune.publish import register_as, register_run
from sentiment_tune.tracking import runs as tracking
from sentiment_tune.tracking.registry import Claim, Registration
from sentiment_tune.tracking.runs import RunSpec
from sentiment_tune.tuning.confirm import Confirmation, confirm_trials, evaluate_winner, unconfirmed
from sentiment_tune.tuning.front import choices, ends, front_of
from sentiment_tune.tuning.objectives import ACCURACY, OBJECTIVES, shown
from sentiment_tune.tuning.report import log_found, log_front, log_winner
from sentiment_tune.tuning.search import StudyConfig
from sentiment_tune.tuning.study import FinishedStudy, run_study


@dataclass(frozen=True)
class StudyStart(Event):
    """A study is about to begin, or to go on."""

    search: StudyConfig


@dataclass(frozen=True)
class StudyEnd(Event):
    """A study has its trials."""

    name: str
    trials: Sequence[FrozenTrial]
    owned: bool  # else another process confirms and registers
    objectives: Sequence[str] = (ACCURACY,)
    metric: str = ACCURACY  # that judges, in the place of accuracy


@dataclass(frozen=True)
class ConfirmationEnd(Event):
    """The best trials have been trained again."""

    confirmations: Sequence[Confirmation]  # the best first


@dataclass(frozen=True)
class FrontEnd(Event):
    """What no others beat in everything, of a study of several objectives."""

    front: Sequence[Confirmation]  # the most accurate first
    choices: Mapping[str, Confirmation]  # its knee and its ends, by name


@dataclass(frozen=True)
class Registered(Event):
    """The winner's model is in the registry."""

    registrations: Sequence[Registration]


@dataclass(frozen=True)
class StudyOutcome:
    """What came of a study; without confirmations where it has another owner or nothing was to be confirmed."""

    finished: FinishedStudy
    confirmations: Sequence[Confirmation] = ()
    registrations: Sequence[Registration] = ()
    front: Sequence[Confirmation] = ()  # of several objectives: those that no other beats in everything
    choices: Mapping[str, Confirmation] = field(default_factory=dict)  # of the front: its knee and its ends, by name


def run_studies(
    searches: Sequence[StudyConfig], corpus: Corpus, spec: RunSpec, top: int, seeds: int, listener: Listener
) -> list[StudyOutcome]:
    """Run all studies, one after another, each with its champion.

    `top` trials of each are trained again with `seeds` seeds each; with 0 nothing is trained again or registered, and
    of several objectives the front is that of the trials.
    """
    if len(searches) > 1:
        tracking.detach_project_run()  # it cannot be the parent of all: MLflow shows one level
    return [_run(search, corpus, spec, top, seeds, listener) for search in searches]


def _run(search: StudyConfig, corpus: Corpus, spec: RunSpec, top: int, seeds: int, listener: Listener) -> StudyOutcome:
    listener(StudyStart(search))
    with run_study(search, corpus, spec, listener) as finished:
        trials = finished.study.get_trials(deepcopy=False)
        listener(StudyEnd(search.study, trials, finished.owned, search.objectives, search.metric))
        if not finished.owned:
            return StudyOutcome(finished)
        if not top:
            return _unconfirmed(finished, corpus, listener)
        tracking.log_params({"top": top, "seeds": seeds})
        return _crown(finished, corpus, top, seeds, listener)


def _unconfirmed(finished: FinishedStudy, corpus: Corpus, listener: Listener) -> StudyOutcome:
    """What came of the trials by themselves: of several objectives their front."""
    if not finished.search.is_pareto:
        return StudyOutcome(finished)
    front, chosen, pictures = _find_front(finished, unconfirmed(finished), listener)
    log_found(finished.search, finished.study, pictures, corpus.name, front, chosen)
    return StudyOutcome(finished, front=front, choices=chosen)


def _find_front(
    finished: FinishedStudy, members: Sequence[Confirmation], listener: Listener
) -> tuple[Sequence[Confirmation], Mapping[str, Confirmation], Mapping[str, str]]:
    """Front, choices and pictures of a study of several objectives, shown and logged."""
    front = front_of(members)
    chosen = choices(front)
    listener(FrontEnd(front, chosen))
    return front, chosen, {**log_front(finished.search, finished.study, front, chosen), **finished.pictures}


def _crown(finished: FinishedStudy, corpus: Corpus, top: int, seeds: int, listener: Listener) -> StudyOutcome:
    """Find the winner among the best trials, let it read the test split, and register it."""
    confirmations = confirm_trials(finished, corpus, top, seeds, listener)
    listener(ConfirmationEnd(confirmations))
    winner = confirmations[0]
    test = evaluate_winner(winner, corpus, finished.run_id, listener)
    pictures: Mapping[str, str] = finished.pictures
    front: Sequence[Confirmation] = ()
    chosen: Mapping[str, Confirmation] = {}
    if finished.search.is_pareto:
        front, chosen, pictures = _find_front(finished, confirmations, listener)
    log_winner(finished.search, finished.study, pictures, confirmations, test, corpus.name, front, chosen)
    registrations = register_run(winner.run_id, trust_code=winner.config.is_own)
    if chosen:
        registrations = [*registrations, *_register_ends(finished, chosen, corpus, listener)]
    listener(Registered(registrations))
    return StudyOutcome(finished, confirmations, registrations, front, chosen)


def _register_ends(
    finished: FinishedStudy, chosen: Mapping[str, Confirmation], corpus: Corpus, listener: Listener
) -> list[Registration]:
    """Register the ends of the front that have a name of their own, each once it has read the test split."""
    registrations = []
    for alias, cost in ends(chosen).items():
        one, objective = chosen[cost], OBJECTIVES[cost]
        evaluate_winner(one, corpus, finished.run_id, listener)
        origin = f"of the front of study {finished.search.study}"
        claim = Claim(alias, origin, cost, one.costs[cost], objective.metric, partial(shown, cost))
        registrations.append(register_as(one.run_id, claim, trust_code=one.config.is_own))
    return registrations
