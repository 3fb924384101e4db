"""Folds: every review that is not tested on validates once, each fold a training, all of them one line in MLflow."""

import io
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.trial import FrozenTrial, TrialState

import sentiment_tune as st
from sentiment_tune.data.folds import cut_folds
from sentiment_tune.data.load import DataConfig, load, load_frame, load_texts
from sentiment_tune.errors import InputError
from sentiment_tune.tracking import runs as tracking
from support import alone_in, artifact, ask, runs

SMALL: dict[str, Any] = {"vocabulary": 300, "length": 60, "epochs": 2, "device": "cpu", "seed": 4}
OPTIONS: tuple[str, ...] = ("--model", "embedding", "--data", "sample")
OPTIONS += tuple(word for name, value in SMALL.items() for word in (f"--{name}", str(value)))


def frame(films: int = 13) -> pd.DataFrame:
    rows = [
        (f"word{row} film{row % films} {'fine' if row % 2 else 'dull'}", row % 2, row % films) for row in range(240)
    ]
    return pd.DataFrame(rows, columns=["text", "label", "film"])


# ---- the cut


def test_every_review_that_is_not_tested_on_validates_once() -> None:
    corpus = load(DataConfig("sample"))
    folds = cut_folds(corpus, 5)
    rows = np.concatenate([part.validation.rows for part in folds.parts])
    pool = np.sort(np.concatenate([corpus.train.rows, corpus.validation.rows]))
    assert np.array_equal(np.sort(rows), pool)
    for part in folds.parts:
        assert np.array_equal(np.sort(np.concatenate([part.train.rows, part.validation.rows])), pool)
        assert (len(part.validation), part.test) == (len(pool) // 5, corpus.test)
        assert part.validation.labels.mean() == pytest.approx(corpus.train.labels.mean(), abs=0.005)
        review = corpus.train[0].tolist()
        found = np.flatnonzero(part.train.rows == corpus.train.rows[0])
        assert [part.train[int(row)].tolist() for row in found] in ([], [review])
    digests = [corpus.digest, folds.whole.digest, *(part.digest for part in folds.parts)]
    parts = [reviews.digest for part in folds.parts for reviews in (part.train, part.validation)]
    assert (len(set(digests)), len(set(parts))) == (7, 10)
    assert [part.digest for part in cut_folds(corpus, 5).parts] == digests[2:]
    assert cut_folds(corpus, 4).whole.digest != folds.whole.digest


def test_what_is_of_one_group_stands_in_one_fold() -> None:
    parts = cut_folds(load_frame(frame(), DataConfig(group="film")), 4).parts
    held = [set(part.validation.groups.tolist()) for part in parts]
    assert sum(map(len, held)) == len(set.union(*held))
    for part, films in zip(parts, held, strict=True):
        assert films & set(part.train.groups.tolist()) == set()
    ungrouped = cut_folds(load_frame(frame()), 4).parts
    assert len(ungrouped[0].validation.groups) == 0


@pytest.mark.parametrize("test", [False, True])
def test_rows_are_those_of_the_source_where_some_of_them_are_left_out(test: bool, tmp_path: Path) -> None:
    """Whether their label is none that is read or the test has them too, out of a file, a frame and its store."""
    words = np.random.default_rng(2).integers(0, 40, (300, 9)).tolist()
    stars = [(" ".join(f"word{number}" for number in held), row % 5 + 1) for row, held in enumerate(words)]
    stars[7] = (stars[1][0], stars[1][1])
    table = pd.DataFrame(stars, columns=["text", "label"])
    table.to_csv(tmp_path / "a.csv", index=False)
    pd.DataFrame([*stars[5:60:2], stars[1]], columns=["text", "label"]).to_csv(tmp_path / "b.csv", index=False)
    more: dict[str, Any] = {
        "labels": "stars",
        "deduplicate": True,
        **({"test": str(tmp_path / "b.csv")} if test else {}),
    }
    config = DataConfig(str(tmp_path / "a.csv"), **more)
    read = [load(config, tmp_path / "cache"), load(config, tmp_path / "cache"), load_frame(table, config, tmp_path)]
    if not test:
        read.append(load_texts(table["text"], table["label"], tmp_path, DataConfig(labels="stars", deduplicate=True)))
    for corpus in read:
        pool = corpus.train.union(corpus.validation)
        assert 150 < len(pool) < 240
        assert (table["label"][pool.rows] > 3).tolist() == pool.labels.tolist()
        assert table["text"][pool.rows].tolist() == [corpus.vocabulary.decode(pool[row]) for row in range(len(pool))]


def test_equal_reviews_of_other_rows_keep_their_rows(tmp_path: Path) -> None:
    """Both frames have the same reviews once a row is left out."""
    config = DataConfig(labels="0=negative 1=positive")
    kept = frame()
    corpora = [
        load_frame(table, config, tmp_path)
        for table in (kept, pd.concat([pd.DataFrame([["none", 7, 0]], columns=kept.columns), kept]))
    ]
    assert corpora[0].digest == corpora[1].digest
    assert (corpora[1].train.rows - corpora[0].train.rows == 1).all()


@pytest.mark.parametrize(
    ("films", "folds", "told"),
    [
        (13, 1, "folds cannot be 1: give from 2 to 100"),
        (13, 101, "folds cannot be 101: give from 2 to 100"),
        (5, 5, r"folds cannot be 5: '\w+' has . groups that are not tested on: give at most ., or leave out --group"),
        (None, 99, r"folds cannot be 99: '\w+' has .. reviews that are not tested on: give at most .., or more such"),
        (0, 2, "folds cannot be 2: 'mixed' has 1 group that is not tested on: leave out --folds, or leave out --group"),
    ],
)
def test_folds_that_cannot_be_are_refused(films: int | None, folds: int, told: str) -> None:
    table = frame(films or 13)
    if films == 0:
        table["label"] = [
            ("dull", "fine", "mixed")[label if film != 3 else 2] for label, film in table.to_numpy()[:, 1:]
        ]
    corpus = load_frame(table, DataConfig(group="film" if films is not None else None))
    with pytest.raises(InputError, match=told):
        cut_folds(corpus, folds)


# ---- a training


class Folded:
    """Folds in MLflow: the run above, and those below it by fold."""

    def __init__(self, folder: Path):
        every = runs(f"sqlite:///{folder}/mlflow.db")
        (self.above,) = (run for run in every if run.data.tags.get("stage") == "repeats")
        mine = [run for run in every if run.data.tags.get("mlflow.parentRunId") == self.above.info.run_id]
        self.below = {int(run.data.tags["fold"]): run for run in mine}
        assert len(mine) == len(self.below) == len(every) - 1

    def figures(self, name: str) -> list[float]:
        return [run.data.metrics[name] for _, run in sorted(self.below.items())]

    @property
    def table(self) -> pd.DataFrame:
        return pd.read_csv(io.BytesIO(artifact(self.above, "out_of_fold.csv")))


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, st.TrainedRun, Folded]:
    folder = tmp_path_factory.mktemp("folded")
    with alone_in(folder) as uri:
        trained = st.train("embedding", "sample", **SMALL, folds=3, tracking_uri=uri, progress=False)
    return folder, trained, Folded(folder)


def test_each_fold_is_a_run_and_the_run_above_sums_them_up(folded: tuple[Path, st.TrainedRun, Folded]) -> None:
    _, trained, found = folded
    assert found.below.keys() == {1, 2, 3}
    assert {run.info.status for run in (found.above, *found.below.values())} == {"FINISHED"}
    for name in ("best_val_accuracy", "best_val_loss", "test_accuracy"):
        values, metrics = found.figures(name), found.above.data.metrics
        summary = [metrics[f"{part}_{name}"] for part in ("mean", "sd", "min", "max")]
        assert summary == pytest.approx([fmean(values), stdev(values), min(values), max(values)])
    assert (found.above.data.metrics["folds"], found.above.data.tags["folds"]) == (3, "3")
    assert "--folds 3" in found.above.data.tags["mlflow.note.content"]
    assert len({run.data.tags["data_digest"] for run in (found.above, *found.below.values())}) == 4
    assert trained.repeats is not None
    assert trained.repeats["fold"].tolist() == [1, 2, 3]
    assert trained.run_id == found.above.data.tags["best_run"]


def test_out_of_fold_answers_are_those_of_networks_that_have_not_seen_the_review(
    folded: tuple[Path, st.TrainedRun, Folded],
) -> None:
    _, trained, found = folded
    table, corpus = found.table, load(DataConfig("sample"))
    assert table.columns.tolist() == ["row", "fold", "label", "probability"]
    pool = corpus.train.union(corpus.validation)
    assert table["row"].tolist() == pool.rows.tolist()
    assert table["label"].tolist() == pool.labels.tolist()
    assert trained.out_of_fold is not None
    pd.testing.assert_frame_equal(table, trained.out_of_fold, check_dtype=False)
    right = (table["probability"] > 0.5) == table["label"]
    assert right.groupby(table["fold"]).mean().tolist() == pytest.approx(found.figures("best_val_accuracy"))


def test_the_leaderboard_ranks_folds_by_their_mean_as_one_row(folded: tuple[Path, st.TrainedRun, Folded]) -> None:
    folder, trained, found = folded
    (row,) = st.leaderboard(tracking_uri=f"sqlite:///{folder}/mlflow.db").to_dict("records")
    values = found.figures("best_val_accuracy")
    assert (row["val_accuracy"], row["val_spread"]) == pytest.approx((fmean(values), stdev(values)))
    assert (row["folds"], row["seeds"], row["run_id"]) == (3, 1, trained.run_id)
    assert row["data_digest"] == found.above.data.tags["data_digest"]
    assert " 3 folds " in ask("compare", "--tracking-uri", f"sqlite:///{folder}/mlflow.db").out


@pytest.mark.slow
def test_folds_that_were_cut_off_go_on_with_those_that_are_missing(
    folded: tuple[Path, st.TrainedRun, Folded], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_epoch, left = tracking.log_epoch, iter(range(2))

    def log_and_cut(epoch: Any) -> None:
        log_epoch(epoch)
        if next(left, None) is None:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tracking, "log_epoch", log_and_cut)
        assert ask("train", *OPTIONS, "--folds", "3").code == 130
    before = Folded(here)
    assert {fold: run.info.status for fold, run in before.below.items()} == {1: "FINISHED", 2: "KILLED"}
    assert "folds is 3 in run" in ask("train", "--resume", "last", "--folds", "4").refusal
    answer = ask("train", "--resume", "last")
    assert answer.code == 0, answer
    assert "the best, validated by fold" in answer.out
    after, (_, _, whole) = Folded(here), folded
    for fold in (1, 2):
        assert after.below[fold].info.run_id == before.below[fold].info.run_id
    assert after.figures("best_val_loss") == whole.figures("best_val_loss")
    pd.testing.assert_frame_equal(after.table, whole.table)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--folds", "1"), "folds cannot be 1: give from 2 to 100"),
        (("--folds", "3", "--seeds", "2"), "seeds=2 and folds=3 are two ways to repeat a training: leave one out"),
        (("--folds", "3", "--refit", "true"), "refit=true trains on what a fold is to validate"),
    ],
)
def test_folds_that_no_training_can_have_are_refused(words: tuple[str, ...], told: str, bare: Path) -> None:
    assert told in ask("train", *OPTIONS, *words).refusal
    assert list(bare.iterdir()) == []


# ---- a study


def trials_of(folder: Path) -> list[FrozenTrial]:
    return optuna.load_study(study_name="small", storage=f"sqlite:///{folder}/optuna.db").get_trials(deepcopy=False)


@pytest.mark.slow
def test_a_trial_of_a_study_with_folds_is_worth_their_mean(here: Path) -> None:
    tuning = ("tune", *OPTIONS, "--trials", "2", "--top", "0", "--study", "small")
    answer = ask(*tuning, "--folds", "2", "--pruner", "NopPruner")
    assert answer.code == 0, answer
    trained = [run for run in runs(f"sqlite:///{here}/mlflow.db") if run.data.tags["stage"] == "search"]
    by_number = {int(run.data.tags["trial"]): run for run in trained}
    for trial in trials_of(here):
        metrics, reported = by_number[trial.number].data.metrics, trial.intermediate_values
        assert trial.state == TrialState.COMPLETE
        assert (sorted(reported), metrics["folds"]) == ([1, 2], 2)
        assert trial.value == reported[2] == pytest.approx((reported[1] + metrics["fold_val_accuracy"]) / 2)
        assert metrics["best_val_accuracy"] == trial.value
    alone = st.train("embedding", "sample", **SMALL, folds=2, progress=False).repeats
    assert alone is not None
    assert trials_of(here)[0].value == pytest.approx(alone["best_val_accuracy"].mean())
    assert "was begun with folds: 2" in ask(*tuning, "--folds", "3").refusal


@pytest.mark.slow
def test_a_hopeless_trial_is_pruned_between_two_folds(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentiment_tune.tuning.trials._is_hopeless", lambda trial, mean, fold: trial.number == 1)
    answer = ask("tune", *OPTIONS, "--trials", "2", "--top", "0", "--folds", "3")
    assert answer.code == 0, answer
    trained = {run.data.tags["trial"]: run for run in runs(f"sqlite:///{here}/mlflow.db") if "trial" in run.data.tags}
    assert {number: run.info.status for number, run in trained.items()} == {"0": "FINISHED", "1": "KILLED"}
    assert (trained["1"].data.tags["pruned_at_fold"], trained["0"].data.metrics["folds"]) == ("1", 3)
