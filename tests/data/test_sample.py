"""The generated corpus: its size, its rule, its noise, and how far counting words gets on it."""

import hashlib
import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from sentiment_tune.data.sample import BAD, BEST_ACCURACY, GOOD, reviews
from sentiment_tune.data.text import split

Part = list[tuple[str, int]]
TRAIN, TEST = reviews()
PARTS = pytest.mark.parametrize("part", [TRAIN, TEST], ids=["train", "test"])

NEGATION = r"\b(not|never|hardly|far from|nothing|anything but|neither|no means|nobody)\b"
CONCESSION = r"\b(although|though|even if|despite)\b[^,.]*|[^.]*(?<!anything) but\b"
HEARSAY = r"\b(expected|suggested|called it|told|had read|had described)\b"


def clause_polarities(text: str) -> set[int]:
    """What a reader of `text` takes from it: the polarities of the clauses which count, by the documented rule."""
    sentences = [sentence for sentence in text.lower().split(".") if not re.search(HEARSAY, sentence)]
    clauses = [re.sub(CONCESSION, "", sentence) for sentence in sentences]
    return {polarity for clause in clauses for polarity in polarities_of(clause)}


def polarities_of(clause: str) -> Iterable[int]:
    negations = len(re.findall(NEGATION, clause))
    return (int(word in GOOD) ^ negations % 2 for word in split(clause) if word in GOOD or word in BAD)


@PARTS
def test_every_review_states_exactly_one_polarity(part: Part) -> None:
    assert all(len(clause_polarities(text)) == 1 for text, _ in part)


@PARTS
def test_labels_follow_the_rule_but_for_the_documented_noise(part: Part) -> None:
    wrong = [label for text, label in part if clause_polarities(text) != {label}]
    assert len(wrong) == round((1 - BEST_ACCURACY) * len(part)) == len(part) * 3 // 100
    assert abs(wrong.count(0) - wrong.count(1)) <= 1


@PARTS
@pytest.mark.parametrize(
    ("pattern", "least", "most"),
    [
        (NEGATION, 0.4, 0.8),
        (r"(?<!anything) but\b", 0.2, 0.7),
        (r"\b([Aa]lthough|[Tt]hough|[Ee]ven if|[Dd]espite)\b", 0.2, 0.7),
        (HEARSAY, 0.2, 0.7),
        (r"\b(very|really|truly|remarkably|thoroughly)\b", 0.3, 0.9),
        (r"\b(somewhat|rather|fairly)\b", 0.2, 0.8),
    ],
    ids=["negation", "but", "although", "hearsay", "intensifier", "hedge"],
)
def test_phenomena_occur_in_many_reviews_but_not_in_all(part: Part, pattern: str, least: float, most: float) -> None:
    share = sum(bool(re.search(pattern, text)) for text, _ in part) / len(part)
    assert least < share < most


def test_sizes_and_balance() -> None:
    assert [len(TRAIN), len(TEST)] == [2_000, 500]
    assert [sum(label for _, label in part) for part in (TRAIN, TEST)] == [1_000, 250]


@PARTS
def test_labels_and_noise_are_mixed_so_that_any_split_is_fair(part: Part) -> None:
    assert all(
        0.2 < np.mean([label for _, label in part[start : start + 50]]) < 0.8 for start in range(0, len(part), 50)
    )
    wrong = [clause_polarities(text) != {label} for text, label in part]
    assert 0.2 < sum(wrong[: len(part) // 2]) / sum(wrong) < 0.8


def test_lengths_reach_from_15_to_150_words() -> None:
    lengths = [len(split(text)) for text, _ in TRAIN + TEST]
    assert 15 <= min(lengths) < 25
    assert 125 < max(lengths) <= 150


def test_no_review_occurs_twice() -> None:
    assert len({text for text, _ in TRAIN + TEST}) == 2_500


def test_reviews_are_written_like_english() -> None:
    for text, _ in TRAIN + TEST:
        assert re.fullmatch(r"([A-Z][A-Za-z', ]+[a-z]\. )*[A-Z][A-Za-z', ]+[a-z]\.", text)
        assert not re.search(r"\ba [aeiou]|\ban [^aeiouh]|  |\b(\w+) \1\b|\b(\w+) (and|nor) \2\b", text)


def test_the_corpus_is_the_same_on_every_machine() -> None:
    assert reviews() == (TRAIN, TEST)
    digest = hashlib.sha256(repr((TRAIN, TEST)).encode()).hexdigest()
    assert digest == "a4021f598822eed589d8c2c31e9e6623b9e16de756c2dc4c439d6764ad5d2718"


def runs(longest: int) -> Callable[[str], list[str]]:
    """A function giving all runs of one to `longest` neighbouring words of a text."""

    def analyze(text: str) -> list[str]:
        words = split(text)
        shifts = [words[start:] for start in range(longest)]
        return [" ".join(run) for size in range(1, longest + 1) for run in zip(*shifts[:size], strict=False)]

    return analyze


def linear_accuracy(longest: int) -> float:
    """Test accuracy of a logistic regression on runs of up to `longest` words, C chosen on the last fifth of train."""
    vectorizer = CountVectorizer(analyzer=runs(longest), binary=True)
    train = vectorizer.fit_transform([text for text, _ in TRAIN])
    test = vectorizer.transform([text for text, _ in TEST])
    labels, test_labels = (np.array([label for _, label in part]) for part in (TRAIN, TEST))
    if longest > 1:
        ratios = class_ratios(train, labels)
        train, test = train.multiply(ratios).tocsr(), test.multiply(ratios).tocsr()

    def validation(strength: float) -> float:
        return float(fit_linear(train[:1_600], labels[:1_600], strength).score(train[1_600:], labels[1_600:]))

    best = max((0.03, 0.3, 1.0), key=validation)
    return float(fit_linear(train, labels, best).score(test, test_labels))


def fit_linear(features: Any, labels: NDArray[np.int64], strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, max_iter=2_000).fit(features, labels)


def class_ratios(features: Any, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Log of how much more often a run occurs in positive than in negative reviews (naive Bayes' weights)."""
    positive, negative = (np.asarray(features[labels == label].sum(axis=0)) + 1 for label in (1, 0))
    ratios: NDArray[np.float64] = np.log(positive / negative)
    return ratios


def test_counting_words_leaves_room_that_their_order_fills() -> None:
    bag, ordered = linear_accuracy(1), linear_accuracy(3)
    assert 0.82 <= bag <= 0.88
    assert bag + 0.03 <= ordered <= BEST_ACCURACY
