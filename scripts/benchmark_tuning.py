"""What a study costs beside its trainings, and whether two workers are worth it.

    python scripts/benchmark_tuning.py --data PATH/imdb.npz

Three measurements, each in a fresh MLflow and Optuna database of a temporary folder:

1. The share of wall time that is not training: storage, tracking, pictures and start-up of a study of 20 trials.
2. The cost of a trial beside its training when the study has 1,000 finished trials, and when it has 10.
3. Trials an hour of one worker with two threads and of two workers with one thread, in turn, several times.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import click
import mlflow
import optuna
from optuna.trial import FrozenTrial, create_trial

from sentiment_tune.data import load as data
from sentiment_tune.tracking import server
from sentiment_tune.tuning.liveness import OWNER
from sentiment_tune.tuning.search import StudyConfig
from sentiment_tune.tuning.study import open_study
from sentiment_tune.tuning.trials import SEARCHED, suggest_settings


@click.command()
@click.option("--data", "source", default="imdb", show_default=True)
@click.option("--model", default="embedding", show_default=True)
@click.option("--trials", default=20, show_default=True)
@click.option("--repeats", default=3, show_default=True, help="of the comparison of workers")
@click.option("--parts", default="123", show_default=True, help="which of the three to measure")
def main(source: str, model: str, trials: int, repeats: int, parts: str) -> None:
    """Measure MODEL's studies on DATA and print the results."""
    if "1" in parts:
        measure_overhead(source, model, trials)
    if "2" in parts:
        measure_growth(model)
    if "3" in parts:
        compare_workers(source, model, repeats)


def tune(folder: Path, source: str, model: str, *words: str) -> float:
    """Wall seconds of the command as a user types it."""
    command = [sys.executable, "-m", "sentiment_tune", "tune", "--model", model, "--data", source, "--top", "0", *words]
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}  # set by part 2
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def training_seconds(folder: Path) -> list[float]:
    """Seconds that the epochs of each trial took."""
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments, max_results=1000)
    trials = [run for run in runs if run.data.tags.get("stage") == SEARCHED]
    return [sum(point.value for point in client.get_metric_history(run.info.run_id, "seconds")) for run in trials]


def measure_overhead(source: str, model: str, trials: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        wall = tune(Path(folder), source, model, "--trials", str(trials))
        training = sum(training_seconds(Path(folder)))
    print(
        f"1. {model}, {trials} trials: {wall:.0f} s, of which {training:.0f} s training; the rest is "
        f"{(wall - training) / wall:.1%}, {(wall - training) / trials:.2f} s a trial",
        flush=True,
    )


def measure_growth(model: str) -> None:
    """Cost of a trial beside its training, small trainings on a study filled with finished trials."""
    costs = {}
    for finished in (10, 1_000):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            server.connect(f"sqlite:///{folder}/mlflow.db")
            fixed = {"data": "sample", "epochs": 1, "vocabulary": 1000, "length": 50}
            config = StudyConfig(
                "growth", (model,), fixed, finished, f"sqlite:///{folder}/optuna.db", pruner="NopPruner"
            )
            study = open_study(config, data.load(data.DataConfig("sample")).digest)
            study.add_trials(random_trials(config, finished))
            study.set_user_attr(OWNER, None)  # the command below is to own it
            words: tuple[str, ...] = ("--epochs", "1", "--vocabulary", "1000", "--length", "50", "--study", "growth")
            words += ("--storage", config.storage, "--pruner", "NopPruner", "--trials")
            started = tune(folder, "sample", model, *words, str(finished))  # nothing to do but start and report
            before = sum(training_seconds(folder))
            wall = tune(folder, "sample", model, *words, str(finished + 10))
            costs[finished] = (wall - started - sum(training_seconds(folder)) + before) / 10
    few, many = costs.values()
    print(
        f"2. beside its training a trial costs {few:.2f} s at 10 trials, {many:.2f} s at 1,000: {many / few:.2f} times"
    )


def random_trials(config: StudyConfig, count: int) -> list[FrozenTrial]:
    """Finished trials with random settings, as if they had been run."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    trials = []
    for number in range(count):
        trial = study.ask()
        suggest_settings(trial, config)
        trials.append(
            create_trial(
                params=trial.params,
                distributions=trial.distributions,
                intermediate_values={1: 0.5},
                value=0.5 + number / 10_000,
            )
        )
    return trials


def compare_workers(source: str, model: str, repeats: int) -> None:
    """Alternate the two ways, so that what else the machine does meets both."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(repeats):
        for count, measured in rates.items():
            with tempfile.TemporaryDirectory() as folder:
                wall = tune(
                    Path(folder), source, model, "--trials", "8", "--workers", str(count), "--pruner", "NopPruner"
                )
                measured.append(8 * 3600 / wall)
    one, two = (median(measured) for measured in rates.values())
    spread = ", ".join(f"{count}: {min(measured):.0f} to {max(measured):.0f}" for count, measured in rates.items())
    print(
        f"3. trials an hour, median of {repeats}: one worker {one:.0f}, two workers {two:.0f}, {two / one:.2f} times "
        f"as many (from and to, by workers: {spread})"
    )


if __name__ == "__main__":
    main()
