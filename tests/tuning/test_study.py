"""A study as a user starts it: trials are runs, states are true, it goes on where it stopped, and repeats exactly."""

import csv
import io
import json
import os
import shutil
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import optuna
import pandas as pd
import psutil
import pytest
from mlflow import MlflowClient
from optuna.trial import FrozenTrial, TrialState

import sentiment_tune as st
from sentiment_tune.config import ExperimentConfig, read_settings
from sentiment_tune.errors import InputError
from sentiment_tune.tracking import records, registry
from sentiment_tune.tuning import backend as optuna_parts
from sentiment_tune.tuning import liveness, report
from sentiment_tune.tuning import trials as trials_module
from sentiment_tune.tuning.liveness import finished_trials
from support import SCRIPT, Answer, artifact, ask, ended, runs, started, wait_until

SMALL = ("--data", "sample", "--vocabulary", "300", "--length", "60", "--epochs", "2", "--device", "cpu")
TUNING = ("tune", "--model", "embedding", *SMALL)
MOODY = """
from typing import Annotated

import torch
from torch import nn
from sentiment_tune.space import Range


class Moody(nn.Module):
    def __init__(self, vocabulary: int, size: Annotated[int, Range(1, 64, search=(1, 8))] = 4):
        super().__init__()
        self.size = size
        self.vectors = nn.Embedding(vocabulary, size, padding_idx=0)
        self.output = nn.Linear(size, 1)

    def forward(self, ids):
        if self.training and self.size % 2:
            raise RuntimeError("odd sizes do not fit into memory")
        return self.output(self.vectors(ids).sum(1)).squeeze(-1)
"""

LATE = """
import optuna
from torch import nn
from sentiment_tune.space import Width


class Late(nn.Module):
    told = False

    def __init__(self, vocabulary: int, size: Width = 32):
        super().__init__()
        self.vectors = nn.Embedding(vocabulary, size, padding_idx=0)
        self.output = nn.Linear(size, 1)

    def forward(self, ids):
        if self.training and not Late.told and optuna.get_all_study_names("sqlite:///o.db"):
            study = optuna.load_study(study_name="late", storage="sqlite:///o.db")
            study.tell(0, state=optuna.trial.TrialState.FAIL)  # as whoever takes its worker for dead does
            Late.told = True
        return self.output(self.vectors(ids).sum(1)).squeeze(-1)
"""


FULL = """
import errno
from torch import nn
from sentiment_tune.space import Width


class Full(nn.Module):
    steps = 0

    def __init__(self, vocabulary: int, size: Width = 32):
        super().__init__()
        self.vectors = nn.Embedding(vocabulary, size, padding_idx=0)
        self.output = nn.Linear(size, 1)

    def forward(self, ids):
        Full.steps += self.training
        if self.training and (STEPS == Full.steps or Full.steps > 3 > STEPS):
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.output(self.vectors(ids).sum(1)).squeeze(-1)
"""


def trials_of(folder: Path, name: str = "embedding-sample") -> list[FrozenTrial]:
    return optuna.load_study(study_name=name, storage=f"sqlite:///{folder}/optuna.db").get_trials(deepcopy=False)


def told(trials: list[FrozenTrial]) -> list[tuple[Any, ...]]:
    """What must repeat: settings, state, values of the epochs and of the trial."""
    return [(trial.params, trial.state, trial.intermediate_values, trial.value) for trial in trials]


class Tuned(NamedTuple):
    folder: Path
    answer: Answer
    parent: Any  # run of the study
    children: list[Any]  # runs below it, the newest first
    trials: list[FrozenTrial]

    def of(self, stage: str) -> list[Any]:
        return [run for run in self.children if run.data.tags["stage"] == stage]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    """One study from its first trial to its champion, by the console script."""
    folder = tmp_path_factory.mktemp("tuned")
    command = (*TUNING, "--trials", "7", "--top", "2", "--seeds", "2", "--pruner", "PercentilePruner")
    answer = ended(started(folder, SCRIPT, *command))
    assert answer.code == 0, answer
    (parent, *others) = sorted(runs(f"sqlite:///{folder}/mlflow.db"), key=lambda run: run.data.tags["stage"] != "study")
    return Tuned(folder, answer, parent, others, trials_of(folder))


# ---- a study


def test_it_tells_a_line_a_trial_and_what_came_of_it(tuned: Tuned) -> None:
    code, out, err = tuned.answer
    assert (code, err) == (0, "")
    assert [line.split()[1] for line in out.splitlines() if line.startswith("trial") and "left, about" in line] == [
        str(number) for number in range(7)
    ]
    for part in (
        "study embedding-sample: 7 trials over dropout, embedding, hidden, learning_rate",
        "sentiment-embedding version 1 is champion: the first of its name",
        "sentiment version 1 is champion: the first of its name",
        "optuna-dashboard sqlite:///",
    ):
        assert part in out


def test_the_first_trial_is_the_network_as_it_is(tuned: Tuned) -> None:
    plan = ExperimentConfig.of("embedding", {"data": "sample"}).as_dict
    assert tuned.trials[0].params == {name: plan[name] for name in ("dropout", "embedding", "hidden", "learning_rate")}


def test_every_trial_is_a_run_one_level_below_the_study(tuned: Tuned) -> None:
    assert tuned.parent.info.status == "FINISHED"
    above = {run.info.run_id: run.data.tags["trial"] for run in tuned.of("repeats")}
    assert len(above) == 2
    for run in tuned.children:
        parent = run.data.tags["mlflow.parentRunId"]
        if run.data.tags["stage"] == "confirm":
            assert above[parent] == run.data.tags["trial"]
        else:
            assert parent == tuned.parent.info.run_id
    by_trial = {int(run.data.tags["trial"]): run for run in tuned.of("search")}
    assert by_trial.keys() == {trial.number for trial in tuned.trials}
    for trial in tuned.trials:
        run = by_trial[trial.number]
        assert run.info.run_id == trial.user_attrs["run_id"]
        assert {name: run.data.params[name] for name in trial.params} == {
            name: str(value) for name, value in trial.params.items()
        }
        steps = [point.step for point in history(tuned.folder, run.info.run_id, "val_accuracy")]
        assert steps == list(trial.intermediate_values)
        assert trial.value == max(trial.intermediate_values.values())


def history(folder: Path, run_id: str, name: str) -> list[Any]:
    return list(MlflowClient(f"sqlite:///{folder}/mlflow.db").get_metric_history(run_id, name))


def test_states_are_true(tuned: Tuned) -> None:
    states = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED"}
    assert {trial.state for trial in tuned.trials} == set(states)  # the pruner has pruned, or nothing is tested
    by_trial = {int(run.data.tags["trial"]): run for run in tuned.of("search")}
    for trial in tuned.trials:
        run = by_trial[trial.number]
        assert run.info.status == states[trial.state]
        assert run.data.tags["optuna_state"] == trial.state.name
        if trial.state == TrialState.PRUNED:
            assert int(run.data.tags["pruned_at_epoch"]) == trial.last_step


def test_the_study_s_run_holds_its_report(tuned: Tuned) -> None:
    page = artifact(tuned.parent, "study/study.html").decode()
    for title in ("Best validation", "Which settings matter", "Settings of every", "by each setting", "epoch by epoch"):
        assert title in page
    assert "<script src" not in page  # it needs no network
    for name in ("optimization_history", "param_importances", "parallel_coordinate", "slice", "intermediate_values"):
        assert artifact(tuned.parent, f"study/{name}.png").startswith(b"\x89PNG\r\n\x1a\n")
    rows = list(csv.DictReader(io.StringIO(artifact(tuned.parent, "study/trials.csv").decode())))
    assert [(row["trial"], row["state"]) for row in rows] == [
        (str(trial.number), trial.state.name) for trial in tuned.trials
    ]
    assert [row["hidden"] for row in rows] == [str(trial.params["hidden"]) for trial in tuned.trials]


def test_the_study_s_run_says_what_is_searched_and_how(tuned: Tuned) -> None:
    params, note = tuned.parent.data.params, tuned.parent.data.tags["mlflow.note.content"]
    assert (params["networks"], params["sampler"], params["pruner"]) == ("embedding", "TPESampler", "PercentilePruner")
    assert params["space.hidden"].startswith("from 32 to 256")
    assert {"trials", "seed", "top", "seeds", "workers"} <= params.keys()
    assert f"/runs/{tuned.parent.data.tags['winner']}?workflowType=machine_learning" in note
    assert "test accuracy" in note


def test_the_best_value_so_far_is_a_metric_with_the_trial_as_step(tuned: Tuned) -> None:
    told = {point.step: point.value for point in history(tuned.folder, tuned.parent.info.run_id, "best_val_accuracy")}
    complete = [trial for trial in tuned.trials if trial.state == TrialState.COMPLETE]
    assert told == {
        trial.number: max(other.value or 0.0 for other in complete if other.number <= trial.number)
        for trial in tuned.trials
    }
    assert tuned.parent.data.metrics["best_val_accuracy"] == max(told.values())


def test_names_and_notes_of_trials_tell_them_apart(tuned: Tuned) -> None:
    for run in tuned.of("search"):
        assert run.info.run_name.startswith(f"trial {run.data.tags['trial']}: ")
        assert f"hidden {run.data.params['hidden']}" in run.info.run_name
    for run in tuned.of("confirm"):
        assert f"seed {run.data.tags['seed']}: " in run.info.run_name
        assert f"[study](#/experiments/{run.info.experiment_id}/runs/" in run.data.tags["mlflow.note.content"]


def test_its_page_begins_with_the_winner_and_is_small(tuned: Tuned) -> None:
    page = artifact(tuned.parent, "study/study.html").decode()
    assert len(page) < 1_000_000
    assert page.index("Winner: trial") < page.index("<h2>Trials</h2>") < page.index("<svg")
    assert [page.count(f"<th>seed {seed}</th>") for seed in (1, 2, 3)] == [0, 1, 1]


def test_its_best_settings_are_those_of_the_winner_and_train_takes_them(tuned: Tuned) -> None:
    held = read_settings(Path(tuned.parent.info.artifact_uri, "study/best_settings.json"))
    (winner,) = (run for run in tuned.children if run.info.run_id == tuned.parent.data.tags["winner"])
    assert ExperimentConfig.of(held.pop("model"), held).as_dict == json.loads(artifact(winner, "settings.json"))


def test_the_best_are_trained_again_with_fresh_seeds_and_the_mean_decides(tuned: Tuned) -> None:
    complete = [trial for trial in tuned.trials if trial.state == TrialState.COMPLETE]
    best = sorted(complete, key=lambda trial: (-(trial.value or 0.0), trial.number))[:2]
    again: dict[int, dict[str, float]] = {}
    for run in tuned.of("confirm"):
        accuracies = again.setdefault(int(run.data.tags["trial"]), {})
        accuracies[run.data.tags["seed"]] = run.data.metrics["best_val_accuracy"]
    assert again.keys() == {trial.number for trial in best}
    assert all(accuracies.keys() == {"2", "3"} for accuracies in again.values())  # the search had seed 1
    means = {number: sum(accuracies.values()) / 2 for number, accuracies in again.items()}
    (winner,) = (run for run in tuned.of("confirm") if run.info.run_id == tuned.parent.data.tags["winner"])
    trial = int(winner.data.tags["trial"])
    assert means[trial] == max(means.values()) == pytest.approx(tuned.parent.data.metrics["confirmed_val_accuracy"])
    assert winner.data.metrics["best_val_accuracy"] == max(again[trial].values())


def test_the_trainings_of_a_trial_s_settings_stand_below_a_run_with_their_mean_and_spread(tuned: Tuned) -> None:
    for above in tuned.of("repeats"):
        repeats = [run.data for run in tuned.of("confirm") if run.data.tags["mlflow.parentRunId"] == above.info.run_id]
        accuracies = [run.metrics["best_val_accuracy"] for run in repeats]
        named = {part: above.data.metrics[f"{part}_best_val_accuracy"] for part in ("mean", "sd", "min", "max")}
        assert named == pytest.approx(
            {"mean": fmean(accuracies), "sd": stdev(accuracies), "min": min(accuracies), "max": max(accuracies)}
        )
        assert (above.data.metrics["repeats"], above.info.status) == (2, "FINISHED")
        assert f"trial {above.data.tags['trial']}, 2 seeds: " in above.info.run_name


def test_the_leaderboard_ranks_the_winner_by_the_mean_of_its_repeats(tuned: Tuned, again: Path) -> None:
    answer = ask("compare", "--csv", "ranked.csv", "--tracking-uri", f"sqlite:///{again}/mlflow.db")
    assert answer.code == 0
    (row,) = csv.DictReader(Path("ranked.csv").read_text().splitlines())
    mean = tuned.parent.data.metrics["confirmed_val_accuracy"]
    assert float(row["val_accuracy"]) == pytest.approx(mean)
    assert row["seeds"] == "2"
    assert f"{mean:.4f} ± {float(row['val_spread']):.4f}" in answer.out


def test_the_test_split_is_read_by_the_winner_alone(tuned: Tuned) -> None:
    tested = [run.info.run_id for run in tuned.children if any(name.startswith("test_") for name in run.data.metrics)]
    assert tested == [tuned.parent.data.tags["winner"]]
    assert len(history(tuned.folder, tested[0], "test_accuracy")) == 1


def test_the_champion_is_registered_with_a_card_and_scores(tuned: Tuned) -> None:
    client = MlflowClient(f"sqlite:///{tuned.folder}/mlflow.db")
    winner = tuned.parent.data.tags["winner"]
    for name in ("sentiment-embedding", "sentiment"):
        version = client.get_model_version_by_alias(name, "champion")
        assert (version.run_id, version.tags["reason"]) == (winner, "the first of its name")
        (run,) = (run for run in tuned.children if run.info.run_id == winner)
        for part in ("95 % interval", "## Where it fails", "## By length", run.data.tags["data_digest"], name):
            assert part in str(version.description)
        assert artifact(run, f"cards/{name}.md").decode() == version.description
        assert f"{run.data.metrics['test_accuracy']:.4f}" in version.description
    code, out, _ = ended(started(tuned.folder, SCRIPT, "score", "--model", "models:/sentiment@champion", "clever"))
    assert (code, out.split()[0]) == (0, "positive")


# ---- again


@pytest.fixture
def again(tuned: Tuned, bare: Path) -> Iterator[Path]:
    """A copy of the study's folder to work in, at the address that its runs name."""
    import mlflow

    kept = bare / "kept"
    shutil.copytree(tuned.folder, kept)
    mlflow.set_tracking_uri(f"sqlite:///{tuned.folder}/mlflow.db")
    yield tuned.folder
    for name in ("mlflow.db", "optuna.db"):
        shutil.copy(kept / name, tuned.folder / name)


def test_runs_that_a_dead_process_left_behind_are_ended(tuned: Tuned, again: Path) -> None:
    client, parent = MlflowClient(f"sqlite:///{tuned.folder}/mlflow.db"), tuned.parent.info

    def left(stage: str, worker: str, above: str = parent.run_id) -> str:
        """A run that its process had just begun when it was cut off; a trial does not know its run yet."""
        tags = {"mlflow.parentRunId": above, "stage": stage, "process": f"{socket.gethostname()}:{worker}"}
        return str(client.create_run(parent.experiment_id, tags=tags).info.run_id)

    alive, dead = psutil.Process(), f"{2**22 + 1}:1.00"
    repeats = left("repeats", dead)
    abandoned = [left("search", dead), repeats, left("confirm", dead, repeats)]
    other = left("confirm", f"{alive.pid}:{alive.create_time():.2f}")
    command = (*TUNING, "--trials", "7", "--top", "2", "--seeds", "2", "--pruner", "PercentilePruner")
    assert ask(*command).code == 0
    for run in map(client.get_run, abandoned):
        assert (run.info.status, "is gone" in run.data.tags["error"]) == ("KILLED", True)
    assert client.get_run(other).info.status == "RUNNING"


def test_the_same_command_goes_on_and_the_total_counts(tuned: Tuned, again: Path) -> None:
    same = (*TUNING, "--pruner", "PercentilePruner", "--top", "0")
    assert ask(*same, "--trials", "7").code == 0
    assert told(trials_of(again)) == told(tuned.trials)
    assert ask(*same, "--trials", "8").code == 0
    assert told(trials_of(again)[:7]) == told(tuned.trials)
    assert len(trials_of(again)) == 8
    studies = [run for run in runs(f"sqlite:///{again}/mlflow.db") if run.data.tags["stage"] == "study"]
    assert [(run.info.run_id, run.info.status) for run in studies] == [(tuned.parent.info.run_id, "FINISHED")]


def test_a_study_whose_owner_is_elsewhere_is_joined_and_taken_over_when_it_vanishes(again: Path) -> None:
    study = optuna.load_study(study_name="embedding-sample", storage=f"sqlite:///{again}/optuna.db")
    for silent, trials in ((0, "8"), (400, "9")):
        study.set_user_attr("owner", {"id": "elsewhere:1:0.00", "seen": time.time() - silent})
        code, out, _ = ask(*TUNING, "--trials", trials, "--top", "1", "--seeds", "1", "--pruner", "PercentilePruner")
        assert (code, len(finished_trials(study.get_trials()))) == (0, int(trials))
        assert ("another process owns this study" in out) == (silent == 0)
        assert ("look at the study" in out, "trained again" in out) == (True, silent > 0)
    assert study.user_attrs["owner"] is None


def test_whoever_joins_has_to_name_the_place_of_the_runs(again: Path) -> None:
    study = optuna.load_study(study_name="embedding-sample", storage=f"sqlite:///{again}/optuna.db")
    trials = study.get_trials()
    study.set_user_attr("owner", {"id": "elsewhere:1:0.00", "seen": time.time()})
    address = ("--tracking-uri", "sqlite:///other.db", "--storage", f"sqlite:///{again}/optuna.db")
    refusal = ask(*TUNING, *address, "--trials", "8", "--pruner", "PercentilePruner").refusal
    assert "are not at sqlite:///other.db: give the --tracking-uri" in refusal
    assert study.get_trials() == trials


def test_the_trial_of_a_machine_that_is_gone_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = optuna.create_study(storage=optuna_parts.open_storage(f"sqlite:///{tmp_path}/optuna.db"))
    lost = study.ask({"dropout": optuna.distributions.FloatDistribution(0, 1)})
    lost.set_user_attr("worker", "elsewhere:1:0.00")
    lost.set_user_attr("seen", time.time() - liveness.SILENCE + 60)
    liveness.reclaim_trials(study)
    assert [trial.state for trial in study.get_trials()] == [TrialState.RUNNING]
    lost.set_user_attr("seen", time.time() - liveness.SILENCE - 1)
    monkeypatch.setattr(liveness, "BEAT", 0)  # seconds in which the other machine might queue it again itself
    liveness.reclaim_trials(study)
    assert [trial.state for trial in study.get_trials()] == [TrialState.FAIL, TrialState.WAITING]
    assert finished_trials(study.get_trials()) == []
    assert study.get_trials()[1].params == lost.params


def test_a_trial_that_was_given_to_another_does_not_end_its_worker(here: Path) -> None:
    (here / "mynet.py").write_text(LATE)
    named = ("--study", "late", "--storage", "sqlite:///o.db", "--trials", "3", "--top", "0")
    code, _, err = ask("tune", "--model", "mynet:Late", *SMALL, *named)
    trials = optuna.load_study(study_name="late", storage="sqlite:///o.db").get_trials()
    assert (code, err.count("came too late")) == (0, 1)
    assert [trial.state for trial in trials if not finished_trials([trial])] == [TrialState.FAIL]
    assert len(finished_trials(trials)) == 3


def test_registering_again_changes_nothing(tuned: Tuned, again: Path) -> None:
    winner = tuned.parent.data.tags["winner"]
    before = MlflowClient().get_run(winner).info
    told = ask("register", "--run", winner)
    versions = MlflowClient().search_model_versions("name = 'sentiment-embedding'")
    assert (told.code, [int(held.version) for held in versions]) == (0, [1])
    assert MlflowClient().get_run(winner).info == before


def test_a_study_repeats_exactly_interrupted_or_not(tuned: Tuned, here: Path) -> None:
    same = (*TUNING, "--pruner", "PercentilePruner", "--top", "0")
    assert ask(*same, "--trials", "3").code == 0
    assert ask(*same, "--trials", "7").code == 0
    assert told(trials_of(here)) == told(tuned.trials)
    assert ask(*same, "--trials", "2", "--seed", "2", "--study", "another").code == 0
    assert told(trials_of(here, "another"))[1] != told(tuned.trials)[1]


def test_a_trial_that_fails_fails_alone(here: Path) -> None:
    (here / "mynet.py").write_text(MOODY)
    answer = ask("tune", "--model", "mynet:Moody", *SMALL, "--trials", "6", "--top", "0", "--study", "moody")
    trials, by_id = trials_of(here, "moody"), {run.info.run_id: run for run in runs(f"sqlite:///{here}/mlflow.db")}
    odd = [trial for trial in trials if trial.params["size"] % 2]
    assert (answer.code, answer.err, len(trials)) == (0, "", 6)
    assert 0 < len(odd) < 6
    for trial in trials:
        run = by_id[trial.user_attrs["run_id"]]
        assert (trial.state == TrialState.FAIL) == (trial in odd) == (run.info.status == "FAILED")
        if trial in odd:
            assert "odd sizes do not fit into memory" in trial.user_attrs["error"]
            assert "RuntimeError: odd sizes" in artifact(run, "traceback.txt").decode()
    assert answer.out.count("odd sizes do not fit into memory") == len(odd)


def test_a_joint_study_chooses_the_network_too(here: Path) -> None:
    command = ("tune", "--model", "embedding,feedforward", "--joint", *SMALL, "--trials", "4", "--top", "0")
    answer = ask(*command)
    trials = trials_of(here, "joint-embedding+feedforward-sample")
    by_id = {run.info.run_id: run for run in runs(f"sqlite:///{here}/mlflow.db")}
    assert (answer.code, answer.err, len(trials)) == (0, "", 4)
    assert [trial.params["model"] for trial in trials[:2]] == ["embedding", "feedforward"]
    for trial in trials:
        model = trial.params["model"]
        assert all(name == "model" or name.startswith(f"{model}.") for name in trial.params)
        params = by_id[trial.user_attrs["run_id"]].data.params
        assert params["model"] == model
        assert params["hidden"] == str(trial.params[f"{model}.hidden"])


def test_a_trial_whose_disk_was_full_is_tried_again(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials_module, "PAUSES", (0, 0))
    (here / "mynet.py").write_text(FULL.replace("STEPS", "9"))
    named = ("--study", "full", "--storage", "sqlite:///optuna.db", "--trials", "2", "--top", "0")
    answer = ask("tune", "--model", "mynet:Full", *SMALL, *named)
    trials = trials_of(here, "full")
    assert (answer.code, answer.err.count("No space left on device")) == (0, 1)
    assert [trial.state.name for trial in trials if not finished_trials([trial])] == ["FAIL"]
    (again,) = (trial for trial in trials if trial.system_attrs.get("retry_history"))
    assert (again.params, len(finished_trials(trials))) == (trials[again.system_attrs["retry_history"][0]].params, 2)
    (here / "mynet.py").write_text(FULL.replace("STEPS", "0"))
    sys.modules.pop("mynet")
    answer = ask("tune", "--model", "mynet:Full", *SMALL, *named[2:], "--study", "away")
    assert answer.code == 1
    assert "the same command goes on with the study" in answer.err.splitlines()[-1]
    assert running(here) == []


def test_it_stops_without_progress_and_at_its_time(here: Path) -> None:
    command = (*TUNING, "--trials", "50", "--top", "0")
    assert ask(*command, "--timeout", "1e-9", "--study", "short").code == 2  # and not one trial finished
    assert ask(*command, "--stale", "1", "--study", "stale").code == 0
    values = [trial.value or 0.0 for trial in trials_of(here, "stale")]
    assert 2 <= len(values) < 50
    assert values[-1] <= max(values[:-1])


# ---- signals and deaths


def assert_goes_on(folder: Path, trial: FrozenTrial) -> None:
    """A trial that was cut off has one run, which is as if it had not been, and leaves no checkpoint."""
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    run = client.get_run(trial.user_attrs["run_id"])
    assert (run.info.status, run.data.tags["trial"]) == ("FINISHED", str(trial.number))
    assert run.info.run_name.startswith(f"trial {trial.number}: ")
    assert "error" not in run.data.tags
    points = client.get_metric_history(run.info.run_id, "val_accuracy")
    assert [point.step for point in points] == sorted(trial.intermediate_values)
    assert max(point.value for point in points) == pytest.approx(trial.value)
    assert not any((folder / ".sentiment_tune" / "checkpoints").glob("*"))


def running(folder: Path) -> list[Any]:
    return [run for run in runs(f"sqlite:///{folder}/mlflow.db") if run.info.status == "RUNNING"]


def trials_if_any(folder: Path) -> list[FrozenTrial]:
    try:
        with warnings.catch_warnings(action="ignore"):
            return trials_of(folder)
    except Exception:  # the database is being made
        return []


@pytest.mark.slow
def test_what_a_study_trains_goes_on_in_its_run_where_it_was_cut_off(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*TUNING[:3], *SMALL[:6], "--epochs", "3", "--device", "cpu", "--trials", "1", "--top", "1", "--seeds", "1")
    assert ask(*words, "--study", "whole").code == 0
    whole = trials_of(here, "whole")[0]
    for name, times in (("tuning.trials._is_hopeless", 2), ("tracking.runs.log_epoch", 6)):
        with monkeypatch.context() as patch:
            patch.setattr(f"sentiment_tune.{name}", interrupting(f"sentiment_tune.{name}", times))
            assert ask(*words, "--study", "cut").code == 130
    answer = ask(*words, "--study", "cut")
    assert (answer.code, answer.err) == (0, "")
    assert "goes on after epoch" in answer.out
    first, retried = trials_of(here, "cut")
    assert (first.state, first.user_attrs["run_id"]) == (TrialState.FAIL, retried.user_attrs["run_id"])
    assert (retried.value, retried.intermediate_values) == (whole.value, whole.intermediate_values)
    assert_goes_on(here, retried)
    repeats = [run for run in runs(f"sqlite:///{here}/mlflow.db") if run.data.tags.get("stage") == "confirm"]
    one, other = (run.data.metrics["best_val_loss"] for run in repeats)
    assert one == other


def interrupting(name: str, times: int) -> Callable[..., Any]:
    """The function of that name, which Ctrl-C interrupts when it is called so often."""
    module, _, function = name.rpartition(".")
    original, left = getattr(sys.modules[module], function), iter(range(times - 1))

    def call(*given: Any) -> Any:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return original(*given)

    return call


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_study_that_is_killed_goes_on_with_the_trial_it_was_at(tmp_path: Path, number: int) -> None:
    words = "tune --model rnn --data sample --device cpu --top 0 --study embedding-sample --trials 2 --epochs 4"
    slow = (*words.split(), "--patience", "4", "--length", "100", "--embedding", "32")
    process = started(tmp_path, SCRIPT, *slow)
    wait_until(lambda: any(tmp_path.glob(".sentiment_tune/checkpoints/*/training/*.safetensors")))
    process.send_signal(number)
    answer = ended(process)
    if number == signal.SIGTERM:
        assert (answer.code, answer.err.strip()) == (143, "sentiment-tune: ended")
        assert running(tmp_path) == []
    again = ended(started(tmp_path, SCRIPT, *slow))
    assert again.code == 0, again
    trials = trials_of(tmp_path)
    states = [trial.state for trial in trials]
    assert (states[0], TrialState.RUNNING in states, len(finished_trials(trials))) == (TrialState.FAIL, False, 2)
    retried = next(trial for trial in trials if trial.system_attrs.get("retry_history"))
    assert retried.params == trials[0].params
    assert running(tmp_path) == []
    assert retried.user_attrs["run_id"] == trials[0].user_attrs["run_id"]
    assert_goes_on(tmp_path, retried)


@pytest.mark.slow
def test_two_workers_share_a_study_and_one_may_die(tmp_path: Path) -> None:
    command = (*TUNING, "--trials", "8", "--workers", "2", "--top", "2", "--seeds", "2", "--pruner", "NopPruner")
    process = started(tmp_path, SCRIPT, *command)
    owner = psutil.Process(process.pid)

    def workers() -> set[str]:
        return {trial.user_attrs["worker"] for trial in trials_if_any(tmp_path) if "worker" in trial.user_attrs}

    wait_until(lambda: len(workers()) == 2)
    victim = int(next(iter(workers())).split(":")[1])
    assert victim in [child.pid for child in owner.children(recursive=True)]
    os.kill(victim, signal.SIGKILL)
    answer = ended(process)
    assert answer.code == 0, answer
    trials = trials_of(tmp_path)
    assert len(finished_trials(trials)) == 8
    assert TrialState.RUNNING not in [trial.state for trial in trials]
    assert running(tmp_path) == []
    assert not psutil.pid_exists(victim)
    # A run of its own for each; only the trial that took over from the dead one may have gone on in its run.
    ids = [trial.user_attrs["run_id"] for trial in finished_trials(trials)]
    assert len(set(ids)) == len(ids) == 8
    again = [run.data.tags for run in runs(f"sqlite:///{tmp_path}/mlflow.db") if run.data.tags["stage"] == "confirm"]
    assert len(again) == len({(tags["trial"], tags["seed"]) for tags in again}) == 4
    assert answer.out.count(" again with seed ") == 4
    assert "sentiment-embedding version 1 is champion" in answer.out


# ---- what cannot be


@pytest.fixture
def closed() -> str:
    """A port of this machine at which nobody answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("--model rrn", ["'rrn'", "did you mean 'rnn'?"]),
        ("--model rnn,grru", ["'grru'", "did you mean 'gru'?"]),
        ("--sampler TPSampler", ["'TPSampler'", "did you mean 'TPESampler'?"]),
        ("--sampler BruteForceSampler", ["'BruteForceSampler'", "choose from"]),
        ("--sampler CmaEsSampler", ["'CmaEsSampler'", "'cmaes'", "not installed"]),
        ("--refit true", ["refit cannot be true in a study"]),
        ("--model linear --adversarial 0.1", ["adversarial cannot be 0.1 for linear"]),
        ("--threshold auto --metric roc_auc", ["threshold cannot be auto for metric roc_auc", "leave one out"]),
        ("--class-weights god=5", ["no class 'god'", "negative, positive"]),
        ("--search class_weights=balanced,god=5", ["no class 'god'"]),
        ("--pruner MedianPrunner", ["'MedianPrunner'", "did you mean 'MedianPruner'?"]),
        ("--storage nowhere", ["'nowhere'", "--storage"]),
        ("--storage postgresql://127.0.0.1:PORT/x", ["127.0.0.1:PORT", "refused", "--storage"]),
        ("--storage sqlite:///absent/folder/optuna.db", ["sqlite:///absent/folder/optuna.db", "--storage"]),
        ("--storage sqlite:///.", ["sqlite:///.", "is a folder", "--storage"]),
        ("--storage nosuch://x", ["nosuch://x", "--storage"]),
        ("--tracking-uri http://127.0.0.1:PORT", ["http://127.0.0.1:PORT", "--tracking-uri"]),
        ("--trials 0", ["trials cannot be 0"]),
        ("--workers 0", ["workers cannot be 0"]),
        ("--timeout 0", ["timeout cannot be 0"]),
        ("--timeout nan", ["timeout cannot be nan"]),
        ("--stale 0", ["stale cannot be 0"]),
        ("--top -1", ["top=-1"]),
        ("--seeds 0", ["seeds=0"]),
        ("--trials many", ["--trials", "'many'"]),
        ("--hidden 0", ["hidden", "'0'"]),
        ("--dropout 0.1 --embedding 8 --hidden 8 --learning-rate 0.1", ["nothing is left to search of embedding"]),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(
    words: str, complaint: list[str], bare: Path, closed: str
) -> None:
    chosen = words.replace("PORT", closed).split()
    refusal = ask("tune", "--model", "embedding", *SMALL, *chosen).refusal
    assert [part for part in complaint if part.replace("PORT", closed) not in refusal] == []
    assert list(bare.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"threshold": "auto"}, "threshold cannot be auto: it parts two classes, and the data have 5"),
        ({"search": {"threshold": ["0.5", "auto"]}}, "threshold cannot be auto: it parts two classes"),
        ({"class_weights": "1=2 foo=1"}, "no class 'foo'"),
        ({"folds": 30, "group": "film"}, "folds cannot be 30: '[1-5]' has .. groups that are not tested on"),
    ],
)
def test_what_the_data_let_no_trial_train_with_begins_no_study(
    options: dict[str, Any], complaint: str, bare: Path
) -> None:
    rows = [(f"word{row % 5} film{row % 7}", row % 5 + 1, row % 23) for row in range(400)]
    frame = pd.DataFrame(rows, columns=["text", "label", "film"])
    with pytest.raises(InputError, match=complaint):
        st.tune("embedding", frame, trials=1, progress=False, **options)
    assert list(bare.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--epochs", "3"), "begun with embedding.epochs: 2, and this is 3: begin another one with --study"),
        (("--hidden", "8"), "hidden"),
        (("--seed", "5"), "seed: 1, and this is 5"),
        (("--data", "own.csv"), "data digest"),
    ],
)
def test_a_study_of_something_else_is_refused_and_named(
    words: tuple[str, ...], complaint: str, tuned: Tuned, again: Path, bare: Path
) -> None:
    lines = [f"{'good fine' if row % 2 else 'bad dull'} w{row},{row % 2}" for row in range(200)]
    (bare / "own.csv").write_text("\n".join(["text,label", *lines]))
    refusal = ask(*TUNING, "--trials", "9", "--study", "embedding-sample", *words).refusal
    assert complaint in refusal
    assert told(trials_of(again)) == told(tuned.trials)
    assert len(runs(f"sqlite:///{again}/mlflow.db")) == 1 + len(tuned.children)


# ---- the registry and the leaderboard


def test_an_alias_has_to_be_earned_and_its_moves_are_kept(tuned: Tuned, again: Path) -> None:
    winner = tuned.parent.data.tags["winner"]
    (run,) = (run for run in tuned.children if run.info.run_id == winner)
    uri = f"models:/{run.outputs.model_outputs[0].model_id}"

    def add(accuracy: float, digest: str = "one") -> registry.Registration:
        finished = records.finished_run(records.read_run(winner))
        return registry.register_version(
            "mine", uri, replace(finished, best_val_accuracy=accuracy, data_digest=digest), str
        )

    entries = [add(0.80), add(0.79), add(0.80), add(0.81), add(0.99, "two")]
    assert [entry.alias for entry in entries] == ["champion", "challenger", "challenger", "champion", "challenger"]
    assert "0.7900 does not beat the 0.8000 of version 1" in entries[1].reason
    assert "0.8100 beats the 0.8000 of version 1" in entries[3].reason
    assert "other data" in entries[4].reason
    assert ask("register", "--promote", "mine@2").code == 0
    present = registry.champion("mine")
    assert present is not None
    assert (int(present.version), present.tags["reason"]) == (2, "promoted by hand")
    moved = [(move["alias"], move["from"], move["to"]) for move in registry.moves("mine")]
    assert moved == [
        ("champion", None, 1),
        ("challenger", None, 2),
        ("challenger", 2, 3),
        ("champion", 1, 4),
        ("challenger", 3, 5),
        ("champion", 4, 2),
    ]
    assert all(move["why"] and move["when"] for move in registry.moves("mine"))


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("", ["--run", "--promote"]),
        ("--run 0123", ["'0123'", "MLflow UI"]),
        ("--run TRIAL", ["has not been tested"]),
        ("--run PARENT", ["trained no network"]),
        ("--promote sentiment", ["NAME@VERSION"]),
        ("--promote sentiment@7", ["no version 7 of 'sentiment'", "versions 1"]),
        ("--promote nobody@1", ["'nobody'", "sentiment-embedding"]),
    ],
)
def test_what_cannot_be_registered_is_one_line(words: str, complaint: list[str], tuned: Tuned, again: Path) -> None:
    trial = next(run for run in tuned.of("search") if run.info.status == "FINISHED")
    named = words.replace("TRIAL", trial.info.run_id).replace("PARENT", tuned.parent.info.run_id)
    refusal = ask("register", *named.split()).refusal
    assert [part for part in complaint if part not in refusal] == []


def test_a_model_that_is_not_what_was_logged_is_not_registered(tuned: Tuned, again: Path) -> None:
    winner = tuned.parent.data.tags["winner"]
    (run,) = (run for run in tuned.children if run.info.run_id == winner)
    golden = Path(run.info.artifact_uri, "golden.json")
    kept = golden.read_text()
    held = json.loads(kept)
    try:
        golden.write_text(json.dumps(held | {"probabilities": [0.5 for _ in held["texts"]]}))
        assert "scores otherwise than when it was made" in ask("register", "--run", winner, "--name", "mine").refusal
    finally:
        golden.write_text(kept)
    assert registry.champion("mine") is None
    assert ask("register", "--run", winner, "--name", "mine").code == 0
    assert registry.champion("mine") is not None


def test_compare_ranks_what_was_tested_and_writes_it_down(tuned: Tuned, again: Path, bare: Path) -> None:
    assert ask("train", "--model", "feedforward", *SMALL, "--hidden", "8", "--quiet").code == 0
    code, out, err = ask("compare", "--csv", "board.csv", "--html", "board.html", "--sort", "test")
    rows = list(csv.DictReader(Path("board.csv").read_text().splitlines()))
    assert (code, err, len(rows)) == (0, "", 2)
    assert [part for part in ("embedding", "feedforward", "95 % interval") if part not in out] == []
    tests = [float(row["test_accuracy"]) for row in rows]
    assert tests == sorted(tests, reverse=True)
    by_network = {row["network"]: row for row in rows}
    assert by_network["embedding"]["champion_of"] == "sentiment sentiment-embedding"
    assert by_network["embedding"]["run_id"] == tuned.parent.data.tags["winner"]
    leader = max(rows, key=lambda row: float(row["val_accuracy"]))
    for row in rows:
        assert float(row["test_low"]) < float(row["test_accuracy"]) < float(row["test_high"])
        assert (row["verdict"] == "leads") == (row is leader) == (row["p_by_chance"] == "")
        assert min(float(row["reviews_per_second"]), float(row["model_megabytes"])) > 0
    page = Path("board.html").read_text()
    assert (page.count("<svg"), page.count("<tr"), page.count('src="http')) == (1, 3, 0)
    assert "no tested run on data 'ffff'" in ask("compare", "--data", "ffff").refusal
    assert "did you mean 'speed'?" in ask("compare", "--sort", "sped").refusal


def test_nothing_to_compare_is_one_line_and_makes_nothing(bare: Path) -> None:
    assert "train one first" in ask("compare").refusal
    assert "train one first" in ask("register", "--run", "x").refusal
    assert list(bare.iterdir()) == []


def test_the_best_so_far_is_known_up_to_the_first_trial_that_is_under_way() -> None:
    def trial(number: int, value: float | None, state: TrialState = TrialState.COMPLETE) -> Any:
        made = optuna.trial.create_trial(value=value, state=state)
        made.number = number
        return made

    trials = [
        trial(0, None, TrialState.PRUNED),
        trial(1, 0.7),
        trial(2, 0.6),
        trial(3, None, TrialState.RUNNING),
        trial(4, 0.8),
    ]
    assert report.best_so_far(trials, ended=False) == {1: 0.7, 2: 0.7}
    assert report.best_so_far(trials, ended=True) == {1: 0.7, 2: 0.7, 4: 0.8}
