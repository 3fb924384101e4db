"""Which reviews go together: each once, little padding, an order that only the seed and the epoch decide."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sentiment_tune.data.batches import (
    GRAIN,
    Batches,
    Order,
    evaluation_batches,
    make_batches,
    shuffle_by_length,
    sort_by_length,
)
from sentiment_tune.data.corpus import EncodedReviews
from sentiment_tune.data.text import PADDING, TextConfig

TEXT_CONFIG = TextConfig(vocabulary=1_000, length=500)


def reviews(lengths: NDArray[np.int64]) -> EncodedReviews:
    """Reviews of these lengths, each filled with a word of its own."""
    return EncodedReviews.of([np.full(length, 3 + row % 900) for row, length in enumerate(lengths)])


def shuffle(*seed: int) -> Order:
    return shuffle_by_length(np.random.default_rng(list(seed)))


def padding_share(batches: Batches) -> float:
    ids = [batch.ids for batch in batches]
    return sum(int((one == PADDING).sum()) for one in ids) / sum(one.numel() for one in ids)


IMDB_LIKE = np.random.default_rng(5).lognormal(5.2, 0.65, 8_000).astype(np.int64).clip(11, 2_500)


@pytest.mark.parametrize("order", [sort_by_length, shuffle(1, 1)], ids=["by length", "shuffled"])
@given(lengths=st.lists(st.integers(0, 30), max_size=200), size=st.integers(1, 7))
def test_every_review_comes_exactly_once_in_batches_of_the_size(order: Order, lengths: list[int], size: int) -> None:
    batches = make_batches(reviews(np.array(lengths, dtype=np.int64)), TEXT_CONFIG, size, order)
    rows = [batch.rows for batch in batches]
    assert sorted(row for batch in rows for row in batch) == list(range(len(lengths)))
    assert len(batches) == len(rows) == -(-len(lengths) // size)  # 200 reviews are one pool, but of size 1 to 3
    assert all(len(batch) <= size for batch in rows)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=60))
def test_a_review_is_padded_on_its_right_to_the_longest_beside_it_and_its_grain(lengths: list[int]) -> None:
    encoded = reviews(np.array(lengths, dtype=np.int64))
    for batch in make_batches(encoded, TEXT_CONFIG, 8):
        together = [lengths[row] for row in batch.rows]
        assert batch.ids.shape == (len(together), GRAIN * -(-max(1, *together) // GRAIN))
        assert batch.ids.dtype == torch.int64
        for ids, row in zip(batch.ids, batch.rows, strict=True):
            assert ids.tolist() == encoded[row].tolist() + [PADDING] * (len(ids) - lengths[row])


def test_a_batch_holds_reviews_as_they_are_cut() -> None:
    (batch,) = evaluation_batches(
        EncodedReviews.of([np.arange(1, 12), np.array([1, 3])]), TextConfig(vocabulary=10, length=4)
    )
    assert batch.rows.tolist() == [1, 0]
    assert batch.ids[:, :4].tolist() == [[1, 3, PADDING, PADDING], [8, 9, 2, 2]]
    assert not batch.ids[:, 4:].any()


def test_batches_are_made_where_the_network_is_and_on_a_cpu_from_the_memory_itself() -> None:
    encoded = reviews(IMDB_LIKE[:200])
    encoded.ids.flags.writeable = False  # as what is mapped
    batches = evaluation_batches(encoded, TEXT_CONFIG)
    assert batches.ids.data_ptr() == encoded.ids.ctypes.data
    elsewhere = evaluation_batches(encoded, TEXT_CONFIG, torch.device("meta"))
    for batch, other in zip(batches, elsewhere, strict=True):
        assert (other.ids.device.type, other.ids.shape) == ("meta", batch.ids.shape)


def test_no_reviews_make_no_batch_and_an_empty_one_is_padding() -> None:
    assert list(evaluation_batches(EncodedReviews.of([]), TEXT_CONFIG)) == []
    (empty,) = evaluation_batches(EncodedReviews.of([np.array([], dtype=np.int64)]), TEXT_CONFIG)
    assert empty.ids.numel() > 0
    assert not empty.ids.any()


def test_little_is_padding_where_lengths_differ_as_in_imdb() -> None:
    encoded = reviews(IMDB_LIKE)

    def as_they_come(lengths: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
        return np.array_split(np.arange(len(lengths)), len(lengths) // size)

    assert padding_share(make_batches(encoded, TEXT_CONFIG, 64, as_they_come)) > 0.35
    assert padding_share(make_batches(encoded, TEXT_CONFIG, 64, shuffle(1))) < 0.1
    assert padding_share(evaluation_batches(encoded, TEXT_CONFIG)) < 0.1


def orders(*seed: int) -> list[list[int]]:
    return [rows.tolist() for rows in shuffle(*seed)(IMDB_LIKE, 64)]


def test_the_seed_and_the_epoch_decide_the_order_and_nothing_else() -> None:
    assert orders(1, 1) == orders(1, 1)
    assert orders(1, 1) != orders(1, 2) != orders(2, 1) != orders(1, 1)


def test_training_does_not_read_from_short_to_long() -> None:
    middle = [np.median(IMDB_LIKE[rows]) for rows in orders(1, 1)]
    assert abs(np.corrcoef(middle, np.arange(len(middle)))[0, 1]) < 0.3


def test_other_reviews_meet_in_every_epoch() -> None:
    pairs = [{tuple(sorted(rows)) for rows in orders(1, epoch)} for epoch in (1, 2)]
    assert not pairs[0] & pairs[1]


def test_batches_pass_again_as_they_passed() -> None:
    batches = make_batches(reviews(IMDB_LIKE[:200]), TEXT_CONFIG, 16, shuffle(1))
    first, again = list(batches), list(batches)
    assert all(torch.equal(a.ids, b.ids) for a, b in zip(first, again, strict=True))
