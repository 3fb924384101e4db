"""A study whose trainings take no time, in forks of this process: killed at a commit, then gone on with.

small_study.py FOLDER TRIALS NUMBER...: for each number, in a folder of its own, a process that runs the study dies just
before that commit; a second one goes on with the study. Prints the number and the seconds that the second took.
"""

import os
import shutil
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import optuna
from mlflow import set_tracking_uri
from sqlalchemy import Engine, event

from sentiment_tune.config import ExperimentConfig
from sentiment_tune.data.corpus import Corpus
from sentiment_tune.data.folds import Folds
from sentiment_tune.data.load import DataConfig, load
from sentiment_tune.events import ignore
from sentiment_tune.tracking.runs import RunSpec
from sentiment_tune.tuning import study as studies
from sentiment_tune.tuning import trials
from sentiment_tune.tuning.search import StudyConfig


def main() -> None:
    folder, count, *numbers = sys.argv[1:]
    corpus = load(DataConfig(data="sample"))
    for number in numbers:
        place = Path(folder, number)
        place.mkdir()
        shutil.copy(Path(folder, "mlflow.db"), place)
        in_fork(place, corpus, int(count), int(number))
        begun = time.monotonic()
        code = in_fork(place, corpus, int(count), 0)
        print(number, code, f"{time.monotonic() - begun:.1f}", flush=True)


def in_fork(folder: Path, corpus: Corpus, count: int, commits: int) -> int:
    """Run the study in a fork of this process, which dies just before a commit if one is named; the exit code."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        if commits:
            die_at(commits)
        run(folder, corpus, count)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def die_at(commits: int) -> None:
    left = iter(range(commits - 1))

    def committing(connection: Any) -> None:
        if next(left, None) is None:
            os._exit(9)

    event.listen(Engine, "commit", committing)


def run(folder: Path, corpus: Corpus, count: int) -> None:
    os.chdir(folder)
    set_tracking_uri(f"sqlite:///{folder}/mlflow.db")

    def train(
        trial: optuna.Trial, search: StudyConfig, config: ExperimentConfig, folds: Folds, kept: object
    ) -> tuple[optuna.trial.TrialState, tuple[float, ...]]:
        trial.report(0.5 + trial.number / 100, 1)
        return optuna.trial.TrialState.COMPLETE, (0.5 + trial.number / 100,)

    trials._train_trial = train
    studies.log_report = lambda search, study: {}  # type: ignore[attr-defined]
    storage = f"sqlite:///{folder}/optuna.db"
    search = StudyConfig("small", ("embedding",), {"data": "sample"}, trials=count, storage=storage)
    with studies.run_study(search, corpus, RunSpec(), ignore):
        pass


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
