"""How a text becomes word ids, and back.

The id layout is the one of Keras' IMDB: 0 is padding, 1 starts every review, 2 stands for a word too rare for the
network's vocabulary, and words follow from 3 on by frequency. Words outside the vocabulary's list are dropped, as
Keras drops them, so raw texts that are read by Keras' rule and Keras' ids give the same tokens. Which words a text has
is a matter of the rule (`sentiment_tune.data.rules`), which a vocabulary keeps.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray

from sentiment_tune.data.rules import KERAS, SEPARATORS, spaced
from sentiment_tune.space import Doc, Fixed, Range

if TYPE_CHECKING:
    import pyarrow as pa

PADDING, START, UNKNOWN, FIRST_WORD = 0, 1, 2, 3
_PATTERN = f"[{re.escape(SEPARATORS)}]"
STRANGE = 4  # words of a text, of which one at least is known where it is not a strange one
_MANY = 256  # texts from which on the way in bulk is the faster one: it looks at all words of the vocabulary first
_TOGETHER = 2**14  # texts that are split at a time


def split(text: str, rule: str = KERAS) -> list[str]:
    """The words of a text."""
    return [word for word in spaced(rule)(text).split(" ") if word]


def _some(texts: Iterable[str]) -> Iterator[list[str]]:
    """The texts, so many together as are split at a time."""
    left = iter(texts)
    while some := list(islice(left, _TOGETHER)):
        yield some


def split_all(texts: Sequence[str], rule: str = KERAS) -> "tuple[pa.LargeStringArray, NDArray[np.int64]]":
    """The words of many texts, empty ones among them, and the number of each text: as `split` has them, in bulk.

    Lower case is Python's, whose rule for a few letters is another than Arrow's.
    """
    import pyarrow as pa
    from pyarrow import compute

    prepare = str.lower if rule == KERAS else spaced(rule)
    plain = pa.array([prepare(text) for text in texts], pa.large_string())
    if rule == KERAS:
        plain = compute.replace_substring_regex(plain, _PATTERN, " ")
    lists = compute.split_pattern(plain, " ")
    return lists.flatten(), lists.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)


def _is_whole(text: str) -> bool:
    """Whether no half of a surrogate pair is in the text, which Arrow does not take."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass
class Tally:
    """How well texts were known that were encoded: how many words they have, and how many of those are listed."""

    texts: int = 0
    words: int = 0
    known: int = 0
    strange: int = 0  # texts of whose words less than one in STRANGE is known

    def add(self, words: NDArray[np.int64], known: NDArray[np.int64]) -> None:
        """Count further texts, of whose words [text] so many are known [text]."""
        self.texts += len(words)
        self.words += int(words.sum())
        self.known += int(known.sum())
        self.strange += int((known * STRANGE < words).sum())

    @property
    def warning(self) -> str | None:
        """A line where the words of some texts are hardly known."""
        if not self.strange:
            return None
        return (
            f"{self.strange:,} of {self.texts:,} texts have hardly a word that the model knows ({self.known:,} of all "
            f"{self.words:,} words are known): it can say little of them"
        )


@dataclass(frozen=True)
class Vocabulary:
    """The words known, most frequent first: word i has the id i + 3."""

    words: Sequence[str]
    rule: str = KERAS  # by which the words of a text are found

    @classmethod
    def of(cls, texts: Iterable[str], rule: str = KERAS) -> "Vocabulary":
        """Count the words of `texts`; equal counts are ordered by the word, so that the order of texts is no matter."""
        counts = Counter(word for text in texts for word in split(text, rule))
        return cls(sorted(counts, key=lambda word: (-counts[word], word)), rule)

    @cached_property
    def ids(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words, FIRST_WORD)}

    def encode(self, text: str) -> list[int]:
        """Ids of a text, of any length and rarity: `TextConfig.crop` fits them to a network."""
        return self._encode_words(split(text, self.rule))

    def _encode_words(self, words: Iterable[str]) -> list[int]:
        ids = self.ids
        return [START, *(ids[word] for word in words if word in ids)]

    def encode_all(self, texts: Iterable[str], tally: Tally | None = None) -> Iterator[NDArray[np.int32]]:
        """Ids of many texts, as `encode` gives them; the tally counts what of the texts is known."""
        tally = Tally() if tally is None else tally
        for some in _some(texts):
            if len(some) < _MANY or not all(map(_is_whole, some)):
                yield from self._encode_one_by_one(some, tally)
            else:
                yield from self._encode_in_bulk(some, tally)

    def _encode_one_by_one(self, texts: Sequence[str], tally: Tally) -> Iterator[NDArray[np.int32]]:
        for text in texts:
            words = split(text, self.rule)
            ids = np.array(self._encode_words(words), dtype=np.int32)
            tally.add(np.array([len(words)]), np.array([len(ids) - 1]))
            yield ids

    def _encode_in_bulk(self, texts: Sequence[str], tally: Tally) -> Iterator[NDArray[np.int32]]:
        from pyarrow import compute

        words, sizes = split_all(texts, self.rule)
        found = (
            compute.index_in(words, self._known).fill_null(-1).to_numpy().copy()
        )  # [word], -1: not in the vocabulary
        is_empty = compute.equal(words, "").to_numpy(zero_copy_only=False)
        found[is_empty] = -1  # between two blanks is no word, listed or not
        text = np.repeat(np.arange(len(texts)), sizes)  # [word]
        lengths = np.bincount(text[found >= 0], minlength=len(texts)) + 1  # [text], with the start
        tally.add(sizes - np.bincount(text[is_empty], minlength=len(texts)), lengths - 1)
        ids = np.full(int(lengths.sum()), START, dtype=np.int32)
        ends = np.cumsum(lengths)
        is_word = np.ones(len(ids), dtype=np.bool_)
        is_word[ends - lengths] = False
        ids[is_word] = found[found >= 0] + FIRST_WORD
        return iter(np.split(ids, ends[:-1]))

    @cached_property
    def _known(self) -> "pa.LargeStringArray":
        import pyarrow as pa

        return pa.array(self.words, pa.large_string())

    def decode(self, ids: Iterable[int]) -> str:
        """Words of `ids`, one blank between; an unknown word reads `?`, start and padding read nothing."""
        return " ".join(
            "?" if number == UNKNOWN else self.words[number - FIRST_WORD] for number in ids if number >= UNKNOWN
        )


@dataclass(frozen=True)
class TextConfig:
    """How much of a review a network reads."""

    vocabulary: Annotated[int, Range(4, 10_000_000), Doc("word ids, the three special ones included")] = 10_000
    length: Annotated[int, Range(1, 1_000_000), Doc("words of a review at most, the start id included")] = 500
    keep: Annotated[str, Fixed("tail", "head"), Doc("the end of a longer review that is read")] = "tail"  # as in Keras

    def crop(
        self, starts: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the part of each review that is read begins, and its length; a batch replaces ids that are unknown."""
        read = np.minimum(lengths, self.length)
        return starts + (lengths - read if self.keep == "tail" else 0), read
