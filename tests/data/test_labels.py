"""Labels: how they are spelled, which classes they name, and when a review is of one."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, softmax

from sentiment_tune.data.labels import (
    SENTIMENT,
    Classes,
    LabelMap,
    LabelReader,
    both_columns,
    classify,
    name_of_code,
    parse_labels,
    probabilities_of,
)
from sentiment_tune.data.load import DataConfig, encode_training_texts, load, load_texts
from sentiment_tune.data.tables import write_table
from sentiment_tune.errors import InputError
from sentiment_tune.training.balance import class_weights

NOTHING = ["NULL", "nan", "N/A", "#N/A", "\\N", "NA", "None", "?"]
STARS = Classes(("1", "2", "3", "4", "5"), ordered=True)


def test_a_review_is_of_the_second_of_two_classes_above_the_threshold() -> None:
    assert classify(np.array([0.0, 0.5, 0.5000001, 1.0])).tolist() == [0, 0, 1, 1]
    assert classify(np.array([0.3, 0.30001]), 0.3).tolist() == [0, 1]
    assert classify(np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])).tolist() == [1, 0]


def test_probabilities_of_any_number_of_classes_add_up() -> None:
    two, many = probabilities_of(np.array([-3.0, 0.0, 900.0])), probabilities_of(np.array([[1e3, 0, -5.0]]))
    assert two.tolist() == pytest.approx([1 / (1 + np.e**3), 0.5, 1])
    assert [both_columns(one).sum(1).tolist() for one in (two, many)] == [[1, 1, 1], [1]]


def test_probabilities_are_those_of_scipy_at_any_logit() -> None:
    logits = np.concatenate([np.random.default_rng(1).normal(0, 30, 1000), [0.0, 800.0, -700.0, -1e9, np.inf, -np.inf]])
    np.testing.assert_allclose(probabilities_of(logits), expit(logits), rtol=1e-12, atol=1e-320)
    of_five = logits[:1000].reshape(200, 5)
    np.testing.assert_allclose(probabilities_of(of_five), softmax(of_five, axis=1), rtol=1e-12, atol=1e-320)
    assert np.isnan(probabilities_of(np.array([np.nan]))).all()


def test_labels_of_every_kind_of_number_are_understood() -> None:
    ones = [
        1,
        1.0,
        True,
        np.int64(1),
        np.float32(1),
        np.bool_(True),
        Decimal(1),
        "1",
        "1.0",
        "Positive",
        " pos ",
        "TRUE",
    ]
    numbers, classes = parse_labels([*ones, 0, np.bool_(False), "neg"], "frame")
    assert numbers.tolist() == [1] * len(ones) + [0, 0, 0]
    assert classes == SENTIMENT


@pytest.mark.parametrize(
    ("cells", "numbers", "classes"),
    [
        (["-1", 1, -1.0], [0, 1, 0], SENTIMENT),
        ([5, "1", 2.0, 4, 3, 1], [4, 0, 1, 3, 2, 0], STARS),
        ([10, 9, 2], [2, 1, 0], Classes(("2", "9", "10"), ordered=True)),
        ([1, 2], [0, 1], Classes(("1", "2"), ordered=True)),
        ([0.5, 4.5, "1"], [0, 2, 1], Classes(("0.5", "1", "4.5"), ordered=True)),
        (["ham", "Spam", "spam "], [0, 1, 1], Classes(("ham", "Spam"))),
        (["caf\xe9", "cafe\u0301", "th\xe9"], [0, 0, 1], Classes(("caf\xe9", "th\xe9"))),
        (["\uff11", "2", "1"], [0, 1, 0], Classes(("1", "2"), ordered=True)),
        (["positive", "neutral", "negative"], [2, 1, 0], Classes(("negative", "neutral", "positive"))),
        ([0, 1, "unsure"], [0, 1, 2], Classes(("0", "1", "unsure"))),
        (["+1", "-1", "01"], [1, 0, 1], SENTIMENT),
    ],
)
def test_classes_are_what_the_labels_name(cells: list[object], numbers: list[int], classes: Classes) -> None:
    found, named = parse_labels(cells, "frame")
    assert (found.tolist(), named) == (numbers, classes)
    back, named_back = parse_labels(cells[::-1], "frame")
    assert (back[::-1].tolist(), named_back) == (numbers, classes)


@pytest.mark.parametrize("cell", [pd.NA, pd.NaT, np.nan, np.float32("nan"), None, "", "  "])
def test_a_missing_label_is_refused_by_its_row(cell: object) -> None:
    with pytest.raises(InputError, match=r"frame, row 2: no label .*; write a name"):
        parse_labels([1, cell], "frame")


@pytest.mark.parametrize("cell", [np.array([0, 1]), [1], {"a": 1}, 1j, 10**400, Decimal("1e30")])
def test_what_is_no_label_is_refused_by_its_row(cell: object) -> None:
    with pytest.raises(InputError, match=r"frame, row 2: no label .*; write a name or a number"):
        parse_labels([1, cell], "frame")


def test_too_many_and_too_few_labels_are_refused() -> None:
    with pytest.raises(InputError, match="101 different labels, such as '0', '1', '2'; more than 100 cannot be told"):
        parse_labels([*range(101)], "frame")
    assert len(parse_labels([*range(100)], "frame")[1]) == 100
    with pytest.raises(InputError, match="all reviews are labelled 'Ham'"):
        parse_labels(["ham", "Ham"], "frame")


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("stars", {"1": "negative", "2": "negative", "4": "positive", "5": "positive"}),
        ("1,2=bad 3.0='so so' Good=good", {"1": "bad", "2": "bad", "3": "so so", "good": "good"}),
        ("a=b=x c=d", {"a=b": "x", "c": "d"}),
    ],
)
def test_labels_can_be_put_together(given: str, names: dict[str, str]) -> None:
    assert LabelMap.of(given).names == names


@pytest.mark.parametrize(
    "given",
    ["", "x", "1=a", "1=a 1=b", "1=", "=a 2=b", "1,=a 2=b", "1='a", "1=a 2=A", "1=, 2=b", "1=a, 2=b", "1='a,' 2=b"],
)
def test_labels_that_cannot_be_put_together_are_refused(given: str) -> None:
    with pytest.raises(InputError, match="labels cannot be"):
        DataConfig(labels=given)


@pytest.mark.parametrize(
    ("given", "label"), [("1,2=bad 3=ok 45=good", "45"), ("1-2=bad 4-5=good", "1-2"), ("1,2,6=bad 4,5=good", "6")]
)
def test_a_rule_for_a_label_that_no_review_has_is_refused(given: str, label: str, tmp_path: Path) -> None:
    told = rf"no review is labelled '{label}', which --labels reads as .*; the labels are '1', '2', '3', '4', '5'"
    with pytest.raises(InputError, match=told):
        load(DataConfig(str(starred(tmp_path / "a.csv")), labels=given), tmp_path / "cache")
    with pytest.raises(InputError, match=told):
        load_texts(
            [f"word{row}" for row in range(200)],
            [row % 5 + 1 for row in range(200)],
            tmp_path / "cache",
            DataConfig(labels=given),
        )
    assert not list((tmp_path / "cache").glob("*/about.json"))


def test_a_label_of_any_part_is_enough_for_a_rule(tmp_path: Path) -> None:
    starred(tmp_path / "a.csv")
    write_table(tmp_path / "b.csv", ("text", "label"), [("film", label) for label in (1, 5, 6)])
    config = DataConfig(str(tmp_path / "a.csv"), test=str(tmp_path / "b.csv"), labels="1,2=bad 4,5,6=good")
    assert len(load(config, tmp_path / "cache").test) == 3


def test_stars_need_only_some_labels_of_each_class(tmp_path: Path) -> None:
    texts = [f"word{row}" for row in range(200)]
    corpus = load_texts(texts, [row % 2 * 4 + 1 for row in range(200)], tmp_path, DataConfig(labels="stars"))
    assert corpus.remarks == ["labels: 1 as negative, 5 as positive"]
    with pytest.raises(InputError, match="no review is labelled '4', which --labels reads as 'positive'"):
        load_texts(texts, [row % 3 + 1 for row in range(200)], tmp_path, DataConfig(labels="stars"))


@pytest.mark.parametrize("spelling", ["-1", "-1.0", "0", "neg", "Negative", "false"])
def test_a_class_of_two_is_weighted_by_any_of_its_spellings(spelling: str, tmp_path: Path) -> None:
    texts = [f"word{row}" for row in range(200)]
    corpus = load_texts(texts, [row % 2 * 2 - 1 for row in range(200)], tmp_path)
    weights = class_weights(f"{spelling}=5 +1=2", corpus.train)
    assert weights is not None
    assert weights.tolist() == [5, 2]


def test_what_is_not_named_is_left_out_and_told() -> None:
    reader = LabelReader(LabelMap.of("stars"))
    codes = [reader.code(cell, "frame") for cell in (1, 2, 3, "4", 5.0, 3)]
    assert [code is None for code in codes] == [False, False, True, False, False, True]
    assert reader.classes("frame") == SENTIMENT
    kept = np.array([code for code in codes if code is not None])
    assert reader.numbers(kept, SENTIMENT).tolist() == [0, 0, 1, 1]
    assert "1 as negative, 2 as negative, 4 as positive, 5 as positive; 2 rows are left out, labelled '3'" in str(
        reader.remark()
    )


def starred(path: Path, rows: int = 200) -> Path:
    write_table(
        path, ("text", "label", "film"), [(f"word{row % 5} film", row % 5 + 1, row // 5) for row in range(rows)]
    )
    return path


def test_a_table_of_stars_has_five_ordered_classes(tmp_path: Path) -> None:
    corpus = load(DataConfig(str(starred(tmp_path / "a.csv"))), tmp_path)
    assert corpus.classes == STARS == corpus.test.classes == corpus.train.union(corpus.validation).classes
    again = load(DataConfig(str(tmp_path / "a.csv")), tmp_path)  # out of its store
    assert (again.classes, again.digest) == (STARS, corpus.digest)
    counts = np.bincount(corpus.train.labels) + np.bincount(corpus.validation.labels) + np.bincount(corpus.test.labels)
    assert counts.tolist() == [40] * 5


def test_mapped_labels_leave_rows_out_with_their_groups_and_give_the_usual_digest(tmp_path: Path) -> None:
    path = starred(tmp_path / "a.csv")
    mapped = load(DataConfig(str(path), labels="stars", group="film"), tmp_path)
    assert sum(map(len, (mapped.train, mapped.validation, mapped.test))) == 160
    assert any("40 rows are left out, labelled '3'" in remark for remark in mapped.remarks)
    kept = [(f"word{row % 5} film", "neg" if row % 5 < 2 else "pos", row // 5) for row in range(200) if row % 5 != 2]
    write_table(tmp_path / "b.csv", ("text", "label", "film"), kept)
    same = load(DataConfig(str(tmp_path / "b.csv"), group="film"), tmp_path)
    assert (mapped.digest, mapped.classes) == (same.digest, SENTIMENT)


def test_the_spelling_of_two_classes_changes_no_digest_but_other_names_do(tmp_path: Path) -> None:
    texts = [f"word{row % 7} film" for row in range(100)]
    digests = [
        load_texts(texts, [names[row % 2] for row in range(100)], tmp_path).digest
        for names in ((0, 1), (-1, 1), ("neg", "POS"), ("false", True), ("ham", "spam"))
    ]
    assert len(set(digests[:4])) == 1
    assert digests[4] != digests[0]


def test_labels_of_texts_in_memory_are_put_together_too(tmp_path: Path) -> None:
    texts = [f"word{row % 5} film" for row in range(200)]
    stars = [row % 5 + 1 for row in range(200)]
    mapped = load_texts(texts, stars, tmp_path, DataConfig(labels="stars"))
    kept = [(text, "neg" if star < 3 else "pos") for text, star in zip(texts, stars, strict=True) if star != 3]
    assert mapped.digest == load_texts([text for text, _ in kept], [label for _, label in kept], tmp_path).digest
    assert "40 rows are left out, labelled '3'" in mapped.remarks[0]
    with pytest.raises(InputError, match="labels='stars' goes with a table: the labels that are given are learned as"):
        encode_training_texts(texts, stars, DataConfig(labels="stars"))


def test_a_class_that_only_the_test_has_is_refused(tmp_path: Path) -> None:
    write_table(tmp_path / "a.csv", ("text", "label"), [(f"word{row}", row % 3) for row in range(90)])
    write_table(tmp_path / "b.csv", ("text", "label"), [("film", row % 4) for row in range(8)])
    with pytest.raises(InputError, match=r"b\.csv, row 4: '3' is the label of 2 reviews, of which too few"):
        load(DataConfig(str(tmp_path / "a.csv"), test=str(tmp_path / "b.csv")), tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*/about.json"))


def test_a_class_is_found_by_its_name_and_its_usual_spellings() -> None:
    assert [SENTIMENT.number_of(name) for name in ("neg", "Positive", "0")] == [0, 1, 0]
    assert STARS.number_of("3.0") == 2
    with pytest.raises(InputError, match="no class 'postive'; did you mean 'positive'"):
        SENTIMENT.number_of("postive")


def read(cells: list[object], given: str | None = None) -> LabelReader:
    reader = LabelReader(LabelMap.of(given) if given else None)
    for row, cell in enumerate(cells, 1):
        reader.code(cell, f"a.csv, row {row}")
    return reader


@pytest.mark.parametrize("cell", ["10", 6, "0.5", "4.5", "5 stars", "good", 0])
def test_stars_are_one_to_five(cell: object) -> None:
    with pytest.raises(InputError, match=r"a\.csv, row 6: the label .* is none of 1 to 5 stars; .*--labels '1,2,3,4="):
        read([1, 2, "3", 4.0, 5, cell], "stars")


def test_quotes_keep_a_comma_in_a_label() -> None:
    assert LabelMap.of("'1,0'=positive '0,0','x y'=negative \"so, so\"=meh").names == {
        "1,0": "positive",
        "0,0": "negative",
        "x y": "negative",
        "so, so": "meh",
    }


@pytest.mark.parametrize(
    ("absent", "others"),
    [
        *((absent, others) for absent in NOTHING for others in (("1", "0"), ("1", "4", "5"))),
        *((absent, others) for absent in NOTHING[:5] for others in (("neg", "pos"), ("False", "true"))),
    ],
)
def test_a_mark_of_nothing_beside_plain_labels_is_no_class(absent: str, others: tuple[str, ...]) -> None:
    reader = read([*others, absent, *others])
    with pytest.raises(InputError) as caught:
        reader.classes("a.csv")
    message = str(caught.value)
    assert message.startswith(f"a.csv, row {len(others) + 1}: no label {absent!r};")
    advice = message.rpartition("--labels ")[2].strip("'")
    assert len(read([*others, absent], advice).classes("a.csv")) == len(others)


@pytest.mark.parametrize("absent", NOTHING[5:])
def test_what_may_be_a_third_class_is_one(absent: str) -> None:
    reader = read(["negative", absent, "positive"])
    assert absent in reader.classes("a.csv").names
    assert reader.remark() == f"labels: {absent!r} is a class, too"


def test_advice_of_labels_is_one_that_can_be_followed() -> None:
    for others in (["1"], [str(number) for number in range(60)]):
        with pytest.raises(InputError, match=r"say with --labels which are of which class$"):
            read([*others, "NULL"]).classes("a.csv")


def test_a_mark_of_nothing_beside_names_is_a_class_and_told() -> None:
    reader = read(["favor", "against", "NONE", "none"])
    assert reader.classes("a.csv").names == ("against", "favor", "NONE")
    assert reader.remark() == "labels: 'NONE' is a class, too"
    assert read(["favor", "against"]).remark() is None


@pytest.mark.parametrize("given", ["positive=1 negative=-1", "positive=1 negative=0", "positive=true negative=false"])
def test_two_classes_may_be_called_by_any_usual_spelling(given: str) -> None:
    assert read(["positive", "negative"], given).classes("a.csv") == SENTIMENT


def test_a_number_that_is_too_long_for_a_label_is_told_so() -> None:
    with pytest.raises(InputError, match=r"a\.csv, row 1: no label 10+; write a name or a number below 1,000,"):
        read([10**20])


@pytest.mark.parametrize("cell", [1, 1.0, "1", "1.0", np.int8(1), Decimal(1), True])
def test_a_number_stands_for_its_name_however_it_is_written(cell: object) -> None:
    assert name_of_code(cell, ["positive", "negative"], "a.csv, row 1") == ("negative" if cell is not True else True)


@pytest.mark.parametrize(
    ("cell", "told"), [(-1, "no label, for -1"), (-1.0, "no label"), ("2", "none of"), (0.5, "none")]
)
def test_a_number_that_stands_for_no_name_is_refused(cell: object, told: str) -> None:
    with pytest.raises(InputError, match=rf"a\.csv, row 1: .*{told}"):
        name_of_code(cell, ["positive", "negative"], "a.csv, row 1")
