"""Texts that are read once and not kept: what stays of each is the numbers of its words."""

from collections import deque
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from sentiment_tune.data.checks import review_keys
from sentiment_tune.data.corpus import EncodedReviews
from sentiment_tune.data.mojibake import is_mojibake
from sentiment_tune.data.rules import KERAS, has_markup
from sentiment_tune.data.text import FIRST_WORD, PADDING, START, pieces, split_all, sums, to_text


class Tokens:
    """The words of many texts, each as a number, in the order in which words first occur."""

    def __init__(self, texts: Iterable[str], rule: str = KERAS):
        """Read the texts, some at a time, by a rule of `data.rules`."""
        self._rule, wrong, markup = rule, list[bool](), list[bool]()
        self._numbers: dict[bytes, int] = {}  # of each word, with the blank behind it
        self._pieces: deque[tuple[NDArray[np.int64], NDArray[np.int32]]] = deque()  # lengths of texts, their words
        keys = list[NDArray[np.uint64]]()
        for some in pieces(texts):
            wrong += map(is_mojibake, some)
            markup += map(has_markup, some)
            self._pieces.append(self._read(some))
            lengths, numbers = self._pieces[-1]
            keys.append(review_keys(numbers + 1, lengths))
        self.keys = np.concatenate([np.zeros(0, np.uint64), *keys])
        """[text], the same of texts of the same words, of which train may have none."""
        self.lengths = np.concatenate([[], *(lengths for lengths, _ in self._pieces)]).astype(np.int64)
        """[text], in words."""
        self.is_mojibake = np.array(wrong, np.bool_)
        """[text], whether its encoding seems to be a wrong one."""
        self.has_markup = np.array(markup, np.bool_)
        """[text], whether tags or entities of HTML stand in it."""

    def _read(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        from pyarrow import compute

        words, sizes = split_all(texts, self._rule)
        is_word = compute.binary_length(words).to_numpy() > 1  # what is not is a blank alone
        lengths = sums(is_word, sizes)
        found = words.dictionary_encode()
        numbers = self._numbers
        # A blank alone has a number in the piece, and none in all.
        of_all = [
            -1 if word == b" " else numbers.setdefault(word, len(numbers)) for word in found.dictionary.to_pylist()
        ]
        return lengths, np.array(of_all, np.int32)[found.indices.to_numpy()[is_word]]

    def encode(self, to_train: NDArray[np.bool_]) -> tuple[EncodedReviews, Sequence[str]]:
        """Ids of all texts, and the words they stand for: those of the texts `to_train` [text], by frequency.

        It is what a `Vocabulary.of` those texts encodes all of them to. What is held here goes on the way, so that the
        words of all texts are in memory once.
        """
        counts = np.zeros(len(self._numbers), np.int64)
        first = 0
        for lengths, numbers in self._pieces:
            is_counted = np.repeat(to_train[first : first + len(lengths)], lengths)
            counts += np.bincount(numbers[is_counted], minlength=len(counts))
            first += len(lengths)
        words = [to_text(word[:-1]) for word in self._numbers]
        order = sorted(np.flatnonzero(counts).tolist(), key=lambda number: (-counts[number], words[number]))
        ids = np.zeros(len(words), np.int32)  # [number], 0 of a word that train does not have
        ids[order] = np.arange(FIRST_WORD, FIRST_WORD + len(order))
        return self._encode(ids), [words[number] for number in order]

    def _encode(self, ids: NDArray[np.int32]) -> EncodedReviews:
        """All texts by the ids of their words [number]; words that have none are dropped."""
        lengths = np.concatenate([[], *(1 + sums(ids[words] > 0, lengths) for lengths, words in self._pieces)])
        lengths = lengths.astype(np.int64)  # [text], with the start
        encoded = np.full(int(lengths.sum()) or 1, START if len(lengths) else PADDING, np.int32)
        ends, text, first = np.cumsum(lengths), 0, 0
        while self._pieces:
            some, words = self._pieces.popleft()
            starts = (ends - lengths)[text : text + len(some)] - first
            text += len(some)
            last = int(ends[text - 1])
            there = np.ones(last - first, np.bool_)
            there[starts] = False
            read = ids[words]
            encoded[first:last][there] = read[read > 0]
            first = last
        return EncodedReviews(encoded, ends - lengths, lengths)
