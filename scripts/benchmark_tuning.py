"""What a study costs beside its trainings, and whether two workers are worth it.

    python scripts/benchmark_tuning.py --data PATH/imdb.npz
    python scripts/benchmark_tuning.py --parts search --seeds 20

Three measurements, each in a fresh MLflow and Optuna database of a temporary folder:

1. The share of wall time that is not training: storage, tracking, pictures and start-up of a study of 20 trials.
2. The cost of a trial beside its training when the study has 1,000 finished trials, and when it has 10.
3. Trials an hour of one worker with two threads and of two workers with one thread, in turn, several times.

`search`: what sampler and pruner are worth, on trials of a second (the generated sample), without MLflow. The best
value after equal numbers of trials by TPE, Gaussian processes and by chance, each study begun at the defaults as ours
are; and the processor's seconds of training, with pruning and without, until a study has what most find. Every seed
meets all.

`limits`: whether a study with `--max-parameters`, `--max-size` or `--max-latency` ever has a winner that exceeds it:
for each network and limit, at 0.6 of what the defaults have, a study of the generated sample, whose winner's logged
model is loaded and measured anew.

`warm`: what `--from-study` is worth, in the same way: a study of one half of the sample's training reviews is begun at
the defaults alone, or also at the best settings that an equal study of the other half has found.
"""

import itertools
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

import click
import mlflow
import optuna
import torch
from optuna.trial import FrozenTrial, create_trial

import sentiment_tune as st
from sentiment_tune.build import build_network
from sentiment_tune.config import ExperimentConfig
from sentiment_tune.data import load as data
from sentiment_tune.models.registry import NETWORKS
from sentiment_tune.tracking import server
from sentiment_tune.tracking.schema import Stage, Tag
from sentiment_tune.training.loop import fit
from sentiment_tune.tuning.backend import create_pruner, create_sampler
from sentiment_tune.tuning.liveness import OWNER
from sentiment_tune.tuning.objectives import measure_before
from sentiment_tune.tuning.search import StudyConfig
from sentiment_tune.tuning.study import open_study
from sentiment_tune.tuning.trials import best_trials, suggest_settings
from sentiment_tune.tuning.warm_start import MOST

LIMITS = {"parameters": "max_parameters", "size": "max_size", "latency": "max_latency"}


@click.command()
@click.option("--data", "source", default="imdb", show_default=True)
@click.option("--model", default="embedding", show_default=True)
@click.option("--trials", default=20, show_default=True)
@click.option("--repeats", default=3, show_default=True, help="of the comparison of workers")
@click.option("--seeds", default=20, show_default=True, help="of each way to search")
@click.option("--parts", default="123", show_default=True, help="which of the three, or search, warm or limits")
@click.option("--workers", default=1, show_default=True, help="studies side by side, of search and warm")
def main(source: str, model: str, trials: int, repeats: int, seeds: int, parts: str, workers: int) -> None:
    """Measure MODEL's studies on DATA and print the results."""
    if "1" in parts:
        measure_overhead(source, model, trials)
    if "2" in parts:
        measure_growth(model)
    if "3" in parts:
        compare_workers(source, model, repeats)
    if parts == "limits":
        st.quiet_mlflow()
        compare_with_limits(trials)
    if parts in ("search", "warm"):
        one_thread = partial(torch.set_num_threads, 1)
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), one_thread) as pool:
            if parts == "warm":
                compare_starts(pool, model, trials, seeds)
            else:
                compare_samplers(pool, model, trials, seeds)
                compare_pruning(pool, model, trials, seeds)


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
    trials = [run for run in runs if run.data.tags.get(Tag.STAGE) == Stage.SEARCH]
    return [sum(point.value for point in client.get_metric_history(run.info.run_id, "seconds")) for run in trials]


def measure_overhead(source: str, model: str, trials: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        wall = tune(Path(folder), source, model, "--trials", str(trials))
        training = sum(training_seconds(Path(folder)))
        around = tune(Path(folder), source, model, "--trials", str(trials))  # nothing to do but start and report
    rest, between = wall - training, wall - training - around
    print(
        f"1. {model}, {trials} trials: {wall:.0f} s, of which {training:.0f} s training; the rest {rest / wall:.1%}: "
        f"start and report {around:.1f} s, and {between / trials:.2f} s a trial, {between / wall:.1%}",
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
            study = open_study(config, data.load(data.DataConfig("sample")))
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


class Searched(NamedTuple):
    """What a study of cheap trials has come to, trial by trial."""

    best: list[float]  # after each trial
    seconds: list[float]  # of the processor, in training up to it
    settings: list[dict[str, Any]]  # of the best trials, the best first


def compare_with_limits(trials: int) -> None:
    """Print what winners of studies with a limit have of what is limited."""
    print("| network | limit | at most | winner | not trained | kept |")
    print("|---|---|---|---|---|---|")
    corpus, kept = data.load(data.DataConfig("sample")), []
    with tempfile.TemporaryDirectory() as folder:
        common: dict[str, Any] = {"epochs": 2, "tracking_uri": f"sqlite:///{folder}/mlflow.db", "progress": False}
        for network, (name, option) in itertools.product(NETWORKS, LIMITS.items()):
            config = ExperimentConfig.of(network, {"data": "sample"})
            limit = 0.6 * measure_before((name,), build_network(config, corpus), config, corpus)[name]
            given: dict[str, Any] = {option: limit if name == "latency" else int(limit)}
            try:
                found = st.tune(
                    network, "sample", trials=trials, study=f"{network}-{name}", top=1, seeds=1, **given, **common
                )
            except st.InputError as error:
                if "no trial" not in str(error):
                    raise
                print(f"| `{network}` | {name} | {limit:,.4g} | none | all | |", flush=True)
                continue
            untrained = int((found.trials["state"] != "COMPLETE").sum())
            winner = st.load_model(f"runs:/{found.winner}/model", tracking_uri=common["tracking_uri"]).package
            own = ExperimentConfig.of(network, {**winner.settings, **asdict(winner.text_config), "data": "sample"})
            has = measure_before((name,), winner.network, own, corpus)[name]
            kept.append(has <= limit)
            print(
                f"| `{network}` | {name} | {limit:,.4g} | {has:,.4g} | {untrained} | {'yes' if kept[-1] else 'NO'} |",
                flush=True,
            )
    print(f"\nKept by {sum(kept)} of {len(kept)} winners.")


def compare_samplers(pool: Executor, model: str, trials: int, seeds: int) -> None:
    """The best value after so many trials, by sampler."""
    samplers = ("TPESampler", "GPSampler", "RandomSampler")
    pending = {
        name: [pool.submit(search, model, trials, seed, name, "NopPruner") for seed in range(1, seeds + 1)]
        for name in samplers
    }
    show_best({name: [one.result() for one in studies] for name, studies in pending.items()}, model, trials)


def compare_starts(pool: Executor, model: str, trials: int, seeds: int) -> None:
    """The best value after so many trials, begun at the defaults, or also where an earlier study has ended."""
    pending = [pool.submit(search_twice, model, trials, seed) for seed in range(1, seeds + 1)]
    cold, warm = zip(*(one.result() for one in pending), strict=True)
    show_best({"at the defaults": cold, "also at an earlier study's best": warm}, model, trials)


def search_twice(model: str, trials: int, seed: int) -> tuple[Searched, Searched]:
    """A study of half the reviews, cold and warm."""
    earlier = search(model, trials, seed, "TPESampler", "NopPruner", half=0)
    cold = search(model, trials, seed, "TPESampler", "NopPruner", half=1)
    warm = search(model, trials, seed, "TPESampler", "NopPruner", half=1, first=earlier.settings)
    return cold, warm


def show_best(found: Mapping[str, Sequence[Searched]], model: str, trials: int) -> None:
    """A row a way to search: the best value after so many trials."""
    marks = [count for count in (5, 10, 20, 40) if count <= trials]
    seeds = len(next(iter(found.values())))
    print(f"| best validation accuracy of `{model}`, median (quartiles), {seeds} seeds | {columns(marks)} |")
    print("|---" * (len(marks) + 1) + "|")
    for name, studies in found.items():
        print(f"| {name} | {' | '.join(spread([one.best[mark - 1] for one in studies]) for mark in marks)} |")


def columns(marks: Sequence[int]) -> str:
    return " | ".join(f"after {mark} trials" for mark in marks)


def spread(values: Sequence[float], form: str = ".4f") -> str:
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


def compare_pruning(pool: Executor, model: str, trials: int, seeds: int) -> None:
    """Seconds of training until a study has the median of what the studies without pruning end with."""
    pruners = ("NopPruner", "MedianPruner", "HyperbandPruner")
    pending = {
        name: [pool.submit(search, model, trials, seed, "TPESampler", name) for seed in range(1, seeds + 1)]
        for name in pruners
    }
    found = {name: [one.result() for one in studies] for name, studies in pending.items()}
    target = median(one.best[-1] for one in found["NopPruner"])
    budget = min(median(one.seconds[-1] for one in studies) for studies in found.values())
    print(
        f"\n| pruner | best after {trials} trials | seconds of training | best within {budget:.1f} s "
        f"| until {target:.4f} | studies that reach it |"
    )
    print("|---|---|---|---|---|---|")
    for name, studies in found.items():
        reached = [reached_after(one, target) for one in studies]
        times = [seconds for seconds in reached if seconds is not None]
        until = spread(times, ".1f") if len(times) > 1 else "none"
        total = spread([one.seconds[-1] for one in studies], ".1f")
        within = spread([best_within(one, budget) for one in studies])
        best = spread([one.best[-1] for one in studies])
        print(f"| {name} | {best} | {total} | {within} | {until} | {len(times)} of {seeds} |")


def best_within(study: Searched, budget: float) -> float:
    """The best that a study has found in so many seconds of training."""
    found = [best for best, seconds in zip(study.best, study.seconds, strict=True) if seconds <= budget]
    return found[-1] if found else 0.0


def reached_after(study: Searched, target: float) -> float | None:
    """Seconds until a study has found so much; None if it has not."""
    return next((time for best, time in zip(study.best, study.seconds, strict=True) if best >= target), None)


def search(
    model: str,
    trials: int,
    seed: int,
    sampler: str,
    pruner: str,
    half: int | None = None,
    first: Sequence[dict[str, Any]] = (),
) -> Searched:
    """A study of trainings on the sample, or every other review of it, in memory; `first` are its first settings."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    fixed = {"data": "sample", "epochs": 6, "patience": 6, "vocabulary": 1000, "length": 60, "seed": seed}
    config = StudyConfig("search", (model,), fixed, trials, "sqlite://", sampler=sampler, pruner=pruner)
    corpus = data.load(config.source)
    train = corpus.train if half is None else corpus.train.take(slice(half, None, 2))
    study = optuna.create_study(
        direction="maximize", sampler=create_sampler(sampler, seed, joint=False), pruner=create_pruner(config)
    )
    for parameters in (config.defaults[0], *first):
        study.enqueue_trial(parameters, skip_if_exists=True)
    taken: list[float] = []

    def objective(trial: optuna.Trial) -> float:
        training = config.trial_config(suggest_settings(trial, config))
        network, best, started = build_network(training, replace(corpus, train=train)), 0.0, time.process_time()
        try:
            for epoch in fit(network, train, corpus.validation, training.training, training.text, seed):
                best = max(best, epoch.val_accuracy)
                trial.report(best, epoch.epoch)
                if trial.should_prune():
                    raise optuna.TrialPruned
        finally:
            taken.append(time.process_time() - started)
        return best

    study.optimize(objective, n_trials=trials)
    values = [trial.value or 0.0 for trial in study.get_trials(deepcopy=False)]
    settings = [trial.params for trial in best_trials(study, MOST)]
    return Searched(list(accumulate(values, max)), list(accumulate(taken)), settings)


if __name__ == "__main__":
    main()
