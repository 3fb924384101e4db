"""What a study looks for beside accuracy: measured, kept within limits, its front confirmed and registered."""

import csv
import ctypes
import io
import json
import re
import time
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from mlflow import MlflowClient
from optuna.trial import TrialState

from sentiment_tune import api
from sentiment_tune.build import build_network
from sentiment_tune.config import ExperimentConfig
from sentiment_tune.data.load import DataConfig, load
from sentiment_tune.errors import InputError
from sentiment_tune.space import Choice, Range, Setting
from sentiment_tune.tuning import confirm
from sentiment_tune.tuning.confirm import Confirmation
from sentiment_tune.tuning.front import choices, ends, front_of
from sentiment_tune.tuning.objectives import measure_before, parse_limits, parse_objectives, peak_memory
from sentiment_tune.tuning.ranges import parse_ranges, with_range, within
from sentiment_tune.tuning.search import StudyConfig
from support import SCRIPT, artifact, ask, ended, runs, started

SMALL = ("--data", "sample", "--length", "60", "--epochs", "1", "--device", "cpu", "--seeds", "1")
CONFIG = ExperimentConfig.of("embedding", {"data": "sample", "vocabulary": 300, "hidden": 8, "embedding": 8})


def search(**more: Any) -> StudyConfig:
    return StudyConfig("s", ("embedding",), {"data": "sample"}, trials=1, storage="sqlite://", **more)


# ---- ranges


def test_a_range_is_given_as_texts_or_as_numbers() -> None:
    texts = {"vocabulary": "1000..30000", "batch_size": "32,64"}
    assert parse_ranges("vocabulary=1000..30000 batch-size=32,64") == texts
    assert parse_ranges(["vocabulary=1000..30000", "batch_size=32,64"]) == texts
    assert parse_ranges({"vocabulary": (1000, 30000), "batch_size": [32, 64]}) == texts
    assert parse_ranges(None) == parse_ranges(()) == {}


def test_a_range_narrows_widens_or_begins_a_search() -> None:
    space = search(ranges={"hidden": "8..512", "vocabulary": "1000..9000", "batch": "16..32", "dropout": "0,0.5"}).space
    assert space["hidden"].bounds == Range(1, 65_536, search=(8, 512), log=True)
    assert (space["vocabulary"].bounds.search, space["vocabulary"].bounds.log) == ((1000, 9000), False)  # type: ignore[union-attr]
    assert space["dropout"].bounds == Choice(0.0, 0.5)
    assert search(ranges={"vocabulary": "1000..30000"}).space["vocabulary"].bounds.log  # type: ignore[union-attr]
    assert search(ranges={"hidden": "8..512"}).facts("d") != search().facts("d")


def test_a_study_begins_with_the_default_or_the_nearest_to_it() -> None:
    setting = Setting("hidden", int, Range(1, 999, search=(1, 9)), 64)
    assert [within(with_range(setting, bounds), 64) for bounds in ("8..512", "8..32", "100..200", "8,16", "8,64")] == [
        *(64, 32, 100, 8, 64)
    ]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--search", "hidden"), "search cannot be 'hidden': give NAME=LOW..HIGH or NAME=A,B,C"),
        (("--search", "hiden=8..16"), "no setting 'hiden'; did you mean 'hidden'"),
        (("--search", "hidden=16..8"), "give the smaller number first"),
        (("--search", "hidden=.."), "hidden cannot be ''"),
        (("--search", "hidden=8"), "give LOW..HIGH or two values"),
        (("--search", "hidden=0..8"), "hidden cannot be '0'"),
        (("--search", "hidden=a,b"), "hidden cannot be 'a'"),
        (("--search", "hidden=32..64 hidden=70..80"), "search cannot have 'hidden' twice"),
        (("--search", "batch-size=32,64", "--search", "batch_size=16,32"), "search cannot have 'batch_size' twice"),
        (("--search", "seed=1..8"), "seed cannot be searched"),
        (("--search", "metric=accuracy,log_loss"), "metric cannot be searched: values of one cannot be compared"),
        (("--search", "hidden=8..16", "--hidden", "8"), "hidden cannot be both fixed and searched"),
        (("--objectives", "speed"), "no objective 'speed'"),
        (("--objectives", "latency"), "accuracy must be among them"),
        (("--max-parameters", "many"), "max_parameters cannot be 'many': give a number such as 200_000"),
        (("--max-parameters", "1.5"), "max_parameters cannot be '1.5': give a whole number"),
        (("--max-latency", "-1ms"), "max_latency cannot be '-1ms'"),
        (("--max-size", "0"), "max_size cannot be '0'"),
    ],
)
def test_what_cannot_be_searched_is_one_line(words: tuple[str, ...], told: str, here: Path) -> None:
    assert told in ask("tune", "--model", "embedding", *SMALL, *words).refusal
    assert runs(f"sqlite:///{here}/mlflow.db") == []
    assert not (here / "optuna.db").exists()


# ---- objectives and limits


def test_objectives_and_limits_are_read_as_they_are_written() -> None:
    assert parse_objectives("accuracy, size") == parse_objectives(["size", "accuracy"]) == ("accuracy", "size")
    assert parse_objectives(None) == ("accuracy",)
    limits = parse_limits("200_000", "2ms", "1MB")
    assert limits == {"parameters": 200_000, "latency": 2, "size": 1_000_000} == parse_limits(200_000, 2, 10**6)
    assert parse_limits(latency="0.5s")["latency"] == 500
    with pytest.raises(InputError, match="max_latency"):
        parse_limits(latency=float("nan"))


def test_what_a_network_costs_is_known_before_its_training() -> None:
    corpus = load(DataConfig("sample"))
    network = build_network(CONFIG, corpus)
    measured = measure_before(("accuracy", "parameters", "size", "latency", "size"), network, CONFIG, corpus)
    assert list(measured) == ["parameters", "size", "latency"]
    assert measured["parameters"] == sum(weights.numel() for weights in network.parameters())
    assert measured["size"] > measured["parameters"] * 4
    assert 0 < measured["latency"] < 1000
    assert measure_before((), network, CONFIG, corpus) == {}


def test_the_size_is_that_of_the_model_that_is_logged(here: Path) -> None:
    corpus = load(DataConfig("sample"))
    before = measure_before(("size",), build_network(CONFIG, corpus), CONFIG, corpus)["size"]
    run = api.train("embedding", "sample", vocabulary=300, hidden=8, embedding=8, epochs=1, progress=False)
    logged = MlflowClient().get_run(run.run_id).data.metrics["model_bytes"]
    assert before == pytest.approx(logged, rel=0.01)


@pytest.mark.parametrize("is_told", [True, False])
def test_the_peak_is_what_a_block_takes_and_gives_back(is_told: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not is_told:  # as by an older C library
        older = SimpleNamespace(malloc_trim=ctypes.CDLL(None).malloc_trim)
        monkeypatch.setattr("ctypes.CDLL", lambda _: older)
    seen = []
    for _ in range(5):  # of which a busy machine may miss some
        with peak_memory(torch.device("cpu")) as peak:
            taken = np.ones(8_000_000)
            time.sleep(0.01 if is_told else 0.1)
            del taken
        seen.append(peak.bytes)
    assert max(seen) > 30_000_000


@pytest.mark.slow
def test_equal_trainings_take_as_much_memory_whichever_is_the_first(here: Path) -> None:
    sizes = "--vocabulary 10000 --embedding 100 --filters 100 --shortest 2 --branches 3 --hidden 100 --dropout 0.1"
    words = (*SMALL, *sizes.split(), "--trials", "5", "--top", "0", "--objectives", "accuracy,memory")
    rates = ("--search", "learning-rate=1e-3,2e-3,3e-3,4e-3,5e-3")
    assert ended(started(here, SCRIPT, "tune", "--model", "cnn", *words, *rates)).code == 0
    (study,) = [run for run in runs(f"sqlite:///{here}/mlflow.db") if run.data.tags["stage"] == "study"]
    rows = csv.DictReader(io.StringIO(artifact(study, "study/trials.csv").decode()))
    taken = [float(row["memory"]) for row in rows]
    assert len(taken) == 5
    assert median(taken) < 1.1 * min(taken)
    assert max(taken) < 1.4 * min(taken)  # one may copy its weights and moments for a checkpoint


# ---- the front


def confirmed(trial: int, accuracy: float, **costs: float) -> Confirmation:
    return Confirmation(trial, CONFIG, (accuracy,), f"run{trial}", costs)


def test_the_front_is_what_nothing_beats_and_its_ends_have_names() -> None:
    given = [
        confirmed(0, 0.90, parameters=1000, latency=3),
        confirmed(1, 0.89, parameters=100, latency=2),
        confirmed(2, 0.80, parameters=90, latency=4),
        confirmed(3, 0.88, parameters=100, latency=2),
        confirmed(4, 0.70, parameters=5000, latency=1),
    ]
    front = front_of(given)
    assert [one.trial for one in front] == [0, 1, 2, 4]
    chosen = choices(front)
    assert {name: one.trial for name, one in chosen.items()} == {
        "knee": 1,
        "accuracy": 0,
        "parameters": 2,
        "latency": 4,
    }
    assert ends(chosen) == {"smallest": "parameters", "fastest": "latency"}
    two = [confirmed(0, 0.8, parameters=40, memory=3, size=9), confirmed(1, 0.5, parameters=20, memory=2, size=8)]
    assert choices(front_of(two))["knee"].trial == 0
    only = [confirmed(0, 0.5, parameters=1)]
    assert {one.trial for one in choices(front_of(only)).values()} == {0}


def test_a_study_of_several_objectives_ends_with_a_front_in_the_registry(here: Path) -> None:
    words = ("tune", "--model", "embedding", *SMALL, "--trials", "4", "--objectives", "accuracy,parameters,memory")
    answer = ask(*words, "--search", "hidden=8..64", "--search", "vocabulary=300..600")
    assert (answer.code, answer.err) == (0, ""), answer
    study = optuna.load_study(study_name="embedding-sample", storage=f"sqlite:///{here}/optuna.db")
    assert len(study.directions) == 3
    assert all(trial.values[1] == int(trial.values[1]) for trial in study.get_trials())
    found = runs(f"sqlite:///{here}/mlflow.db")
    (whole,) = (run for run in found if run.data.tags["stage"] == "study")
    rows = list(csv.DictReader(io.StringIO(artifact(whole, "study/front.csv").decode())))
    assert {name for row in rows for name in row["chosen"].split()} == {"knee", "accuracy", "parameters", "memory"}
    assert {row["trial"] for row in rows} <= {str(trial.number) for trial in study.best_trials}
    knee = next(row for row in rows if "knee" in row["chosen"])
    best = json.loads(artifact(whole, "study/best_settings.json"))
    assert best == json.loads(artifact(whole, "study/settings_knee.json"))
    assert best["hidden"] == study.get_trials()[int(knee["trial"])].params["hidden"]
    assert whole.data.params["pruner"] == "none"
    assert "Pruner" not in whole.data.tags["mlflow.note.content"]
    for name in ("front_parameters.png", "front_memory.png", "study.html", "trials.csv"):
        assert artifact(whole, f"study/{name}")
    aliases = MlflowClient().get_registered_model("sentiment-embedding").aliases
    assert {"champion", "smallest"} <= aliases.keys()
    smallest = MlflowClient().get_model_version("sentiment-embedding", str(aliases["smallest"]))
    assert smallest.run_id == next(row["run_id"] for row in rows if "parameters" in row["chosen"])
    assert smallest.tags["reason"]
    logged = next(csv.reader(io.StringIO(artifact(whole, "study/trials.csv").decode())))
    assert list(api.studies("embedding-sample").columns) == logged
    assert {"parameters", "memory"} < set(logged)
    again = ask(*words, "--search", "hidden=8..64", "--search", "vocabulary=300..600")
    assert (again.code, again.err) == (0, "")
    assert MlflowClient().get_registered_model("sentiment-embedding").aliases == aliases
    assert "was begun with objectives" in ask(*words[:-2], "--search", "hidden=8..64 vocabulary=300..600").refusal


@pytest.mark.slow
@pytest.mark.parametrize("top", ["0", "1"])
def test_the_front_is_shown_and_described_whether_it_is_confirmed_or_not(here: Path, top: str) -> None:
    words = ("tune", "--model", "embedding", *SMALL, "--trials", "3", "--objectives", "accuracy,parameters")
    answer = ask(*words, "--search", "vocabulary=300..600", "--top", top)
    assert (answer.code, answer.err) == (0, ""), answer
    (whole,) = (run for run in runs(f"sqlite:///{here}/mlflow.db") if run.data.tags.get("stage") == "study")
    rows = list(csv.DictReader(io.StringIO(artifact(whole, "study/front.csv").decode())))
    page, note = artifact(whole, "study/study.html").decode(), whole.data.tags["mlflow.note.content"]
    for name in ("knee", "accuracy", "parameters"):
        (trial,) = (row["trial"] for row in rows if name in row["chosen"].split())
        assert f"- {name}: trial {trial} (" in note
        assert json.loads(artifact(whole, f"study/settings_{name}.json"))["model"] == "embedding"
    assert artifact(whole, "study/best_settings.json") == artifact(whole, "study/settings_knee.json")
    assert artifact(whole, "study/front_parameters.png")
    assert len(page) < 500_000
    for trial in {row["trial"] for row in rows}:
        assert page.count(f'data-trial="{trial}"') == 1
        assert page.count(f'id="trial-{trial}"') == 2  # as a trial, and as one of the front
    assert all(f"<td>{float(row['parameters']):,.0f}</td>" in page for row in rows)
    unconfirmed = "nothing was trained again"
    assert [unconfirmed in text for text in (note, page.partition("Front</h2>")[2], answer.out)] == [top == "0"] * 3
    if top == "0":
        assert MlflowClient().search_registered_models() == []
        trials = optuna.load_study(study_name="embedding-sample", storage=f"sqlite:///{here}/optuna.db").trials
        assert all(float(row["accuracy"]) == trials[int(row["trial"])].values[0] for row in rows)


@pytest.mark.slow
def test_an_end_that_is_larger_than_that_of_an_earlier_study_takes_no_alias(here: Path) -> None:
    words = ("tune", "--model", "embedding", *SMALL, "--trials", "2", "--objectives", "accuracy,parameters")
    assert ask(*words, "--search", "vocabulary=300..400", "--study", "small").code == 0
    client = MlflowClient()
    holder = client.get_registered_model("sentiment-embedding").aliases["smallest"]
    answer = ask(*words, "--search", "vocabulary=2000..2500", "--study", "large")
    assert answer.code == 0
    assert client.get_registered_model("sentiment-embedding").aliases["smallest"] == holder
    (line,) = (line for line in answer.out.splitlines() if "is not smallest: parameters " in line)
    version = client.get_model_version("sentiment-embedding", line.split()[2])
    assert line.endswith(f"of version {holder}")
    assert line.endswith(version.tags["reason"]) or version.aliases
    assert int(version.tags["parameters"]) > int(
        client.get_model_version("sentiment-embedding", str(holder)).tags["parameters"]
    )
    assert "@smallest" not in str(version.description)


@pytest.mark.slow
def test_what_exceeds_a_limit_is_not_trained_and_never_wins(here: Path) -> None:
    words = (
        "tune",
        "--model",
        "embedding",
        *SMALL,
        "--vocabulary",
        "300",
        "--trials",
        "3",
        "--max-parameters",
        "20_000",
    )
    answer = ask(*words, "--top", "1")
    assert (answer.code, answer.err) == (0, ""), answer
    trials = optuna.load_study(study_name="embedding-sample", storage=f"sqlite:///{here}/optuna.db").get_trials()
    over = [trial for trial in trials if "excess" in trial.user_attrs]
    assert over
    assert all(trial.state == TrialState.PRUNED and trial.constraints["parameters"] > 0 for trial in over)
    assert len([trial for trial in trials if trial.state.is_finished()]) - len(over) == 3
    assert "is more than 20,000" in answer.out
    by_id = {run.info.run_id: run for run in runs(f"sqlite:///{here}/mlflow.db")}
    for trial in trials:
        run = by_id[trial.user_attrs["run_id"]]
        assert ("val_accuracy" in run.data.metrics) == (trial not in over)
        assert (run.data.metrics["parameters"] <= 20_000) == (trial not in over)
    champion = MlflowClient().get_model_version_by_alias("sentiment-embedding", "champion")
    assert int(by_id[champion.run_id].data.tags["parameters"]) <= 20_000


@pytest.mark.slow
def test_a_study_that_a_loss_judges_shows_it_as_a_loss(here: Path) -> None:
    words = ("tune", "--model", "embedding", *SMALL, "--vocabulary", "300", "--trials", "2", "--top", "1")
    answer = ask(*words, "--max-parameters", "20_000", "--metric", "log_loss")
    assert answer.code == 0, answer
    (study,) = (run for run in runs(f"sqlite:///{here}/mlflow.db") if run.data.tags.get("stage") == "study")
    page, note = artifact(study, "study/study.html").decode(), study.data.tags["mlflow.note.content"]
    best = max(
        trial.value
        for trial in optuna.load_study(
            study_name="embedding-sample", storage=f"sqlite:///{here}/optuna.db"
        ).get_trials()
        if trial.value is not None
    )
    assert best < 0
    assert "validation log loss <strong>0." in page
    assert "<th>mean validation log loss</th>" in page
    assert "<th>validation log loss</th>" in page
    assert "validation log loss **0." in note
    for text in (page.partition("<svg")[0], note, answer.out):
        assert not re.search(r"-0\.\d", text)
        assert "validation accuracy" not in text
    table = answer.out[answer.out.index("study embedding-sample\n") :].splitlines()
    first = next(line for line in table if " complete " in line or " pruned " in line)
    assert " complete  " in first
    assert f"{-best:.4f}" in first
    listed = ask("studies").out
    assert f" {-best:.4g} " in listed


def test_a_study_whose_limit_nothing_keeps_ends_and_says_so(here: Path) -> None:
    words = ("tune", "--model", "embedding", *SMALL, "--vocabulary", "300", "--trials", "1", "--max-parameters", "9")
    refusal = ask(*words).refusal
    study = optuna.load_study(study_name="embedding-sample", storage=f"sqlite:///{here}/optuna.db")
    found = runs(f"sqlite:///{here}/mlflow.db")
    least = min(run.data.metrics["parameters"] for run in found if "parameters" in run.data.metrics)
    assert study.get_trials()
    assert "no trial of study 'embedding-sample' was finished: max_parameters is 9, and the least" in refusal
    assert f"that was seen {least:,.0f}: give more" in refusal


@pytest.mark.slow
def test_a_latency_that_was_luck_wins_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("tune", "--model", "embedding", *SMALL, "--vocabulary", "300", "--trials", "3", "--max-latency", "1s")
    latencies = iter([1500.0, 20.0])
    monkeypatch.setattr(confirm, "measure_before", lambda *_: {"latency": next(latencies, 2000.0)})
    answer = ask(*words, "--top", "1")
    assert (answer.code, answer.out.count("is left out: measured once more, latency 1.5e+03 ms is more")) == (0, 1), (
        answer
    )
    study = optuna.load_study(study_name="embedding-sample", storage=f"sqlite:///{here}/optuna.db")
    first, second = sorted(study.get_trials(), key=lambda trial: (-(trial.value or 0), trial.number))[:2]
    assert f"trial {first.number} is left out" in answer.out
    champion = MlflowClient().get_model_version_by_alias("sentiment-embedding", "champion")
    run = MlflowClient().get_run(str(champion.run_id))
    assert run.data.tags["trial"] == str(second.number)
    assert "no trial of study 'embedding-sample' keeps its latency" in ask(*words, "--top", "1").refusal
