"""How a text becomes word ids, and back.

The id layout is the one of Keras' IMDB: 0 is padding, 1 starts every review, 2 stands for a word too rare for the
network's vocabulary, and words follow from 3 on by frequency. Words outside the vocabulary's list are dropped, as
Keras drops them, so raw texts and Keras' ids give the same tokens.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from sentiment_tune.space import Doc, Fixed, Range

PADDING, START, UNKNOWN, FIRST_WORD = 0, 1, 2, 3
_SEPARATORS = str.maketrans(dict.fromkeys('!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n\r', " "))


def split(text: str) -> list[str]:
    """Lower-case words of a text, by the rule of Keras' tokenizer: punctuation but the apostrophe separates."""
    return [word for word in text.lower().translate(_SEPARATORS).split(" ") if word]


@dataclass(frozen=True)
class Vocabulary:
    """The words known, most frequent first: word i has the id i + 3."""

    words: Sequence[str]

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Vocabulary":
        """Count the words of `texts`; equal counts are ordered by the word, so that the order of texts is no matter."""
        counts = Counter(word for text in texts for word in split(text))
        return cls(sorted(counts, key=lambda word: (-counts[word], word)))

    @cached_property
    def ids(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words, FIRST_WORD)}

    def encode(self, text: str) -> list[int]:
        """Ids of a text, of any length and rarity: `TextConfig.crop` fits them to a network."""
        ids = self.ids
        return [START, *(ids[word] for word in split(text) if word in ids)]

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
