"""Print what the package computes as digests, so that a change of shape can be told from a change of results.

    python scripts/fingerprint.py > before.txt
    ... move, rename, rewrite ...
    python scripts/fingerprint.py | diff before.txt -

Each line names what was run and digests what came of it: all eight networks with two seeds, some settings that the
defaults leave out, and a study of four trials, on the built-in sample, for two epochs, on one thread. It starts the
commands as a user does and reads only what they leave in MLflow, in Optuna's storage and on disk, so it needs no part
of the package to keep its name. Digests are exact: they hold for one machine and one version of torch.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlflow
import optuna
from mlflow import MlflowClient
from mlflow.entities import Run
from safetensors.numpy import load_file

NETWORKS = ("feedforward", "embedding", "cnn", "rnn", "lstm", "gru", "cnn_lstm", "linear")
SEEDS = (1, 2)
VARIANTS = (
    "embedding --ngrams 2 --averaging 0.9",
    "cnn --ngrams 2 --adversarial 0.02 --word-dropout 0.1",
    "lstm --layers 2 --bidirectional true --refit true",
    "gru --ngrams 1 --segment 0 --schedule cosine",
    "cnn_lstm --precision bfloat16 --length 60 --keep head",
)
UNSTEADY = ("seconds", "per_second", "bytes", "system/")  # parts of the names of metrics that no seed repeats


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--only", metavar="NAME", help="networks and variants that begin so; no study")
    only: str | None = parser.parse_args().only
    with tempfile.TemporaryDirectory() as folder:
        trainings = [*(f"{name} --seed {seed}" for name in NETWORKS for seed in SEEDS), *VARIANTS]
        trainings = [words for words in trainings if words.startswith(only or "")]
        prepare(Path(folder))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            lines = pool.map(lambda words: train(Path(folder), words), trainings)
            for line in lines:
                print(line, flush=True)
        for line in () if only else study(Path(folder)):
            print(line, flush=True)


def prepare(folder: Path) -> None:
    """Convert the sample, once, so that trainings side by side do not wait for one another."""
    command(folder / "first", "train", "--model", "embedding", "--data", "sample", "--epochs", "1")


def train(folder: Path, words: str) -> str:
    """Train in a folder of its own; the line that digests weights, metrics and golden scores."""
    home = folder / words.replace(" ", "_")
    common = ("--data", "sample", "--epochs", "2", "--threads", "1")
    command(home, "train", "--model", *words.split(), *common)
    (run,) = runs(home)
    return f"{words}: {describe(home, run)}"


def study(folder: Path) -> Iterator[str]:
    """Lines that digest a study of four trials, the trainings that confirm it, and what was registered."""
    home = folder / "study"
    common = ("--data", "sample", "--epochs", "2", "--threads", "1")
    command(home, "tune", "--model", "embedding", "--trials", "4", "--top", "2", "--seeds", "2", *common)
    storage = f"sqlite:///{home / 'optuna.db'}"
    (name,) = optuna.get_all_study_names(storage)
    for trial in optuna.load_study(study_name=name, storage=storage).trials:
        epochs = digest(json.dumps(trial.intermediate_values))
        yield f"trial {trial.number}: {trial.state.name} {trial.value!r} epochs {epochs} {json.dumps(trial.params)}"
    mlflow.set_tracking_uri(f"sqlite:///{home / 'mlflow.db'}")
    for run in sorted(runs(home), key=lambda run: str(run.info.run_name)):
        yield f"run {run.info.run_name!r}: {describe(home, run)}"
    for registered in MlflowClient().search_registered_models():
        yield f"registered {registered.name}: {sorted(registered.aliases)}"


def command(home: Path, *words: str) -> None:
    """Run a command of the package in `home`, with an MLflow of its own; its output only if it fails."""
    home.mkdir()
    source = str(Path(__file__).resolve().parents[1])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": source, "MLFLOW_TRACKING_URI": f"sqlite:///{home}/mlflow.db"}
    environment["SENTIMENT_TUNE_CACHE"] = str(home.parent / "cache")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "sentiment_tune", *words],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def runs(home: Path) -> list[Run]:
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    return list(client.search_runs([experiment.experiment_id for experiment in client.search_experiments()]))


def describe(home: Path, run: Run) -> str:
    """Digests of a run's metrics, and of its model's weights and golden scores where it has logged one."""
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    names = sorted(name for name in run.data.metrics if not any(part in name for part in UNSTEADY))
    history = {
        name: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
        for name in names
    }
    parts = {"metrics": digest(json.dumps(history))}
    for model in run.outputs.model_outputs if run.outputs else ():
        folder = Path(client.get_logged_model(model.model_id).artifact_location)
        parts["weights"] = digest_of_tensors(next(folder.rglob("weights.safetensors")))
        golden = json.loads(Path(str(run.info.artifact_uri).removeprefix("file://"), "golden.json").read_text())
        parts["golden"] = digest(json.dumps(golden))
        parts["validation"] = f"{run.data.metrics['best_val_accuracy']:.4f}"
    return "  ".join(f"{name} {value}" for name, value in parts.items())


def digest_of_tensors(path: Path) -> str:
    tensors: dict[str, Any] = load_file(path)
    named = sorted(tensors.items())
    content = [f"{name} {tensor.dtype} {tensor.shape}".encode() + tensor.tobytes() for name, tensor in named]
    return digest(b"".join(content))


def digest(content: str | bytes) -> str:
    return hashlib.sha256(content if isinstance(content, bytes) else content.encode()).hexdigest()[:16]


if __name__ == "__main__":
    main()
