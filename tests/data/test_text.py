"""From text to ids and back, by the rule of Keras' tokenizer."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment_tune.data.text import _MANY, FIRST_WORD, PADDING, START, UNKNOWN, TextConfig, Vocabulary, split
from sentiment_tune.errors import InputError
from sentiment_tune.space import resolve

VOCABULARY = Vocabulary(["the", "film", "don't", "naïve", "straße", "фильм", "映画", "<br", "", "\x85"])
ANY = st.characters(exclude_categories=())  # every code point, lone surrogates too
TEXTS = st.lists(st.one_of(st.sampled_from([*VOCABULARY.words, "The", "FILM", "!"]), st.text(ANY))).map(" ".join)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A fine film!", ["a", "fine", "film"]),
        ("It's don't 'quoted'", ["it's", "don't", "'quoted'"]),
        ("good<br /><br />bad", ["good", "br", "br", "bad"]),
        ('a!b"c#d$e%f&g(h)i*j+k,l-m.n/o:p;q', list("abcdefghijklmnopq")),
        ("q<r=s>t?u@v[w\\x]y^z_0`1{2|3}4~5\t6\n7", list("qrstuvwxyz01234567")),
        ("Füße ÉTÉ", ["füße", "été"]),
        (" \r\n\t ", []),
        ("", []),
    ],
)
def test_a_text_splits_where_keras_splits_it(text: str, words: list[str]) -> None:
    assert split(text) == words


@given(TEXTS)
def test_any_text_encodes_to_a_start_and_ids_of_known_words(text: str) -> None:
    first, *ids = VOCABULARY.encode(text)
    assert first == START
    assert all(FIRST_WORD <= number < FIRST_WORD + len(VOCABULARY.words) for number in ids)


@given(st.lists(TEXTS, max_size=12))
def test_in_bulk_texts_have_the_ids_that_each_has_alone(texts: list[str]) -> None:
    for many in (0, 10**9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sentiment_tune.data.text._MANY", many)
            ids = [one.tolist() for one in VOCABULARY.encode_all(iter(texts))]
        assert ids == [VOCABULARY.encode(text) for text in texts]


def test_lower_case_in_bulk_is_that_of_a_single_text() -> None:
    odd = ["ΑΣ ΑΣΑ ΣΑΣ.", "İstanbul I \u0131", "ẞ ß ǅ ǆ", "a\x0bb\x0cc\x85d\u2028e", "\x00 nul", "K Å Ω", "é É é"]
    vocabulary = Vocabulary.of(odd * 200)
    assert len(odd * 200) > _MANY
    assert [ids.tolist() for ids in vocabulary.encode_all(odd * 200)] == [vocabulary.encode(text) for text in odd * 200]
    assert set(vocabulary.words) == {word for text in odd for word in split(text)}


@given(TEXTS)
def test_decoding_gives_the_known_words_in_lower_case(text: str) -> None:
    words = re.findall(r"""[^ !"#$%&()*+,\-./:;<=>?@\[\\\]^_`{|}~\t\n\r]+""", text.lower())
    listed = [word for word in words if word in VOCABULARY.words]
    assert VOCABULARY.decode(VOCABULARY.encode(text)) == " ".join(listed)


@given(st.lists(st.lists(st.sampled_from("abcde"))))
def test_a_vocabulary_is_ordered_by_frequency_whatever_the_order_of_texts(lists: list[list[str]]) -> None:
    texts = [" ".join(words) for words in lists]
    everything = " ".join(texts).split()
    words = Vocabulary.of(texts).words
    assert words == sorted(set(everything), key=lambda word: (-everything.count(word), word))
    assert words == Vocabulary.of(reversed(texts)).words


def test_ids_are_laid_out_as_keras_does() -> None:
    assert (PADDING, START, UNKNOWN, FIRST_WORD) == (0, 1, 2, 3)
    assert VOCABULARY.encode("the film") == [1, 3, 4]
    assert VOCABULARY.decode([1, 4, 2, 3, 0, 0]) == "film ? the"


def test_a_long_review_keeps_the_end_that_is_asked_for() -> None:
    starts, lengths = np.array([0, 11]), np.array([11, 3])  # of two reviews, one after another
    for text_config, spans in (
        (TextConfig(length=4), ([7, 11], [4, 3])),
        (TextConfig(length=4, keep="head"), ([0, 11], [4, 3])),
        (TextConfig(length=11), ([0, 11], [11, 3])),
    ):
        assert tuple(part.tolist() for part in text_config.crop(starts, lengths)) == spans


@given(st.lists(st.integers(1, 10**6)), st.integers(1, 50), st.sampled_from(["tail", "head"]))
def test_a_cut_review_fits_its_network(ids: list[int], length: int, keep: str) -> None:
    (start,), (read,) = TextConfig(length=length, keep=keep).crop(np.array([0]), np.array([len(ids)]))
    assert ids[start : start + read] == (ids[-length:] if keep == "tail" else ids[:length])


@pytest.mark.parametrize(("name", "value"), [("vocabulary", 3), ("length", 0), ("keep", "both")])
def test_a_reading_has_bounds(name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"{name} cannot be {value!r}"):
        resolve(TextConfig, {name: value})
