"""The commands as a user starts them: what they print, what they leave in MLflow, how they end."""

import csv
import io
import json
import math
import os
import shlex
import signal
import socket
import subprocess
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from pyarrow import parquet

from sentiment_tune.data.load import DataConfig, load
from sentiment_tune.data.packing import open_packed
from sentiment_tune.data.tables import read_table, write_table
from sentiment_tune.inference.package import load_package
from sentiment_tune.models import registry as models
from sentiment_tune.space import Range, Setting
from support import SCRIPT, Answer, artifact, ask, ended, runs, started

EPOCHS = 3
SMALL = (
    "--model",
    "embedding",
    "--data",
    "sample",
    "--embedding",
    "16",
    "--hidden",
    "8",
    "--vocabulary",
    "1000",
    "--device",
    "cpu",
)
TRAINING = ("train", *SMALL, "--learning-rate", "0.01", "--epochs", str(EPOCHS), "--patience", str(EPOCHS))
TEXTS = ["the plot is clever", "", 'dull, "flat"\nand tired', "NA", " padded ", "=1+1", "naïve 電影 \U0001f600", "null"]
OWN = """
from typing import Annotated
from torch import nn
from sentiment_tune.space import Range


class Tiny(nn.Module):
    def __init__(self, vocabulary: int, size: Annotated[int, Range(1, 64)] = 4):
        super().__init__()
        self.vectors = nn.Embedding(vocabulary, size, padding_idx=0)
        self.output = nn.Linear(size, 1)

    def forward(self, ids):
        return self.output(self.vectors(ids).sum(1)).squeeze(-1)


class Fragile(Tiny):
    steps = 0

    def forward(self, ids):
        self.steps += self.training and len(ids) == 64
        if self.steps == 3:
            raise RuntimeError("no third step")
        return super().forward(ids)


class Lost(Tiny):
    epochs = 0

    def eval(self):
        self.epochs += self.training
        return super().eval()

    def forward(self, ids):
        answers = super().forward(ids)
        return answers if self.training or self.epochs < 3 else answers * float("nan")  # one is before the first


class Leaving(Tiny):
    def forward(self, ids):
        if self.training and len(ids) == 64:
            raise SystemExit(0)
        return super().forward(ids)


class Dividing(Tiny):
    def forward(self, ids):
        if self.training and len(ids) == 64:
            1 / 0
        return super().forward(ids)
"""


class Trained(NamedTuple):
    folder: Path
    answer: Answer
    database: str
    run: Any
    settings: Path  # its settings.json
    model: Path  # folder of its logged model
    model_uri: str

    def probabilities(self, texts: list[str]) -> list[float]:
        """What the logged model says of the texts."""
        return list(load_package(self.model / "data" / "scorer").scorer.predict_proba(texts))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """One training by the console script, in a folder of its own."""
    folder = tmp_path_factory.mktemp("trained")
    answer = ended(started(folder, SCRIPT, *TRAINING))
    assert answer.code == 0, answer
    database = f"sqlite:///{folder}/mlflow.db"
    (run,) = runs(database)
    (output,) = run.outputs.model_outputs
    model = folder / "mlruns" / run.info.experiment_id / "models" / output.model_id / "artifacts"
    return Trained(
        folder,
        answer,
        database,
        run,
        Path(run.info.artifact_uri, "settings.json"),
        model,
        f"models:/{output.model_id}",
    )


@pytest.fixture
def beside(bare: Path, trained: Trained) -> Path:
    """An empty folder to work in, while MLflow is that of the training."""
    import mlflow

    mlflow.set_tracking_uri(trained.database)
    return bare


# ---- a training


def test_train_prints_lines_that_tell_all(trained: Trained) -> None:
    code, out, err = trained.answer
    metrics = trained.run.data.metrics
    assert (code, err) == (0, "")
    assert not [character for character in out.replace("\n", "") if not character.isprintable()]
    assert out.startswith("embedding on sample: 1,800 reviews to train, 200 to validate, 500 to test\nepoch   1  ")
    assert out.count("\nepoch ") == EPOCHS
    for told in (
        f"test accuracy {metrics['test_accuracy']:.4f}",
        f"validation {metrics['best_val_accuracy']:.4f} in epoch {metrics['best_epoch']:.0f}",
        f"run {trained.run.info.run_id}, model {trained.model_uri}\n",
        f"mlflow ui --backend-store-uri {trained.database} ",
    ):
        assert told in out


def test_the_printed_command_scores(trained: Trained) -> None:
    (command,) = (line[19:] for line in trained.answer.out.splitlines() if line.startswith("score a text "))
    code, out, err = ended(started(trained.folder, "sh", "-c", command))
    first, second = trained.probabilities(["a fine film", "a dull one"])
    assert (code, err) == (0, "")
    assert [line.split(maxsplit=2)[1:] for line in out.splitlines()] == [
        [f"p(positive)={first:.4f}", "a fine film"],
        [f"p(positive)={second:.4f}", "a dull one"],
    ]


def test_the_next_training_that_is_printed_is_like_this_one(trained: Trained) -> None:
    (command,) = (line[19:] for line in trained.answer.out.splitlines() if line.startswith("train another "))
    words = shlex.split(command)
    told = dict(zip(words[2::2], words[3::2], strict=True))
    assert words[1] == "train"
    assert told.pop("--model") != "embedding"
    assert {"--data": "sample", "--vocabulary": "1000", "--epochs": str(EPOCHS)}.items() <= told.items()


def test_programs_are_called_by_name_where_the_path_finds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from sentiment_tune.cli import console

    here, script = str(Path(SCRIPT).parent), os.path.relpath(SCRIPT)
    monkeypatch.setenv("PATH", os.defpath)
    assert console._command("sentiment-tune") == script
    monkeypatch.setenv("PATH", here + os.pathsep + os.defpath)
    assert console._command("sentiment-tune") == "sentiment-tune"
    monkeypatch.setenv("MAKELEVEL", "1")  # whose path is not that of its user
    assert console._command("sentiment-tune") == script


def test_the_logged_model_has_its_figures_and_the_data_they_are_of(trained: Trained) -> None:
    from mlflow import MlflowClient

    model = MlflowClient(trained.database).get_logged_model(trained.model_uri.removeprefix("models:/"))
    metrics, told = trained.run.data.metrics, {metric.key: metric for metric in model.metrics or ()}
    datasets = {
        tag.value: one.dataset
        for one in trained.run.inputs.dataset_inputs
        for tag in one.tags
        if tag.key == "mlflow.data.context"
    }
    for name, part in (("best_val_accuracy", "validation"), ("test_accuracy", "test"), ("test_f1", "test")):
        assert told[name].value == metrics[name]
        assert (told[name].dataset_name, told[name].dataset_digest) == (datasets[part].name, datasets[part].digest)


def test_the_run_holds_every_setting_resolved(trained: Trained) -> None:
    from sentiment_tune.config import settings_for

    held = json.loads(trained.settings.read_bytes())
    known = settings_for("embedding")
    assert set(held) == {"model", *known, *(field.name for field in fields(DataConfig))}
    given = {"embedding": 16, "hidden": 8, "vocabulary": 1000, "learning_rate": 0.01, "epochs": EPOCHS}
    assert held | given == held
    assert {name: held[name] for name in ("dropout", "batch")} == {
        name: known[name].default for name in ("dropout", "batch")
    }
    assert trained.run.data.params == {name: str(value) for name, value in held.items() if value is not None}


def test_the_run_holds_each_figure_once(trained: Trained) -> None:
    from mlflow import MlflowClient

    client, metrics = MlflowClient(trained.database), trained.run.data.metrics
    history = {name: client.get_metric_history(trained.run.info.run_id, name) for name in metrics}
    each_epoch = {"train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds"}
    once = {"best_val_accuracy", "best_epoch", "test_accuracy", "test_f1", "test_roc_auc", "test_log_loss"}
    assert metrics.keys() >= each_epoch | once | {"test_brier"}
    for name, points in history.items():
        steps = [point.step for point in points]
        assert steps == ([*range(1, EPOCHS + 1)] if name in each_epoch else [0]), name
    assert metrics["best_val_accuracy"] == max(point.value for point in history["val_accuracy"])
    assert metrics["test_accuracy"] > 0.6
    assert trained.run.info.status == "FINISHED"
    assert trained.run.info.end_time > trained.run.info.start_time


def test_the_run_tells_its_origin(trained: Trained) -> None:
    from sentiment_tune.build import count_parameters

    corpus, tags = load(DataConfig("sample")), trained.run.data.tags
    network = load_package(trained.model / "data" / "scorer").network
    expected = {
        "network": "embedding",
        "data": "sample",
        "data_digest": corpus.digest,
        "seed": "1",
        "package_version": "0.1.0",
        "device": "cpu",
        "parameters": str(count_parameters(network)),
    }
    assert tags | expected == tags
    git = ["git", "-C", str(Path(models.__file__).parent), "rev-parse", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True)
    if commit.returncode == 0:
        assert tags["git_commit"].removesuffix("-dirty") == commit.stdout.strip()
    assert [
        (part.dataset.name, part.dataset.digest, [(tag.key, tag.value) for tag in part.tags])
        for part in sorted(trained.run.inputs.dataset_inputs, key=lambda part: str(part.dataset.name))
    ] == [
        (f"sample-{name}", reviews.digest, [("mlflow.data.context", name)])
        for name, reviews in (("test", corpus.test), ("train", corpus.train), ("validation", corpus.validation))
    ]


@pytest.mark.parametrize("name", ["learning_curves", "confusion_matrix", "roc_curve", "reliability_diagram"])
def test_the_run_holds_the_picture(trained: Trained, name: str) -> None:
    assert artifact(trained.run, f"plots/{name}.png").startswith(b"\x89PNG\r\n\x1a\n")


def test_the_run_holds_its_most_confident_mistakes_as_a_table(trained: Trained) -> None:
    table = json.loads(artifact(trained.run, "mistakes_table.json"))
    assert table["columns"] == ["review", "text", "true_class", "predicted_class", "probability"]
    confidence = [abs(row[-1] - 0.5) for row in table["data"]]
    assert confidence == sorted(confidence, reverse=True)
    assert all(row[2] != row[3] for row in table["data"])
    assert json.loads(trained.run.data.tags["mlflow.loggedArtifacts"]) == [
        {"path": "mistakes_table.json", "type": "table"}
    ]


def test_the_run_holds_one_model_with_two_flavors(trained: Trained) -> None:
    from mlflow import MlflowClient
    from mlflow.models import Model

    (logged,) = MlflowClient(trained.database).search_logged_models([trained.run.info.experiment_id])
    model = Model.load(str(trained.model))
    assert (logged.model_uri, str(logged.status)) == (trained.model_uri, "READY")
    assert model.flavors.keys() >= {"python_function", "pytorch"}
    assert model.signature.inputs is None  # by which MLflow would drop columns unseen
    assert model.signature.outputs.input_names() == ["probability", "label", "error"]
    assert list(model.load_input_example(str(trained.model)) or "") == ["a fine film", "a dull one"]
    assert not [path.name for path in trained.model.rglob("*") if path.suffix in {".pkl", ".pth", ".pt", ".bin"}]


def test_its_settings_file_reproduces_the_run(trained: Trained, here: Path) -> None:
    answer = ask("train", "--settings", str(trained.settings), "--quiet")
    (again,) = runs(f"sqlite:///{here}/mlflow.db")
    first, second = (
        {name: value for name, value in run.data.metrics.items() if "second" not in name}
        for run in (trained.run, again)
    )
    assert (answer.code, answer.err) == (0, "")
    assert second == first
    assert again.data.params == trained.run.data.params


def test_options_go_before_the_settings_file_and_quiet_is_quiet(trained: Trained, here: Path) -> None:
    words = ("--settings", str(trained.settings), "--epochs", "1", "--learning_rate=2e-2", "--quiet", "true")
    code, out, err = ask("train", *words, "--experiment", "mine", "--run-name", "one")
    (made,) = runs(f"sqlite:///{here}/mlflow.db")
    expected = {"epochs": "1", "learning_rate": "0.02", "embedding": "16", "data": "sample"}
    assert (code, err) == (0, "")
    assert made.data.params | expected == made.data.params
    assert made.info.run_name == "one"
    assert "epoch   1" not in out
    assert "test accuracy" in out


# ---- what cannot be


def traces(folder: Path) -> list[Path]:
    """What MLflow would have left in a folder."""
    return [path for path in folder.iterdir() if "ml" in path.name]


@pytest.fixture
def closed_port() -> str:
    """A port of this machine at which nobody answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("train --model rrn", ["'rrn'", "did you mean 'rnn'?", "cnn_lstm"]),
        ("train --model nomodule:Tiny", ["'nomodule:Tiny'", "importable.module:Class"]),
        ("train --model json:JSONDecoder", ["'json:JSONDecoder'", "torch.nn.Module"]),
        ("train --model embedding --hiden 8", ["--hiden", "--hidden"]),
        ("train --model embedding --filters 8", ["--filters"]),
        ("train --model embedding --hidden 0", ["hidden", "'0'", "from 1 to 65,536"]),
        ("train --model embedding --hidden wide", ["hidden", "'wide'", "whole number"]),
        ("train --model embedding --learning-rate nan", ["learning_rate", "'nan'", "1e-08"]),
        ("train --model embedding --keep middle", ["keep", "'middle'", "tail, head"]),
        ("train --data nowhere.csv", ["cannot read nowhere.csv"]),
        ("train --data smaple", ["'smaple'", "did you mean 'sample'?"]),
        ("train --quiet perhaps", ["--quiet", "perhaps"]),
        ("train --settings absent.json", ["absent.json"]),
        ("train --settings broken.json", ["broken.json"]),
        ("train --settings list.json", ["list.json", "object"]),
        ("train --settings colour.json", ["'colour'", "embedding", "dropout"]),
        ("train --settings five.json", ["data", "5"]),
        ("train --model embedding --data sample --device mps", ["device", "'mps'", "auto or cpu"]),
        ("train --data sample --tracking-uri http://127.0.0.1:PORT", ["http://127.0.0.1:PORT", "--tracking-uri"]),
        ("train --data sample --tracking-uri sqlite:///list.json/x.db", ["list.json/x.db", "--tracking-uri"]),
        ("train --data sample --tracking-uri sqlite:///folder", ["sqlite:///folder", "--tracking-uri"]),
        ("train --data sample --tracking-uri nosuch://x", ["nosuch://x", "--tracking-uri"]),
        ("tain", ["'tain'"]),
        ("score", ["texts", "--input"]),
        ("score fine", ["no finished run", "--model"]),
        ("score fine --input list.csv", ["either texts, or --input"]),
        ("score --input list.csv --column review", ["list.csv", "'review'", "--column", "text"]),
        ("score --input absent.csv", ["cannot read absent.csv"]),
        ("score --input list.doc", ["list.doc", ".csv"]),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(
    words: str, told: list[str], bare: Path, closed_port: str
) -> None:
    (bare / "folder").mkdir()
    (bare / "broken.json").write_text("{")
    (bare / "list.json").write_text("[1]")
    (bare / "list.csv").write_text("text\nfine\n")
    (bare / "colour.json").write_text('{"model": "embedding", "colour": 3}')
    (bare / "five.json").write_text('{"model": "embedding", "data": 5}')
    refusal = ask(*words.replace("PORT", closed_port).split()).refusal
    assert [part for part in told if part.replace("PORT", closed_port) not in refusal] == []
    assert traces(bare) == []


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("models:/sentiment@champion", ["models:/sentiment@champion", "folder"]),
        ("runs:/0123/model", ["runs:/0123/model", "folder"]),
        ("nowhere", ["nowhere", "folder"]),
        (".", ["'.'", "no model"]),
        ("http://127.0.0.1:PORT/model", ["http://127.0.0.1:PORT/model", "folder"]),
    ],
)
def test_what_is_no_model_is_one_line(uri: str, told: list[str], here: Path, closed_port: str) -> None:
    refusal = ask("score", "fine", "--model", uri.replace("PORT", closed_port)).refusal
    assert [part for part in told if part.replace("PORT", closed_port) not in refusal] == []


def refused(setting: Setting) -> st.SearchStrategy[str]:
    """Values that the setting cannot have."""
    words = st.sampled_from(["", " ", "wide", "nan", "inf", "-inf", "1,5", "0x10", "True", "None"])
    if not isinstance(setting.bounds, Range):
        allowed = {str(option) for option in setting.bounds}
        return words.filter(lambda word: word not in allowed)
    low, high = setting.bounds.low, setting.bounds.high
    far = st.floats(max_value=low, exclude_max=True) | st.floats(min_value=high, exclude_min=True)
    fractions = st.floats(low, high).filter(lambda number: not number.is_integer())
    return words | (far | fractions if setting.type is int else far).map(repr)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_no_setting_takes_what_it_cannot_be(choice: st.DataObject) -> None:
    from sentiment_tune.config import settings_for

    network = choice.draw(st.sampled_from(list(models.NETWORKS)))
    name, setting = choice.draw(st.sampled_from(sorted(settings_for(network).items())))
    value = choice.draw(refused(setting))
    refusal = ask("train", "--model", network, f"--{name.replace('_', '-')}={value}").refusal
    assert f"{name} cannot be {value!r}: choose " in refusal
    assert str(setting.bounds) in refusal


def test_without_a_command_it_shows_its_help() -> None:
    code, out, err = ask()
    assert code == 2
    assert {"Commands:", "Options:"} <= {line.strip() for line in (out + err).splitlines()}


# ---- how a training can end


def test_a_diverged_training_has_failed(here: Path) -> None:
    code, _, err = ask(*TRAINING, "--learning-rate", "1e12", "--warmup", "0", "--schedule", "constant")
    (failed,) = runs(f"sqlite:///{here}/mlflow.db")
    assert (code, err.count("\n")) == (1, 1)
    assert "epoch 1, step 3, at learning rate 1e+12; try a smaller learning_rate" in err
    assert failed.data.tags["error"] == err.replace("sentiment-tune", "DivergenceError", 1).strip()
    assert failed.info.status == "FAILED"
    assert failed.info.end_time


def test_an_exception_is_the_reason_of_a_failed_run(here: Path) -> None:
    (here / "mynet.py").write_text(OWN)
    with pytest.raises(RuntimeError, match="no third step"):
        ask("train", "--model", "mynet:Fragile", "--data", "sample", "--epochs", "1")
    (failed,) = runs(f"sqlite:///{here}/mlflow.db")
    assert (failed.info.status, failed.data.tags["error"]) == ("FAILED", "RuntimeError: no third step")
    assert failed.info.end_time


def test_answers_that_are_no_numbers_end_a_training_in_that_epoch(here: Path) -> None:
    (here / "mynet.py").write_text(OWN)
    code, _, err = ask("train", "--model", "mynet:Lost", "--data", "sample", "--epochs", "5")
    (failed,) = runs(f"sqlite:///{here}/mlflow.db")
    assert (code, err.count("\n"), failed.info.status) == (1, 1, "FAILED")
    assert "200 of 200 answers to the validation reviews in epoch 2" in err
    assert all(map(math.isfinite, failed.data.metrics.values()))
    history = MlflowClient(f"sqlite:///{here}/mlflow.db").get_metric_history(failed.info.run_id, "val_loss")
    assert [point.step for point in history] == [1]
    assert not MlflowClient(f"sqlite:///{here}/mlflow.db").search_logged_models([failed.info.experiment_id])


def test_a_trial_whose_answers_are_no_numbers_has_failed_and_wins_nothing(here: Path) -> None:
    (here / "mynet.py").write_text(OWN)
    tune = ("tune", "--model", "mynet:Lost", "--data", "sample", "--trials", "1", "--storage", "sqlite:///optuna.db")
    assert "no trial of study 'mynet:Lost-sample' was finished" in ask(*tune).refusal
    (trial,) = optuna.load_study(study_name=None, storage="sqlite:///optuna.db").trials
    assert (trial.state.name, trial.value) == ("FAIL", None)
    assert "are no finite numbers" in trial.user_attrs["error"]
    failed = [run for run in runs(f"sqlite:///{here}/mlflow.db") if "trial" in run.data.tags]
    assert [run.info.status for run in failed] == ["FAILED"]


@pytest.mark.parametrize(
    ("network", "kind", "reason"),
    [
        ("Leaving", RuntimeError, r"SystemExit\(0\) was raised where nothing may end the program"),
        ("Dividing", ZeroDivisionError, "division by zero"),
    ],
)
def test_a_network_that_ends_the_program_or_errs_has_failed(
    here: Path, network: str, kind: type[Exception], reason: str
) -> None:
    (here / "mynet.py").write_text(OWN)
    with pytest.raises(kind, match=reason):  # which Python shows with its traceback, and ends with 1
        ask("train", "--model", f"mynet:{network}", "--data", "sample", "--epochs", "1")
    (failed,) = runs(f"sqlite:///{here}/mlflow.db")
    assert (failed.info.status, failed.data.tags["error"].partition(":")[0]) == ("FAILED", kind.__name__)
    assert "mynet.py" in artifact(failed, "traceback.txt").decode()


def test_a_run_that_cannot_be_logged_to_ends_all_the_same(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("mlflow.MlflowClient.log_artifact", full)
    (here / "mynet.py").write_text(OWN)
    with pytest.raises(RuntimeError, match="no third step"):
        ask("train", "--model", "mynet:Fragile", "--data", "sample", "--epochs", "1")
    (failed,) = runs(f"sqlite:///{here}/mlflow.db")
    assert failed.info.status == "FAILED"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_a_signal_kills_the_run(tmp_path: Path, number: int, code: int) -> None:
    process = started(tmp_path, SCRIPT, "train", *SMALL, "--epochs", "10000", "--patience", "10000")
    assert process.stdout is not None
    while not (line := process.stdout.readline()).startswith("epoch   2"):
        assert line, "it ended before it was told to"
    process.send_signal(number)
    answer = ended(process)
    (killed,) = runs(f"sqlite:///{tmp_path}/mlflow.db")
    way_on = f"sentiment-tune: ended; go on with it: sentiment-tune train --resume {killed.info.run_id}"
    assert (answer.code, answer.err.strip()) == (code, way_on)
    assert (killed.info.status, killed.info.end_time > killed.info.start_time) == ("KILLED", True)


def test_a_refit_learns_from_the_validation_reviews_too(here: Path) -> None:
    address, held = f"sqlite:///{here}/mlflow.db", []
    for more in ((), ("--refit", "true")):
        assert ask("train", "--model", "linear", "--data", "sample", "--epochs", "2", *more).code == 0
        (run, *_) = runs(address)
        folder = Path(run.info.artifact_uri).parents[1] / "models" / run.outputs.model_outputs[0].model_id / "artifacts"
        held.append((run, load_package(folder / "data" / "scorer").network))
    (plain, network), (refit, other) = held
    assert refit.data.metrics["best_val_accuracy"] == plain.data.metrics["best_val_accuracy"]
    assert len(other.get_buffer("keys")) > len(
        network.get_buffer("keys")
    )  # phrases that stand in one training and one validation review
    assert (refit.data.tags["refit"], refit.data.params["refit"]) == ("True", "True")
    assert refit.data.metrics["refit_seconds"] > 0
    assert "refit" not in plain.data.tags


# ---- a network of one's own


@pytest.mark.parametrize("module", ["mynet", "nets.mynet"])  # a file, and a folder without an __init__.py
def test_an_own_network_trains_and_scores_anywhere(here: Path, module: str) -> None:
    file = here / f"{module.replace('.', '/')}.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(OWN)
    (here / "elsewhere").mkdir()
    answer = ask("train", "--model", f"{module}:Tiny", "--size", "3", "--data", "sample", "--epochs", "1")
    database = f"sqlite:///{here}/mlflow.db"
    (made,) = runs(database)
    assert (answer.code, answer.err, made.data.params["size"]) == (0, "", "3")
    assert "--trust-code true" in ask("score", "a fine film").refusal
    here_scored = ask("score", "a fine film", "--trust-code")
    assert here_scored.code == 0
    command = (SCRIPT, "score", "a fine film", "--tracking-uri", database)
    assert "--trust-code true" in ended(started(here / "elsewhere", *command)).refusal
    assert ended(started(here / "elsewhere", *command, "--trust-code")) == here_scored


# ---- scoring


@pytest.mark.parametrize("form", ["models", "runs", "folder", "newest"])
def test_a_model_is_named_in_many_ways(trained: Trained, beside: Path, form: str) -> None:
    named = {
        "models": trained.model_uri,
        "runs": f"runs:/{trained.run.info.run_id}/model",
        "folder": str(trained.model),
    }
    chosen = ("--model", named[form]) if form in named else ()
    (probability,) = trained.probabilities(["the plot is dull"])
    code, out, err = ask("score", *chosen, "the plot is dull")
    assert (code, out) == (0, f"negative  p(positive)={probability:.4f}  the plot is dull\n")
    told = f"scored by {named['runs']} (the newest finished run): embedding on sample, test accuracy "
    assert err == "" if form in named else err.startswith(told)


def test_texts_are_shown_as_they_are(trained: Trained, beside: Path) -> None:
    texts = [":smiley: [bold]fine[/bold] http://x.y 42", "-- a  film --", "naïve 電影"]
    code, out, _ = ask("score", "--model", str(trained.model), "--", *texts)
    assert code == 0
    assert [line.split("  ", 2)[2] for line in out.splitlines()] == texts


def table(path: Path, name: str = "text") -> Path:
    """Hostile texts between two other columns."""
    rows = [(f"id {row}", text, row) for row, text in enumerate(TEXTS)]
    write_table(path, ("label", name, "stars"), rows)
    return path


@pytest.mark.parametrize(
    ("source", "target"),
    [("a.csv", "b.csv"), ("a.jsonl", "b.parquet"), ("a.parquet", "b.jsonl.gz"), ("a.tsv.xz", "a.tsv.xz")],
)
def test_a_table_keeps_its_rows_and_gains_two_columns(trained: Trained, beside: Path, source: str, target: str) -> None:
    before = read_table(table(beside / source, "review"))
    answer = ask("score", f"--model={trained.model}", f"--input={source}", "--column=review", f"--output={target}")
    after, probabilities = read_table(beside / target), trained.probabilities(TEXTS)
    assert (answer.code, answer.out) == (0, "")
    assert answer.err.startswith("WARNING: 5 of 8 texts have hardly a word")
    assert after.columns == ("label", "review", "stars", "probability", "predicted_label")
    assert [row[:3] for row in after.rows] == before.rows
    assert [float(row[3]) for row in after.rows] == probabilities
    assert [row[4] for row in after.rows] == ["positive" if p > 0.5 else "negative" for p in probabilities]
    assert {path.name for path in beside.iterdir()} == {source, target}


def test_several_tables_are_scored_each_into_its_own_and_finished_ones_stay(trained: Trained, beside: Path) -> None:
    for number in range(3):
        table(beside / f"part-{number}.csv")
    words = ("score", "--model", str(trained.model), "--input", "part-*.csv", "--output", "scored")
    answer = ask(*words, "--shard", "1/2")
    assert (answer.code, answer.out) == (0, "")
    assert sorted(path.name for path in (beside / "scored").iterdir()) == ["part-0.csv", "part-2.csv"]
    (beside / "scored" / "part-2.csv").write_text("kept")
    answer = ask(*words)
    assert "2 of 3 are in scored already" in answer.err
    assert "scored/part-1.csv is finished" in answer.err
    assert (beside / "scored" / "part-2.csv").read_text() == "kept"
    assert [float(row[3]) for row in read_table(beside / "scored" / "part-1.csv").rows] == trained.probabilities(TEXTS)
    assert "need a folder" in ask(*words[:-2]).refusal
    assert "goes with several inputs" in ask(*words[:3], "--input", "part-1.csv", "--shard", "1/2").refusal


def test_scores_that_a_pattern_fits_too_are_no_inputs(trained: Trained, beside: Path) -> None:
    for number in range(2):
        table(beside / f"part-{number}.csv")
    words = ("score", "--model", str(trained.model), "--input", "**/part-*.csv", "--output", "scored")
    assert ask(*words, "--shard", "1/2").code == 0
    answer = ask(*words)
    assert answer.code == 0
    assert "1 of 3 are scores, for they lie in scored" in answer.err
    assert "1 of 2 are in scored already" in answer.err
    assert sorted(path.name for path in (beside / "scored").rglob("*")) == ["part-0.csv", "part-1.csv"]
    (beside / "scored" / "part-1.csv").unlink()
    (beside / "scored" / "part-1.csv").mkdir()
    assert "part-1.csv: it is a folder" in ask(*words, "--quiet").refusal


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--shard", "0/3"), "shard cannot be '0/3'"),
        (("--shard", "x"), "shard cannot be 'x'"),
        (("--column", "nope"), "no column 'nope'"),
        (("--missing", "foo"), "no way with what is missing 'foo'"),
        (("--unpack-limit", "zzz"), "unpack_limit cannot be 'zzz'"),
        (("--model", "nowhere"), "nowhere"),
        (("--workers", "0"), "workers cannot be 0"),
        (("--output", "-"), "2 inputs need a folder"),
    ],
)
def test_what_is_refused_leaves_no_folder(words: tuple[str, ...], told: str, trained: Trained, beside: Path) -> None:
    for name in ("a.txt", "b.txt"):
        Path(name).write_text("fine")
    answer = ask("score", "--model", str(trained.model), "--input", "?.txt", "--output", "new/scored", *words)
    assert told in answer.refusal
    assert sorted(path.name for path in beside.rglob("*")) == ["a.txt", "b.txt"]


@pytest.mark.parametrize(
    ("name", "content", "written"),
    [
        ("b.jsonl", "", ""),
        ("b.json.gz", "", "text,probability,label"),
        ("b.csv", "", "text,probability,label"),
        ("b.csv", "id,text\n", "id,text,probability,label"),
        ("b.jsonl", '{"id": 1}\n', '{"id": 1, "text": null, "probability": null, "label": null}'),
    ],
)
def test_one_of_several_parts_may_hold_no_texts(
    name: str, content: str, written: str, trained: Trained, beside: Path
) -> None:
    write_table(beside / "a.jsonl", ["id", "text"], [[0, "fine"]])
    with open_packed(beside / name, "wb") as file:
        file.write(content.encode())
    words = ("score", "--model", str(trained.model), "--missing", "keep", "--output")
    assert ask(*words, "scored", "--input", "?.*").code == 0
    target = beside / "scored" / ("b.csv" if name.startswith("b.json.") else name)
    assert target.read_text().strip() == written
    assert len(read_table(beside / "scored" / "a.jsonl").rows) == 1
    if "id" not in content:
        assert "is empty" in ask(*words, "one.csv", "--input", name).refusal
    elif name == "b.jsonl":
        assert "no column 'text'" in ask(*words, "one.csv", "--input", name).refusal
        assert "no column 'text'" in ask(*words, "new", "--input", "?.*", "--missing", "error", "--quiet").refusal


@pytest.mark.slow
@pytest.mark.parametrize(("source", "target"), [("a.csv", "b.csv"), ("a.parquet", "b.parquet")])
def test_several_processes_give_the_rows_of_one(trained: Trained, beside: Path, source: str, target: str) -> None:
    write_table(beside / source, ("number", "text"), ((str(row), TEXTS[row % len(TEXTS)]) for row in range(20_000)))
    words = ("score", "--model", str(trained.model), "--input", source, "--output", target)
    told = ask(*words)
    assert (told.code, told.out) == (0, "")
    alone = (beside / target).read_bytes()
    (beside / target).unlink()
    assert ask(*words, "--workers", "2") == told
    assert (beside / target).read_bytes() == alone
    assert {path.name for path in beside.iterdir()} == {source, target}
    assert "workers cannot be 0" in ask(*words, "--workers", "0").refusal


@pytest.mark.parametrize(("missing", "rows"), [("skip", 2), ("keep", 3)])
def test_rows_without_a_text_are_left_out_or_kept(missing: str, rows: int, trained: Trained, beside: Path) -> None:
    (beside / "a.jsonl").write_text('{"text": "fine"}\n{"text": null}\n{"text": "dull"}\n')
    words = ("score", "--model", str(trained.model), "--input", "a.jsonl", "--output", "b.jsonl")
    assert "row 2: the text in 'text' is missing" in ask(*words).refusal
    answer = ask(*words, "--missing", missing)
    assert answer.code == 0
    assert "1 of 3 rows have no text" in answer.err
    assert len(read_table(beside / "b.jsonl").rows) == rows


def test_a_table_goes_to_the_standard_output(trained: Trained, beside: Path) -> None:
    table(beside / "a.csv")
    code, out, err = ask("score", "--model", str(trained.model), "--input", "a.csv")
    rows = list(csv.reader(io.StringIO(out, newline="")))
    assert code == 0
    assert err.startswith("WARNING: 5 of 8 texts")
    assert rows[0] == ["label", "text", "stars", "probability", "predicted_label"]
    assert [row[1] for row in rows[1:]] == TEXTS
    assert [float(row[3]) for row in rows[1:]] == trained.probabilities(TEXTS)


def test_each_line_of_the_standard_input_is_a_review(trained: Trained, beside: Path) -> None:
    reviews = ["the plot is clever", "", 'dull, "flat"', "no line end"]
    code, out, err = ask("score", "--model", str(trained.model), "--input", "-", stdin="\n".join(reviews))
    rows = list(csv.reader(io.StringIO(out, newline="")))
    assert (code, err) == (0, "")
    assert rows[0] == ["text", "probability", "label"]
    assert [(row[0], float(row[1])) for row in rows[1:]] == list(
        zip(reviews, trained.probabilities(reviews), strict=True)
    )


@pytest.mark.parametrize("form", ["words", "lines", "table"])
def test_texts_whose_words_are_hardly_known_are_warned_of_once(form: str, trained: Trained, beside: Path) -> None:
    texts = ["the plot is clever", "zzyzx qwrtp vlork xunp", "das Buch ist sehr langweilig", ""] * (
        1 if form == "words" else 1200
    )
    if form == "table":
        write_table(Path("texts.csv"), ["text"], [[text] for text in texts])
    given = {"words": texts[:3], "lines": ("--input", "-"), "table": ("--input", "texts.csv")}[form]
    answer = ask(
        "score", "--model", str(trained.model), *given, stdin="\n".join([*texts, ""]) if form == "lines" else ""
    )
    assert answer.code == 0
    known, of = ("4", "13") if form == "words" else ("4,800", "15,600")
    strange, count = ("2", "3") if form == "words" else ("2,400", "4,800")
    assert answer.err.splitlines() == [
        f"WARNING: {strange} of {count} texts have hardly a word that the model knows ({known} of all {of} words are "
        "known): it can say little of them"
    ]


def test_bytes_that_are_no_text_are_refused(trained: Trained, beside: Path) -> None:
    address = ("score", "--model", str(trained.model))
    assert "standard input, line 2: this is not UTF-8" in ask(*address, "--input", "-", stdin=b"fine\ncaf\xe9").refusal
    assert "text 2 is not UTF-8" in ask(*address, "fine", os.fsdecode(b"caf\xe9")).refusal


def test_lines_of_the_standard_input_that_end_in_cr_are_as_many(trained: Trained, beside: Path) -> None:
    words, texts = (
        ("score", "--model", str(trained.model), "--input"),
        ["the plot is clever", "the plot", "the plot is dull"],
    )
    (beside / "a.txt").write_bytes("\r".join(texts).encode())
    code, out, err = ask(*words, "-", stdin="\r".join(texts))
    assert [row[0] for row in csv.reader(io.StringIO(out, newline=""))] == ["text", *texts]
    assert (code, err) == (0, "standard input: line ends CR\n")
    assert ask(*words, "a.txt") == (0, out, "a.txt: line ends CR\n")
    assert [row[0] for row in csv.reader(io.StringIO(ask(*words, "-", stdin="a\r\nb\r\n").out))] == ["text", "a", "b"]
    late = f"one\rtwo{' x' * 20_000}\nthree\n"  # a line's end behind what is read at once
    assert len(list(csv.reader(io.StringIO(ask(*words, "-", stdin=late).out, newline="")))) == 3
    long = f"one\rtwo{' x' * 40_000}\rthree"
    assert len(list(csv.reader(io.StringIO(ask(*words, "-", stdin=long).out, newline="")))) == 4


def test_a_column_that_was_not_asked_for_is_told(trained: Trained, beside: Path) -> None:
    write_table(beside / "a.csv", ["body", "label"], [["the plot is clever", "1"]])
    words = ("score", "--model", str(trained.model), "--input", "a.csv")
    assert ask(*words).err == "a.csv: texts from 'body'\n"
    assert ask(*words, "--column", "body").err == ask(*words, "--quiet").err == ""


def test_lines_of_another_encoding_are_read_as_is_said(trained: Trained, beside: Path) -> None:
    words = ("score", "--model", str(trained.model), "--input", "-", "--encoding", "cp1252")
    rows = list(csv.reader(io.StringIO(ask(*words, stdin="caf\xe9".encode("cp1252")).out)))
    assert (rows[1][0], float(rows[1][1])) == ("caf\xe9", trained.probabilities(["caf\xe9"])[0])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--input", "-", "--delimiter", ";"), "--delimiter has no effect on the standard input: leave it out"),
        (("--input", "-", "--column", "review"), "--column review is of a table: give it with --input FILE"),
        (("--input", "-", "--unpack-limit", "zzz"), "unpack_limit cannot be 'zzz'"),
        (("--input", "a.csv", "--unpack-limit", "zzz"), "unpack_limit cannot be 'zzz'"),
        (("fine", "--missing", "foo"), "no way with what is missing 'foo'"),
        (("fine", "--encoding", "cp1252"), "--encoding has no effect on texts that are given here"),
        (("--input", "a.parquet", "--encoding", "cp1252"), "--encoding has no effect on a.parquet"),
        (("--input", "a.csv", "--sheet", "1"), "--sheet has no effect on a.csv"),
        (("--input", "*.csv", "--output", "."), "a.csv is one of the inputs: give another folder with --output"),
    ],
)
def test_what_would_have_no_effect_is_refused(
    words: tuple[str, ...], told: str, trained: Trained, beside: Path
) -> None:
    for name in ("a.csv", "a.parquet"):
        write_table(Path(name), ["text"], [["fine"]])
    assert told in ask("score", "--model", str(trained.model), *words).refusal
    assert len(list(beside.iterdir())) == 2


def test_parquet_out_of_an_archive_keeps_its_types_too(trained: Trained, beside: Path) -> None:
    texts = [*TEXTS[:2], None]
    columns = {
        "text": texts,
        "at": pa.array([1, 2, 3], pa.time64("ns")),
        "of": pa.array([[("a", 1)]] * 3, pa.map_(pa.string(), pa.int8())),
    }
    parquet.write_table(pa.table(columns).replace_schema_metadata({"made by": "somebody"}), "in.parquet")
    with zipfile.ZipFile("a.zip", "w") as archive:
        archive.write("in.parquet")
    words = ("score", "--model", str(trained.model), "--input", "a.zip", "--output", "b.parquet")
    assert "a.zip, row 3: the text in 'text' is missing" in ask(*words, "--quiet").refusal
    assert ask(*words, "--missing", "keep").code == 0
    after = parquet.read_table("b.parquet")
    assert after.drop_columns(["probability", "label"]).equals(pa.table(columns))
    assert after.schema.metadata[b"made by"] == b"somebody"
    assert after["probability"].to_pylist() == [*trained.probabilities(TEXTS[:2]), None]
    assert ask(*words[:-1], "b.csv", "--missing", "keep").code == 0
    assert [row[1] for row in read_table(Path("b.csv")).rows] == [f"00:00:00.00000000{number}" for number in (1, 2, 3)]


def test_a_table_scored_twice_keeps_both_answers(trained: Trained, beside: Path) -> None:
    source, once = table(beside / "a.csv"), ("score", "--model", str(trained.model), "--output", "a.csv")
    for _ in range(2):
        assert ask(*once, "--input", "a.csv").code == 0
    added = ("probability", "predicted_label", "predicted_probability", "predicted_predicted_label")
    assert read_table(source).columns == ("label", "text", "stars", *added)


@pytest.mark.parametrize("target", ["nowhere/b.csv", "folder.csv", "b.xlsx"])
def test_what_cannot_be_written_leaves_nothing(trained: Trained, beside: Path, target: str) -> None:
    table(beside / "a.csv")
    (beside / "folder.csv").mkdir()
    answer = ask("score", "--model", str(trained.model), "--input", "a.csv", "--output", target)
    assert target in answer.refusal
    assert sorted(path.name for path in beside.rglob("*")) == ["a.csv", "folder.csv"]


def test_a_reader_that_goes_away_is_no_error(trained: Trained) -> None:
    write_table(trained.folder / "many.csv", ["text"], [["the plot is clever"]] * 5_000)  # more than a pipe holds
    piped = f"{SCRIPT} score --model {trained.model} --input many.csv | head -1"
    assert ended(started(trained.folder, "sh", "-c", piped)) == Answer(0, "text,probability,label\n", "")


# ---- help


@pytest.mark.parametrize(("network", "foreign"), [("cnn", "--rarest"), ("linear", "--filters")])
def test_help_lists_the_settings_of_the_network(network: str, foreign: str) -> None:
    from sentiment_tune.config import settings_for

    code, out, err = ask("train", "--model", network, "--help")
    words = " ".join(out.split())
    assert (code, err) == (0, "")
    for name, setting in settings_for(network).items():
        kind = setting.type.__name__.upper()
        assert setting.doc
        line = f"--{name.replace('_', '-')} {kind} {setting.doc}: {setting.bounds} [default: {setting.default}]"
        assert line in words
    assert foreign not in out
