"""What a run costs beside its training, and scoring beside the network.

    python scripts/benchmark_cost.py --data PATH/imdb.npz
    python scripts/benchmark_cost.py --data PATH/imdb.npz --parts checkpoints
    python scripts/benchmark_cost.py --parts short --rounds 10

`commands`: for every network the command a user types, at the defaults, in a folder where MLflow's database and the
data's cache are there already: wall seconds, seconds from the start of the process to the first step, and the rest,
which is neither that nor an epoch nor reading the test reviews: tracking, figures, pictures, packaging. Then reviews
scored a second from their texts, with the logged model, against the bare network on the same reviews, encoded and in
batches; all at once on one machine, so in turn, several times.

`scoring`: a table of texts into another as `score` does it, in one process and in several, beside the bare network on
the same reviews, encoded and in batches; the networks with random weights, which cost what others do.

    python scripts/benchmark_cost.py --data PATH/imdb.npz --parts scoring --texts PATH/imdb_test.csv.xz

`checkpoints`: the first epochs of a training at the defaults with checkpoints and without, in turn; seconds of the
whole loop, the wait for the last checkpoint included, and the size of one.

`short`: commands that take no longer than what they import: the help of `train`, `compare` over ten runs, `score` of a
text with a registered model, after the database has changed and again, and the same with the model's folder, after one
of each that does not count; wall seconds, and seconds of the processor, which a busy machine changes less.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

import click
import mlflow
import torch

import sentiment_tune as st
from sentiment_tune.build import build_network
from sentiment_tune.config import ExperimentConfig
from sentiment_tune.data import load as data
from sentiment_tune.data.batches import evaluation_batches
from sentiment_tune.data.corpus import Corpus, encode_texts
from sentiment_tune.data.load import DataConfig
from sentiment_tune.data.tables import open_table, read_table, write_table
from sentiment_tune.inference.bulk import ScoreAll, Scores, Scoring, load_scores
from sentiment_tune.inference.crew import Crew
from sentiment_tune.inference.package import ModelPackage, save_package
from sentiment_tune.models.registry import NETWORKS
from sentiment_tune.process import keep_freed_memory
from sentiment_tune.tracking import logged_models, records, server
from sentiment_tune.training.checkpoint import Checkpoints
from sentiment_tune.training.loop import BestWeights, fit

TEXTS = 2_000
RUNS = 10


class Cost(NamedTuple):
    """Of one training, from the start of its process to the end."""

    run_id: str
    wall: float  # seconds
    to_first_step: float  # seconds
    rest: float  # seconds that are neither before the first step nor training nor reading the test reviews


@click.command()
@click.option("--data", "source", default="imdb", show_default=True)
@click.option("--networks", default=",".join(NETWORKS), show_default=True)
@click.option("--rounds", default=3, show_default=True, help="of scoring, and with checkpoints")
@click.option("--epochs", default=3, show_default=True, help="of a training with checkpoints")
@click.option("--parts", default="commands", show_default=True, help="commands, checkpoints, scoring, short")
@click.option("--texts", type=Path, help="table of the texts to score  [default: the words of the test reviews]")
@click.option("--reviews", default=16_384, show_default=True, help="that are scored, of the table")
@click.option("--workers", default=2, show_default=True, help="processes that score side by side")
def main(
    source: str,
    networks: str,
    rounds: int,
    epochs: int,
    parts: str,
    texts: Path | None,
    reviews: int,
    workers: int,
) -> None:
    """Measure and print Markdown tables."""
    if "short" in parts:
        show_short_commands(rounds)
    if not {"commands", "checkpoints", "scoring"} & set(parts.split(",")):
        return
    corpus, chosen = data.load(DataConfig(source)), networks.split(",")
    if "commands" in parts:
        show_commands(corpus, source, chosen, rounds)
    if "checkpoints" in parts:
        show_checkpoints(corpus, source, chosen, rounds, epochs)
    if "scoring" in parts:
        keep_freed_memory()  # as the command does
        some = read_table(texts).texts("text", "--text")[:reviews] if texts else _texts_of(corpus, reviews)
        show_scoring(corpus, some, chosen, rounds, workers)


def show_scoring(corpus: Corpus, texts: Sequence[str], networks: Sequence[str], rounds: int, workers: int) -> None:
    """Print how much of the bare network's speed is left where a table is scored."""
    print(
        f"| network | bare network, reviews a second | one process | of the bare network | {workers} processes "
        "| of the bare network | bare network on one thread |\n|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_table(folder / "texts.csv", ("text",), ((text,) for text in texts))
        for network in networks:
            config = ExperimentConfig.of(network, {})
            built = build_network(config, corpus)
            package = ModelPackage(network, built, config.network, corpus.vocabulary, config.text)
            save_package(package, folder / network)
            with Crew(partial(load_scores, folder / network, False), workers) as crew:
                list(crew.map([texts[:1]] * 4 * workers))  # each has loaded the model then
                ways: dict[str, ScoreAll] = {"one": partial(map, Scores(package.scorer)), "several": crew.map}
                seconds = [
                    _bare_seconds(package, texts)
                    | {way: _seconds(folder, score_all) for way, score_all in ways.items()}
                    for _ in range(rounds)
                ]
            speed = {way: len(texts) / median(one[way] for one in seconds) for way in seconds[0]}
            print(
                f"| `{network}` | {speed['bare']:,.0f} | {speed['one']:,.0f} | {speed['one'] / speed['bare']:.0%} "
                f"| {speed['several']:,.0f} | {speed['several'] / speed['bare']:.0%} | {speed['alone']:,.0f} |",
                flush=True,
            )
    print(f"\n{len(texts):,} texts, median of {rounds}; {torch.get_num_threads()} threads in one process.")


def _seconds(folder: Path, score_all: ScoreAll) -> float:
    """Seconds in which a table is read, scored and written."""
    started = time.perf_counter()
    with open_table(folder / "texts.csv") as (table, rows):
        scoring = Scoring(score_all, table, "text")
        write_table(folder / "scored.csv", scoring.columns, scoring.rows(rows))
    return time.perf_counter() - started


def _bare_seconds(package: ModelPackage, texts: Sequence[str]) -> dict[str, float]:
    """Seconds of the network alone, with all threads and with one."""
    batches = [batch.ids for batch in evaluation_batches(encode_texts(texts, package.vocabulary), package.text_config)]
    threads, seconds = torch.get_num_threads(), {}
    for way, count in (("bare", threads), ("alone", 1)):
        torch.set_num_threads(count)
        started = time.perf_counter()
        with torch.inference_mode():
            for ids in batches:
                package.network.eval()(ids)
        seconds[way] = time.perf_counter() - started
    torch.set_num_threads(threads)
    return seconds


def _texts_of(corpus: Corpus, count: int) -> list[str]:
    return [corpus.vocabulary.decode(corpus.test[row]) for row in range(min(count, len(corpus.test)))]


def show_commands(corpus: Corpus, source: str, networks: Sequence[str], rounds: int) -> None:
    """Print what whole commands and scoring cost."""
    print(
        "| network | whole command s | to the first step s | rest s | rest, share | texts scored a second "
        "| bare network, reviews a second |\n|---|---|---|---|---|---|---|",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        server.connect(f"sqlite:///{folder}/mlflow.db")
        for network in networks:
            cost = measure_command(Path(folder), source, network, len(corpus.test))
            scored, bare = measure_scoring(cost.run_id, corpus, rounds)
            print(
                f"| `{network}` | {cost.wall:.0f} | {cost.to_first_step:.1f} | {cost.rest:.1f} "
                f"| {cost.rest / cost.wall:.1%} | {scored:,.0f} | {bare:,.0f} |",
                flush=True,
            )
    print(f"\nScoring: {TEXTS:,} test reviews, median of {rounds}.")


def show_short_commands(rounds: int) -> None:
    """Print what commands cost that do little."""
    print("| command | wall s | processor s | goal, wall s |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        uri = f"sqlite:///{folder}/mlflow.db"
        for seed in range(1, RUNS + 1):
            run = st.train("embedding", "sample", epochs=1, seed=seed, progress=False, tracking_uri=uri)
        st.register(run.run_id, tracking_uri=uri)
        model = logged_models.find(run.model_uri).local
        commands = {
            "train --help": (["train", "--help"], 0.8),
            f"compare, {RUNS} runs": (["compare", "--every"], 1.5),
            "score, a text, the first time": (["score", "a fine film"], 1.2),
            "score, a text, again": (["score", "a fine film"], 1.2),
            "score, a text, the model's folder": (["score", "--model", str(model), "a fine film"], 1.2),
        }
        for title, (words, goal) in commands.items():
            changed = [folder / "mlflow.db"] if title.endswith("the first time") else []
            taken = [seconds_of(folder, words, changed) for _ in range(rounds + 1)][1:]
            wall, processor = (sorted(each) for each in zip(*taken, strict=True))
            print(f"| {title} | {spread_of(wall)} | {spread_of(processor)} | {goal} |", flush=True)
    print(f"\nMedian of {rounds} (from, to).")


def spread_of(seconds: Sequence[float]) -> str:
    return f"{median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"


def seconds_of(folder: Path, words: Sequence[str], changed: Sequence[Path] = ()) -> tuple[float, float]:
    """Wall seconds and seconds of the processor of a command, started as a user starts it, after files have changed."""
    for path in changed:
        os.utime(path)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "sentiment_tune", *words]
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def show_checkpoints(corpus: Corpus, source: str, networks: Sequence[str], rounds: int, epochs: int) -> None:
    """Print what checkpoints cost."""
    print("| network | without s | with checkpoints s | longer by (least to most) | MB each |\n|---|---|---|---|---|")
    for network in networks:
        config = ExperimentConfig.of(network, {"data": source, "epochs": epochs, "patience": epochs})
        pairs = [[train_seconds(config, corpus, kept) for kept in (False, True)] for _ in range(rounds)]
        longer = sorted(with_them[0] / without[0] - 1 for without, with_them in pairs)
        without, with_them = (median(pair[kept][0] for pair in pairs) for kept in (0, 1))
        print(
            f"| `{network}` | {without:.1f} | {with_them:.1f} "
            f"| {median(longer):.1%} ({longer[0]:.1%} to {longer[-1]:.1%}) | {pairs[0][1][1] / 1e6:.0f} |",
            flush=True,
        )


def train_seconds(config: ExperimentConfig, corpus: Corpus, kept: bool) -> tuple[float, int]:
    """Wall seconds of a training's epochs, and the bytes of its last checkpoint."""
    network, best = build_network(config, corpus), BestWeights()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:  # on the disk where checkpoints would be
        checkpoints = Checkpoints(Path(folder, "kept"), {}) if kept else None
        seed, started = config.runtime.seed, time.perf_counter()
        epochs = fit(
            network,
            corpus.train,
            corpus.validation,
            config.training,
            config.text,
            seed,
            checkpoints=checkpoints,
            best=best,
        )
        for epoch in epochs:
            best.update(epoch, network)
        seconds = time.perf_counter() - started
        return seconds, max((path.stat().st_size for path in Path(folder).glob("kept/*")), default=0)


def measure_command(folder: Path, source: str, network: str, test_reviews: int) -> Cost:
    """What a training costs, started as a user starts it."""
    command = [sys.executable, "-m", "sentiment_tune", "train", "--quiet", "--model", network, "--data", source]
    start_time, started = time.time(), time.perf_counter()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - started
    run_id = records.find_runs({"network": network}, newest=1)[0].run_id
    epochs = mlflow.MlflowClient().get_metric_history(run_id, "seconds")
    first = min(epochs, key=lambda point: point.step)
    to_first_step = first.timestamp / 1e3 - first.value - start_time
    metrics = records.read_run(run_id).metrics
    training = sum(point.value for point in epochs) + test_reviews / metrics["test_reviews_per_second"]
    return Cost(run_id, wall, to_first_step, wall - to_first_step - training)


def measure_scoring(run_id: str, corpus: Corpus, rounds: int) -> tuple[float, float]:
    """Texts a second with the logged model, reviews a second with its network alone."""
    package = logged_models.load(f"runs:/{run_id}/model")
    texts = _texts_of(corpus, TEXTS)
    reviews = corpus.test.take(slice(len(texts)))
    batches = [batch.ids for batch in evaluation_batches(reviews, package.text_config)]
    whole_seconds: list[float] = []
    bare_seconds: list[float] = []
    for _ in range(rounds):
        started = time.perf_counter()
        package.scorer.predict_proba(texts)
        whole_seconds.append(time.perf_counter() - started)
        started = time.perf_counter()
        with torch.inference_mode():
            for ids in batches:
                package.network(ids)
        bare_seconds.append(time.perf_counter() - started)
    return len(texts) / median(whole_seconds), len(texts) / median(bare_seconds)


if __name__ == "__main__":
    main()
