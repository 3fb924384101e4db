"""What is of one film, product or author stays in one part, whatever is drawn."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiment_tune.data.load import DataConfig, load, load_frame
from sentiment_tune.data.splits import draw_test, draw_validation, parse_groups
from sentiment_tune.data.store import PARTS, TEST, TRAIN, VALIDATION
from sentiment_tune.data.tables import write_table
from sentiment_tune.errors import InputError


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 30)), min_size=60, max_size=200))
def test_no_group_stands_in_two_parts(rows: list[tuple[int, int]]) -> None:
    rows = [*rows, (0, 98), (1, 98), (0, 99), (1, 99), (0, 97), (1, 97)]
    labels, groups = (np.array(column) for column in zip(*rows, strict=True))
    part = draw_validation(draw_test(labels.astype(np.uint8), groups), labels.astype(np.uint8), groups)
    for group in np.unique(groups):
        assert len(np.unique(part[groups == group])) == 1
    assert {TRAIN, VALIDATION, TEST} == set(part.tolist())


def test_parts_of_many_groups_are_as_large_as_without_and_as_balanced() -> None:
    rng = np.random.default_rng(1)
    groups = rng.integers(0, 400, 4_000)
    labels = (rng.random(4_000) < 0.3 + 0.4 * (groups % 2)).astype(np.uint8)
    part = draw_validation(draw_test(labels, groups), labels, groups)
    shares = np.bincount(part, minlength=len(PARTS)) / len(part)
    assert shares[[TRAIN, VALIDATION, TEST]] == pytest.approx([0.72, 0.08, 0.2], abs=0.01)
    for one in PARTS:
        assert labels[part == one].mean() == pytest.approx(labels.mean(), abs=0.02)
    again = draw_validation(draw_test(labels, groups), labels, groups)
    assert (part == again).all()


def rows(groups: int) -> list[tuple[str, int, str]]:
    return [(f"word{row} film", row % 2, f"film {row % groups}") for row in range(240)]


def test_a_table_with_groups(tmp_path: Path) -> None:
    write_table(tmp_path / "a.csv", ["text", "label", "film"], rows(39))
    config = DataConfig(str(tmp_path / "a.csv"), group="film")
    corpus = load(config, tmp_path / "cache")
    drawn = load(DataConfig(str(tmp_path / "a.csv")), tmp_path / "cache")
    assert corpus.digest != drawn.digest

    def films(reviews: object) -> set[int]:
        return {int(corpus.vocabulary.decode(ids).split()[0][4:]) % 39 for ids in reviews}  # type: ignore[attr-defined]

    words = set(corpus.vocabulary.words)
    held_out = {row % 39 for row in range(240) if f"word{row}" not in words}
    assert films(corpus.train) & held_out == set()
    assert load(config, tmp_path / "cache").digest == corpus.digest


def test_parts_that_are_named_may_not_cut_a_group(tmp_path: Path) -> None:
    parted = [(*row, "test" if number % 5 == 0 else "train") for number, row in enumerate(rows(39))]
    write_table(tmp_path / "a.csv", ["text", "label", "film", "split"], parted)
    with pytest.raises(InputError, match=r"row \d+: 'film \d+' is in te?.* and in .*leave out"):
        load(DataConfig(str(tmp_path / "a.csv"), group="film"), tmp_path / "cache")
    whole = [(*row, "test" if int(row[2][5:]) < 8 else "train") for row in rows(39)]
    write_table(tmp_path / "b.csv", ["text", "label", "film", "split"], whole)
    assert len(load(DataConfig(str(tmp_path / "b.csv"), group="film"), tmp_path / "cache").test) == sum(
        row[3] == "test" for row in whole
    )


@pytest.mark.parametrize(
    ("groups", "group", "told"),
    [
        (
            1,
            "film",
            r"a\.csv: 1 group for train, validation and test, .* at least 3, or name .* with --test, or leave out",
        ),
        (2, "film", r"a\.csv: 2 groups for train, validation and test, .* at least 3"),
        (39, "author", "no column 'author'"),
    ],
)
def test_groups_that_do_not_do_are_refused(groups: int, group: str, told: str, tmp_path: Path) -> None:
    write_table(tmp_path / "a.csv", ["text", "label", "film"], rows(groups))
    with pytest.raises(InputError, match=told):
        load(DataConfig(str(tmp_path / "a.csv"), group=group), tmp_path / "cache")


def test_too_few_groups_to_validate_on_beside_a_file_to_test_on_are_refused(tmp_path: Path) -> None:
    write_table(tmp_path / "a.csv", ["text", "label", "film"], rows(1))
    write_table(tmp_path / "b.csv", ["text", "label", "film"], [(*row[:2], "another") for row in rows(1)])
    config = DataConfig(str(tmp_path / "a.csv"), group="film", test=str(tmp_path / "b.csv"))
    with pytest.raises(
        InputError, match=r"a\.csv: 1 group for train and validation, .*: give at least 2, or leave out"
    ):
        load(config, tmp_path / "cache")


def of_few_groups(label_of: dict[int, str], groups: int = 20, count: int = 400) -> pd.DataFrame:
    """Reviews of as many groups, those of some of them of a label of their own, the others of a and b in turn."""
    table = [
        (f"word{row} film", label_of.get(row % groups, "ab"[row // groups % 2]), row % groups) for row in range(count)
    ]
    return pd.DataFrame(table, columns=["text", "label", "film"])


@pytest.mark.parametrize(
    ("label_of", "groups"),
    [
        ({7: "c"}, 20),
        ({3: "c", 11: "c"}, 20),
        ({3: "c", 11: "c"}, 6),
        ({number: f"c{number}" for number in range(10)}, 20),  # whichever fifth is held out has the last of one
    ],
)
def test_a_label_of_few_groups_stays_in_train(label_of: dict[int, str], groups: int, tmp_path: Path) -> None:
    frame = of_few_groups(label_of, groups)
    corpus = load_frame(frame, DataConfig(group="film"), tmp_path)
    assert set(corpus.train.labels.tolist()) == set(range(len(corpus.classes)))
    assert min(len(corpus.validation), len(corpus.test)) >= 20
    assert len(corpus.train) >= 200


@pytest.mark.parametrize("groups", [3, 4, 7, 20])
def test_a_label_of_three_groups_stands_in_each_part_of_two_classes(groups: int, tmp_path: Path) -> None:
    frame = of_few_groups({}, groups)
    frame["label"] = ["a" if film >= 3 else "ab"[row // groups % 2] for row, film in enumerate(frame["film"])]
    corpus = load_frame(frame, DataConfig(group="film"), tmp_path)
    assert all(set(part.labels.tolist()) == {0, 1} for part in (corpus.train, corpus.validation, corpus.test))


@pytest.mark.parametrize(
    ("label_of", "groups", "told"),
    [
        ({0: "a", 1: "b", 2: "c"}, 3, "to train on: correct it, give more, or leave out --group"),
        (
            {0: "a", 1: "a", 2: "a", 3: "b"},
            4,
            "each part needs both: no group is cut; leave out --group, or give another",
        ),
    ],
)
def test_labels_of_too_few_groups_are_refused_by_the_name_of_the_reason(
    label_of: dict[int, str], groups: int, told: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=told):
        load_frame(of_few_groups(label_of, groups), DataConfig(group="film"), tmp_path)


def missing(kind: str) -> object:
    return {"none": None, "nan": float("nan"), "empty": "", "blanks": "  ", "pandas": pd.NA, "no time": pd.NaT}[kind]


@pytest.mark.parametrize("kind", ["none", "nan", "empty", "blanks", "pandas", "no time"])
def test_a_row_without_a_value_is_a_group_of_its_own(kind: str) -> None:
    cells = ["a", missing(kind), "b", missing(kind), "a", "None", "nan", 1, "1", [1], np.ones(2)]
    assert parse_groups(cells).tolist() == [0, 1, 2, 3, 0, 4, 5, 6, 6, 7, 8]


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.jsonl", "frame"])
def test_rows_without_a_value_are_counted_and_stand_in_all_parts(name: str, tmp_path: Path) -> None:
    table = [(text, label, None if number < 100 else film) for number, (text, label, film) in enumerate(rows(39))]
    config = DataConfig(str(tmp_path / name), group="film")
    if name == "frame":
        corpus = load_frame(pd.DataFrame(table, columns=["text", "label", "film"]), config, tmp_path / "cache")
    else:
        write_table(tmp_path / name, ["text", "label", "film"], table)
        corpus = load(config, tmp_path / "cache")
    assert corpus.remarks == ["film: 100 of 240 rows have no value, each is a group of its own"]
    groups = np.concatenate([corpus.train.groups, corpus.validation.groups])
    assert len(np.unique(groups)) > 39
    assert [len(corpus.test), len(corpus.validation)] == pytest.approx([48, 19], abs=4)


def test_parts_that_are_named_may_cut_what_has_no_value(tmp_path: Path) -> None:
    parted = [
        (text, label, "", "test" if number % 5 == 0 else "train") for number, (text, label, _) in enumerate(rows(39))
    ]
    write_table(tmp_path / "a.csv", ["text", "label", "film", "split"], parted)
    assert len(load(DataConfig(str(tmp_path / "a.csv"), group="film"), tmp_path / "cache").test) == 48
