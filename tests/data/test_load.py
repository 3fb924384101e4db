"""Every source gives the same kind of corpus, is converted once, and is refused in one line where it is broken."""

import hashlib
import io
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from sentiment_tune.data import imdb, sample, store
from sentiment_tune.data.corpus import Corpus, EncodedReviews, Reviews
from sentiment_tune.data.load import DataConfig, encode_training_texts, load, load_frame, load_texts
from sentiment_tune.data.store import open_store
from sentiment_tune.data.tables import read_table, write_table
from sentiment_tune.data.text import Vocabulary
from sentiment_tune.errors import InputError
from support import ROOT, TIME_LIMIT

WORDS = [f"word{number}" for number in range(50)]
START = """
import sys
from pathlib import Path
from sentiment_tune.data.load import DataConfig, load
corpus = load(DataConfig(sys.argv[1]))
print(corpus.digest, "keras" in sys.modules, "torch" in sys.modules)
"""
KERAS = """
import json, sys
import numpy as np
from keras.src.datasets import imdb
imdb.get_file = lambda **arguments: sys.argv[1]
halves = imdb.load_data()
reviews, labels = (np.concatenate(arrays).tolist() for arrays in zip(*halves))
print(json.dumps([reviews, labels]))
"""


def start_load(data: Path | str, cache: Path) -> subprocess.Popen[str]:
    """A fresh process that loads `data`; it prints the digest, and whether it imported keras and torch."""
    environment = os.environ | {"SENTIMENT_TUNE_CACHE": str(cache), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", START, str(data)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def answer(process: subprocess.Popen[str]) -> list[str]:
    printed, _ = process.communicate(timeout=TIME_LIMIT)
    assert process.returncode == 0
    return printed.split()


def refusal(source: DataConfig, cache: Path | None = None) -> str:
    with pytest.raises(InputError) as caught:
        load(source, cache)
    message = str(caught.value)
    assert "\n" not in message
    return message


def texts_of(corpus: Corpus, reviews: Reviews) -> list[str]:
    return [corpus.vocabulary.decode(ids) for ids in all_of(reviews)]


def all_of(reviews: EncodedReviews) -> list[NDArray[np.int32]]:
    return [reviews[row] for row in range(len(reviews))]


def whole(corpus: Corpus) -> Reviews:
    """All reviews of a corpus, in the order of its source."""
    return corpus.train.union(corpus.validation).union(corpus.test)


def rows_of(corpus: Corpus, part: Reviews) -> NDArray[np.int64]:
    """Rows of the source that became the part."""
    return np.searchsorted(whole(corpus).starts, part.starts)


def table(folder: Path, rows: int = 100, name: str = "reviews.csv") -> Path:
    """Reviews of distinct texts, a third of them positive."""
    path = folder / name
    write_table(path, ["text", "label"], [[f"{WORDS[row % 50]} only{row}", int(row % 3 == 0)] for row in range(rows)])
    return path


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array), allow_pickle=True)
    return file.getvalue()


def ragged(reviews: list[Any]) -> bytes:
    array = np.empty(len(reviews), dtype=object)
    array[:] = reviews
    return npy(array)


def members(rows: int = 40) -> dict[str, bytes]:
    """A small corpus in the layout of Keras' imdb.npz, over the words of `WORDS`."""
    reviews = [[1 + row % 50, 1 + row * 7 % 50, 1 + row * 3 % 49] * (1 + row % 3) for row in range(rows)]
    labels = [int(row < rows // 2) for row in range(rows)]
    return {
        f"{kind}_{half}": content
        for half in ("train", "test")
        for kind, content in (("x", ragged(reviews)), ("y", npy(labels)))
    }


def archive(folder: Path, changed: dict[str, bytes] | None = None) -> Path:
    """An .npz of `members`, some of them changed, beside its word index."""
    path = folder / "small.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in (members() | (changed or {})).items():
            file.writestr(f"{name}.npy", content)
    (folder / imdb.WORD_INDEX).write_text(json.dumps({word: rank for rank, word in enumerate(WORDS, 1)}))
    return path


@pytest.fixture(scope="session")
def corpus(imdb_folder: Path) -> Corpus:
    """The real IMDB, read from its .npz."""
    return load(DataConfig(str(imdb_folder / "imdb.npz")))


@pytest.fixture
def keras_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which Keras looks for data sets, empty."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    folder = tmp_path / "keras" / "datasets"
    folder.mkdir(parents=True)
    return folder


def process_state() -> tuple[object, ...]:
    """What acts on the whole process and a call of the library must leave alone."""
    return dict(os.environ), socket.getdefaulttimeout(), sys.stdout, "keras" in sys.modules


# ---- the real corpus


def test_imdb_is_the_one_keras_users_know(corpus: Corpus) -> None:
    rows, reviews = np.arange(25_000), whole(corpus)
    assert reviews[0][:7].tolist() == [1, 14, 22, 16, 43, 530, 973]
    assert reviews.lengths[:5].tolist() == [218, 189, 141, 550, 147]
    assert reviews.labels[0] == 1
    assert corpus.vocabulary.decode(corpus.train.ids[:7]) == "this film was just brilliant casting"
    assert [len(part) for part in (corpus.train, corpus.validation, corpus.test)] == [22_500, 2_500, 25_000]
    means = [part.labels.mean() for part in (corpus.train, corpus.validation, corpus.test)]
    assert means == pytest.approx([0.5] * 3, abs=0.001)  # of films that are whole, as near as can be
    assert np.array_equal(rows_of(corpus, corpus.train.union(corpus.validation)), rows)
    assert np.array_equal(rows_of(corpus, corpus.test), rows + 25_000)
    assert (corpus.name, corpus.warning, Path(corpus.source).name) == ("imdb", None, "imdb.npz")


def test_a_part_is_a_sequence_of_reviews(corpus: Corpus) -> None:
    part = corpus.validation
    assert len(all_of(part)) == len(part) == len(part.labels) == len(part.lengths)
    assert [len(review) for review in all_of(part)] == part.lengths.tolist()
    assert all(review[0] == 1 for review in all_of(part))
    assert part[0].dtype == np.int32
    assert not part[0].flags.writeable
    assert np.array_equal(part[-1], part[2_499])


def test_keras_gives_the_same_corpus(
    corpus: Corpus, imdb_folder: Path, tmp_path: Path, keras_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (imdb.ARCHIVE, imdb.WORD_INDEX):
        shutil.copy(imdb_folder / name, keras_folder)
    # Those of the test data were rebuilt: the same content, packed otherwise.
    monkeypatch.setattr(imdb, "SHA256", hashlib.sha256((imdb_folder / imdb.ARCHIVE).read_bytes()).hexdigest())
    before = process_state()
    through_keras = load(DataConfig("imdb"), tmp_path / "cache")
    assert process_state() == before
    assert through_keras.digest == corpus.digest
    assert through_keras.source.startswith("https://")
    for part in ("train", "validation", "test"):
        assert getattr(through_keras, part).digest == getattr(corpus, part).digest
    shutil.rmtree(keras_folder)  # from now on it comes from the cache
    again, by_default = load(DataConfig("imdb"), tmp_path / "cache"), load(DataConfig(), tmp_path / "cache")
    assert again.digest == by_default.digest == corpus.digest
    assert by_default.warning is None


@pytest.mark.parametrize("half", ["train", "test"])
def test_raw_texts_encode_to_the_ids_of_keras(corpus: Corpus, imdb_folder: Path, half: str) -> None:
    raw = read_table(imdb_folder / f"imdb_{half}.csv.xz")
    orders = np.random.RandomState(113)
    order = [orders.permutation(25_000) for _ in range(2)][half == "test"]
    reviews = corpus.test if half == "test" else corpus.train.union(corpus.validation)
    texts = raw.texts("text", "--text")
    different = [
        row
        for row, review in enumerate(all_of(reviews))
        if corpus.vocabulary.encode(texts[order[row]]) != review.tolist()
    ]
    # Keras takes the largest id for the number of words, so that the rarest word is unknown to it.
    assert [corpus.vocabulary.decode(reviews[row]).count("?") for row in different] == ([1] if half == "train" else [])


def test_a_later_start_converts_nothing_and_needs_no_keras(
    corpus: Corpus, imdb_folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert answer(start_load(imdb_folder / "imdb.npz", cache)) == [corpus.digest, "False", "False"]
    monkeypatch.setattr(imdb, "read", None)
    assert load(DataConfig(str(imdb_folder / "imdb.npz")), cache).digest == corpus.digest


# ---- Keras' layout


def test_an_archive_is_read_as_keras_reads_it(tmp_path: Path) -> None:
    path = archive(tmp_path)
    raw = imdb.read(path, tmp_path / imdb.WORD_INDEX)
    finished = subprocess.run(
        [sys.executable, "-c", KERAS, str(path)],
        env=os.environ | {"KERAS_BACKEND": "torch"},
        stdout=subprocess.PIPE,
        check=True,
    )
    reviews, labels = json.loads(finished.stdout)
    assert raw.encoded is not None
    assert [ids.tolist() for ids in all_of(raw.encoded)] == reviews
    assert raw.labels.tolist() == labels
    assert raw.part.tolist() == [0] * 40 + [2] * 40
    assert raw.words == ["", *WORDS]


class Canary:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def array_claiming(shape: tuple[int, ...], dtype: str = "<i8") -> bytes:
    """The header of a huge array before a few bytes."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue() + bytes(64)


def test_a_pickle_in_the_archive_does_not_run(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    message = refusal(
        DataConfig(str(archive(tmp_path, {"x_train": ragged([Canary(sprung)] * 40)}))), tmp_path / "cache"
    )
    assert "UnpicklingError" in message
    assert "small.npz" in message
    assert not sprung.exists()
    np.load(io.BytesIO(ragged([Canary(sprung)])), allow_pickle=True)  # it would have
    assert sprung.exists()


@pytest.mark.parametrize(
    ("member", "content", "part"),
    [
        ("y_train", array_claiming((10**12,)), "claims the shape (1000000000000,)"),
        ("x_train", array_claiming((10**12,)), "claims the shape"),
        ("x_train", array_claiming((10**6, 10**6), "|O"), "claims the shape"),
        (
            "x_train",
            bytes(2**26),
            "unpacks to more than 67,108,864, with 64 for each row: if it is what you expect, allow more",
        ),
        ("x_train", ragged([[1] * 10_000] * 10_001), "100,010,000 words are more than"),
        ("x_train", ragged([[1, 51]] * 40), "words that are not in imdb_word_index.json"),
        ("x_train", ragged([[0]] * 40), "words that are not in"),
        ("x_train", ragged([[2**40]] * 40), "OverflowError"),
        ("x_train", ragged([[1.5]] * 40), "not lists of whole numbers"),
        ("x_train", ragged([[[1]]] * 40), "not lists of whole numbers"),
        ("x_train", ragged(["text"] * 40), "reviews are not lists"),
        ("x_train", ragged([[1]] * 39), "reviews and labels do not match"),
        ("x_train", npy([1] * 40), "reviews are not lists"),
        ("y_train", npy([2] * 40), "labels are not 0 and 1"),
        ("y_train", npy([0.5] * 40), "labels are not 0 and 1"),
        ("y_train", npy([1] * 40), "0 negative and 36 positive reviews in train"),
        ("y_train", b"no array at all", "small.npz"),
        ("y_train", b"", "small.npz"),
    ],
)
def test_a_hostile_archive_is_refused(tmp_path: Path, member: str, content: bytes, part: str) -> None:
    changed = {member: content}
    if part.startswith("100,"):
        changed["y_train"] = npy([0] * 10_001)
    message = refusal(DataConfig(str(archive(tmp_path, changed))), tmp_path / "cache")
    assert part in message
    assert str(tmp_path / "small.npz") in message


def test_a_truncated_archive_is_refused_at_every_place(tmp_path: Path) -> None:
    path = archive(tmp_path)
    whole = path.read_bytes()
    for size in np.linspace(0, len(whole) - 1, 25, dtype=int):
        path.write_bytes(whole[:size])
        assert "data=sample" in refusal(DataConfig(str(path)), tmp_path / "cache")


def test_a_member_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "small.npz"
    archive(tmp_path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x_train.npy", members()["x_train"])
    assert "y_train.npy" in refusal(DataConfig(str(path)), tmp_path / "cache")


@pytest.mark.parametrize(
    "index", ["", "[]", '{"a": 1, "b": 1}', '{"a": 2}', '{"a": "b"}', '{"a\\n": 1}', '{"\\ud83c": 1}', "[" * 100_000]
)
def test_a_word_index_must_rank_the_words(tmp_path: Path, index: str) -> None:
    path = archive(tmp_path)
    (tmp_path / imdb.WORD_INDEX).write_text(index)
    assert imdb.WORD_INDEX in refusal(DataConfig(str(path)), tmp_path / "cache")


def test_an_archive_needs_its_word_index(tmp_path: Path) -> None:
    path = archive(tmp_path)
    (tmp_path / imdb.WORD_INDEX).unlink()
    assert f"place Keras' {imdb.WORD_INDEX} in {tmp_path}" in refusal(DataConfig(str(path)))
    assert "there is no such file" in refusal(DataConfig(str(tmp_path / "absent.npz")))


# ---- the download


def test_auto_takes_the_sample_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline() -> tuple[Path, Path]:
        raise InputError("no IMDB (nobody there)")

    monkeypatch.setattr(imdb, "download", offline)
    corpus = load(DataConfig(), tmp_path)
    assert corpus.name == "sample"
    assert corpus.warning == "the built-in sample stands in for IMDB: no IMDB (nobody there)"


def test_a_silent_network_is_given_up_and_leaves_no_file(
    tmp_path: Path, keras_folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(imdb, "PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(imdb, "URL", f"http://127.0.0.1:{server.getsockname()[1]}/imdb.npz")
        before = process_state()
        message = refusal(DataConfig("imdb"), tmp_path / "cache")
    for part in ("timed out", str(keras_folder), "data=PATH.npz", "data=sample"):
        assert part in message
    assert list(keras_folder.iterdir()) == []
    assert process_state() == before
    assert capfd.readouterr().out == ""


def test_a_download_that_dies_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(imdb, "_DOWNLOAD", "import os; os._exit(9)")
    assert "the download ended with 9" in refusal(DataConfig("imdb"), tmp_path / "cache")


# ---- tables


def test_a_table_is_cut_by_label_and_always_alike(tmp_path: Path) -> None:
    path = table(tmp_path, 300)
    one, two = load(DataConfig(str(path)), tmp_path / "one"), load(DataConfig(str(path)), tmp_path / "two")
    assert one.digest == two.digest
    assert [len(part) for part in (one.train, one.validation, one.test)] == [216, 24, 60]
    assert [int(part.labels.sum()) for part in (one.train, one.validation, one.test)] == [72, 8, 20]
    assert np.array_equal(one.validation.starts, two.validation.starts)
    assert (one.name, one.source, one.warning) == ("reviews", str(path), None)


def test_words_of_other_parts_are_not_in_the_vocabulary(tmp_path: Path) -> None:
    corpus = load(DataConfig(str(table(tmp_path, 300))), tmp_path / "cache")
    raw = [row[0] for row in read_table(tmp_path / "reviews.csv").rows]
    own = [raw[row] for row in rows_of(corpus, corpus.train)]
    assert sorted(corpus.vocabulary.words) == sorted(set(" ".join(own).split()))
    assert list(corpus.vocabulary.words) == Vocabulary.of(own).words
    assert texts_of(corpus, corpus.train) == own
    assert all("only" not in text for text in texts_of(corpus, corpus.test) + texts_of(corpus, corpus.validation))


def test_a_second_table_is_the_test(tmp_path: Path) -> None:
    train, test = table(tmp_path, 100), table(tmp_path, 50, "later.jsonl")
    corpus = load(DataConfig(str(train), test=str(test)), tmp_path / "cache")
    assert [len(part) for part in (corpus.train, corpus.validation, corpus.test)] == [90, 10, 50]
    assert rows_of(corpus, corpus.test).tolist() == list(range(100, 150))


@pytest.mark.parametrize("validation", ["validation", "val", "Dev ", "valid", None])
def test_a_column_can_name_the_parts(tmp_path: Path, validation: str | None) -> None:
    names = ["train"] * 60 + [validation or "train"] * 20 + ["TEST"] * 20
    rows = [[f"{WORDS[row % 50]} fine", row % 2, name] for row, name in enumerate(names)]
    write_table(tmp_path / "reviews.csv", ["text", "label", "split"], rows)
    corpus = load(DataConfig(str(tmp_path / "reviews.csv")), tmp_path / "cache")
    assert rows_of(corpus, corpus.test).tolist() == list(range(80, 100))
    assert len(corpus.validation) == (20 if validation else 8)
    if validation:
        assert rows_of(corpus, corpus.validation).tolist() == list(range(60, 80))


@pytest.mark.parametrize(
    ("negative", "positive"),
    [("0", "1"), ("neg", "POS"), (" Negative", "positive\t"), (0, 1), (False, True), (0.0, 1.0), ("neg", 1)],
)
def test_labels_are_understood_in_many_spellings(tmp_path: Path, negative: object, positive: object) -> None:
    rows = [[f"fine {row}", positive if row % 2 else negative] for row in range(60)]
    write_table(tmp_path / "reviews.jsonl", ["text", "label"], rows)
    corpus = load(DataConfig(str(tmp_path / "reviews.jsonl")), tmp_path / "cache")
    assert np.array_equal(whole(corpus).labels, np.arange(60) % 2)


@pytest.mark.parametrize("label", ["2", "good", 0.5, "x" * 1000])
def test_a_label_of_one_review_among_many_is_refused_by_its_row(tmp_path: Path, label: object) -> None:
    rows = [[f"word{row}", "pos" if row % 2 else "neg"] for row in range(100)]
    rows[41][1] = label  # type: ignore[call-overload]
    write_table(tmp_path / "a.jsonl", ["text", "label"], rows)
    message = refusal(DataConfig(str(tmp_path / "a.jsonl")))
    assert f"{tmp_path / 'a.jsonl'}, row 42: '{label!s:.30}" in message
    assert "the label of 1 review, of which too few are left to train on" in message
    assert len(message) < 250 + len(str(tmp_path))


@pytest.mark.parametrize("label", ["", None, float("nan"), 10**400, [1]])
def test_what_is_no_label_is_refused_by_its_row(tmp_path: Path, label: object) -> None:
    write_table(tmp_path / "a.jsonl", ["text", "label"], [["fine", 1], ["bad", 0], ["odd", label]])
    message = refusal(DataConfig(str(tmp_path / "a.jsonl")))
    assert f"{tmp_path / 'a.jsonl'}, row 3: no label" in message
    assert "positive" in message
    assert len(message) < 200 + len(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "settings", "parts"),
    [
        ("words,label\nfine,1\n", {}, ["no column 'text'", "--text", "words, label"]),
        ("text,mark\nfine,1\n", {}, ["no column 'label'", "--label", "text, mark"]),
        ("text,label\nfine,1\n", {"split": "fold"}, ["no column 'fold'", "--split"]),
        ("text,label,split\nfine,1,train\nfine,0,holdout\n", {}, ["row 2", "no split 'holdout'", "validation"]),
        ("text,label\n", {}, ["0 negative and 0 positive", "train"]),
        ("text,label\n" + "fine,1\n" * 50, {}, ["0 negative and 36 positive reviews in train"]),
        ("text,label\n" + "fine,1\nbad,0\n" * 10, {}, ["14 reviews to train on", "at least 20"]),
        (
            "text,label,split\n" + "a,1,train\nb,0,train\n" * 30,
            {},
            ["no reviews to test on: name their file with --test"],
        ),
        ("text,label,split\n" + "a,1,train\nb,0,test\n" * 30, {}, ["0 negative and 27 positive reviews in train"]),
        ("", {}, ["is empty"]),
        ("text,label\ngood, really,1\n", {}, ["line 2", "quote"]),
        ("text,label\n", {"split": "fold", "test": "b.csv"}, ["split=fold", "test=b.csv", "leave one out"]),
        ("text,label\n", {"test": "absent.csv"}, ["absent.csv", "no such file"]),
    ],
)
def test_a_table_that_does_not_do_is_refused(
    tmp_path: Path, text: str, settings: dict[str, Any], parts: list[str]
) -> None:
    path = tmp_path / "reviews.csv"
    path.write_text(text)
    message = refusal(DataConfig(str(path), **settings), tmp_path / "cache")
    for part in parts:
        assert part in message
    if "test" not in settings:
        assert str(path) in message


def test_empty_and_odd_texts_are_reviews_too(tmp_path: Path) -> None:
    texts = ["", "NA", "null", " \t ", "🎬", "\x00", "fine\r\nfilm"] * 10
    write_table(tmp_path / "reviews.csv", ["text", "label"], [[text, row % 2] for row, text in enumerate(texts)])
    for rule, more in (("keras", {"\x00"}), ("unicode", set())):
        corpus = load(DataConfig(str(tmp_path / "reviews.csv"), text_rule=rule), tmp_path / "cache")
        assert set(corpus.vocabulary.words) == {"na", "null", "🎬", "fine", "film", *more}
        assert corpus.train.lengths.min() == 1


def test_the_sample_needs_nothing(tmp_path: Path) -> None:
    corpus = load(DataConfig("sample"), tmp_path)
    assert (corpus.name, corpus.source, corpus.warning) == ("sample", "sentiment_tune.sample", None)
    assert len(corpus.train) + len(corpus.validation) == sample.TRAIN
    assert len(corpus.test) == sample.TEST
    assert load(DataConfig("sample"), tmp_path).digest == corpus.digest


@pytest.mark.parametrize(
    ("data", "part"),
    [
        ("imbd", "did you mean 'imdb'?"),
        ("reviews.doc", ".parquet"),
        ("", "auto, imdb, sample"),
        ("a.csv", "no such file"),
    ],
)
def test_an_unknown_source_is_answered_with_the_known_ones(data: str, part: str) -> None:
    message = refusal(DataConfig(data))
    assert part in message
    assert data in message


COLUMNS = {"text": "review", "label": "stars", "split": "part", "test": "b.csv", "group": "film"}
FILE = {"encoding": "utf-8", "delimiter": ";", "columns": "text,label", "sheet": "one"}


@pytest.mark.parametrize(("name", "value"), {**COLUMNS, **FILE, "labels": "stars"}.items())
@pytest.mark.parametrize("data", ["sample", "imdb", "mine.npz"])
def test_what_goes_with_a_table_is_refused_without_one(data: str, name: str, value: object) -> None:
    config = DataConfig(data, **{name: value})  # type: ignore[arg-type]
    assert refusal(config).startswith(f"{name}={value!r} goes with a table: {data!r} is none")


@pytest.mark.parametrize(("name", "value"), {**COLUMNS, **FILE, "unpack_limit": 9}.items())
def test_what_goes_with_a_table_is_refused_for_texts_and_their_labels(name: str, value: object) -> None:
    config = DataConfig(**{name: value})  # type: ignore[arg-type]
    for read in (load_texts, encode_training_texts):
        with pytest.raises(InputError, match=f"{name}={value!r} goes with a table"):
            read(["good", "bad"], [1, 0], config=config)


@pytest.mark.parametrize(("name", "value"), {**FILE, "unpack_limit": 9}.items())
def test_how_a_file_is_read_is_refused_for_a_frame(name: str, value: object) -> None:
    frame = pd.DataFrame({"text": ["good", "bad"], "label": [1, 0]})
    with pytest.raises(InputError, match=f"{name}={value!r} goes with a table: a DataFrame has been read"):
        load_frame(frame, DataConfig(**{name: value}))  # type: ignore[arg-type]


def test_texts_in_memory_are_left_out_where_the_test_has_them_too(tmp_path: Path) -> None:
    texts = [f"film {row // 2} was {'good' if row // 2 % 2 else 'bad'}" for row in range(400)]  # each twice
    labels = [row // 2 % 2 for row in range(400)]
    every, kept = (load_texts(texts, labels, tmp_path, DataConfig(deduplicate=yes)) for yes in (False, True))
    assert len(kept.train) < len(every.train)
    assert len(kept.test) == len(every.test)


# ---- the cache


def contents(cache: Path) -> list[str]:
    return sorted(path.suffix for path in cache.iterdir())


def test_the_digest_tells_contents_and_not_names(tmp_path: Path) -> None:
    path = table(tmp_path)
    digest = load(DataConfig(str(path)), tmp_path / "cache").digest
    renamed = shutil.copy(path, tmp_path / "other.csv")
    assert load(DataConfig(str(renamed)), tmp_path / "cache").digest == digest
    packed = tmp_path / "packed.jsonl.xz"
    write_table(packed, ["text", "label"], read_table(path).rows)
    assert load(DataConfig(str(packed)), tmp_path / "cache").digest == digest
    path.write_text(path.read_text().replace("only7,", "only7 word1,"))
    assert load(DataConfig(str(path)), tmp_path / "cache").digest != digest


def test_other_columns_are_another_corpus(tmp_path: Path) -> None:
    rows = [[f"fine {row}", f"bad {row}", row % 2, (row + 1) % 2] for row in range(60)]
    write_table(tmp_path / "reviews.csv", ["text", "other", "label", "stars"], rows)
    sources = [
        DataConfig(str(tmp_path / "reviews.csv"), text, label)
        for text in ("text", "other")
        for label in ("label", "stars")
    ]
    assert len({load(source, tmp_path / "cache").digest for source in sources}) == 4


def test_four_processes_share_one_conversion(tmp_path: Path) -> None:
    path, cache = table(tmp_path, 3000), tmp_path / "cache"
    running = [start_load(path, cache) for _ in range(4)]
    digests = {answer(process)[0] for process in running}
    assert digests == {load(DataConfig(str(path)), cache).digest}
    assert contents(cache) == [""]


@pytest.mark.parametrize(
    "name", ["ids.npy", "offsets.npy", "targets.npy", "part.npy", "groups.npy", "words.txt", "about.json"]
)
@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "longer"])
def test_a_damaged_cache_is_made_anew(tmp_path: Path, name: str, damage: str) -> None:
    path, cache = table(tmp_path), tmp_path / "cache"
    before = load(DataConfig(str(path)), cache)
    (file,) = cache.glob(f"*/{name}")
    whole = file.read_bytes()
    file.unlink()  # and made anew, because `before` has mapped it
    if damage != "missing":
        file.write_bytes({"empty": b"", "truncated": whole[:-1], "longer": whole + b"\0"}[damage])
    after = load(DataConfig(str(path)), cache)
    assert after.digest == before.digest
    assert texts_of(after, after.train) == texts_of(before, before.train)
    assert file.read_bytes() == whole
    assert contents(cache) == [""]


FILES = ["ids.npy", "offsets.npy", "targets.npy", "part.npy", "groups.npy", "words.txt", "about.json"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", ["begin", "middle", "end"])
def test_a_flipped_bit_in_the_cache_is_noticed(tmp_path: Path, name: str, place: str) -> None:
    path, cache = table(tmp_path), tmp_path / "cache"
    digest = load(DataConfig(str(path)), cache).digest
    (file,) = cache.glob(f"*/{name}")
    whole = file.read_bytes()
    flip(file, {"begin": 0, "middle": len(whole) // 2, "end": len(whole) - 1}[place])
    assert open_store(file.parent) is None
    assert load(DataConfig(str(path)), cache).digest == digest
    assert file.read_bytes() == whole


def test_all_of_what_describes_a_store_counts(tmp_path: Path) -> None:
    path, cache = table(tmp_path), tmp_path / "cache"
    load(DataConfig(str(path)), cache)
    (file,) = cache.glob("*/about.json")
    whole = file.read_bytes()
    for place in range(0, len(whole), 3):
        file.write_bytes(whole[:place])
        assert open_store(file.parent) is None
        file.write_bytes(whole)
        flip(file, place)
        assert open_store(file.parent) is None
    for junk in (b"[" * 100_000, b"[]", b"{}", b"1", b"null"):
        file.write_bytes(junk)
        assert open_store(file.parent) is None
    file.write_bytes(whole)
    assert open_store(file.parent)


def test_files_of_another_store_are_noticed(tmp_path: Path) -> None:
    first, second, cache = table(tmp_path), table(tmp_path, name="other.csv"), tmp_path / "cache"
    second.write_text(second.read_text().replace(",1", ",2").replace(",0", ",1").replace(",2", ",0"))
    digests = [load(DataConfig(str(path)), cache).digest for path in (first, second)]
    one, other = (folder for folder in cache.iterdir() if folder.is_dir())
    for name in FILES:
        swap(one / name, other / name)
        assert [load(DataConfig(str(path)), cache).digest for path in (first, second)] == digests
    swap(one / "targets.npy", one / "part.npy")  # of the same size
    assert [load(DataConfig(str(path)), cache).digest for path in (first, second)] == digests
    swap(one, other)
    assert [load(DataConfig(str(path)), cache).digest for path in (first, second)] == digests


def test_a_store_is_read_whole_once_a_start_of_the_machine_and_after_each_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTIMENT_TUNE_STATE", str(tmp_path / "state"))
    checksums = Mock(side_effect=store._checksums)
    monkeypatch.setattr(store, "_checksums", checksums)
    cache = tmp_path / "cache"
    load(DataConfig(str(table(tmp_path))), cache)
    (folder,) = (path for path in cache.iterdir() if path.is_dir())

    def looks() -> int:
        checksums.reset_mock()
        assert open_store(folder)
        return checksums.call_count

    assert looks() == looks() == 7  # what was just written may change unseen, within one tick of the clock
    monkeypatch.setattr(store, "_CLOCK", 0)
    assert [looks(), looks(), looks()] == [7, 0, 0]
    os.utime(folder / "ids.npy", ns=(0, 0))
    assert [looks(), looks()] == [7, 0]
    about = (folder / "ids.npy").stat()
    flip(folder / "ids.npy", 200)
    os.utime(folder / "ids.npy", ns=(about.st_atime_ns, about.st_mtime_ns))  # a change that hides
    assert open_store(folder) is None
    flip(folder / "ids.npy", 200)
    assert [looks(), looks()] == [7, 0]
    monkeypatch.setattr(store, "_machine_start", lambda: "another")
    assert [looks(), looks()] == [7, 0]
    (tmp_path / "state" / "caches" / "checked.json").write_text('{"machine_start": "another", "stores": [1]}')
    assert [looks(), looks()] == [7, 0]


def test_a_store_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    fsync, rename = os.fsync, Path.rename

    def noted_fsync(file: int) -> None:
        synced.append(os.fstat(file).st_ino)
        fsync(file)

    monkeypatch.setattr(os, "fsync", noted_fsync)

    def checked_rename(source: Path, target: Path) -> Path:
        assert {path.stat().st_ino for path in (source, *source.iterdir())} <= set(synced)
        synced.clear()
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", checked_rename)
    load(DataConfig(str(table(tmp_path))), tmp_path / "cache")
    assert (tmp_path / "cache").stat().st_ino in synced


def flip(path: Path, place: int) -> None:
    """Another bit in a file, in place."""
    with path.open("r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 1]))


def swap(first: Path, second: Path) -> None:
    """Two files or folders under each other's names."""
    first.rename(first.with_name("swapped"))
    second.rename(first)
    first.with_name("swapped").rename(second)


def test_what_a_killed_process_left_is_no_obstacle(tmp_path: Path) -> None:
    path, cache = table(tmp_path), tmp_path / "cache"
    load(DataConfig(str(path)), cache)
    (folder,) = (folder for folder in cache.iterdir() if folder.is_dir())
    left = folder.with_name(f".{folder.name}~{socket.gethostname()}:99999999:1.00~01234567.partial")
    folder.rename(left)
    (left / "about.json").unlink()
    load(DataConfig(str(path)), cache)
    assert contents(cache) == [""]


def test_a_refused_source_leaves_nothing_in_the_cache(tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_text("text,label\nfine,9\n")
    refusal(DataConfig(str(tmp_path / "reviews.csv")), tmp_path / "cache")
    assert contents(tmp_path / "cache") == []


def test_the_variable_names_the_cache_and_the_argument_overrides_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = table(tmp_path)
    monkeypatch.setenv("SENTIMENT_TUNE_CACHE", str(tmp_path / "variable"))
    load(DataConfig(str(path)), tmp_path / "argument")
    assert not (tmp_path / "variable").exists()
    load(DataConfig(str(path)))
    assert contents(tmp_path / "variable") == contents(tmp_path / "argument") == [""]


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = table(tmp_path)
    (tmp_path / "file").write_text("in the way")
    message = refusal(DataConfig(str(path)), tmp_path / "file" / "cache")
    assert str(tmp_path / "file" / "cache") in message
    assert "SENTIMENT_TUNE_CACHE" in message


def test_a_full_disk_leaves_no_half_store(tmp_path: Path) -> None:
    path, cache = table(tmp_path, 3000), tmp_path / "cache"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        assert "SENTIMENT_TUNE_CACHE" in refusal(DataConfig(str(path)), cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert contents(cache) == []
    assert len(load(DataConfig(str(path)), cache).test) == 600


# ---- frames and lists


def frame(rows: int = 300) -> pd.DataFrame:
    """The reviews of `table`, in memory."""
    texts = [f"{WORDS[row % 50]} only{row}" for row in range(rows)]
    return pd.DataFrame({"text": texts, "label": [int(row % 3 == 0) for row in range(rows)]})


def digests(corpus: Corpus) -> list[str]:
    return [corpus.digest, corpus.train.digest, corpus.validation.digest, corpus.test.digest]


def frame_refusal(frame: pd.DataFrame, cache: Path, config: DataConfig | None = None) -> str:
    with pytest.raises(InputError) as caught:
        load_frame(frame, config, cache)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_reviews_in_memory_are_the_corpus_of_the_same_table(tmp_path: Path) -> None:
    from_file = load(DataConfig(str(table(tmp_path, 300))), tmp_path / "cache")
    from_frame = load_frame(frame(), cache=tmp_path / "cache")
    from_lists = load_texts(frame()["text"], frame()["label"].to_numpy(), tmp_path / "cache")
    assert digests(from_frame) == digests(from_lists) == digests(from_file)
    assert (from_frame.name, from_frame.source) == ("frame", "sentiment_tune.frame")
    assert (from_lists.name, from_lists.source) == ("texts", "sentiment_tune.texts")
    assert texts_of(from_frame, from_frame.test) == texts_of(from_file, from_file.test)


def test_a_frame_is_found_in_the_cache_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_frame(frame(), cache=tmp_path)
    assert contents(tmp_path) == [""]
    renamed = frame().rename(columns={"text": "review", "label": "stars"}).assign(id=range(300)).set_index("id")
    with monkeypatch.context() as patch:
        patch.setattr("sentiment_tune.data.load.write_store", None)
        after = load_frame(
            renamed.replace({"stars": {1: "pos", 0: "neg"}}), DataConfig("", "review", "stars"), tmp_path
        )
    assert digests(after) == digests(before)
    changed = frame()
    changed.loc[7, "label"] = 1
    assert load_frame(changed, cache=tmp_path).digest != before.digest
    assert len(contents(tmp_path)) == 2


@pytest.mark.parametrize("dtype", ["object", "string", "category"])
def test_texts_and_labels_of_every_dtype_of_pandas_are_read(tmp_path: Path, dtype: str) -> None:
    typed = frame().astype({"text": dtype, "label": "Int64" if dtype == "string" else dtype})
    assert load_frame(typed, cache=tmp_path).digest == load_frame(frame(), cache=tmp_path).digest


def test_a_frame_can_name_its_parts_or_have_a_test_table(tmp_path: Path) -> None:
    split = frame(100).assign(split=["train"] * 60 + ["val"] * 20 + ["test"] * 20)
    corpus = load_frame(split, cache=tmp_path / "cache")
    assert rows_of(corpus, corpus.validation).tolist() == list(range(60, 80))
    later = table(tmp_path, 50, "later.csv")
    corpus = load_frame(frame(100), DataConfig(test=str(later)), tmp_path / "cache")
    assert rows_of(corpus, corpus.test).tolist() == list(range(100, 150))


@pytest.mark.parametrize(
    ("changed", "parts"),
    [
        (frame().rename(columns={"text": "words"}), ["frame has no column 'text'", "text=", "words, label"]),
        (frame().drop(columns="label"), ["frame has no column 'label'", "label="]),
        (frame().rename(columns={"text": 0, "label": 1}), ["frame has no column 'text'", "0, 1"]),
        (
            frame().assign(text=frame()["text"].where(frame().index != 4)),
            ["frame, row 5: the text in 'text' is missing"],
        ),
        (frame().assign(text=range(300)), ["frame, row 1: 'text' is 0, not a text"]),
        (
            frame().assign(text=pd.Series(["half \ud83c"] * 300, dtype=object)),
            ["frame, row 1", "half a surrogate pair"],
        ),
        (frame().assign(label=frame()["label"].where(frame().index != 4)), ["frame, row 5: no label nan"]),
        (frame().assign(label=pd.array([1, None] * 150, "Int64")), ["row 2: no label <NA>"]),
        (frame().assign(label=5), ["frame: all reviews are labelled '5'"]),
        (frame().assign(label=1), ["frame: 0 negative and 216 positive reviews in train"]),
        (frame().assign(split="fold"), ["frame, row 1: no split 'fold'"]),
        (frame(24), ["frame: 17 reviews to train on", "at least 20"]),
        (frame(0), ["frame: 0 negative and 0 positive reviews in train"]),
        (pd.concat([frame(), frame()], axis=1), ["frame has more than one column 'text'", "rename all but one"]),
    ],
)
def test_a_frame_that_does_not_do_is_refused(tmp_path: Path, changed: pd.DataFrame, parts: list[str]) -> None:
    message = frame_refusal(changed, tmp_path)
    assert [part for part in parts if part not in message] == []
    assert len(message) < 250
    assert contents(tmp_path) == []


def test_texts_and_labels_must_match(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="3 texts and 2 labels: give one label a text"):
        load_texts(["a", "b", "c"], [0, 1], tmp_path)
    with pytest.raises(InputError, match="texts is one text, 'a fine film': give a list of them"):
        load_texts("a fine film", [1], tmp_path)
    with pytest.raises(InputError, match="texts, row 2: the text in 'text' is missing"):
        load_texts(["a", None], [0, 1], tmp_path)  # type: ignore[list-item]
