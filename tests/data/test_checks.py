"""What is odd about a corpus is counted in each part, told before a training, and mended by nobody."""

from pathlib import Path

import numpy as np
import pytest

from sentiment_tune.data.checks import FEWEST, UNKNOWN_WORDS, Check, check_reviews, review_keys
from sentiment_tune.data.corpus import EncodedReviews
from sentiment_tune.data.load import DataConfig, load
from sentiment_tune.data.store import TEST, TRAIN, VALIDATION
from sentiment_tune.data.tables import write_table

RNG = np.random.default_rng(3)
LONG = [" ".join(f"w{number}" for number in RNG.integers(0, 400, 80)) for _ in range(120)]


def checks_of(folder: Path, rows: list[tuple[str, int, str]]) -> dict[str, Check]:
    """The checks of a table with its parts, by name; reviews that are in order come before."""
    begin = [(text, row % 2, ("train", "train", "train", "val", "test")[row % 5]) for row, text in enumerate(LONG)]
    write_table(folder / "a.csv", ["text", "label", "split"], [*begin, *rows])
    return {check.what: check for check in load(DataConfig(str(folder / "a.csv")), folder / "cache").checks}


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
            [("w1 <br /><br /> w2", 1, "train"), ("w1&nbsp;w2 <br>", 0, "test")],
            "left over of markup (br, nbsp, ...)",
            (1, 0, 1),
        ),
        ([("cafÃ© w1", 1, "train"), ("itâ€™s w2", 1, "train")], "words of a wrong encoding", (2, 0, 0)),
    ],
)
def test_each_oddity_is_counted_in_its_part(
    rows: list[tuple[str, int, str]], what: str, counts: tuple[int, int, int], tmp_path: Path
) -> None:
    check = checks_of(tmp_path, rows)[what]
    assert (check.train, check.validation, check.test) == counts


def test_words_that_train_does_not_have_are_a_share_of_each_part(tmp_path: Path) -> None:
    check = checks_of(tmp_path, [("never seen " * 50, 1, "test")])[UNKNOWN_WORDS]
    assert (check.train, check.validation < 0.05) == (0, True)
    assert check.test == pytest.approx(100 / (24 * 80 + 100), abs=0.01)


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
