"""Trainings that differ in their seed alone are one line in MLflow, with their mean and spread, and they below it."""

import re
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
from mlflow import MlflowClient

import sentiment_tune as st
from sentiment_tune.repeats import summarize
from sentiment_tune.tracking import runs as tracking
from support import alone_in, ask, runs

SMALL: dict[str, Any] = {"vocabulary": 300, "length": 60, "epochs": 2, "device": "cpu", "seed": 4}
WORDS: tuple[str, ...] = ("train", "--model", "embedding", "--data", "sample")
WORDS += tuple(word for name, value in SMALL.items() for word in (f"--{name}", str(value)))


class Repeated:
    """Repeats in MLflow: the run above, and those below it by seed."""

    def __init__(self, folder: Path):
        every = runs(f"sqlite:///{folder}/mlflow.db")
        (self.above,) = (run for run in every if run.data.tags.get("stage") == "repeats")
        mine = [run for run in every if run.data.tags.get("mlflow.parentRunId") == self.above.info.run_id]
        self.below = {int(run.data.tags["seed"]): run for run in mine}
        assert len(mine) == len(self.below) == len(every) - 1

    def by_seed(self, name: str) -> dict[int, float]:
        return {seed: run.data.metrics[name] for seed, run in self.below.items()}

    def figures(self, name: str) -> list[float]:
        return [value for _, value in sorted(self.by_seed(name).items())]


@pytest.fixture(scope="module")
def repeated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, st.TrainedRun, Repeated]:
    folder = tmp_path_factory.mktemp("repeated")
    with alone_in(folder) as uri:
        trained = st.train("embedding", "sample", **SMALL, seeds=3, tracking_uri=uri, progress=False)
    return folder, trained, Repeated(folder)


@pytest.fixture
def inside(
    repeated: tuple[Path, st.TrainedRun, Repeated], monkeypatch: pytest.MonkeyPatch
) -> tuple[str, st.TrainedRun, Repeated]:
    """The same, worked on in its folder: the address of MLflow in place of that."""
    folder, trained, found = repeated
    monkeypatch.chdir(folder)
    return f"sqlite:///{folder}/mlflow.db", trained, found


def test_each_seed_is_a_run_of_its_own_and_the_run_above_sums_them_up(
    repeated: tuple[Path, st.TrainedRun, Repeated],
) -> None:
    _, _, found = repeated
    assert found.below.keys() == {4, 5, 6}
    assert {run.info.status for run in (found.above, *found.below.values())} == {"FINISHED"}
    for name in ("best_val_accuracy", "best_val_loss", "best_epoch", "train_seconds", "test_accuracy", "test_f1"):
        values, metrics = found.figures(name), found.above.data.metrics
        summary = [metrics[f"{part}_{name}"] for part in ("mean", "sd", "min", "max")]
        assert summary == pytest.approx([fmean(values), stdev(values), min(values), max(values)])
    assert (found.above.data.metrics["repeats"], found.above.data.params["hidden"]) == (3, "100")
    names = [run.info.run_name for run in found.below.values()]
    assert all(re.fullmatch("seed [456]: embedding, vocabulary 300, .*", name) for name in names)
    note = found.above.data.tags["mlflow.note.content"]
    assert f"Test accuracy **{fmean(found.figures('test_accuracy')):.4f}** ± " in note
    assert "--seeds 3" in note
    assert f"/runs/{found.above.data.tags['best_run']}?" in note


def test_a_repeat_is_the_training_with_its_seed(repeated: tuple[Path, st.TrainedRun, Repeated], here: Path) -> None:
    _, _, found = repeated
    alone = st.train("embedding", "sample", **{**SMALL, "seed": 5}, progress=False)
    below = found.below[5].data.metrics
    for name in ("best_val_loss", "test_log_loss", "best_epoch"):
        assert alone.metrics[name] == below[name]


def test_what_is_returned_is_the_best_with_the_figures_of_all(
    repeated: tuple[Path, st.TrainedRun, Repeated],
) -> None:
    _, trained, found = repeated
    assert trained.repeats_run_id == found.above.info.run_id
    assert trained.repeats is not None
    assert trained.repeats["seed"].tolist() == [4, 5, 6]
    assert trained.repeats["run_id"].tolist() == [found.below[seed].info.run_id for seed in (4, 5, 6)]
    assert trained.metrics["best_val_accuracy"] == max(found.figures("best_val_accuracy"))
    assert trained.run_id == found.above.data.tags["best_run"]
    assert trained.settings["seed"] == int(found.below[trained.settings["seed"]].data.params["seed"])
    assert len(trained.model.predict(["the film"])) == 1


def test_the_leaderboard_ranks_by_the_mean_and_shows_the_spread(
    inside: tuple[str, st.TrainedRun, Repeated],
) -> None:
    uri, trained, found = inside
    (row,) = st.leaderboard(tracking_uri=uri).to_dict("records")
    values = found.figures("best_val_accuracy")
    assert (row["val_accuracy"], row["val_spread"], row["seeds"]) == pytest.approx((fmean(values), stdev(values), 3))
    assert (row["run_id"], row["test_accuracy"]) == (trained.run_id, trained.metrics["test_accuracy"])
    tested = found.figures("test_accuracy")
    assert (row["mean_test_accuracy"], row["test_spread"]) == pytest.approx((fmean(tested), stdev(tested)))
    shown = ask("compare", "--tracking-uri", uri, "--html", "page.html").out
    for figures in (values, tested):
        assert f"{fmean(figures):.4f} ± {stdev(figures):.4f}" in shown
        assert f"{fmean(figures):.4f} ± {stdev(figures):.4f}" in Path("page.html").read_text()
    assert "interval and comparison with the leader are those of the best" in shown


def test_the_best_of_repeats_leads_whether_all_are_shown_or_not(inside: tuple[str, st.TrainedRun, Repeated]) -> None:
    """All of them have the same mean."""
    uri, trained, found = inside
    boards = [st.leaderboard(tracking_uri=uri, every=every) for every in (False, True)]
    assert [len(board) for board in boards] == [1, len(found.below)]
    for board in boards:
        assert board.loc[board["verdict"] == "leads", "run_id"].tolist() == [trained.run_id]
    assert f"register --run {trained.run_id}" in ask("compare", "--tracking-uri", uri, "--every").out


@pytest.mark.slow
def test_of_equal_runs_the_first_leads_whether_all_are_shown_or_not(here: Path) -> None:
    first, *_ = [st.train("linear", "sample", **{**SMALL, "epochs": 1}, progress=False).run_id for _ in range(2)]
    for every in (False, True):
        board = st.leaderboard(every=every)
        assert board.loc[board["verdict"] == "leads", "run_id"].tolist() == [first]


def test_a_lucky_seed_does_not_lead_over_a_better_mean(
    inside: tuple[str, st.TrainedRun, Repeated],
) -> None:
    uri, trained, found = inside
    between = (trained.metrics["best_val_accuracy"] + fmean(found.figures("best_val_accuracy"))) / 2
    client = MlflowClient(uri)
    one = st.train("linear", "sample", tracking_uri=uri, progress=False, epochs=1, vocabulary=300)
    client.log_metric(one.run_id, "best_val_accuracy", between, step=1)
    ranked = st.leaderboard(tracking_uri=uri)
    assert ranked["network"].tolist() == ["linear", "embedding"]
    client.delete_run(one.run_id)


def test_repeats_show_by_what_they_were_judged_and_begin_anew_with_the_first_seed(here: Path) -> None:
    sizes = ("--vocabulary", "300", "--length", "60", "--epochs", "1", "--hidden", "8", "--embedding", "8")
    out = ask("train", "--model", "embedding", "--data", "sample", *sizes, "--metric", "log_loss", "--seeds", "2").out
    head, *rows = [line.split() for line in out.splitlines() if re.match(r" *(seed|[12]|mean) .* ", line)][-4:]
    assert " ".join(head) == "seed validation test log loss, validation log loss, test run"
    assert all(0.5 < float(row[3]) < 0.8 for row in rows[:2])
    (another,) = [line for line in out.splitlines() if line.startswith("train another")]
    assert another.endswith("--seeds 2")
    assert "--seed " not in another


def test_registering_repeats_registers_the_best_of_them(
    inside: tuple[str, st.TrainedRun, Repeated],
) -> None:
    uri, trained, found = inside
    first, *_ = st.register(found.above.info.run_id[:8], tracking_uri=uri)
    version = MlflowClient(uri).get_model_version(first.name, str(first.version))
    assert version.run_id == trained.run_id


def cut(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Ctrl-C after so many epochs of all trainings."""
    log_epoch, left = tracking.log_epoch, iter(range(after - 1))

    def log_and_cut(epoch: Any) -> None:
        log_epoch(epoch)
        if next(left, None) is None:
            raise KeyboardInterrupt

    monkeypatch.setattr(tracking, "log_epoch", log_and_cut)


@pytest.mark.parametrize("which", ["last", *(pytest.param(one, marks=pytest.mark.slow) for one in ("above", "below"))])
def test_repeats_that_were_cut_off_go_on_where_they_were(
    which: str, repeated: tuple[Path, st.TrainedRun, Repeated], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        cut(patch, 3)  # in the second training
        answer = ask(*WORDS, "--seeds", "3")
    before = Repeated(here)
    assert (answer.code, before.above.info.status) == (130, "KILLED")
    assert {seed: run.info.status for seed, run in before.below.items()} == {4: "FINISHED", 5: "KILLED"}
    run = {"last": "last", "above": before.above.info.run_id, "below": before.below[5].info.run_id}[which]
    answer = ask("train", "--resume", run)
    assert answer.code == 0, answer
    assert "goes on after epoch" in answer.out
    after = Repeated(here)
    _, _, whole = repeated
    for seed in (4, 5):
        assert after.below[seed].info.run_id == before.below[seed].info.run_id
    for name in ("best_val_loss", "test_log_loss"):
        assert after.by_seed(name) == whole.by_seed(name)
        assert after.above.data.metrics[f"sd_{name}"] == whole.above.data.metrics[f"sd_{name}"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--seeds", "0"), "seeds cannot be 0: give from 1 to 1000"),
        (("--seeds", "1001"), "seeds cannot be 1001: give from 1 to 1000"),
    ],
)
def test_a_number_of_seeds_that_is_none_is_refused(words: tuple[str, ...], complaint: str, bare: Path) -> None:
    assert complaint in ask(*WORDS, *words).refusal
    assert list(bare.iterdir()) == []


def test_repeats_go_on_with_as_many_seeds_as_they_were_begun_with(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        cut(patch, 1)
        assert ask(*WORDS, "--seeds", "3").code == 130
    assert "seeds is 3 in run" in ask("train", "--resume", "last", "--seeds", "4").refusal


def test_only_what_all_have_logged_once_is_summed_up() -> None:
    figures = [{"test_f1": 0.5, "train_loss": 1.0, "best_epoch": 2}, {"test_f1": 0.7, "train_loss": 3.0}]
    assert summarize(figures) == pytest.approx(
        {"mean_test_f1": 0.6, "sd_test_f1": stdev([0.5, 0.7]), "min_test_f1": 0.5, "max_test_f1": 0.7}
    )
    assert summarize([{"best_epoch": 2}])["sd_best_epoch"] == 0
