"""Tables are read and written row for row, or refused with file, line and way out."""

import csv
import gzip
import io
import json
import lzma
import resource
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sentiment_tune import local
from sentiment_tune.data import tables
from sentiment_tune.data.readers import SUFFIXES, ExactNumber
from sentiment_tune.data.tables import WRITTEN, read_table, stem, write_table
from sentiment_tune.errors import InputError

COLUMNS = ["text", "label"]
ROWS: list[list[Any]] = [["a fine film", "1"], ["", "NA"], ['"q", a\r\nb\x00', "null"], ["ünï 🎬\u2028\x85", "\ufeff"]]


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_table(path)
    assert str(path) not in {file.path for file in psutil.Process().open_files()}  # while the error is still held
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("suffix", WRITTEN)
def test_every_form_returns_what_it_was_given(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"My.Reviews{suffix.upper()}"
    write_table(path, COLUMNS, ROWS)
    table = read_table(path)
    assert table.columns == tuple(COLUMNS)
    assert table.rows == [tuple(row) for row in ROWS]
    assert table.texts("text", "--text") == [row[0] for row in ROWS]
    assert stem(path) == "My.Reviews"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", WRITTEN)
def test_no_rows_are_a_table_too(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"reviews{suffix}"
    write_table(path, COLUMNS, [])
    if suffix.startswith(".jsonl"):
        assert "is empty" in refusal(path)
    else:
        assert read_table(path).rows == []


cells = st.text(max_size=20) | st.text(alphabet=',"\t\r\n ;\ufeff\x00ä', max_size=8)


@settings(max_examples=200, deadline=None)
@given(rows=st.lists(st.tuples(cells, cells, cells), max_size=6), delimiter=st.sampled_from(",\t"))
@example(rows=[("\0", "\0", "\0")], delimiter=",")  # which has as many null bytes as UTF-16
@example(rows=[("", "\0", "\0")], delimiter=",")
@example(rows=[("\0", "\0", "\0\0")], delimiter="\t")
def test_what_csv_writes_is_what_we_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]], delimiter: str
) -> None:
    path = tmp_path_factory.getbasetemp() / ("round.csv" if delimiter == "," else "round.tsv")
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([("a", "b", "c"), *rows])
    assert read_table(path).rows == rows


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.lists(cells | st.none() | st.booleans() | st.integers() | st.floats(), max_size=3), max_size=6),
    suffix=st.sampled_from([".csv", ".tsv"]),
)
@example(rows=[[""], [None], [], ["", ""], [np.float64(0.1), np.float32(0.1)]], suffix=".csv")
def test_tables_are_written_as_the_library_writes_them(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[Any]], suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"written{suffix}"
    write_table(path, COLUMNS, rows)
    expected = io.StringIO(newline="")
    csv.writer(expected, delimiter="," if suffix == ".csv" else "\t").writerows([COLUMNS, *rows])
    assert path.read_bytes().decode() == expected.getvalue()


def test_on_the_standard_output_all_that_ends_a_line_elsewhere_is_in_quotes(capfdbinary: Any) -> None:
    write_table(None, COLUMNS, [["a\rb", 1], ["c\nd", 2]])
    assert capfdbinary.readouterr().out == b'text,label\n"a\rb",1\n"c\nd",2\n'


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(cells, max_size=6))
def test_a_single_column_keeps_its_empty_texts(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "single.csv"
    write_table(path, ["text"], [[text] for text in texts])
    assert read_table(path).column("text", "--text") == texts


@settings(max_examples=200, deadline=None)
@given(junk=st.binary(max_size=60), suffix=st.sampled_from(SUFFIXES))
def test_junk_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"junk{suffix}"
    path.write_bytes(junk)
    table, message = None, ""
    try:
        table = read_table(path)
    except InputError as error:
        message = str(error)
    if table is None:
        assert str(path) in message
        assert "\n" not in message
    else:
        assert all(len(row) == len(table.columns) for row in table.rows)


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("a.csv", b"text,label\ngood, really,1\n", ["line 2", "3 cells", "2 columns", "quote"]),
        ("a.csv", b'text,label\n"two\nlines",1\nonly\n', ["line 4", "1 cells"]),
        ("a.csv", b"text,label\na,1\n\nb,0\n", ["line 3", "remove empty lines"]),
        ("a.csv", b'text,label\na,1\n"never closed,1\nb,0\n', ["line 3", "unexpected end of data"]),
        ("a.csv", b'text,label\na,1\n"a"b,1\n', ["line 3", "double the quotes"]),
        ("a.csv", b"text,label\na,1\nb\x81,0\n", ["line 3", "UTF-8", "--encoding"]),
        ("a.csv", b"", ["is empty", "name the columns"]),
        ("a.csv", b"\n\n", ["is empty"]),
        ("a.csv", b"\ntext,label\na,1\n", ["line 1", "remove empty lines"]),
        ("a.csv", b'text\n"' + b"x" * 10_000_001 + b'"\n', ["line 2", "field larger"]),
        ("a.tsv", b"text\tlabel\na b\n", ["line 2", "1 cells"]),
        ("a.jsonl", b"", ["is empty", "JSON object"]),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', ["line 2", "not JSON"]),
        ("a.jsonl", b'{"text": "a"}\n\n["a"]\n', ["line 3", "no JSON object"]),
        ("a.jsonl", b"[" * 100_000, ["line 1", "not JSON"]),
        ("a.jsonl", b'{"n": ' + b"9" * 5000 + b"}", ["line 1", "not JSON"]),
        ("a.jsonl", b'{"text": "\\ud83c"}', ["line 1", "surrogate"]),
        ("a.jsonl", b'{"text": "\x81"}', ["line 1", "UTF-8"]),
        ("a.jsonl", b'{"text": "a"}\n{"text": "a", "text": "b"}', ["line 2", "name 'text' twice", "leave it out"]),
        ("a.jsonl", b'{"text": "a", "of": [{"x": 1, "y": 2, "x": 3}]}', ["line 1", "name 'x' twice"]),
        ("a.json", b'[{"text": "a"},\n{"text": "a", "text": "b"}]', ["a.json: an object has the name 'text' twice"]),
        ("a.jsonl", b'{"n": 1e9999999999999999999999}', ["line 1", "exponent", "beyond"]),
        ("a.parquet", b"PAR1 but nothing else PAR1", ["Parquet"]),
        ("a.csv.gz", b"text,label\n", ["damaged"]),
        ("a.csv.xz", b"text,label\n", ["damaged"]),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes, parts: list[str]) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    message = refusal(path)
    assert len(message) < 300 + len(str(path))
    for part in parts:
        assert part in message


def test_places_that_hold_no_table_are_named(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "absent.csv")
    (tmp_path / "folder.csv").mkdir()
    assert "folder" in refusal(tmp_path / "folder.csv")
    assert ".jsonl.xz" in refusal(tmp_path / "reviews.doc")
    with pytest.raises(InputError, match=r"reviews\.parquet\.gz.*must end in"):
        write_table(tmp_path / "reviews.parquet.gz", COLUMNS, ROWS)


@pytest.mark.parametrize("suffix", [".csv.gz", ".csv.xz", ".jsonl.gz", ".jsonl.xz", ".parquet"])
def test_a_truncated_archive_is_never_half_a_table(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"reviews{suffix}"
    rng = np.random.default_rng(1)
    write_table(path, COLUMNS, [[rng.bytes(20).hex(), "1"] for _ in range(500)])
    whole = path.read_bytes()
    for size in [1, 5, 11, *np.linspace(20, len(whole) - 1, 20, dtype=int)]:
        path.write_bytes(whole[:size])
        refusal(path)


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_flipped_byte_is_noticed(tmp_path: Path, pack: Any) -> None:
    path = tmp_path / ("reviews.csv.gz" if pack is gzip.compress else "reviews.csv.xz")
    whole = bytearray(pack(b"text,label\n" + np.random.default_rng(1).bytes(3000).hex().encode() + b",1\n"))
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    assert "damaged" in refusal(path)


def test_a_byte_order_mark_and_empty_last_lines_are_no_content(tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    path.write_bytes(b'\xef\xbb\xbf"text",label\r\nfine,1\r\n\r\n\r\n')
    table = read_table(path)
    assert (table.columns, table.rows) == (("text", "label"), [("fine", "1")])


def test_reading_leaves_the_limit_of_csv_alone(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    path = tmp_path / "reviews.csv"
    path.write_text(f"text\n{'x' * (limit + 1)}\n")
    assert len(read_table(path).rows[0][0]) == limit + 1
    path.write_text('text\n"x\n')
    refusal(path)
    assert csv.field_size_limit() == limit


def test_an_absent_column_is_answered_with_the_present_ones(tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    write_table(path, ["words", "label"], [["fine", 1]])
    with pytest.raises(InputError, match=r"reviews\.csv has no column 'text': name one with --text, .*words, label"):
        read_table(path).column("text", "--text")


def test_a_column_that_is_there_twice_is_refused_where_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    path.write_text("text,,,id,id\na,b,c,1,2\n")
    assert read_table(path).texts("text", "--text") == ["a"]
    with pytest.raises(InputError, match="more than one column 'id': rename all but one"):
        read_table(path).column("id", "--text")


def test_a_cell_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "reviews.jsonl"
    path.write_text('{"text": "a"}\n{"text": null}\n{"label": 1}\n')
    with pytest.raises(InputError, match=r"reviews\.jsonl, row 2: the text in 'text' is missing"):
        read_table(path).texts("text", "--text")


def test_json_and_parquet_keep_their_types(tmp_path: Path) -> None:
    rows = [("a", 1, 0.5, True, None), ("b", 2, 1.5, False, "x")]
    for suffix in (".jsonl", ".parquet"):
        path = tmp_path / f"typed{suffix}"
        write_table(path, list("abcde"), rows)
        assert read_table(path).rows == rows


@pytest.mark.parametrize(
    ("literal", "written"),
    [
        ("12345678901234567890.123", None),
        ("-0.1000000000000000055", None),
        ("0.12345678901234568", None),
        ("123456789.1234567", None),
        ("12345678901234567890", None),
        ("0.1", None),
        ("1e400", "1E+400"),
        ("1e-400", "1E-400"),
        ("1.50", "1.5"),
        ("0.10000000000000000000", "0.1"),
        ("1e2", "100.0"),
        ('[1, {"a": 1e400, "\u00fc": [true, "\u00fc"]}]', '[1, {"a": 1E+400, "\u00fc": [true, "\u00fc"]}]'),
    ],
)
def test_numbers_of_json_come_out_as_they_went_in(literal: str, written: str | None, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"text": "a", "n": {literal}}}\n', encoding="utf-8")
    table = read_table(tmp_path / "a.jsonl")
    write_table(tmp_path / "b.jsonl", table.columns, table.rows)
    lines = (tmp_path / "b.jsonl").read_text(encoding="utf-8")
    assert lines == f'{{"text": "a", "n": {written or literal}}}\n'
    write_table(tmp_path / "b.csv", table.columns, table.rows)
    cell = str(read_table(tmp_path / "b.csv").rows[0][1])
    assert cell.encode().decode("unicode-escape") == (written or literal)


def test_numbers_of_numpy_are_written_as_numbers(tmp_path: Path) -> None:
    path = tmp_path / "scored.jsonl"
    write_table(path, ["probability", "label"], [[np.float32(0.5), np.int64(1)]])
    assert json.loads(path.read_text()) == {"probability": 0.5, "label": 1}


@pytest.mark.parametrize(
    ("name", "columns", "row", "told"),
    [
        ("a.parquet", ["id"], [2**64], "Parquet wants columns of one type"),
        ("a.parquet", ["id"], [object()], "Parquet wants columns of one type"),
        ("a.jsonl", ["id", "id"], [1, 2], "two columns have one name"),
    ],
)
def test_what_a_form_cannot_hold_is_told_of_the_file_that_was_asked_for(
    name: str, columns: list[str], row: list[Any], told: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=f"^cannot write {tmp_path / name}: {told}"):
        write_table(tmp_path / name, columns, [row])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", WRITTEN)
def test_a_failed_write_leaves_what_was_there(tmp_path: Path, suffix: str) -> None:
    def rows() -> Iterator[list[str]]:
        yield ["fine", "1"]
        raise ArithmeticError("scoring failed")

    path = tmp_path / f"scored{suffix}"
    path.write_bytes(b"before")
    with pytest.raises(ArithmeticError):
        write_table(path, COLUMNS, rows())
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "scored.csv"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(InputError, match=r"cannot write .*scored\.csv: File too large"):
            write_table(path, COLUMNS, ([f"review {row}", "1"] for row in range(100_000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot write .*absent.scored\.csv: No such file"):
        write_table(tmp_path / "absent" / "scored.csv", COLUMNS, ROWS)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match=r"folder\.csv: it is a folder"):
        write_table(tmp_path / "folder.csv", COLUMNS, ROWS)
    with pytest.raises(InputError, match=r"mixed\.parquet: .*columns of one type"):
        write_table(tmp_path / "mixed.parquet", ["a"], [[1], ["x"]])
    assert [path.name for path in tmp_path.iterdir()] == ["folder.csv"]


@pytest.mark.parametrize("path", [None, Path("-")])
def test_the_standard_output_takes_csv_and_stays_open(
    capfdbinary: pytest.CaptureFixture[bytes], path: Path | None
) -> None:
    write_table(path, COLUMNS, ROWS)
    print("still open", flush=True)
    written, _, rest = capfdbinary.readouterr().out.decode().rpartition("still")
    assert list(csv.reader(io.StringIO(written, newline=""))) == [COLUMNS, *ROWS]
    assert rest == " open\n"


def test_what_a_killed_process_left_of_a_file_goes_when_it_is_written_again(tmp_path: Path) -> None:
    gone = "~" + socket.gethostname() + ":99999999:1.00~01234567.partial"
    left, others, living = (
        tmp_path / name for name in (f".a.csv{gone}", f".b.csv{gone}", f".a.csv~{local.process_id()}~01234567.partial")
    )
    for folder in (left, others, living):
        folder.mkdir()
        (folder / "a.csv").touch()
    write_table(tmp_path / "a.csv", ["text"], [("fine",)])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([others.name, living.name, "a.csv"])


@pytest.mark.parametrize(
    ("cells", "read"),
    [
        (["a", None, "b"], ["a", None, "b"]),
        ([None, None, "b"], [None, None, "b"]),
        ([1, 2.5, None], [1.0, 2.5, None]),
        ([0.5, 2, None], [0.5, 2.0, None]),
        ([["a"], None, ["b", "c"]], [["a"], None, ["b", "c"]]),
        ([{"a": 1}, {"b": 2}, {}], [{"a": 1, "b": None}, {"a": None, "b": 2}, {"a": None, "b": None}]),
        (["a", 1, 2], None),
        ([1, "a", 2], None),
        ([1.5, True], None),
        ([True, 1.5], None),
        ([1, True], None),
        ([None, 1.5, False], None),
        ([[1.5, True]], None),
        ([{"a": [1.5]}, {}, None, {"a": [True]}], None),
        ([{"a": 1.5, "b": True}, None], [{"a": 1.5, "b": True}, None]),
        ([ExactNumber("12345678901234567890.123"), 1.5], None),
        ([1.5, ExactNumber("12345678901234567890.123")], None),
    ],
)
@pytest.mark.parametrize("together", [1, 2, 100])
def test_columns_of_parquet_have_the_type_that_all_rows_have(
    cells: list[object], read: list[object] | None, together: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_TOGETHER", together)
    path, rows = tmp_path / "a.parquet", [(cell, "text") for cell in cells]
    if read is None:
        with pytest.raises(InputError, match="Parquet wants columns of one type"):
            write_table(path, ["cell", "text"], rows)
        assert [*tmp_path.iterdir()] == []
    else:
        write_table(path, ["cell", "text"], iter(rows))
        assert read_table(path).column("cell", "") == read
