"""What is odd about a corpus is counted in each part, told before a training, and mended by nobody."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sentiment_tune as st
from sentiment_tune.data.checks import FEWEST, MARKUP, MOJIBAKE, UNKNOWN_WORDS, Check, check_reviews, review_keys
from sentiment_tune.data.corpus import EncodedReviews
from sentiment_tune.data.load import DataConfig, load, load_frame
from sentiment_tune.data.rules import RULES
from sentiment_tune.data.store import TEST, TRAIN, VALIDATION
from sentiment_tune.data.tables import write_table
from sentiment_tune.errors import InputError
from support import artifact, ask, runs

RNG = np.random.default_rng(3)
LONG = [" ".join(f"w{number}" for number in RNG.integers(0, 400, 80)) for _ in range(120)]


def checks_of(folder: Path, rows: list[tuple[str, int, str]], rule: str | None = None) -> dict[str, Check]:
    """The checks of a table with its parts, by name; reviews that are in order come before."""
    begin = [(text, row % 2, ("train", "train", "train", "val", "test")[row % 5]) for row, text in enumerate(LONG)]
    write_table(folder / "a.csv", ["text", "label", "split"], [*begin, *rows])
    config = DataConfig(str(folder / "a.csv"), text_rule=rule)
    return {check.what: check for check in load(config, folder / "cache").checks}


def test_a_corpus_in_order_has_nothing_to_tell(tmp_path: Path) -> None:
    checks = checks_of(tmp_path, [])
    assert [what for what, check in checks.items() if not check.is_clean and what != UNKNOWN_WORDS] == []


@pytest.mark.parametrize(
    ("rows", "what", "counts"),
    [
        ([("", 1, "train"), ("?!", 0, "test")], "no known word", (1, 0, 1)),
        ([("w1", 1, "train"), ("w2!", 0, "val")], "a single known word", (1, 1, 0)),
        ([("w1 " * 10_001, 1, "train")], "more than 10,000 words", (1, 0, 0)),
        (
            [(LONG[0], 0, "train"), (LONG[0], 0, "train"), (LONG[4], 0, "test")],
            "the same as another of its part",
            (2, 0, 1),
        ),
        ([(LONG[4], 0, "train"), (LONG[4].upper(), 0, "val")], "the same as one to test on", (1, 1, 0)),
        ([(LONG[3], 1, "train")], "the same as one to validate on", (1, 0, 0)),
        ([(LONG[0], 1, "train")], "the same as one with another label", (2, 0, 0)),
        (
            [(LONG[4] + " w7 w8 w9", 0, "train"), (LONG[9][20:], 0, "val")],
            "nearly the same as one to test on",
            (1, 1, 0),
        ),
        (
            [(LONG[0] + " w7 w8", 0, "train"), (LONG[3] + " w7 w8", 0, "val"), (LONG[4] + " w7 w8", 0, "test")],
            "nearly the same as another of its part",
            (1, 1, 1),
        ),
        (
            [(LONG[0] + f" w7 w{row}", 0, "train") for row in range(3)] + [(LONG[0] + " w7 w1", 0, "train")] * 80,
            "nearly the same as another of its part",
            (3, 0, 0),
        ),
        (
            [(LONG[3] + " w7 w8", 0, "train"), (LONG[3][20:], 0, "test"), (LONG[8] + " w7", 0, "train")],
            "nearly the same as one to validate on",
            (2, 0, 0),
        ),
        (
            [(LONG[3] + " w7 w8", 0, "train"), (LONG[3][20:], 0, "test"), (LONG[8] + " w7", 0, "train")],
            "nearly the same as one to test on",
            (1, 1, 0),
        ),
        (
            [(LONG[4] + " w7 w8 w9", 0, part) for part in ["train"] * 150 + ["val"] * 150],
            "nearly the same as one to test on",
            (150, 150, 0),
        ),
        ([(LONG[0], 0, "train"), (LONG[0], 0, "val")], "nearly the same as another of its part", (0, 0, 0)),
        ([("cafÃ© w1", 1, "train"), ("itâ€™s w2", 1, "train")], "words of a wrong encoding", (2, 0, 0)),
    ],
)
def test_each_oddity_is_counted_in_its_part(
    rows: list[tuple[str, int, str]], what: str, counts: tuple[int, int, int], tmp_path: Path
) -> None:
    check = checks_of(tmp_path, rows)[what]
    assert (check.train, check.validation, check.test) == counts


MARKED = ["w1 <br /><br /> w2", "w1&nbsp;w2", "<p>w1</p>", '<A HREF="x">w1</a>', "w1 &amp; w2", "w1 &#39; w2", "<BR>"]


@pytest.mark.parametrize("rule", RULES)
def test_markup_is_counted_as_it_stands_in_texts_whatever_the_rule(rule: str, tmp_path: Path) -> None:
    plain = ["w1 < w2 and w3 > w4", "w1 & w2; w3", "br nbsp amp", "w1 &word; w2", "I <3 w1", "<w1>"]
    rows = [(f"{text} w{row}", 1, "train") for row, text in enumerate(MARKED)] + [("w1&nbsp;w2 <br>", 0, "test")]
    check = checks_of(tmp_path, [*rows, *((text, 0, "train") for text in plain)], rule)[MARKUP]
    assert (check.train, check.validation, check.test) == (len(MARKED), 0, 1)


def test_of_ids_markup_and_a_wrong_encoding_are_told_by_their_words() -> None:
    reviews = EncodedReviews.of([np.array([1, word], dtype=np.int32) for word in (3, 4, 5, 3)])
    none = np.zeros(4, dtype=np.uint8)
    checks = {
        check.what: check
        for check in check_reviews(reviews.ids, reviews.lengths, none, none, ["br", "caf\u00e3\u00a9", "fine"])
    }
    assert (checks[MARKUP].train, checks[MOJIBAKE].train) == (2, 1)


def test_words_that_train_does_not_have_are_counted_in_each_part(tmp_path: Path) -> None:
    check = checks_of(tmp_path, [("never seen " * 50, 1, "test")])[UNKNOWN_WORDS]
    assert (check.train, check.validation < 500) == (0, True)
    assert check.test == pytest.approx(10_000 * 100 / (24 * 80 + 100), abs=100)


def test_texts_whose_words_are_not_found_are_warned_of(here: Path) -> None:
    texts = [f"a\u00a0{'fine' if row % 2 else 'dull'}\u00a0film\u00a0number\u00a0{row}" for row in range(200)]
    write_table(here / "a.csv", ["text", "label"], [[text, row % 2] for row, text in enumerate(texts)])
    answer = ask("inspect", "--data", "a.csv", "--text-rule", "keras")
    assert answer.code == 0
    assert "train has not 100 % of the words that are validated or tested on" in answer.out
    assert "--text-rule unicode" in answer.out
    assert "words found by the rule keras" in answer.out
    by_default = ask("inspect", "--data", "a.csv")
    assert (by_default.code, "train has not" in by_default.out) == (0, False)
    assert "words found by the rule unicode" in by_default.out
    assert "5 words: a dull film number 0" in by_default.out


@pytest.mark.parametrize("rule", RULES)
def test_a_wrong_encoding_is_found_whatever_the_rule(rule: str, tmp_path: Path) -> None:
    texts = [f"{LONG[row]} it\u00e2\u20ac\u2122s" if row < 3 else LONG[row] for row in range(60)]
    write_table(tmp_path / "a.csv", ["text", "label"], [[text, row % 2] for row, text in enumerate(texts)])
    checks = {check.what: check for check in load(DataConfig(str(tmp_path / "a.csv"), text_rule=rule), tmp_path).checks}
    check = checks["words of a wrong encoding"]
    assert check.train + check.validation + check.test == 3


def test_a_class_of_few_is_told() -> None:
    reviews = EncodedReviews.of([np.array([1, 3 + row, 4 + row], dtype=np.int32) for row in range(60)])
    labels = np.array([0] * 50 + [1] * 10, dtype=np.uint8)
    part = np.array([TRAIN] * 55 + [VALIDATION, TEST] * 2 + [TRAIN], dtype=np.uint8)
    checks = check_reviews(reviews.ids, reviews.lengths, labels, part, [f"w{row}" for row in range(70)])
    (check,) = (check for check in checks if str(FEWEST) in check.what)
    assert (check.train, check.validation, check.test) == (6, 2, 2)


def test_no_reviews_and_reviews_without_words_are_checked_too() -> None:
    for lengths in ([], [0, 0], [0, 1, 0]):
        reviews = EncodedReviews.of([np.ones(length, dtype=np.int32) for length in lengths])
        none = np.zeros(len(lengths), dtype=np.uint8)
        assert all(check.validation == 0 for check in check_reviews(reviews.ids, reviews.lengths, none, none, ["a"]))
        assert len(review_keys(reviews.ids, reviews.lengths)) == len(lengths)


def test_the_order_of_words_and_their_number_tell_reviews_apart() -> None:
    texts = [[1, 5, 6], [1, 6, 5], [1, 5, 6, 6], [1, 5], [1], [1, 5, 6]]
    reviews = EncodedReviews.of([np.array(text, dtype=np.int32) for text in texts])
    keys = review_keys(reviews.ids, reviews.lengths).tolist()
    assert len(set(keys)) == 5
    assert keys[0] == keys[5]


# ---- what crosses into the test may be left out, when asked for


def test_what_the_test_has_too_is_left_out_when_asked_for(tmp_path: Path) -> None:
    checks_of(tmp_path, [(LONG[4], 0, "train"), (LONG[9].upper(), 1, "val"), (LONG[0], 0, "train")])
    path, cache = str(tmp_path / "a.csv"), tmp_path / "cache"
    whole, cleaned = load(DataConfig(path), cache), load(DataConfig(path, deduplicate=True), cache)
    assert len(whole.train) - len(cleaned.train) == len(whole.validation) - len(cleaned.validation) == 1
    assert cleaned.test.digest == whole.test.digest
    assert cleaned.digest != whole.digest
    assert {check.what: check for check in cleaned.checks}["the same as one to test on"].is_clean
    assert cleaned.remarks == ["2 reviews that the test has too are left out"]
    assert load(DataConfig(path, deduplicate=True), cache).digest == cleaned.digest


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        (0, "0 negative and 0 positive reviews in train; each part needs both: 48 reviews that the test has too are"),
        (1, "12 negative and 0 positive reviews in train; each part needs both: 36 reviews that the test has too are"),
    ],
)
def test_parts_that_the_test_has_too_are_refused_where_leaving_it_out_leaves_too_little(
    kept: int, told: str, bare: Path
) -> None:
    """No run is begun, and the same holds of a frame, whose rows were read already."""
    parts = {part: [f"word{row} film{row % 2}" for row in range(24)] for part in ("train", "val", "test")}
    parts["train"] = [f"{'other' * kept * (row % 2 == 0)} {text}" for row, text in enumerate(parts["train"])]
    rows = [(text, row % 2, part) for part, texts in parts.items() for row, text in enumerate(texts)]
    write_table(bare / "a.csv", ["text", "label", "split"], rows)
    answer = ask("train", "--model", "linear", "--data", "a.csv", "--deduplicate").refusal
    assert answer.startswith(f"sentiment-tune: a.csv: {told} left out; leave out --deduplicate")
    assert not Path("mlflow.db").exists()
    frame = pd.DataFrame(rows, columns=["text", "label", "split"])
    with pytest.raises(InputError, match=f"^frame: {told}"):
        st.train("linear", frame, deduplicate=True, progress=False)
    if not kept:
        numbered = frame.assign(label=[["a", "b", "c"][row % 3] for row in range(72)])
        with pytest.raises(InputError, match=r"reviews of one class at most in train.*leave out --deduplicate"):
            load_frame(numbered, DataConfig(deduplicate=True))


# ---- as a user sees it


def test_inspect_shows_what_data_hold_and_what_is_odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTIMENT_TUNE_CACHE", str(tmp_path / "cache"))
    checks_of(tmp_path, [(LONG[4], 0, "train")])
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    answer = ask("inspect", "--data", "a.csv")
    assert (answer.code, answer.err) == (0, "")
    told = {line.rsplit(maxsplit=3)[0].strip(): line.split()[-3:] for line in answer.out.splitlines() if line.strip()}
    assert told["the same as one to test on"] == ["1", "0", "0"]
    assert told["no known word"] == ["0", "0", "0"]
    assert f"negative, 80 words: {LONG[0].lower()}"[:60] in answer.out
    assert sorted(tmp_path.iterdir()) == before
    found = st.inspect("a.csv")
    assert found.reviews.set_index("part").loc["test"].tolist() == [12, 12]
    assert found.samples["label"].tolist() == ["negative"] * 2 + ["positive"] * 2


def test_a_training_shows_what_is_odd_and_logs_all(tmp_path: Path, here: Path) -> None:
    checks_of(here, [(LONG[4], 0, "train")])
    words = ("--model", "linear", "--epochs", "1", "--vocabulary", "300", "--data", "a.csv")
    answer = ask("train", *words)
    assert answer.code == 0, answer
    assert "the same as one to test on" in answer.out
    assert "no known word" not in answer.out
    (run,) = runs(f"sqlite:///{here}/mlflow.db")
    rows = {row["what"]: row for row in csv.DictReader(artifact(run, "data_checks.csv").decode().splitlines())}
    assert rows["the same as one to test on"]["train"] == "1"
    assert rows["no known word"]["test"] == "0"
    assert "the same as" not in ask("train", *words, "--deduplicate").out
    cleaned = next(run for run in runs(f"sqlite:///{here}/mlflow.db") if run.data.params["deduplicate"] == "True")
    again = ask("train", "--settings", f"{cleaned.info.artifact_uri}/settings.json")
    assert (again.code, "the same as" in again.out) == (0, False)  # what is not given is not given as false
