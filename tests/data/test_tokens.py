"""A table is converted without its texts being kept: the same vocabulary and ids, in memory that ids alone fill."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment_tune.data import store
from sentiment_tune.data.corpus import encode_texts
from sentiment_tune.data.text import Vocabulary, split
from sentiment_tune.data.tokens import Tokens
from support import ROOT

WORDS = st.text(st.sampled_from("aAbB \t!.'éΣς\u2028\x00"), max_size=20)


@given(st.lists(st.tuples(WORDS, st.booleans()), max_size=30), st.integers(1, 40))
def test_texts_that_are_not_kept_have_the_ids_of_those_that_are(rows: list[tuple[str, bool]], together: int) -> None:
    texts, to_train = [text for text, _ in rows], np.array([train for _, train in rows], np.bool_)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sentiment_tune.data.text._CHARACTERS", together)
        tokens = Tokens(iter(texts))
    written = tokens.lengths.tolist()
    reviews, words = tokens.encode(to_train)
    vocabulary = Vocabulary.of(text for text, train in rows if train)
    expected = encode_texts(texts, vocabulary)
    assert words == vocabulary.words
    assert written == [len(split(text)) for text in texts]
    for one, other in ((reviews.ids, expected.ids), (reviews.starts, expected.starts)):
        assert one.dtype == other.dtype
        assert one.tolist() == other.tolist()
    assert reviews.lengths.tolist() == expected.lengths.tolist()


@given(st.lists(st.integers(0, 9)), st.integers(1, 12))
def test_blocks_are_all_reviews_in_order(lengths: list[int], most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_WORDS", most)
        blocks = [*store.blocks(np.array(lengths, np.int64))]
    assert [row for rows, _ in blocks for row in range(rows.start, rows.stop)] == list(range(len(lengths)))
    for rows, words in blocks:
        assert words.start == sum(lengths[: rows.start])
        assert words.stop - words.start == sum(lengths[rows])
        assert words.stop - words.start <= most or rows.stop == rows.start + 1


CONVERT = """
import re, sys
from pathlib import Path
from sentiment_tune.data.load import DataConfig, load
load(DataConfig(sys.argv[1]), Path(sys.argv[2]))
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])  # ru_maxrss counts who began it too
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no peak of this process alone is known here")
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_memory_grows_by_ids_and_not_by_texts(suffix: str, tmp_path: Path) -> None:
    """Texts of 2,000 letters and 8 words: ids take 36 bytes of each, the text 2,049 and more."""
    peaks, rows = [], (40_000, 120_000)
    for count in rows:
        path = tmp_path / f"reviews-{count}{suffix}"
        write(path, count)
        command = [sys.executable, "-W", "ignore", "-c", CONVERT, str(path), str(tmp_path / f"cache-{count}")]
        finished = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        peaks.append(1024 * int(finished.stdout))
    assert (peaks[1] - peaks[0]) / (rows[1] - rows[0]) < 1000  # bytes a review


def write(path: Path, count: int) -> None:
    """A table of so many reviews, written in pieces."""
    import pyarrow as pa
    from pyarrow import parquet

    words = np.array([letter * 250 for letter in "abcdefghijklmnopqrst"])
    chance = np.random.default_rng(1)
    texts = [" ".join(words[chance.integers(len(words), size=8)]) for _ in range(count)]
    labels = ["0", "1"] * (count // 2)
    if path.suffix == ".parquet":
        parquet.write_table(pa.table({"text": texts, "label": labels}), path, row_group_size=5_000)
    elif path.suffix == ".csv":
        path.write_text(
            "text,label\n" + "".join(f"{text},{label}\n" for text, label in zip(texts, labels, strict=True))
        )
    else:
        lines = (json.dumps({"text": text, "label": label}) for text, label in zip(texts, labels, strict=True))
        path.write_text("\n".join(lines))
