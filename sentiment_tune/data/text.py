"""How a text becomes word ids, and back.

The id layout is the one of Keras' IMDB: 0 is padding, 1 starts every review, 2 stands for a word too rare for the
network's vocabulary, and words follow from 3 on by frequency. Words outside the vocabulary's list are dropped, as
Keras drops them, so raw texts that are read by Keras' rule and Keras' ids give the same tokens. Which words a text has
is a matter of the rule (`sentiment_tune.data.rules`), which a vocabulary keeps.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray

from sentiment_tune.data.rules import KERAS, SEPARATORS, spaced
from sentiment_tune.space import Doc, Fixed, Range

if TYPE_CHECKING:
    import pyarrow as pa

PADDING, START, UNKNOWN, FIRST_WORD = 0, 1, 2, 3
_SEPARATING_BYTES = bytes.maketrans(SEPARATORS.encode(), b" " * len(SEPARATORS))  # no byte of other letters
STRANGE = 4  # words of a text, of which one at least is known where it is not a strange one
_MANY = 256  # texts from which on the way in bulk is the faster one: it looks at all words of the vocabulary first
_TOGETHER, _CHARACTERS = 2**14, 2**23  # texts that are split at a time, and from which length on no more are


def split(text: str, rule: str = KERAS) -> list[str]:
    """The words of a text."""
    return [word for word in spaced(rule)(text).split(" ") if word]


def pieces(texts: Iterable[str]) -> Iterator[list[str]]:
    """The texts, so many together as are split at a time; fewer where they are long."""
    some: list[str] = []
    characters = 0
    for text in texts:
        some.append(text)
        characters += len(text)
        if len(some) == _TOGETHER or characters >= _CHARACTERS:
            yield some
            some, characters = [], 0
    if some:
        yield some


def split_all(texts: Sequence[str], rule: str = KERAS) -> "tuple[pa.LargeBinaryArray, NDArray[np.int64]]":
    """The words of many texts in UTF-8, and how many each text has: the rule of `split`, in bulk.

    Each word has a blank behind it, and where two separators stand together a blank is all there is. Lower case is
    Python's, whose rule for a few letters is another than Arrow's.
    """
    import pyarrow as pa

    prepare = str.lower if rule == KERAS else spaced(rule)
    parts = [to_bytes(prepare(text)) for text in texts]
    ends = np.cumsum([len(part) + 1 for part in parts], dtype=np.int64)
    content = b" ".join([*parts, b""])
    if rule == KERAS:
        content = content.translate(_SEPARATING_BYTES)
    blanks = np.flatnonzero(np.frombuffer(content, np.uint8) == ord(" "))
    offsets = np.concatenate([[0], blanks + 1])  # [word + 1]
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(content)]
    words = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(blanks), buffers)
    return words, np.diff(np.searchsorted(blanks, ends), prepend=0)


def sums(values: NDArray[np.bool_], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many of each text's values are true [text]; they stand one after another."""
    return np.diff(np.concatenate([[0], np.cumsum(values)])[np.cumsum(lengths)], prepend=0)


def to_bytes(text: str) -> bytes:
    """UTF-8, in which half of a surrogate pair stands for itself."""
    return text.encode("utf-8", "surrogatepass")


def to_text(content: bytes) -> str:
    """The text of bytes that `to_bytes` made."""
    return content.decode("utf-8", "surrogatepass")


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

    def include(self, other: "Tally") -> None:
        """Count what another one has counted."""
        for name, count in vars(other).items():
            setattr(self, name, getattr(self, name) + count)

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
        for some in pieces(texts):
            if len(some) < _MANY:
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
        found = compute.index_in(words, self._known).fill_null(-1).to_numpy(zero_copy_only=False)  # [word], -1: unknown
        is_word = compute.binary_length(words).to_numpy() > 1  # a blank alone is none, listed or not
        known = (found >= 0) & is_word
        written, counts = sums(is_word, sizes), sums(known, sizes)
        tally.add(written, counts)
        ends = np.cumsum(counts + 1)  # [text], with the start
        ids = np.full(len(texts) + int(known.sum()), START, dtype=np.int32)
        is_id = np.ones(len(ids), dtype=np.bool_)
        is_id[ends - counts - 1] = False
        ids[is_id] = found[known] + FIRST_WORD
        return iter(np.split(ids, ends[:-1]))

    @cached_property
    def _known(self) -> "pa.LargeBinaryArray":
        import pyarrow as pa

        return pa.array([to_bytes(word) + b" " for word in self.words], pa.large_binary())

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
