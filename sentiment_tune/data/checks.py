"""What is odd about the reviews of a corpus, counted in each part before a training begins; nothing of it is mended.

Reviews are compared as the words that were read. Near duplicates are found by sketches: of the hashes of all runs of a
few words, each review keeps the smallest, and two reviews that share most of them share most of their runs (A. Broder,
On the resemblance and containment of documents, 1997).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_tune.data.rules import KERAS
from sentiment_tune.data.store import PARTS, TEST, TRAIN, VALIDATION, blocks
from sentiment_tune.data.text import FIRST_WORD
from sentiment_tune.events import Event

UNKNOWN_WORDS = "words of 10,000 that train does not have"
HARDLY_KNOWN = 5_000  # of 10,000 words, from which on what was learned is hardly asked for
FEWEST = 20  # reviews of a class in train, below which it is hardly learned
LONGEST = 10_000  # words, above which a review is rather several
SHINGLE, SKETCH, SHARED = 5, 16, 8  # words of a run, hashes that are kept of a review, and those that near ones share
_COMMON = 100  # reviews with one hash, from which on it is a phrase that many use
MARKUP, MOJIBAKE = "left over of markup (br, nbsp, ...)", "words of a wrong encoding"
_MARKUP = frozenset(("br", "href", "nbsp", "amp", "quot", "lt", "gt"))  # words that tags and entities leave
# UTF-8 that was read as Windows-1252, in lower case.
_IN_WORDS = re.compile("\u00e3[\u0080-\u00bf]|\u00e2\u20ac|\ufffd")
_RNG = np.random.RandomState(20110621)  # its numbers stay the same in every version of NumPy
_WEIGHTS = _RNG.randint(1, 2**62, size=SHINGLE, dtype=np.int64).astype(np.uint64) * np.uint64(2) + np.uint64(1)


def way_out(rule: str) -> str:
    """What to do where words are hardly known that were found by a rule."""
    known = "; Keras' rule knows one blank and ASCII's punctuation only, --text-rule unicode knows more"
    return f"see how they are read with sentiment-tune inspect{known if rule == KERAS else ''}"


_Sketches = tuple[NDArray[np.uint64], NDArray[np.int64]]  # hashes, and the review of each


@dataclass(frozen=True)
class Check:
    """How many reviews of each part are odd in one way."""

    what: str
    train: int
    validation: int
    test: int

    @property
    def is_clean(self) -> bool:
        """Whether there is nothing to tell."""
        return not (self.train or self.validation or self.test)


@dataclass(frozen=True)
class DataChecked(Event):
    """What was found odd about the data that were loaded."""

    name: str
    checks: Sequence[Check]


@dataclass(frozen=True)
class Checked:
    """All reviews of a corpus, as they are compared."""

    ids: NDArray[np.int32]  # of all reviews, one after another
    lengths: NDArray[np.int64]  # [review], in words, the start included
    labels: NDArray[np.uint8]  # [review]
    part: NDArray[np.uint8]  # [review], one of store.PARTS
    words: Sequence[str]  # of the ids
    keys: NDArray[np.uint64]  # [review], of `review_keys`


def check_reviews(
    ids: NDArray[np.int32],
    lengths: NDArray[np.int64],
    labels: NDArray[np.uint8],
    part: NDArray[np.uint8],
    words: Sequence[str],
    known: Mapping[str, NDArray[np.bool_]] | None = None,
    keys: NDArray[np.uint64] | None = None,
) -> list[Check]:
    """Count what is odd about reviews, each as its ids of the words, one after another in `ids`.

    Of texts it is `known` by check what their words need not show [review]: a rule may leave no trace of it. `keys`
    [review] are equal where reviews are, by default where the words are that have an id.
    """
    checked = Checked(ids, lengths, labels, part, words, review_keys(ids, lengths) if keys is None else keys)
    oddities = {**dict(_oddities(checked)), **(known or {})}
    return [_count(what, odd, part) for what, odd in oddities.items()]


def check_words(written: NDArray[np.int64], lengths: NDArray[np.int64], part: NDArray[np.uint8]) -> Check:
    """How many of the words `written` [review] are unknown to train, by part; `lengths` count a start and the known."""
    unknown = written - (lengths - 1)
    shares = (unknown[part == one].sum() / max(1, written[part == one].sum()) for one in PARTS)
    return Check(UNKNOWN_WORDS, *(round(10_000 * share) for share in shares))


def _count(what: str, odd: NDArray[np.bool_], part: NDArray[np.uint8]) -> Check:
    counts = np.bincount(part[odd], minlength=len(PARTS))
    return Check(what, int(counts[TRAIN]), int(counts[VALIDATION]), int(counts[TEST]))


def _oddities(checked: Checked) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """What is looked for, and which reviews are so [review]."""
    keys = checked.keys
    yield "no known word", checked.lengths == 1
    yield "a single known word", checked.lengths == 2
    yield f"more than {LONGEST:,} words", checked.lengths > LONGEST + 1
    yield "the same as another of its part", _repeated(keys, checked.part)
    yield "the same as one to test on", is_in(keys, keys[checked.part == TEST]) & (checked.part != TEST)
    yield "the same as one to validate on", is_in(keys, keys[checked.part == VALIDATION]) & (checked.part == TRAIN)
    yield "the same as one with another label", _contradicting(keys, checked.labels)
    yield from _near(checked).items()
    yield MARKUP, _containing(checked, lambda word: word in _MARKUP)
    yield MOJIBAKE, _containing(checked, lambda word: bool(_IN_WORDS.search(word)))
    yield f"of a class with fewer than {FEWEST} in train", _of_rare_class(checked)


def review_keys(ids: NDArray[np.int32], lengths: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A number for each review [review], the same for the same words in the same order."""
    keys = np.zeros(len(lengths), np.uint64)
    for rows, words in blocks(lengths):
        starts = np.cumsum(lengths[rows]) - lengths[rows]
        position = np.arange(words.stop - words.start) - np.repeat(starts, lengths[rows])
        terms = _mixed(ids[words].astype(np.uint64) * np.uint64(2**32) + position.astype(np.uint64))
        keys[rows] = _by_review(np.add, terms, lengths[rows])
    return keys


def _by_review(combine: np.ufunc, values: NDArray[Any], lengths: NDArray[np.int64]) -> NDArray[Any]:
    """What the values of each review's words combine to [review]; 0 of a review without any."""
    combined = np.zeros(len(lengths), values.dtype)
    some = lengths > 0
    if some.any():
        combined[some] = combine.reduceat(values, (np.cumsum(lengths) - lengths)[some])
    return combined


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Numbers whose every bit depends on every bit of the given ones (the finalizer of SplitMix64)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def _repeated(keys: NDArray[np.uint64], part: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether each key occurs more than once in its part; all but the first of equal ones [review]."""
    repeated = np.ones(len(keys), np.bool_)
    for one in PARTS:
        rows = np.flatnonzero(part == one)
        repeated[rows[np.unique(keys[rows], return_index=True)[1]]] = False
    return repeated


def is_in(keys: NDArray[np.uint64], others: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Whether each key is one of the others [review]; `np.isin` does it in several times the memory."""
    if not len(others):
        return np.zeros(len(keys), np.bool_)
    others = np.sort(others)
    found: NDArray[np.bool_] = others[np.minimum(np.searchsorted(others, keys), len(others) - 1)] == keys
    return found


def _contradicting(keys: NDArray[np.uint64], labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    contradicting = np.zeros(len(keys), np.bool_)
    order = np.argsort(keys)
    is_first = np.ones(len(keys), np.bool_)  # [review in order], of equal ones
    is_first[1:] = keys[order[1:]] != keys[order[:-1]]
    first = np.flatnonzero(is_first)
    if len(first):
        least, most = (combine.reduceat(labels[order], first) for combine in (np.minimum, np.maximum))
        contradicting[order] = np.repeat(least < most, np.diff(first, append=len(keys)))
    return contradicting


def _containing(checked: Checked, is_odd: Callable[[str], bool]) -> NDArray[np.bool_]:
    """Whether each review holds a word that is odd [review]."""
    odd = np.zeros(max(FIRST_WORD + len(checked.words), int(checked.ids.max(initial=0)) + 1), np.bool_)
    odd[FIRST_WORD : FIRST_WORD + len(checked.words)] = [is_odd(word) for word in checked.words]
    containing = np.zeros(len(checked.lengths), np.bool_)
    for rows, words in blocks(checked.lengths):
        containing[rows] = _by_review(np.logical_or, odd[checked.ids[words]], checked.lengths[rows])
    return containing


def _of_rare_class(checked: Checked) -> NDArray[np.bool_]:
    counts = np.bincount(checked.labels[checked.part == TRAIN], minlength=256)
    rare: NDArray[np.bool_] = counts[checked.labels] < FEWEST
    return rare


def _near(checked: Checked) -> dict[str, NDArray[np.bool_]]:
    """Which reviews share most of their runs of words with another [review], by where that one is.

    Of a part's own all but the first are counted, as of equal ones.
    """
    part, keys = checked.part, checked.keys
    within, to = np.zeros(len(keys), np.bool_), {}
    repeated = _repeated(keys, part)  # which would make of a review's words phrases that many use
    pairs = _near_pairs(checked, ~repeated)
    parts = part[pairs]
    within[pairs[parts[:, 0] == parts[:, 1], 1]] = True
    for one in (TEST, VALIDATION):
        to[one] = np.zeros(len(keys), np.bool_)
        for side, other in ((0, 1), (1, 0)):
            to[one][pairs[(parts[:, other] == one) & (parts[:, side] != one), side]] = True
        to[one] |= is_in(keys, keys[to[one]]) & repeated & (part != one)
    return {
        "nearly the same as another of its part": within,
        "nearly the same as one to test on": to[TEST],
        "nearly the same as one to validate on": to[VALIDATION] & (part == TRAIN),
    }


def _near_pairs(checked: Checked, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Chosen reviews [review] that are nearly the same but not the same [pair, 2], the first first."""
    sketches = [*_sketches(checked, chosen)]
    if not sketches:
        return np.empty((0, 2), np.int64)
    every = _by_hash(*map(np.concatenate, zip(*sketches, strict=True)))
    pairs = np.concatenate([_sharing(every, _by_hash(*some)) for some in sketches])
    return pairs[checked.keys[pairs[:, 0]] != checked.keys[pairs[:, 1]]]


def _sharing(every: _Sketches, some: _Sketches) -> NDArray[np.int64]:
    """Those of some reviews, each behind an earlier one of all that shares enough hashes with it [pair, 2]."""
    first = np.searchsorted(every[0], some[0], "left")
    last = np.searchsorted(every[0], some[0], "right")
    times = np.where(last - first <= _COMMON, last - first, 0)
    offset = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
    earlier, later = every[1][np.repeat(first, times) + offset], np.repeat(some[1], times)
    is_pair = earlier < later
    numbers, shared = np.unique(earlier[is_pair] << 32 | later[is_pair], return_counts=True)  # sorts faster than pairs
    numbers = numbers[shared >= SHARED]
    return np.stack([numbers >> 32, numbers & (2**32 - 1)], 1)


def _by_hash(hashes: NDArray[np.uint64], review: NDArray[np.int64]) -> _Sketches:
    order = np.argsort(hashes, kind="stable")
    return hashes[order], review[order]


def _sketches(checked: Checked, chosen: NDArray[np.bool_]) -> Iterator[_Sketches]:
    """The smallest hashes of the runs of words of each review that is chosen [review], and the review of each."""
    for rows, words in blocks(checked.lengths):
        lengths = checked.lengths[rows]
        ids = checked.ids[words][np.repeat(chosen[rows], lengths)]
        hashes, review = _sketch(ids, lengths[chosen[rows]])
        yield hashes, (rows.start + np.flatnonzero(chosen[rows]))[review]


def _sketch(ids: NDArray[np.int32], lengths: NDArray[np.int64]) -> _Sketches:
    """The same of reviews of these lengths, whose ids stand one after another."""
    count = len(ids) - SHINGLE + 1
    if count <= 0:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    numbers = ids.astype(np.uint64)
    runs = np.zeros(count, np.uint64)
    for place, weight in enumerate(_WEIGHTS):
        runs += numbers[place : place + count] * weight
    review = np.repeat(np.arange(len(lengths)), lengths)
    within = review[:count] == review[SHINGLE - 1 :]
    hashes, review = _mixed(runs[within]), review[:count][within]
    order = np.lexsort((hashes, review))
    hashes, review = hashes[order], review[order]
    is_new = np.ones(len(hashes), np.bool_)
    is_new[1:] = (hashes[1:] != hashes[:-1]) | (review[1:] != review[:-1])
    hashes, review = hashes[is_new], review[is_new]
    rank = np.arange(len(review)) - np.searchsorted(review, review)
    return hashes[rank < SKETCH], review[rank < SKETCH]
