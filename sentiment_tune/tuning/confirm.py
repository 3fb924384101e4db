"""From the best trials of a study to a champion of the registry.

The best value of a search is a lucky maximum. So the best few trials are trained again with fresh seeds, and the mean
of their validation accuracies decides; only the winner reads the test split. Before a model is registered it must say
in a fresh process, through both doors, what it said when it was made.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean, stdev

from sentiment_tune.build import build_network
from sentiment_tune.config import ExperimentConfig
from sentiment_tune.data.corpus import Corpus
from sentiment_tune.experiment import (
    evaluate_on_test,
    finish_training,
    log_learning_curves,
    log_model,
    start_training_run,
    train_epochs,
)
from sentiment_tune.inference import package as packaging
from sentiment_tune.inference.package import ModelPackage
from sentiment_tune.tracking import records
from sentiment_tune.tracking import runs as tracking
from sentiment_tune.tracking.records import RunRecord
from sentiment_tune.tracking.runs import RunSpec
from sentiment_tune.training.loop import BestWeights
from sentiment_tune.tuning.study import StudyResult
from sentiment_tune.tuning.trials import WORKER, WORKER_ID, best_trials, end_abandoned
from sentiment_tune.tuning.workers import run_in_processes

CONFIRMED = "confirm"  # stage of a run that trains a trial's settings again


@dataclass(frozen=True)
class Confirmation:
    """A trial's settings, trained again with several seeds."""

    trial: int
    config: ExperimentConfig  # with the seed of the best run
    accuracies: tuple[float, ...]  # validation, by seed
    run_id: str  # of the best run, by validation

    @property
    def mean(self) -> float:
        return fmean(self.accuracies)

    @property
    def spread(self) -> float:
        """Standard deviation over the seeds; 0 for a single one."""
        return stdev(self.accuracies) if len(self.accuracies) > 1 else 0.0


def confirm_trials(
    studied: StudyResult, corpus: Corpus, top: int, seeds: int, say: Callable[[str], None]
) -> list[Confirmation]:
    """Train the settings of the best trials again with seeds that the search has not seen; the best mean first.

    Runs that are there from an earlier, interrupted confirmation are taken as they are.
    """
    search, parent, found = studied.search, studied.run_id, []
    configs = {
        trial.number: [search.trial_config(trial.params, seed=search.seed + 1 + number) for number in range(seeds)]
        for trial in best_trials(studied.study, top)
    }
    end_abandoned(studied.study)
    if search.workers > 1:
        shared = [(trial, config) for trial, several in configs.items() for config in several]
        share = partial(_share, shared, search.workers, parent, say)
        run_in_processes(search.workers, search.source, share, partial(end_abandoned, studied.study))
    for trial, several in configs.items():
        # What a worker has left undone is done here, where its failure is told.
        runs = [
            _again(trial, config, parent) or _trained_again(trial, config, parent, corpus, say) for config in several
        ]
        accuracies = tuple(run.metrics["best_val_accuracy"] for run in runs)
        best = max(range(seeds), key=lambda place: accuracies[place])
        found.append(Confirmation(trial, several[best], accuracies, runs[best].run_id))
    return sorted(found, key=lambda one: -one.mean)


def _share(
    shared: Sequence[tuple[int, ExperimentConfig]],
    workers: int,
    parent: str,
    say: Callable[[str], None],
    corpus: Corpus,
    worker: int,
) -> None:
    """What one of several workers does: every so many-th of the trainings, unless it is there."""
    for trial, config in shared[worker::workers]:
        try:
            _again(trial, config, parent) or _trained_again(trial, config, parent, corpus, say)
        except Exception as error:  # its run is FAILED and holds the traceback
            say(f"trial {trial} again with seed {config.runtime.seed}: {error}; it is tried once more at the end")


def _again(trial: int, config: ExperimentConfig, parent: str) -> RunRecord | None:
    """The run that has trained a trial's settings again, if it is there."""
    return records.find_child(parent, {"trial": trial, "stage": CONFIRMED, "seed": config.runtime.seed})


def _trained_again(
    trial: int,
    config: ExperimentConfig,
    parent: str,
    corpus: Corpus,
    say: Callable[[str], None],
) -> RunRecord:
    seed = config.runtime.seed
    tags = {"trial": str(trial), "stage": CONFIRMED, WORKER: WORKER_ID}
    spec = RunSpec(name=f"trial {trial}, seed {seed}", tags=tags, parent=parent)
    with start_training_run(config, corpus, spec) as active:
        network, best = build_network(config, corpus), BestWeights()
        epochs = list(train_epochs(network, config, corpus, best))
        finish_training(network, best, epochs)
        log_learning_curves(epochs)
        log_model(ModelPackage(config.model, network.cpu(), config.network, corpus.vocabulary, config.text))
    run = records.read_run(active.run_id)
    say(f"trial {trial} again with seed {seed}: validation {run.metrics['best_val_accuracy']:.4f}")
    return run


def evaluate_winner(winner: Confirmation, corpus: Corpus) -> None:
    """Let the winner read the test split, unless it has; its figures go to its run."""
    if "test_accuracy" in records.read_run(winner.run_id).metrics:
        return
    package = packaging.load_package(records.download_model(f"runs:/{winner.run_id}/model"))
    with tracking.start_run(RunSpec(run_id=winner.run_id)):
        evaluate_on_test(package.network, winner.config.text, corpus)
