"""The repository as an MLflow project: its entry points, its environment, its pins."""

import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import click
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sentiment_tune.config import ExperimentConfig, read_settings
from sentiment_tune.data.tables import read_table, write_table
from sentiment_tune.models.registry import NETWORKS
from support import ROOT, TIME_LIMIT, ask

HOSTILE = 'it\'s "fine"; $HOME `ls` 100%'


class Project(NamedTuple):
    folder: Path  # a copy of what git tracks
    database: str
    environment: dict[str, str]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`mlflow run .` as in the README."""
        command = ["mlflow", "run", ".", "--env-manager", "local", "--experiment-name", "sentiment", *words]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=TIME_LIMIT
        )

    def runs(self) -> list[Any]:
        """All runs, whatever their status, the newest first."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # importing MLflow and its first store warn, of what is not ours
            from mlflow import MlflowClient

            client = MlflowClient(self.database)
            experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        return list(client.search_runs(experiments, order_by=["attributes.start_time DESC"]))


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("project") / "copy"
    tracked = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True)
    for name in filter(None, tracked.stdout.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    database = f"sqlite:///{folder.parent}/mlflow.db"
    own = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    path = os.pathsep.join([str(Path(sys.executable).parent), own["PATH"]])
    return Project(folder, database, own | {"PATH": path, "MLFLOW_TRACKING_URI": database})


@pytest.fixture(scope="session")
def trained(project: Project) -> Any:
    """The run that `mlflow run .` leaves, which is its only one."""
    small = {"embedding": "8", "vocabulary": "500", "epochs": "1", "learning_rate": "1e-2", "quiet": "true"}
    given = {"model": "embedding", "data": "sample"} | small
    finished = project.run(*(word for name, value in given.items() for word in ("-P", f"{name}={value}")))
    assert finished.returncode == 0, finished.stderr
    (run,) = project.runs()
    return run


def test_the_project_run_is_the_training_run(trained: Any) -> None:
    params, metrics = trained.data.params, trained.data.metrics
    assert (trained.info.status, trained.data.tags["network"]) == ("FINISHED", "embedding")
    assert trained.data.tags["mlflow.source.type"] == "PROJECT"
    assert metrics.keys() >= {"val_accuracy", "best_val_accuracy", "test_accuracy"}
    assert len(trained.outputs.model_outputs) == 1
    assert params | {"model": "embedding", "embedding": "8", "hidden": "100", "learning_rate": "1e-2"} == params
    resolved = json.loads(Path(trained.info.artifact_uri, "settings.json").read_bytes())
    assert (resolved["learning_rate"], resolved["embedding"], resolved["epochs"]) == (0.01, 8, 1)
    assert {name for name, value in resolved.items() if value is not None} | {"quiet"} == params.keys()


def test_score_takes_a_text(project: Project, trained: Any) -> None:
    finished = project.run("-e", "score", "-P", f"text={HOSTILE}")
    assert finished.returncode == 0, finished.stderr
    (line,) = finished.stdout.splitlines()
    assert re.fullmatch(r"(positive|negative)  p\(positive\)=0\.\d{4}  " + re.escape(HOSTILE), line)


@pytest.mark.slow
def test_a_settings_file_alone_decides_what_is_trained(project: Project, trained: Any, tmp_path: Path) -> None:
    settings = tmp_path / "its settings.json"
    settings.write_text(json.dumps({"model": "cnn", "data": "sample", "epochs": 1, "filters": 4, "embedding": 8}))
    finished = project.run("-P", f"settings={settings}")
    assert finished.returncode == 0, finished.stderr
    run = project.runs()[0]
    assert (run.data.tags["network"], run.data.tags["data"]) == ("cnn", "sample")
    assert (run.data.params["model"], run.data.params["filters"]) == ("cnn", "4")


@pytest.mark.slow
def test_score_takes_a_table(project: Project, trained: Any, tmp_path: Path) -> None:
    source, target = tmp_path / "its table.csv", tmp_path / "scored.jsonl"
    write_table(source, ["id", "review"], [[1, HOSTILE], [2, ""]])
    given = {"input": source, "column": "review", "output": target, "model": f"runs:/{trained.info.run_id}/model"}
    finished = project.run(
        "-e", "score", *(word for name, value in given.items() for word in ("-P", f"{name}={value}"))
    )
    assert finished.returncode == 0, finished.stderr
    scored = read_table(target)
    assert scored.columns == ("id", "review", "probability", "label")
    assert [row[:2] for row in scored.rows] == [("1", HOSTILE), ("2", "")]


@pytest.mark.slow
def test_a_project_run_that_cannot_be_has_failed(project: Project, trained: Any) -> None:
    finished = project.run("-P", "model=rrn", "-P", "data=sample")
    assert finished.returncode != 0
    assert "did you mean 'rnn'?" in finished.stderr
    assert project.runs()[0].info.status == "FAILED"
    assert "RUNNING" not in [run.info.status for run in project.runs()]


@pytest.mark.slow
def test_tune_makes_the_project_run_the_study_s_and_goes_on_with_it(project: Project, trained: Any) -> None:
    def tune(trials: int) -> subprocess.CompletedProcess[str]:
        given = {"model": "embedding", "data": "sample", "trials": trials, "top": 0, "epochs": 1, "vocabulary": 300}
        return project.run("-e", "tune", *(word for name, value in given.items() for word in ("-P", f"{name}={value}")))

    def studies() -> dict[str, list[str]]:
        """Runs of studies, each with the states of its trials."""
        staged = [run for run in project.runs() if run.data.tags.get("stage")]
        parents = [run for run in staged if run.data.tags["stage"] == "study"]
        return {
            parent.info.run_id: [
                run.info.status for run in staged if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id
            ]
            for parent in parents
        }

    first = tune(2)
    assert first.returncode == 0, first.stderr
    ((study, states),) = studies().items()
    assert states == ["FINISHED"] * 2
    begun = next(run for run in project.runs() if run.info.run_id == study)
    assert (begun.data.tags["mlflow.source.type"], begun.data.params["trials"]) == ("PROJECT", "2")
    second = tune(3)
    assert second.returncode == 0, second.stderr
    assert {parent: len(states) for parent, states in studies().items()} == {study: 3}
    assert "RUNNING" not in [run.info.status for run in project.runs()]


# ---- its files


def test_no_entry_point_gives_what_nobody_gave() -> None:
    entry_points = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]
    assert entry_points.keys() == {"main", "tune", "register", "ensemble", "compare", "score"}
    assert {name: point["parameters"] for name, point in entry_points.items()} == {name: {} for name in entry_points}


def words_of(entry_point: str, given: dict[str, str]) -> list[str]:
    """The words that `mlflow run . -e ENTRY_POINT -P NAME=VALUE` gives to the program, behind its name."""
    from mlflow.projects._project_spec import load_project

    project: Any = load_project(str(ROOT))  # type: ignore[no-untyped-call]
    command = project.get_entry_point(entry_point).compute_command(given, None)
    python, option, program, *words = shlex.split(command)
    assert (python, option, program) == ("python", "-m", "sentiment_tune")
    return words


def stop() -> NoReturn:
    """End a command, well, before it does anything."""
    raise click.exceptions.Exit(0)


@pytest.mark.parametrize("entry_point", ["main", "tune"])
@pytest.mark.parametrize(
    "given", [{}, {"model": "embedding"}, {"data": "imdb"}, {"model": "", "data": "", "settings": ""}]
)
@pytest.mark.parametrize("in_file", [{}, {"model": "cnn", "data": "sample", "filters": 32, "seed": 7}])
def test_what_is_given_goes_before_the_settings_file_and_that_before_a_default(
    entry_point: str,
    given: dict[str, str],
    in_file: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: dict[str, Any] = {}
    door = {"main": "train", "tune": "tune_each"}[entry_point]
    monkeypatch.setattr(f"sentiment_tune.api.{door}", lambda **chosen: heard.update(chosen) or stop())
    settings = tmp_path / "its settings.json"
    settings.write_text(json.dumps(in_file))
    if in_file.get("filters") and given.get("model"):
        settings.write_text(json.dumps({name: value for name, value in in_file.items() if name != "filters"}))
    answer = ask(*words_of(entry_point, given | ({"settings": str(settings)} if in_file else {})))
    assert answer.code == 0, answer
    expected = {"model": "rnn"} | in_file | {name: value for name, value in given.items() if value}
    assert heard["model"] == expected["model"]
    assert (heard.get("data"), heard.get("seed")) == (expected.get("data"), expected.get("seed"))


@pytest.mark.parametrize("entry_point", ["ensemble", "compare"])
@pytest.mark.parametrize(("given", "data"), [({}, None), ({"data": ""}, None), ({"data": "some"}, "some")])
def test_other_entry_points_take_the_program_s_default(
    entry_point: str, given: dict[str, str], data: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Any] = []

    def hear(data: str | None = None, *_: Any, **__: Any) -> None:
        heard.append(data)
        stop()

    monkeypatch.setattr("sentiment_tune.tracking.server.connect", lambda *_, **__: None)
    monkeypatch.setattr("sentiment_tune.ranking.rank_runs", hear)
    monkeypatch.setattr("sentiment_tune.api.ensemble", lambda _, **own: hear(own.get("data")))
    assert ask(*words_of(entry_point, given)).code == 0
    assert heard == [data]


def test_an_experiment_that_the_project_s_run_is_not_in_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    client = mlflow.MlflowClient()
    run = client.create_run(client.create_experiment("films")).info
    monkeypatch.setenv("MLFLOW_RUN_ID", run.run_id)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", run.experiment_id)
    words = words_of("main", {"model": "embedding", "data": "sample", "epochs": "1", "experiment": "books"})
    assert "'books' was asked for, but `mlflow run` has begun this run in 'films'" in ask(*words).refusal
    assert client.search_experiments()[0].name == "films"
    assert ask(*words[:-1], "films").code == 0
    assert client.get_run(run.run_id).info.status == "FINISHED"


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., list[str]]:
    """What `make` gives to mlflow, in a folder where the environment is made already."""
    scripts = tmp_path / ".venv" / "bin"
    scripts.mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv" / "installed").touch()
    (scripts / "mlflow").write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    (scripts / "mlflow").chmod(0o755)

    def make(*words: str) -> list[str]:
        finished = subprocess.run(["make", *words], cwd=tmp_path, capture_output=True, text=True, timeout=TIME_LIMIT)
        assert finished.returncode == 0, finished.stderr
        return list(json.loads(finished.stdout))

    return make


def test_make_gives_what_it_was_given_as_it_was_typed(made: Callable[..., list[str]]) -> None:
    assert made("train") == ["run", ".", "--env-manager", "local"]
    assert made("train", "SETTINGS=-P settings=cnn -P 'text=the text'")[4:] == [
        "-P",
        "settings=cnn",
        "-P",
        "text=the text",
    ]
    awkward = "/its folder/My \"best\" reviews, 'all' of $HOME `ls` 100% #1.csv"
    assert made("train", f"DATA={awkward}", "MODEL=cnn")[4:] == ["-P", "model=cnn", "-P", f"data={awkward}"]
    assert made("tune", "TRIALS=3", "DATA=")[:3] == ["run", ".", "-e"]
    assert made("tune", "TRIALS=3", f"DATA={awkward}")[6:] == ["-P", "trials=3", "-P", f"data={awkward}"]


def pins() -> dict[str, str]:
    """Versions of constraints.txt by name."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    named = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): pinned for name, pinned in named}


def requirements() -> dict[str, Requirement]:
    """The package's own requirements by name."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    return {canonicalize_name(requirement.name): requirement for requirement in map(Requirement, listed)}


def test_the_environment_lists_what_the_package_requires() -> None:
    parts = yaml.safe_load((ROOT / "conda.yaml").read_text())["dependencies"]
    (listed,) = (part["pip"] for part in parts if isinstance(part, dict))
    assert listed[0] == "-c constraints.txt"
    assert {canonicalize_name(name) for name in listed[1:]} == requirements().keys()


def test_the_pins_satisfy_the_requirements() -> None:
    pinned = pins()
    wrong = {
        name: pinned.get(name)
        for name, requirement in requirements().items()
        if pinned.get(name, "") not in requirement.specifier
    }
    assert wrong == {}


def test_the_pins_are_plain_versions() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    odd = [line for line in lines if not re.fullmatch(r"#.*|[A-Za-z0-9_.-]+==[0-9][0-9a-z.]*", line)]
    assert odd == []
    assert pins()["torch"] == "2.13.0"
    assert [name for name in pins() if "tensorflow" in name] == []


def test_these_tests_run_with_the_pinned_versions() -> None:
    installed = {name: version(name).split("+")[0] for name in pins()}
    assert installed == pins()


def test_mlflow_takes_the_running_python_from_the_environment() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow.utils.environment import _PythonEnv
    environment = _PythonEnv.from_conda_yaml(str(ROOT / "conda.yaml"))  # type: ignore[no-untyped-call]
    assert environment.python == platform.python_version()
    assert environment.dependencies[0] == "-c constraints.txt"


def test_ci_calls_targets_that_the_makefile_has() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    (gate,) = re.findall(r"^make ([\w -]+) PYTHON", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    called = {command.split()[1] for command in commands if "matrix" not in command}
    called |= set(jobs["test"]["strategy"]["matrix"]["target"])
    assert called < set(gate.split()) <= targets


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_has_a_recipe_that_train_takes(network: str) -> None:
    settings = read_settings(ROOT / "sentiment_tune" / "recipes" / f"{network}.json")
    config = ExperimentConfig.of(settings.pop("model"), settings)
    assert config.model == network
    assert config.training.patience >= config.training.epochs, "a falling rate is to reach its end"
