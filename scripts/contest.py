"""Train every network at its defaults, one after another, and print the table of the README.

    python scripts/contest.py --data PATH/imdb.npz

Each training is the command a user types, in a process of its own, so wall seconds and memory are those a user sees.
The runs stand in the MLflow experiment `contest`; a network whose run for the same data, seed and code stands there
already is not trained again.
"""

import os
import subprocess
import sys
import time

import click
import mlflow
from mlflow.entities import Run

from sentiment_tune import data, tracking
from sentiment_tune.comparing import NOTEBOOK
from sentiment_tune.models import NETWORKS

HEADER = (
    "| network | test accuracy | validation accuracy | best epoch | parameters | training s | logging the model s "
    "| whole command s | peak memory MiB | the notebook |\n" + "|---" * 10 + "|"
)


@click.command()
@click.option("--data", "source", default="imdb", show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--networks", default=",".join(NETWORKS), show_default=True)
def main(source: str, seed: int, networks: str) -> None:
    """Train NETWORKS on DATA and print the results as a Markdown table."""
    tracking.connect()
    digest = data.load(data.Source(source)).digest
    print(HEADER, flush=True)
    for network in networks.split(","):
        run = finished(network, seed, digest) or trained(network, source, seed, digest)
        print(row(network, run), flush=True)


def finished(network: str, seed: int, digest: str) -> Run | None:
    """The newest finished run of the contest with this network, seed, data and code, measured whole."""
    tags = {"network": network, "seed": seed, "data_digest": digest, "git_commit": tracking.git_commit()}
    conditions = [f"tags.{name} = '{value}'" for name, value in tags.items()]
    runs = mlflow.search_runs(
        experiment_names=["contest"],
        filter_string=" and ".join([*conditions, "metrics.wall_seconds > 0", "attributes.status = 'FINISHED'"]),
        max_results=1,
        output_format="list",
    )
    return runs[0] if runs else None


def trained(network: str, source: str, seed: int, digest: str) -> Run:
    """Train, and add to the run what only the outside sees: wall seconds and peak memory of the process."""
    command = [sys.executable, "-m", "sentiment_tune", "train", "--experiment", "contest", "--quiet"]
    started = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--model", network, "--data", source, "--seed", str(seed)], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        sys.exit(f"{network} ended with exit code {os.waitstatus_to_exitcode(status)}")
    conditions = f"tags.network = '{network}' and tags.data_digest = '{digest}'"
    run = mlflow.search_runs(
        experiment_names=["contest"], filter_string=conditions, max_results=1, output_format="list"
    )[0]
    client = mlflow.MlflowClient()
    client.log_metric(run.info.run_id, "peak_memory_mib", usage.ru_maxrss / 1024)
    client.log_metric(run.info.run_id, "wall_seconds", seconds)
    return client.get_run(run.info.run_id)


def row(network: str, run: Run) -> str:
    figures = run.data.metrics
    cells = [
        f"`{network}`",
        f"{figures['test_accuracy']:.4f}",
        f"{figures['best_val_accuracy']:.4f}",
        f"{figures['best_epoch']:.0f}",
        f"{int(run.data.tags['parameters']):,}",
        f"{figures['train_seconds']:.0f}",
        f"{figures['package_seconds']:.1f}",
        f"{figures['wall_seconds']:.0f}",
        f"{figures['peak_memory_mib']:,.0f}",
        f"{NOTEBOOK[network]:.4f}" if network in NOTEBOOK else "none",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
