"""What a source is known by in the cache, what in a folder is no review, and where rows of several files stand."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from test_saved_files import (
    SHEET,
    TEXTS,
    aclimdb,
    archive,
    encoded,
    records,
    saved_data_set,
    spreadsheet,
    texts_by_class,
    two_tables,
)

from sentiment_tune.data.corpus import Corpus
from sentiment_tune.data.load import DataConfig, load
from sentiment_tune.data.tables import read_table
from sentiment_tune.errors import InputError


def loaded(here: Path, data: str | Path, **more: Any) -> Corpus:
    return load(DataConfig(str(here / data), **more), here / "cache")


def sizes(corpus: Corpus) -> tuple[int, int]:
    """Reviews to train or validate on, and to test on."""
    return len(corpus.train) + len(corpus.validation), len(corpus.test)


def refused(here: Path, data: str | Path, **more: Any) -> str:
    with pytest.raises(InputError) as caught:
        loaded(here, data, **more)
    message = str(caught.value)
    assert "\n" not in message
    return message


# ---- the cache


def test_a_second_table_to_test_on_is_not_the_pattern_of_both(tmp_path: Path) -> None:
    (tmp_path / "p-1.csv").write_text(records(TEXTS))
    (tmp_path / "p-2.csv").write_text(records(TEXTS[:40]))
    for _ in range(2):
        assert sizes(loaded(tmp_path, "p-*.csv")) == (96, 24)
        assert sizes(loaded(tmp_path, "p-1.csv", test=str(tmp_path / "p-2.csv"))) == (80, 40)


def test_a_folder_of_parts_is_not_the_pattern_of_its_files(tmp_path: Path) -> None:
    two_tables(tmp_path / "data")
    for _ in range(2):
        assert sizes(loaded(tmp_path, "data")) == (64, 16)
        assert sizes(loaded(tmp_path, "data/*.csv")) == (64, 16)
    (tmp_path / "data" / "test.csv").rename(tmp_path / "data" / "more.csv")
    assert "'more.csv' beside files of a part" in refused(tmp_path, "data")


def test_folders_that_are_called_otherwise_are_other_classes(tmp_path: Path) -> None:
    texts_by_class(tmp_path / "data", parts=True)
    assert loaded(tmp_path, "data").classes.names == ("negative", "positive")
    for part in ("train", "test"):
        (tmp_path / "data" / part / "pos").rename(tmp_path / "data" / part / "happy")
    assert loaded(tmp_path, "data").classes.names == ("happy", "neg")


def test_a_text_that_was_moved_has_another_label(tmp_path: Path) -> None:
    texts_by_class(tmp_path / "data", parts=False)
    before = loaded(tmp_path, "data")
    moved = min((tmp_path / "data" / "pos").iterdir())
    moved.rename(tmp_path / "data" / "neg" / moved.name)
    after = loaded(tmp_path, "data")
    counts = [sum(int(part.labels.sum()) for part in (one.train, one.validation, one.test)) for one in (before, after)]
    assert counts == [40, 39]


def test_names_of_classes_that_stand_beside_a_saved_data_set_count(tmp_path: Path) -> None:
    saved_data_set(tmp_path / "data")
    for names, first in ((["bad", "good"], 0), (["good", "bad"], 1)):
        for part in ("train", "test"):
            about = {"features": {"label": {"_type": "ClassLabel", "names": names}}}
            (tmp_path / "data" / part / "dataset_info.json").write_text(json.dumps(about))
        test = loaded(tmp_path, "data").test
        assert test.labels.tolist()[0] == first  # `bad` in both, for the first row is 0


@pytest.mark.parametrize("form", ["csv.gz", "xlsx"])
def test_a_wrong_suffix_is_refused_whatever_was_read_before(form: str, tmp_path: Path) -> None:
    import gzip

    rows: list[list[Any]] = [["text", "label"], *([text, int(label)] for text, label in TEXTS)]
    content = gzip.compress(records(TEXTS).encode()) if form == "csv.gz" else spreadsheet(a=rows)
    (tmp_path / f"a.{form}").write_bytes(content)
    loaded(tmp_path, f"a.{form}")
    (tmp_path / "a.csv").write_bytes(content)
    refused(tmp_path, "a.csv")


def test_what_is_said_of_a_copy_has_its_name(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(records(TEXTS, ";"))
        assert loaded(tmp_path, name).remarks == [f"{name}: delimiter semicolon"]


# ---- folders


def twins(folder: Path) -> None:
    """What a Mac's archive has beside each file."""
    for file in [*folder.rglob("*.txt")]:
        file.with_name(f"._{file.name}").write_bytes(b"\0\5\x16\7" + bytes(70))
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "._0.txt").write_bytes(b"\0\5\x16\7")


def notes(folder: Path) -> None:
    (folder / "docs").mkdir()
    for number in range(8):
        (folder / "docs" / f"{number}.txt").write_text("how these were gathered")


def licence(folder: Path) -> None:
    (folder / "LICENSE.txt").write_text("as you like")


def lock_file(folder: Path) -> None:
    (folder / "~$train.xlsx").write_bytes(b"me")


@pytest.mark.parametrize(
    ("make", "add"),
    [(aclimdb, twins), (aclimdb, notes), (aclimdb, licence), (two_tables, licence), (two_tables, lock_file)],
)
def test_what_lies_beside_changes_nothing(
    make: Callable[[Path], None], add: Callable[[Path], None], tmp_path: Path
) -> None:
    make(tmp_path / "data")
    before = loaded(tmp_path, "data")
    add(tmp_path / "data")
    after = loaded(tmp_path, "data")
    assert (sizes(after), after.digest, after.classes) == (sizes(before), before.digest, before.classes)
    if add is notes:
        assert "without 'docs'" in after.remarks[0]


@pytest.mark.parametrize(
    "names",
    [
        ("train.json", "test.json"),
        ("reviews_train.csv", "reviews_test.csv"),
        ("sst2.train.tsv", "sst2.test.tsv"),
        ("my reviews (train).csv", "my reviews (test).csv"),
    ],
)
def test_a_part_stands_anywhere_in_names(names: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name, rows in zip(names, (TEXTS, TEXTS[:30]), strict=True):
        table = records(rows, "\t" if name.endswith("tsv") else ",")
        objects = json.dumps([{"text": text, "label": label} for text, label in rows])
        (tmp_path / "data" / name).write_text(objects if name.endswith("json") else table)
    assert sizes(loaded(tmp_path, "data")) == (80, 30)


def test_a_folder_that_may_be_a_part_or_a_class_is_asked_about(tmp_path: Path) -> None:
    texts_by_class(tmp_path / "data", parts=False)
    (tmp_path / "data" / "neg").rename(tmp_path / "data" / "test")
    assert "'test', which may be a part of the data or a class" in refused(tmp_path, "data")
    (tmp_path / "data" / "test").rename(tmp_path / "data" / "test_class")
    assert loaded(tmp_path, "data").classes.names == ("pos", "test_class")


@pytest.mark.parametrize("name", ["notes.txt", "train/notes.txt", "test/notes.txt"])
def test_notes_beside_the_tables_of_parts_are_none(name: str, tmp_path: Path) -> None:
    for part, rows in (("train", TEXTS), ("test", TEXTS[:30])):
        (tmp_path / "data" / part).mkdir(parents=True)
        (tmp_path / "data" / part / "0000.csv").write_text(records(rows))
    (tmp_path / "data" / name).write_text("how these were gathered")
    assert sizes(loaded(tmp_path, "data")) == (80, 30)


@pytest.mark.parametrize("name", ["train_info.json", "test-results.json", "dataset_infos.json"])
def test_notes_in_json_are_no_tables(name: str, tmp_path: Path) -> None:
    two_tables(tmp_path / "data")
    (tmp_path / "data" / name).write_text('{"accuracy": 0.9}')
    assert sizes(loaded(tmp_path, "data")) == (64, 16)


def test_lines_of_text_are_no_classes(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.txt").write_text("a fine film\n")
    assert "holds no reviews" in refused(tmp_path, "data")


# ---- places


def test_a_row_is_named_by_its_own_file(tmp_path: Path) -> None:
    two_tables(tmp_path / "data")
    train = tmp_path / "data" / "train.csv"
    train.write_text(records([*TEXTS[:5], ("fine", ""), *TEXTS[5:]]))
    assert f"{train}, row 6: no label ''" in refused(tmp_path, "data")
    assert f"{train}, row 6: no label ''" in refused(tmp_path, "data/*.csv")


def test_a_row_of_a_sheet_is_named_as_it_is_numbered_there(tmp_path: Path) -> None:
    rows: list[list[Any]] = [
        [],
        [],
        ["text", "label"],
        *([text, int(label)] for text, label in TEXTS[:5]),
        [],
        ["fine", ""],
    ]
    (tmp_path / "a.xlsx").write_bytes(spreadsheet(one=rows))
    assert f"{tmp_path / 'a.xlsx'}, row 10 of the sheet: no label" in refused(tmp_path, "a.xlsx")


def test_a_text_of_a_folder_is_named_by_its_file(tmp_path: Path) -> None:
    texts_by_class(tmp_path / "data", parts=False)
    (tmp_path / "data" / "neutral").mkdir()
    (tmp_path / "data" / "neutral" / "only.txt").write_text("so so")
    assert f"{tmp_path}/data/neutral/only.txt: 'neutral' is the label of 1 review" in refused(tmp_path, "data")


def test_what_is_found_out_of_some_files_is_told_of_them(tmp_path: Path) -> None:
    for number in range(3):
        text = records(TEXTS[number::3], ";" if number == 2 else ",")
        (tmp_path / f"p-{number}.csv").write_bytes(text.encode("utf-16" if number else "utf-8"))
    told = loaded(tmp_path, "p-*.csv").remarks
    assert told == ["p-*.csv: encoding UTF-16 in 2 of 3 files, delimiter semicolon in p-2.csv"]


def test_the_encoding_of_texts_in_folders_is_told(tmp_path: Path) -> None:
    texts_by_class(tmp_path / "data", parts=False)
    (tmp_path / "data" / "pos" / "z.txt").write_bytes("un caf\u00e9 tr\u00e8s agr\u00e9able".encode("cp1252"))
    assert loaded(tmp_path, "data").remarks == ["data: encoding Windows-1252 in z.txt"]


def test_dates_beyond_those_of_python_do_not_matter_to_a_saved_data_set(tmp_path: Path) -> None:
    saved_data_set(tmp_path / "data")
    for part in ("train", "test"):
        path = str(tmp_path / "data" / part / "data-00000-of-00001.arrow")
        with pa.OSFile(path) as file, pa.ipc.open_stream(file) as stream:
            table = stream.read_all()
        table = table.append_column("until", pa.array([253402300800000000] * len(table), pa.timestamp("us")))
        with pa.OSFile(path, "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)
    assert sizes(loaded(tmp_path, "data")) == (64, 16)


# ---- what is said of how to read


@pytest.mark.parametrize("option", ["columns", "encoding", "delimiter", "sheet"])
def test_what_has_no_effect_is_refused(option: str, tmp_path: Path) -> None:
    value = {"columns": "text,label", "encoding": "cp1251", "delimiter": ";", "sheet": "X"}[option]
    table = {"text": [text for text, _ in TEXTS], "label": [label for _, label in TEXTS]}
    parquet.write_table(pa.table(table), tmp_path / "a.parquet")
    shutil.copy(tmp_path / "a.parquet", tmp_path / "b.parquet")
    for data in ("a.parquet", "*.parquet"):
        assert refused(tmp_path, data, **{option: value}).startswith(f"--{option} has no effect on")


def test_what_one_of_two_files_heeds_is_heeded(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(records([(f"{text} caf\u00e9", label) for text, label in TEXTS]).encode("cp850"))
    table = {"text": [text for text, _ in TEXTS[:30]], "label": [label for _, label in TEXTS[:30]]}
    parquet.write_table(pa.table(table), tmp_path / "b.parquet")
    assert sizes(loaded(tmp_path, "a.csv", test=str(tmp_path / "b.parquet"), encoding="cp850")) == (80, 30)


@pytest.mark.parametrize("cell", ["0", "", "fold1"])
def test_a_column_that_is_called_nearly_so_may_mean_something_else(cell: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(records([(*row, cell) for row in TEXTS], head=("text", "label", "Split")))
    assert sizes(loaded(tmp_path, "a.csv")) == (64, 16)


def test_a_sheet_may_begin_in_any_column(tmp_path: Path) -> None:
    rows: list[list[Any]] = [["", "", "text", "label"], *(["", "", text, int(label)] for text, label in TEXTS)]
    (tmp_path / "a.xlsx").write_bytes(spreadsheet(one=rows))
    assert read_table(tmp_path / "a.xlsx").columns == ("text", "label")
    (tmp_path / "b.xlsx").write_bytes(spreadsheet(one=rows[1:]))
    assert sizes(loaded(tmp_path, "b.xlsx", columns="text,label")) == (64, 16)


@pytest.mark.parametrize(("more", "told"), [({"full": SHEET}, "choose from 'full'"), ({}, "give a file with one")])
def test_a_sheet_that_holds_nothing_is_refused(more: dict[str, list[list[Any]]], told: str, tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(spreadsheet(empty=[], **more))
    assert f"a.xlsx: the sheet 'empty' holds nothing; {told}" in refused(tmp_path, "a.xlsx", sheet="empty")


def test_a_column_of_parts_is_found_as_others_are(tmp_path: Path) -> None:
    rows = [(*row, "test" if n < 30 else "train") for n, row in enumerate(TEXTS)]
    for head in (("TEXT", "LABEL", "SPLIT"), ("text", "label", "split ")):
        (tmp_path / "a.csv").write_text(records(rows, head=head))
        assert sizes(loaded(tmp_path, "a.csv")) == (50, 30)


@pytest.mark.parametrize("name", ["idna", "punycode", "undefined", "unicode_escape"])
def test_encodings_of_no_file_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(encoded("utf-8"))
    assert refused(tmp_path, "a.csv", encoding=name).startswith(f"no encoding '{name}'")


def test_lines_of_text_have_one_column(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a\tb\nc\td\n")
    assert "2 names in --columns" in refused(tmp_path, "a.txt", columns="text,label")


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        (
            "euc_jp",
            "とても良い映画でした。演技も音楽も最高",
        ),
        (
            "cp1255",
            "הסרט היה נהדר והשחקנים מצוינים",
        ),
        (
            "cp1256",
            "كان هذا الفيلم رائعا",
        ),
        ("cp874", "ภาพยนตร์ดีมาก"),
        (
            "cp866",
            "этот фильм был плох",
        ),
        ("cp850", "le café était très agréable"),
    ],
)
def test_where_an_encoding_is_asked_for_it_is_among_the_readings(encoding: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(records([(f"{text} {row}", str(row % 2)) for row in range(30)]).encode(encoding))
    word = next(word for word in text.split() if not word.isascii())
    assert f"--encoding {encoding} reads '{word[:9]}" in refused(tmp_path, "a.csv")


@pytest.mark.parametrize(("byte", "shown"), [(b"\xe9", "caf\\ufffd"), (b"\xc3", "caf\\ufffd")])
@pytest.mark.parametrize("row", [0, 40, 79])
def test_a_damaged_letter_of_utf_8_is_not_another_encoding(byte: bytes, shown: str, row: int, tmp_path: Path) -> None:
    lines = [f"{text} caf\u00e9,{label}\n".encode() for text, label in TEXTS]
    lines[row] = lines[row].replace("\u00e9".encode(), byte)
    (tmp_path / "a.csv").write_bytes(b"text,label\n" + b"".join(lines))
    message = refused(tmp_path, "a.csv")
    assert f"a.csv, line {row + 2}: this is not UTF-8, though most of the file is" in message
    assert shown.encode().decode("unicode_escape") in message


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_a_ragged_line_among_the_first_is_named(delimiter: str, tmp_path: Path) -> None:
    table = records(TEXTS, delimiter).splitlines(keepends=True)
    table[4] = f"good; yes|no\tor{delimiter}1\n"
    (tmp_path / "a.csv").write_text("".join(table))
    assert "a.csv, line 5: 3 cells, but 2 columns" in refused(tmp_path, "a.csv")


def test_advice_fits_the_form(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"data": [{"text": "fine", "label": 1}]}))
    assert "--columns" not in refused(tmp_path, "a.json")
    (tmp_path / "a.csv").write_text("words ,label\nfine,1\n")
    message = refused(tmp_path, "a.csv")
    assert "it has 'words ', label" in message
    assert "name all with --columns, or remove what stands above" in message
    (tmp_path / "b.csv").write_text("review,review,label\nfine,fine,1\n")
    assert "more than one column 'review'" in refused(tmp_path, "b.csv")
    parquet.write_table(pa.table({"text": [["fine", "film"]], "label": [1]}), tmp_path / "a.parquet")
    message = refused(tmp_path, "a.parquet")
    assert "['fine', 'film'], not a text; write a text there" in message
    (tmp_path / "a.zip").write_bytes(archive({"about.doc": "of films"}))
    assert "holds 0 tables, but 'about.doc'" in refused(tmp_path, "a.zip")
