"""Files as people save them: each is read as it was meant, or refused in one line that says how to read it."""

import io
import json
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import psutil
import pyarrow as pa
import pytest
from pyarrow import parquet

from sentiment_tune.data.load import DataConfig, load
from sentiment_tune.data.readers import Reading
from sentiment_tune.data.tables import read_table, write_table
from sentiment_tune.errors import InputError

COLUMNS = ("text", "label")
ROWS = [("a fine film", "1"), ("caf\u00e9, \u201cdull\u201d; it\u2019s bad", "0"), ("two\nlines | or\ttabs", "1")]
PLAIN = [("a fine film", "1"), ("dull", "0")]


def records(
    rows: Sequence[tuple[str, ...]], delimiter: str = ",", head: tuple[str, ...] = COLUMNS, end: str = "\n"
) -> str:
    """A table as spreadsheets write it: quoted where it has to be."""

    def cell(text: str) -> str:
        return f'"{text}"' if any(sign in text for sign in (delimiter, '"', "\n", "\t")) else text

    return "".join(delimiter.join(map(cell, row)) + end for row in ([head] if head else []) + list(rows))


def spreadsheet(**sheets: list[list[Any]]) -> bytes:
    """A workbook of these sheets, by hand: text inline, numbers as numbers."""

    def cell(value: Any) -> str:
        if isinstance(value, int | float):
            return f"<c><v>{value}</v></c>"
        return f'<c t="inlineStr"><is><t xml:space="preserve">{escape(value)}</t></is></c>'

    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    kinds = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    numbered = list(enumerate(sheets.items(), 1))
    files = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{kinds}.sheet.main+xml"/>'
        + "".join(
            f'<Override PartName="/xl/worksheets/s{n}.xml" ContentType="{kinds}.worksheet+xml"/>' for n, _ in numbered
        )
        + "</Types>",
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
        f'Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>'
        + "".join(f'<sheet name="{name}" sheetId="{n}" r:id="r{n}"/>' for n, (name, _) in numbered)
        + "</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships">'
        + "".join(
            f'<Relationship Id="r{n}" Type="{office}/worksheet" Target="worksheets/s{n}.xml"/>' for n, _ in numbered
        )
        + "</Relationships>",
    }
    for n, (_, rows) in numbered:
        lines = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
        files[f"xl/worksheets/s{n}.xml"] = f'<worksheet xmlns="{main}"><sheetData>{lines}</sheetData></worksheet>'
    return archive(files)


def archive(files: Mapping[str, str | bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return packed.getvalue()


def lines_of_json(rows: Sequence[tuple[str, ...]]) -> str:
    return "".join(json.dumps(dict(zip(COLUMNS, row, strict=True))) + "\n" for row in rows)


def encoded(encoding: str, text: str = records(ROWS)) -> bytes:
    return text.encode(encoding)


SHEET: list[list[Any]] = [list(COLUMNS), ["a fine film", 1], ["dull", 0]]
GOOD: dict[str, tuple[str, bytes, list[tuple[Any, ...]], list[str]]] = {
    # name of the file, its content, the rows it means, what is said of it
    "utf-8": ("a.csv", encoded("utf-8"), ROWS, []),
    "utf-8 with a mark": ("a.csv", encoded("utf-8-sig"), ROWS, []),
    "utf-16": ("a.csv", encoded("utf-16"), ROWS, ["UTF-16"]),
    "utf-16 big-endian": ("a.csv", b"\xfe\xff" + encoded("utf-16-be"), ROWS, ["UTF-16"]),
    "utf-16 without a mark": ("a.csv", encoded("utf-16-le"), ROWS, ["UTF-16"]),
    "utf-16 big-endian without a mark": ("a.csv", encoded("utf-16-be"), ROWS, ["UTF-16"]),
    "utf-32": ("a.csv", encoded("utf-32"), ROWS, ["UTF-32"]),
    "windows-1252": ("a.csv", encoded("cp1252"), ROWS, ["Windows-1252"]),
    "windows-1252, late": (
        "a.csv",
        encoded("cp1252", records([*PLAIN * 4_000, *ROWS])),
        [*PLAIN * 4_000, *ROWS],
        ["Windows-1252"],
    ),
    "a spreadsheet's text": ("a.txt", encoded("utf-16", "fine\r\ndull\r\n"), [("fine",), ("dull",)], ["UTF-16"]),
    "semicolons": ("a.csv", encoded("utf-8", records(ROWS, ";")), ROWS, ["semicolon"]),
    "semicolons, windows": (
        "a.csv",
        encoded("cp1252", records(ROWS, ";", end="\r\n")),
        ROWS,
        ["Windows-1252", "semicolon"],
    ),
    "semicolons that are told": ("a.csv", encoded("utf-8", "sep=;\r\n" + records(ROWS, ";")), ROWS, ["semicolon"]),
    "commas that are told": ("a.csv", encoded("utf-8-sig", "sep=,\n" + records(ROWS)), ROWS, []),
    "tabs in a .csv": ("a.csv", encoded("utf-8", records(ROWS, "\t")), ROWS, ["tab"]),
    "pipes": ("a.csv", encoded("utf-8", records(ROWS, "|")), ROWS, ["pipe"]),
    "commas within": (
        "a.csv",
        encoded("utf-8", records([("good, fine", "1"), ("a; b; c", "0")])),
        [
            ("good, fine", "1"),
            ("a; b; c", "0"),
        ],
        [],
    ),
    "carriage returns": ("a.csv", encoded("utf-8", records(PLAIN, end="\r\n")), PLAIN, []),
    "no end of the last line": ("a.csv", encoded("utf-8", records(PLAIN).rstrip()), PLAIN, []),
    "empty lines at the end": ("a.csv", encoded("utf-8", records(PLAIN) + "\n\n"), PLAIN, []),
    "a single column": ("a.csv", b"text\nfine\ndull\n", [("fine",), ("dull",)], []),
    "tsv": ("a.tsv", encoded("utf-8", records(ROWS, "\t")), ROWS, []),
    "tsv, utf-16": ("a.tsv", encoded("utf-16", records(ROWS, "\t")), ROWS, ["UTF-16"]),
    "upper case": ("A.CSV", encoded("utf-8"), ROWS, []),
    "lines of json": ("a.jsonl", lines_of_json(ROWS).encode(), ROWS, []),
    "a mac's spreadsheet": ("a.csv", encoded("utf-8", records(ROWS, end="\r")), ROWS, ["line ends CR"]),
    "a mac's tabs": ("a.tsv", encoded("utf-16", records(PLAIN, "\t", end="\r")), PLAIN, ["UTF-16, line ends CR"]),
    "a mac's lines": ("a.txt", b"fine\rdull", [("fine",), ("dull",)], ["line ends CR"]),
    "a mac's lines of json": ("a.jsonl", lines_of_json(PLAIN).replace("\n", "\r").encode(), PLAIN, ["line ends CR"]),
    "a cr within a line": ("a.txt", b"fine\rfilm\ndull\n", [("fine\rfilm",), ("dull",)], []),
    "a cr within a line and inches": (
        "a.txt",
        b'fine\rfilm 5" wide\ndull\ngood\n',
        [('fine\rfilm 5" wide',), ("dull",), ("good",)],
        [],
    ),
    "a long line that ends in crlf": ("a.txt", b"x" * 65535 + b"\r\nfine\r\n", [("x" * 65535,), ("fine",)], []),
    "inches of a mac": ("a.csv", b'text,label\r5" wide,1\r"a\nb",0\r', [('5" wide', "1"), ("a\nb", "0")], ["CR"]),
    "a cr within a cell": ("a.csv", b'"te\rxt",label\n"a\rb",1\n', [("a\rb", "1")], []),
    "lines of json, windows": ("a.jsonl", lines_of_json(PLAIN).replace("\n", "\r\n").encode(), PLAIN, []),
    "lines of json called json": ("a.json", lines_of_json(ROWS).encode(), ROWS, []),
    "an array": ("a.json", json.dumps([dict(zip(COLUMNS, row, strict=True)) for row in ROWS]).encode(), ROWS, []),
    "an array over lines": (
        "a.json",
        json.dumps([dict(zip(COLUMNS, row, strict=True)) for row in ROWS], indent=2).encode(),
        ROWS,
        [],
    ),
    "an array with a mark": (
        "a.json",
        json.dumps([dict(zip(COLUMNS, row, strict=True)) for row in ROWS]).encode("utf-8-sig"),
        ROWS,
        [],
    ),
    "lines": ("a.txt", "fine, good\n\ncaf\u00e9\n".encode(), [("fine, good",), ("",), ("caf\u00e9",)], []),
    "lines, windows": ("a.txt", "it\u2019s fine\r\n".encode("cp1252"), [("it\u2019s fine",)], ["Windows-1252"]),
    "a spreadsheet": ("a.xlsx", spreadsheet(Reviews=SHEET), [("a fine film", 1.0), ("dull", 0.0)], []),
    "a spreadsheet with empty sheets": (
        "a.xlsx",
        spreadsheet(Sheet1=[], Reviews=SHEET, Sheet3=[]),
        [("a fine film", 1.0), ("dull", 0.0)],
        ["'Reviews'"],
    ),
    "an archive": ("a.zip", archive({"reviews.csv": encoded("utf-8")}), ROWS, ["'reviews.csv'"]),
    "an archive of a mac": (
        "a.zip",
        archive({"in/reviews.tsv": records(ROWS, "\t"), "__MACOSX/in/._reviews.tsv": b"\0\1", "in/.DS_Store": b"x"}),
        ROWS,
        ["'in/reviews.tsv'"],
    ),
    "an archive of windows": (
        "a.csv.zip",
        archive({"a.csv": encoded("cp1252", records(ROWS, ";", end="\r\n"))}),
        ROWS,
        ["'a.csv'", "Windows-1252", "semicolon"],
    ),
    "an archive of a spreadsheet": (
        "a.zip",
        archive({"a.xlsx": spreadsheet(Reviews=SHEET)}),
        [("a fine film", 1.0), ("dull", 0.0)],
        [],
    ),
    "an archive beside a note": ("a.zip", archive({"a.csv": encoded("utf-8"), "README.md": "#"}), ROWS, []),
}


def test_whole_numbers_of_a_spreadsheet_are_whole(tmp_path: Path) -> None:
    numbers = [7, 12345678901, -3, 0.5, 2**53, 1e20]
    (tmp_path / "a.xlsx").write_bytes(spreadsheet(A=[["text", 2026], *(["fine", number] for number in numbers)]))
    table = read_table(tmp_path / "a.xlsx")
    write_table(tmp_path / "a.csv", table.columns, table.rows)
    written = ["7", "12345678901", "-3", "0.5", "9007199254740992.0", "1e+20"]
    assert read_table(tmp_path / "a.csv").rows == [("fine", number) for number in written]
    assert table.columns == ("text", "2026")
    assert [type(row[1]) for row in table.rows] == [int, int, int, float, float, float]


@pytest.mark.parametrize("kind", GOOD)
def test_it_is_read_as_it_was_meant_and_what_was_found_is_said(kind: str, tmp_path: Path) -> None:
    name, content, rows, said = GOOD[kind]
    path = tmp_path / name
    path.write_bytes(content)
    table = read_table(path)
    assert table.rows == rows
    told = ", ".join(table.found)
    for part in said:
        assert part in told
    if not said and not name.endswith(".zip"):
        assert told == ""


DOUBTFUL: dict[str, tuple[str, bytes, list[str]]] = {
    "cyrillic": (
        "a.csv",
        records([("\u043e\u0447\u0435\u043d\u044c \u0445\u043e\u0440\u043e\u0448\u0438\u0439", "1")]).encode("cp1251"),
        ["line 2", "--encoding cp1251 reads '\u043e\u0447\u0435\u043d\u044c"],
    ),
    "polish": (
        "a.csv",
        records([("\u015bwietna gra, \u017c\u00f3\u0142\u0107 i \u0142zy", "1")] * 3).encode("cp1250"),
        ["line 2", "--encoding cp1250 reads '\u015bwietna"],
    ),
    "japanese": (
        "a.csv",
        records([("\u3068\u3066\u3082\u826f\u3044\u6620\u753b", "1")] * 3).encode("shift_jis"),
        ["line 2", "--encoding"],
    ),
    "a mac's encoding": (
        "a.csv",
        records([*PLAIN, ("it\u2019s fine", "1")], end="\r").encode("mac_roman"),
        ["line 4", "--encoding mac_roman reads 'it\u2019s fine"],
    ),
    "two delimiters": ("a.csv", b"text;x,label\na;b,1\nc;d,0\n", ["--delimiter comma", "--delimiter semicolon"]),
    "two sheets": ("a.xlsx", spreadsheet(Train=SHEET, Test=SHEET), ["'Train', 'Test'", "--sheet"]),
    "two tables in an archive": ("a.zip", archive({"a.csv": b"text\n", "b.csv": b"text\n"}), ["2 tables", "'a.csv'"]),
    "no table in an archive": ("a.zip", archive({"a.doc": b"x"}), ["0 tables", "'a.doc'"]),
    "no archive": ("a.zip", b"PK nothing", ["no whole ZIP archive"]),
    "no spreadsheet": ("a.xlsx", b"PK nothing", ["no whole spreadsheet"]),
    "an archive that is no spreadsheet": ("a.xlsx", archive({"a": "b"}), ["no whole spreadsheet"]),
    "an empty spreadsheet": ("a.xlsx", spreadsheet(Sheet1=[]), ["no cell that holds anything"]),
    "columns of json": ("a.json", b'{"text": {"0": "fine"}, "label": {"0": 1}\n', ["line 1", "not JSON"]),
    "an array of arrays": ("a.json", b'[["fine", 1]]', ["row 1", "no JSON object"]),
    "an empty array": ("a.json", b"[]", ["is empty"]),
    "half an array": ("a.json", b'[{"text": "fine"}', ["not JSON"]),
    "another form": ("a.docx", b"x", ["must end in one of", ".xlsx"]),
    "cut utf-16": ("a.csv", encoded("utf-16")[:-1], ["UTF-16", "--encoding"]),
    "cut utf-16 without a mark": ("a.csv", encoded("utf-16-le")[:-1], ["UTF-16", "--encoding"]),
}


@pytest.mark.parametrize("kind", DOUBTFUL)
def test_what_is_in_doubt_is_refused_with_the_way_out(kind: str, tmp_path: Path) -> None:
    name, content, parts = DOUBTFUL[kind]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_table(path)
    assert str(path) not in {file.path for file in psutil.Process().open_files()}  # while the error is still held
    message = str(caught.value)
    assert "\n" not in message
    for part in (str(path), *parts):
        assert part in message


TOLD: dict[str, tuple[str, bytes, dict[str, str], list[tuple[Any, ...]]]] = {
    "an encoding": (
        "a.csv",
        records([("\u043e\u0447\u0435\u043d\u044c", "1")]).encode("cp1251"),
        {"encoding": "cp1251"},
        [("\u043e\u0447\u0435\u043d\u044c", "1")],
    ),
    "another encoding": (
        "a.csv",
        encoded("cp1252", records([("caf\u00e9", "1")])),
        {"encoding": "cp1250"},
        [("caf\u00e9", "1")],
    ),
    "a delimiter": ("a.csv", b"text;x,label\na;b,1\n", {"delimiter": ","}, [("a;b", "1")]),
    "another delimiter": ("a.csv", b"text;x,label\na;b,1\n", {"delimiter": "semicolon"}, [("a", "b,1")]),
    "a rare delimiter": ("a.csv", b"text^label\na, b^1\n", {"delimiter": "^"}, [("a, b", "1")]),
    "a tab": ("a.csv", b"text\tlabel\na b\t1\n", {"delimiter": "tab"}, [("a b", "1")]),
    "columns": ("a.csv", b"fine,1\ndull,0\n", {"columns": "text,label"}, [("fine", "1"), ("dull", "0")]),
    "columns of a tsv": ("a.tsv", b"fine\t1\n", {"columns": "text, label"}, [("fine", "1")]),
    "columns of a sheet": ("a.xlsx", spreadsheet(A=[["fine", 1]]), {"columns": "text,label"}, [("fine", 1.0)]),
    "a sheet": ("a.xlsx", spreadsheet(Train=SHEET, Test=SHEET[:2]), {"sheet": "Test"}, [("a fine film", 1.0)]),
}


@pytest.mark.parametrize("kind", TOLD)
def test_what_is_told_goes_before_what_is_found(kind: str, tmp_path: Path) -> None:
    name, content, reading, rows = TOLD[kind]
    path = tmp_path / name
    path.write_bytes(content)
    table = read_table(path, Reading(**reading))
    assert table.rows == rows


@pytest.mark.parametrize(
    ("reading", "told"),
    [
        ({"encoding": "klingon"}, "no encoding 'klingon'"),
        ({"encoding": "base64"}, "no encoding 'base64'"),
        ({"delimiter": "two"}, "delimiter cannot be 'two'"),
        ({"delimiter": '"'}, "delimiter cannot be"),
        ({"columns": "a,,b"}, "columns cannot be 'a,,b'"),
    ],
)
def test_what_says_nothing_of_a_file_is_refused(reading: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        DataConfig(data="a.csv", **reading)


# ---- names of columns


@pytest.mark.parametrize(
    ("head", "taken"),
    [
        (("review", "sentiment"), ("'review'", "'sentiment'")),
        (("Review", "Stars", "id"), ("'Review'", "'Stars'")),
        (("content", "label"), ("'content'",)),
        (("text", "target"), ("'target'",)),
        (("id", "sentence", "class"), ("'sentence'", "'class'")),
    ],
)
def test_columns_are_found_by_their_usual_names(head: tuple[str, ...], taken: tuple[str, ...], tmp_path: Path) -> None:
    rows = [tuple("01"[row % 2] if name != head[_text(head)] else f"fine {row}" for name in head) for row in range(80)]
    (tmp_path / "a.csv").write_text(records(rows, head=head))
    corpus = load(DataConfig(str(tmp_path / "a.csv")), tmp_path / "cache")
    (remark,) = corpus.remarks
    for part in taken:
        assert part in remark
    assert load(DataConfig(str(tmp_path / "a.csv")), tmp_path / "cache").remarks == corpus.remarks  # from the cache


def _text(head: tuple[str, ...]) -> int:
    return next(i for i, name in enumerate(head) if name.lower() in ("review", "text", "sentence", "content", "body"))


@pytest.mark.parametrize(
    ("head", "parts"),
    [
        (("review", "body", "label"), ["'review' and 'body'", "--text"]),
        (("text", "rating", "stars"), ["'rating' and 'stars'", "--label"]),
        (("words", "label"), ["no column 'text'", "words, label", "--columns"]),
    ],
)
def test_where_several_columns_would_do_both_are_named(head: tuple[str, ...], parts: list[str], tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(records([tuple("1" for _ in head)] * 40, head=head))
    with pytest.raises(InputError) as caught:
        load(DataConfig(str(tmp_path / "a.csv")), tmp_path / "cache")
    for part in parts:
        assert part in str(caught.value)
    assert not any((tmp_path / "cache").glob("*/about.json"))


# ---- several files


TEXTS = [(f"{'good' if row % 2 else 'bad'} word{row}", str(row % 2)) for row in range(80)]


def texts_by_class(folder: Path, *, parts: bool) -> None:
    for row, (text, label) in enumerate(TEXTS):
        part = ("test" if row % 5 == 0 else "train") if parts else ""
        file = folder / part / ("neg", "pos")[int(label)] / f"{row}_7.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def aclimdb(folder: Path) -> None:
    texts_by_class(folder, parts=True)
    (folder / "train" / "unsup").mkdir()
    (folder / "train" / "unsup" / "0_0.txt").write_text("nobody knows")
    (folder / "README").write_text("about")


def typed(rows: Sequence[tuple[str, ...]]) -> pa.Table:
    return pa.table({"text": [text for text, _ in rows], "label": [int(label) for _, label in rows]})


def hub(folder: Path) -> None:
    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_text("---\n")
    test, train = TEXTS[::5], [row for n, row in enumerate(TEXTS) if n % 5]
    parquet.write_table(typed(train[:30]), folder / "data" / "train-00000-of-00002.parquet")
    parquet.write_table(typed(train[30:]), folder / "data" / "train-00001-of-00002.parquet")
    parquet.write_table(typed(test), folder / "data" / "test-00000-of-00001.parquet")


def saved_data_set(folder: Path) -> None:
    test, train = TEXTS[::5], [row for n, row in enumerate(TEXTS) if n % 5]
    folder.mkdir()
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    for name, rows in (("train", train), ("test", test)):
        (folder / name).mkdir()
        (folder / name / "state.json").write_text(
            json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]})
        )
        (folder / name / "dataset_info.json").write_text("{}")
        table = typed(rows)
        path = str(folder / name / "data-00000-of-00001.arrow")
        with pa.OSFile(path, "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)


def two_tables(folder: Path) -> None:
    folder.mkdir()
    (folder / "train.csv").write_text(records([row for n, row in enumerate(TEXTS) if n % 5]))
    (folder / "test.csv").write_text(records(TEXTS[::5]))


def with_unlabelled(folder: Path) -> None:
    """As stanfordnlp/imdb lies on the hub: a folder of its configuration, and reviews without a label."""
    (folder / "plain_text").mkdir(parents=True)
    (folder / "README.md").write_text("---\n")
    for part, rows in (("train", [row for n, row in enumerate(TEXTS) if n % 5]), ("test", TEXTS[::5])):
        parquet.write_table(typed(rows), folder / "plain_text" / f"{part}-00000-of-00001.parquet")
    unlabelled = typed([(text, "-1") for text, _ in TEXTS])
    parquet.write_table(unlabelled, folder / "plain_text" / "unsupervised-00000-of-00001.parquet")


def configuration_with_unlabelled(folder: Path) -> None:
    """What is within the folder of the configuration, alone."""
    with_unlabelled(folder.with_name("whole"))
    folder.with_name("whole").joinpath("plain_text").rename(folder)


def saved_with_unlabelled(folder: Path) -> None:
    saved_data_set(folder)
    shutil.copytree(folder / "test", folder / "unsupervised")
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test", "unsupervised"]}))


def folders_of_parts(folder: Path) -> None:
    """As the hub converts data sets to Parquet: configuration, part, pieces by number."""
    hub(folder.with_name("whole"))
    for part, pieces in (("train", 2), ("test", 1)):
        (folder / "default" / part).mkdir(parents=True)
        for piece in range(pieces):
            file = folder.with_name("whole") / "data" / f"{part}-{piece:05}-of-{pieces:05}.parquet"
            file.rename(folder / "default" / part / f"{piece:04}.parquet")


def parts_alone(folder: Path) -> None:
    folders_of_parts(folder.with_name("parts"))
    folder.with_name("parts").joinpath("default").rename(folder)


UNLABELLED = [with_unlabelled, configuration_with_unlabelled, saved_with_unlabelled]
ON_A_HUB = [hub, *UNLABELLED, folders_of_parts, parts_alone]


@pytest.mark.parametrize("make", [aclimdb, saved_data_set, two_tables, *ON_A_HUB])
def test_a_folder_is_the_corpus_of_one_table_with_its_parts(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "data")
    rows = [(*row, "test" if n % 5 == 0 else "train") for n, row in enumerate(TEXTS)]
    corpus = load(DataConfig(str(tmp_path / "data")), tmp_path / "cache")
    assert (len(corpus.train) + len(corpus.validation), len(corpus.test)) == (64, 16)
    (tmp_path / "one.csv").write_text(records(rows, head=("text", "label", "split")))
    one = load(DataConfig(str(tmp_path / "one.csv")), tmp_path / "cache")
    assert sorted(corpus.test.labels.tolist()) == sorted(one.test.labels.tolist())
    if make is aclimdb:  # whose files are read by name, so that other ones are drawn for validation
        assert "unsup" in corpus.remarks[0]
    else:
        assert corpus.vocabulary.words == one.vocabulary.words


@pytest.mark.parametrize("make", UNLABELLED)
def test_what_has_no_labels_is_left_out_and_told(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "data")
    corpus = load(DataConfig(str(tmp_path / "data")), tmp_path / "cache")
    assert corpus.remarks == ["data: without 'unsupervised'"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "unsupervised.csv").write_text(records(TEXTS))  # beside no part it is a name like any other
    assert len(load(DataConfig(str(tmp_path / "other")), tmp_path / "cache").test) == 16


@pytest.mark.parametrize("place", ["", "data"])
def test_of_several_configurations_one_is_to_be_named(place: str, tmp_path: Path) -> None:
    (tmp_path / "whole" / place).mkdir(parents=True)
    for name in ("split", "unsplit"):
        two_tables(tmp_path / "whole" / place / name)
    with pytest.raises(InputError) as caught:
        load(DataConfig(str(tmp_path / "whole")), tmp_path / "cache")
    for name in ("split", "unsplit"):
        assert repr(str(Path(place, name))) in str(caught.value)
    assert len(load(DataConfig(str(tmp_path / "whole" / place / "split")), tmp_path / "cache").test) == 16


def test_a_folder_of_classes_alone_has_its_test_part_drawn(tmp_path: Path) -> None:
    texts_by_class(tmp_path / "data", parts=False)
    corpus = load(DataConfig(str(tmp_path / "data")), tmp_path / "cache")
    assert len(corpus.test) == 16


def test_a_pattern_is_the_table_of_its_files(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"part-{number}.csv").write_text(records(TEXTS[number * 20 : number * 20 + 20]))
    (tmp_path / "whole.csv").write_text(records(TEXTS))
    parts = load(DataConfig(str(tmp_path / "part-*.csv")), tmp_path / "cache")
    whole = load(DataConfig(str(tmp_path / "whole.csv")), tmp_path / "cache")
    assert parts.digest == whole.digest
    (tmp_path / "part-2.csv").write_text(records(TEXTS[:20], head=("text", "stars")))
    with pytest.raises(InputError, match=r"part-2\.csv and .*part-0\.csv differ in 'label'"):
        load(DataConfig(str(tmp_path / "part-*.csv")), tmp_path / "cache")
    with pytest.raises(InputError, match="no file's name fits"):
        load(DataConfig(str(tmp_path / "piece-*.csv")), tmp_path / "cache")


@pytest.mark.parametrize("names", [[], ["notes.md"], ["pictures/a.png"], ["train/a.png"]])
def test_a_folder_of_no_reviews_is_refused(names: list[str], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in names:
        (tmp_path / "data" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "data" / name).write_text("x")
    with pytest.raises(InputError, match="holds no reviews"):
        load(DataConfig(str(tmp_path / "data")), tmp_path / "cache")


# ---- classes that a file names by numbers


def class_label(names: Sequence[str]) -> dict[str, Any]:
    features = {"text": {"dtype": "string", "_type": "Value"}, "label": {"names": names, "_type": "ClassLabel"}}
    return {"features": features}


def named_table(rows: Sequence[tuple[str, int]], names: Sequence[str]) -> pa.Table:
    """A table as Hugging Face's `datasets` writes it."""
    table = pa.table({"text": [text for text, _ in rows], "label": [label for _, label in rows]})
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": class_label(names)})})


def save_stream(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)


def one_named(folder: Path, rows: Sequence[tuple[str, int]], names: Sequence[str]) -> Path:
    parquet.write_table(named_table(rows, names), folder / "a.parquet")
    return folder / "a.parquet"


def one_named_in_an_archive(folder: Path, rows: Sequence[tuple[str, int]], names: Sequence[str]) -> Path:
    (folder / "a.zip").write_bytes(archive({"a.parquet": one_named(folder, rows, names).read_bytes()}))
    return folder / "a.zip"


def several_named(folder: Path, rows: Sequence[tuple[str, int]], names: Sequence[str]) -> Path:
    parquet.write_table(named_table(rows[:40], names), folder / "a-0.parquet")
    parquet.write_table(named_table(rows[40:], names), folder / "a-1.parquet")
    return folder / "a-*.parquet"


def hub_of_named(folder: Path, rows: Sequence[tuple[str, int]], names: Sequence[str]) -> Path:
    (folder / "data").mkdir()
    parquet.write_table(named_table(rows[:60], names), folder / "data" / "train-00000-of-00001.parquet")
    parquet.write_table(named_table(rows[60:], names), folder / "data" / "test-00000-of-00001.parquet")
    return folder


def saved_with_names(folder: Path, rows: Sequence[tuple[str, int]], names: Sequence[str]) -> Path:
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-0.arrow"}]}))
    save_stream(folder / "data-0.arrow", named_table(rows, names))
    return folder


def saved_with_names_beside(folder: Path, rows: Sequence[tuple[str, int]], names: Sequence[str]) -> Path:
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-0.arrow"}]}))
    (folder / "dataset_info.json").write_text(json.dumps(class_label(names)))
    save_stream(folder / "data-0.arrow", named_table(rows, names).replace_schema_metadata(None))
    return folder


NAMED = [one_named, one_named_in_an_archive, several_named, hub_of_named, saved_with_names, saved_with_names_beside]
Save = Callable[[Path, Sequence[tuple[str, int]], Sequence[str]], Path]


def numbered(classes: int) -> list[tuple[str, int]]:
    return [(f"word{row} of {row % classes}", row % classes) for row in range(80)]


@pytest.mark.parametrize("save", NAMED)
def test_numbers_of_named_classes_are_read_by_their_names(save: Save, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = save(tmp_path / "in", numbered(2), ["positive", "negative"])
    corpus = load(DataConfig(str(path)), tmp_path / "cache")
    assert corpus.classes.names == ("negative", "positive")
    parts: list[Any] = [corpus.train, corpus.test]
    for reviews in parts:
        for ids, label in zip(reviews, reviews.labels.tolist(), strict=True):
            said = {"0": "positive", "1": "negative"}[corpus.vocabulary.decode(ids).split()[-1]]
            assert corpus.classes.names[label] == said
    (told,) = corpus.remarks
    assert "0 as 'positive', 1 as 'negative'" in told


@pytest.mark.parametrize("save", [one_named, hub_of_named, saved_with_names_beside])
def test_several_named_classes_are_in_no_order(save: Save, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = save(tmp_path / "in", numbered(4), ["World", "Sports", "Business", "Sci/Tech"])
    corpus = load(DataConfig(str(path)), tmp_path / "cache")
    assert corpus.classes.names == ("Business", "Sci/Tech", "Sports", "World")
    assert not corpus.classes.ordered


@pytest.mark.parametrize("save", NAMED)
@pytest.mark.parametrize(("code", "told"), [(-1, "no label"), (2, "the label 2 is none of the 2 classes")])
def test_a_number_without_a_name_is_refused_by_its_row(save: Save, code: int, told: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = save(tmp_path / "in", [*numbered(2), ("strange", code)], ["positive", "negative"])
    with pytest.raises(InputError, match=rf"row \d+: {told}"):
        load(DataConfig(str(path)), tmp_path / "cache")


def test_files_that_name_their_classes_differently_are_refused(tmp_path: Path) -> None:
    parquet.write_table(named_table(numbered(2), ["positive", "negative"]), tmp_path / "a-0.parquet")
    for other in (["negative", "positive"], None):
        table = named_table(numbered(2), other or [])
        table = table if other else table.replace_schema_metadata(None)
        parquet.write_table(table, tmp_path / "a-1.parquet")
        with pytest.raises(InputError, match=r"a-1\.parquet and .*a-0\.parquet name the classes"):
            load(DataConfig(str(tmp_path / "a-*.parquet")), tmp_path / "cache")
    (tmp_path / "test.csv").write_text(records([(text, str(label)) for text, label in numbered(2)]))
    with pytest.raises(InputError, match=r"test\.csv: the label '0' is none of the classes that the other table"):
        load(DataConfig(str(tmp_path / "a-0.parquet"), test=str(tmp_path / "test.csv")), tmp_path / "cache")


@pytest.mark.parametrize("metadata", ["", "[]", "{", '{"info": 1}', '{"info": {"features": [1]}}'])
def test_what_tells_no_names_is_no_matter(metadata: str, tmp_path: Path) -> None:
    table = named_table(numbered(2), []).replace_schema_metadata({"huggingface": metadata})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert load(DataConfig(str(tmp_path / "a.parquet")), tmp_path / "cache").remarks == []


def test_another_reading_is_another_corpus(tmp_path: Path) -> None:
    rows = [(f"caf\u00e9 \u00f1o{row}", str(row % 2)) for row in range(80)]
    (tmp_path / "a.csv").write_bytes(records(rows).encode("cp1252"))
    found = load(DataConfig(str(tmp_path / "a.csv")), tmp_path / "cache")
    told = load(DataConfig(str(tmp_path / "a.csv"), encoding="cp1251"), tmp_path / "cache")
    assert found.digest != told.digest
    assert "caf\u00e9" in found.vocabulary.words
