"""Tables of any length are scored in pieces, and what goes through comes out as it went in."""

import datetime
import decimal
import tracemalloc
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from pyarrow import parquet
from torch import nn

from sentiment_tune.data import folders, tables
from sentiment_tune.data import parquet as data_parquet
from sentiment_tune.data.readers import Row
from sentiment_tune.data.tables import Table, open_table, read_table, write_table
from sentiment_tune.data.text import Tally, TextConfig, Vocabulary
from sentiment_tune.errors import InputError
from sentiment_tune.inference import bulk
from sentiment_tune.inference.bulk import Scores, Scoring, score_parquet
from sentiment_tune.inference.scorer import Scorer


class ByLength(Scorer):
    """The more letters, the better."""

    def predict_proba(self, texts: Iterable[str], tally: Tally | None = None) -> NDArray[np.float64]:
        return np.array([len(text) / 10 for text in texts])


score = Scores(ByLength(nn.Identity(), Vocabulary([]), TextConfig()))


def scored(rows: list[tuple[Any, ...]], missing: str = "error", columns: tuple[str, ...] = ("id", "text")) -> Scoring:
    return Scoring(partial(map, score), Table("films.csv", columns, rows), "text", missing)


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "ROWS", 3)


def test_each_row_has_its_own_answer_whatever_piece_it_is_in() -> None:
    rows = [(row, "x" * row) for row in range(10)]
    scoring = scored(rows)
    assert list(scoring.rows(iter(rows))) == [
        (row, "x" * row, row / 10, "positive" if row > 5 else "negative") for row in range(10)
    ]
    assert scoring.columns == ("id", "text", "probability", "label")
    assert (scoring.count.rows, scoring.count.missing) == (10, 0)


@pytest.mark.parametrize("absent", [None, float("nan")])
def test_a_row_without_a_text_is_refused_left_out_or_kept(absent: Any) -> None:
    rows = [(0, "a"), (1, "b"), (2, "c"), (3, absent), (4, "e")]
    with pytest.raises(InputError, match=r"films\.csv, row 4: the text in 'text' is missing"):
        list(scored(rows).rows(rows))
    skipping, keeping = scored(rows, "skip"), scored(rows, "keep")
    assert [row[0] for row in skipping.rows(rows)] == [0, 1, 2, 4]
    kept = list(keeping.rows(rows))
    assert [row[0] for row in kept] == [0, 1, 2, 3, 4]
    assert kept[3][2:] == (None, None)
    assert kept[4][2:] == (0.1, "negative")
    assert [(one.count.rows, one.count.missing) for one in (skipping, keeping)] == [(5, 1), (5, 1)]


def test_what_is_no_text_is_refused_whatever_becomes_of_missing_ones() -> None:
    for missing in bulk.MISSING:
        with pytest.raises(InputError, match="row 2: 'text' is 5, not a text"):
            list(scored([], missing).rows([(0, "a"), (1, 5)]))
    with pytest.raises(InputError, match="no way with what is missing 'drop'"):
        scored([], "drop")


def typed() -> pa.Table:
    """Columns of types that are easily lost, with what is noted with the table and with a column."""
    rows = 7
    columns = {
        "text": pa.array(["x" * row for row in range(rows)]),
        "wide": pa.array([2**64 - 1 - row for row in range(rows)], pa.uint64()),
        "price": pa.array([decimal.Decimal("1.10") * row for row in range(rows)], pa.decimal128(30, 2)),
        "seen": pa.array([10**18 + row for row in range(rows)], pa.timestamp("ns", "UTC")),
        "day": pa.array([datetime.date(2026, 1, 1 + row) for row in range(rows)]),
        "tags": pa.array([[("a", row)] for row in range(rows)], pa.map_(pa.string(), pa.int8())),
        "parts": pa.array([{"x": row, "y": None} for row in range(rows)]),
        "kind": pa.array(["a", "b", "a", None, "b", "a", "a"]).dictionary_encode(),
        "raw": pa.array([bytes([row, 255]) for row in range(rows)]),
    }
    fields = [pa.field(name, column.type, metadata={"of": name}) for name, column in columns.items()]
    return pa.table(list(columns.values()), schema=pa.schema(fields, metadata={"made by": "somebody"}))


@pytest.mark.parametrize("missing", ["error", "skip"])
def test_other_columns_of_a_parquet_file_keep_type_value_and_notes(missing: str, tmp_path: Path) -> None:
    before = typed()
    parquet.write_table(before, tmp_path / "a.parquet", row_group_size=2)
    with open_table(tmp_path / "a.parquet") as (table, _):
        score_parquet(
            Scoring(partial(map, score), table, "text", missing), tmp_path / "a.parquet", tmp_path / "b.parquet"
        )
    after = parquet.read_table(tmp_path / "b.parquet")
    assert after.drop_columns(["probability", "label"]).equals(before)
    assert after.schema.metadata[b"made by"] == b"somebody"
    assert after.schema.field("price").metadata[b"of"] == b"price"
    assert after["probability"].to_pylist() == [row / 10 for row in range(7)]
    assert after["label"].to_pylist() == ["positive" if row > 5 else "negative" for row in range(7)]


def test_each_class_can_have_a_column(tmp_path: Path) -> None:
    each = Scores(score.scorer, all_classes=True)
    parquet.write_table(pa.table({"text": ["a", None, "seven letters"]}), tmp_path / "a.parquet")
    with open_table(tmp_path / "a.parquet") as (table, _):
        scoring = Scoring(partial(map, each), table, "text", "keep", added=each.columns)
        score_parquet(scoring, tmp_path / "a.parquet", tmp_path / "b.parquet")
    answers = parquet.read_table(tmp_path / "b.parquet").to_pydict()
    assert answers["label"] == ["negative", None, "positive"]
    assert answers["probability_positive"] == [0.1, None, 1.3] == answers["probability"]
    assert answers["probability_negative"] == pytest.approx([0.9, None, -0.3])


@pytest.mark.parametrize(("missing", "ids"), [("skip", [0, 2, 3, 5]), ("keep", [0, 1, 2, 3, 4, 5])])
def test_rows_of_a_parquet_file_without_a_text(missing: str, ids: list[int], tmp_path: Path) -> None:
    parquet.write_table(pa.table({"id": range(6), "text": ["a", None, "b", "c", None, "d"]}), tmp_path / "a.parquet")
    with open_table(tmp_path / "a.parquet") as (table, _):
        scoring = Scoring(partial(map, score), table, "text", missing)
        score_parquet(scoring, tmp_path / "a.parquet", tmp_path / "b.parquet")
    after = parquet.read_table(tmp_path / "b.parquet")
    assert after["id"].to_pylist() == ids
    assert [p is None for p in after["probability"].to_pylist()] == [missing == "keep" and one in (1, 4) for one in ids]
    assert scoring.count.missing == 2


def test_a_parquet_file_that_cannot_be_scored_leaves_none(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"text": ["a", "b", "c", "d", None]}), tmp_path / "a.parquet")
    with open_table(tmp_path / "a.parquet") as (table, _), pytest.raises(InputError) as told:
        score_parquet(Scoring(partial(map, score), table, "text"), tmp_path / "a.parquet", tmp_path / "b.parquet")
    assert "row 5: the text in 'text'" in str(told.value)
    assert "no whole Parquet file" not in str(told.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


def test_columns_that_nobody_asked_for_may_be_nameless_or_doubled(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,,,id,id\nx,1,2,3,4\n")
    with open_table(tmp_path / "a.csv") as (table, rows):
        scoring = Scoring(partial(map, score), table, "text")
        write_table(tmp_path / "b.csv", scoring.columns, scoring.rows(rows))
    assert (tmp_path / "b.csv").read_text().splitlines() == [
        "text,,,id,id,probability,label",
        "x,1,2,3,4,0.1,negative",
    ]
    with open_table(tmp_path / "a.csv") as (table, rows), pytest.raises(InputError, match="JSON cannot hold"):
        write_table(tmp_path / "b.jsonl", scoring.columns, Scoring(partial(map, score), table, "text").rows(rows))


@pytest.mark.parametrize(
    ("suffix", "written"),
    [
        (".csv", ".csv"),
        (".jsonl", ".csv"),
        (".txt", ".csv"),
        (".parquet", ".parquet"),
        (".csv", ".parquet"),
        (".jsonl", ".parquet"),
    ],
)
def test_a_long_table_takes_no_more_memory_than_a_short_one(
    suffix: str, written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "ROWS", 512)
    monkeypatch.setattr(tables, "_TOGETHER", 512)
    text = "a fine film that one can see again " * 4

    def rows(count: int) -> Iterator[tuple[str, int]]:
        return ((text, number) for number in range(count))

    def watched(rows: Iterable[Row], kept: list[int]) -> Iterator[Row]:
        for row in rows:
            kept.append(pa.total_allocated_bytes() if len(kept) % 500 == 0 else 0)
            yield row

    peaks = []
    for count in (3_000, 30_000):
        path, target = tmp_path / f"a{suffix}", tmp_path / f"b{written}"
        if suffix == ".txt":
            path.write_text(f"{text}\n" * count)
        else:
            write_table(path, ["text", "number"], rows(count))
        tracemalloc.start()
        of_arrow: list[int] = []
        with open_table(path) as (table, read):
            scoring = Scoring(partial(map, score), table, "text")
            if suffix == ".parquet":
                score_parquet(scoring, path, target)
            else:
                write_table(target, scoring.columns, scoring.rows(watched(read, of_arrow)))
        peaks.append(tracemalloc.get_traced_memory()[1] + max(of_arrow, default=0))
        tracemalloc.stop()
        assert len(read_table(target).rows) == count
    assert peaks[1] < 1.5 * peaks[0] + 2**20


# ---- several files


def test_each_file_has_a_target_of_its_own_and_a_shard_is_its_share(tmp_path: Path) -> None:
    names = ["a.parquet", "b.csv.gz", "c.txt", "d.xlsx", "e.jsonl"]
    targets = bulk.targets_in(tmp_path / "scored", [Path("in", name) for name in names], Path("in"))
    assert [target.name for target in targets.values()] == ["a.parquet", "b.csv.gz", "c.csv", "d.csv", "e.jsonl"]
    shards = [bulk.shard_of(targets, f"{number}/2") for number in (1, 2)]
    assert [len(shard) for shard in shards] == [3, 2]
    assert {**shards[0], **shards[1]} == targets == bulk.shard_of(targets, None)
    with pytest.raises(InputError, match="would be of 2 inputs"):
        bulk.targets_in(tmp_path, [Path("a/x.csv"), Path("a/x.txt")], Path("a"))
    assert [*tmp_path.iterdir()] == []
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write into"):
        bulk.make_folder(tmp_path / "file" / "folder")


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("in/day=*/x.csv", ["day=1/x.csv", "day=2/x.csv"]),
        ("in/day=1/*.csv", ["x.csv"]),
        ("in/day=2/*", ["x.csv", "y.csv"]),
        ("in/**/*.csv", ["day=1/x.csv", "day=2/x.csv", "x.csv"]),
    ],
)
def test_partitions_go_into_folders_of_the_same_names_whatever_else_there_is(
    pattern: str, names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("day=1/x.csv", "day=2/x.csv", "day=2/y.txt", "x.csv"):
        Path("in", name).parent.mkdir(parents=True, exist_ok=True)
        Path("in", name).touch()
    for given in (Path(pattern), tmp_path / pattern):
        targets = bulk.targets_in(Path("scored"), folders.expand(given), folders.above(given))
        assert sorted(str(target.relative_to("scored")) for target in targets.values()) == sorted(names)


@pytest.mark.parametrize(
    ("pattern", "folder", "names"),
    [
        ("**/*.csv", "out", ["a.csv", "in/a.csv"]),
        ("**/*.csv", "./in/../out/", ["a.csv", "in/a.csv"]),
        ("**/*.csv", "new", ["a.csv", "in/a.csv", "out/a.csv", "out/in/a.csv"]),
        ("**/*.csv", ".", ["a.csv", "in/a.csv", "out/a.csv", "out/in/a.csv"]),  # which is refused then
        ("out/**/*.csv", "out", ["out/a.csv", "out/in/a.csv"]),
        ("out/**/*.csv", "out/in", ["out/a.csv"]),
        ("*/in/*.csv", "out", None),
    ],
)
def test_what_lies_in_the_folder_for_the_scores_is_no_input(
    pattern: str, folder: str, names: list[str] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "in/a.csv", "out/a.csv", "out/in/a.csv"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    sources = folders.expand(Path(pattern))
    if names is None:
        with pytest.raises(InputError, match="all 1 inputs lie in out: give another folder"):
            bulk.without_scores(sources, Path(folder), folders.above(Path(pattern)))
    else:
        assert [*map(str, bulk.without_scores(sources, Path(folder), folders.above(Path(pattern))))] == names


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2", "1/2/3"])
def test_a_shard_that_is_none_is_refused(shard: str) -> None:
    with pytest.raises(InputError, match="shard cannot be"):
        bulk.shard_of({}, shard)


@pytest.mark.parametrize(
    ("name", "content"), [("a.csv", "text,id\n"), ("a.jsonl", '{"text": null, "id": null}\n'), ("a.tsv", "id\ttext\n")]
)
def test_a_parquet_file_of_no_answers_has_their_types(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with open_table(tmp_path / name) as (table, rows):
        scoring = Scoring(partial(map, score), table, "text", "keep")
        write_table(tmp_path / "b.parquet", scoring.columns, scoring.rows(rows), scoring.kinds)
    schema = parquet.read_schema(tmp_path / "b.parquet")
    assert [schema.field(name).type for name in ("text", "probability", "label")] == [
        pa.string(),
        pa.float64(),
        pa.string(),
    ]
    assert len(read_table(tmp_path / "b.parquet").rows) == (name == "a.jsonl")


# ---- Parquet as others write it


def scored_file(source: Path, target: Path, missing: str = "error") -> pa.Table:
    """What comes of a Parquet file, without the answers."""
    with open_table(source) as (table, rows):
        scoring = Scoring(partial(map, score), table, "text", missing)
        if target.suffix == ".parquet":
            score_parquet(scoring, source, target)
        else:
            write_table(target, scoring.columns, scoring.rows(rows))
    return parquet.read_table(target).drop_columns(["probability", "label"]) if target.suffix == ".parquet" else None


FAR = [datetime.datetime(9999, 12, 31), datetime.datetime(1, 1, 1, 0, 0, 0, 5), None]
FINE = [1, -1, 2**60 + 1]


@pytest.mark.parametrize(
    ("cells", "written"),
    [
        (pa.array(FAR, pa.timestamp("us")), "9999-12-31 00:00:00,0001-01-01 00:00:00.000005,"),
        (
            pa.array(FINE, pa.timestamp("ns")),
            "1970-01-01 00:00:00.000000001,1969-12-31 23:59:59.999999999,2006-07-14 23:58:24.606846977",
        ),
        (pa.array([[one] for one in FAR], pa.list_(pa.timestamp("us"))), None),
        (pa.array([{"at": one} for one in FAR], pa.struct({"at": pa.timestamp("us")})), None),
        (pa.array([[("at", one)] for one in FAR], pa.map_(pa.string(), pa.timestamp("us"))), None),
        (pa.nulls(3, pa.timestamp("us")), ",,"),
    ],
)
def test_old_timestamps_of_96_bits_come_out_as_they_went_in(
    cells: pa.Array, written: str | None, tmp_path: Path
) -> None:
    before = pa.table({"text": list("abc"), "at": cells})
    parquet.write_table(before, tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    assert scored_file(tmp_path / "a.parquet", tmp_path / "b.parquet")["at"].to_pylist() == cells.to_pylist()
    if written is not None:
        scored_file(tmp_path / "a.parquet", tmp_path / "b.csv")
        assert ",".join(row[1] for row in read_table(tmp_path / "b.csv").rows) == written


def test_timestamps_that_no_type_holds_together_are_refused(tmp_path: Path) -> None:
    both = {"far": pa.array(FAR, pa.timestamp("us")), "fine": pa.array(FINE, pa.timestamp("ns"))}
    parquet.write_table(
        pa.table({"text": list("abc"), **both}), tmp_path / "a.parquet", use_deprecated_int96_timestamps=True
    )
    with pytest.raises(InputError, match=r"a\.parquet has timestamps of nanoseconds beside .*: write it anew"):
        scored_file(tmp_path / "a.parquet", tmp_path / "b.parquet")


@pytest.mark.parametrize("store_schema", [True, False])
def test_all_that_is_noted_in_a_parquet_file_stays(store_schema: bool, tmp_path: Path) -> None:
    schema = pa.schema({"text": pa.string()}, metadata={"in": "schema", "both": "schema"})
    with parquet.ParquetWriter(tmp_path / "a.parquet", schema, store_schema=store_schema) as writer:
        writer.write_table(pa.table({"text": ["a"]}, schema=schema))
        writer.add_key_value_metadata({"in": "schema", "both": "file", "beside": "file"})
    scored_file(tmp_path / "a.parquet", tmp_path / "b.parquet")
    before, after = (parquet.read_metadata(tmp_path / name).metadata for name in ("a.parquet", "b.parquet"))
    assert {name: note for name, note in after.items() if name != b"ARROW:schema"} == {
        name: note for name, note in before.items() if name != b"ARROW:schema"
    }
    if store_schema:
        assert parquet.read_schema(tmp_path / "b.parquet").metadata == schema.metadata
    assert parquet.read_schema(tmp_path / "b.parquet").names == ["text", "probability", "label"]


@pytest.mark.parametrize(
    ("names", "index"),
    [
        (pd.Index(["text", "stars"]), [3, 4]),
        (pd.Index(["text", "stars"], name="columns"), None),
        (pd.Index([0, 1]), None),
        (pd.Index([0.5, 1]), [3, 4]),
        (pd.to_datetime(["2026-01-01", "2026-01-02"]), None),
        (pd.CategoricalIndex(["text", "stars"]), None),
        (pd.MultiIndex.from_tuples([("text", "x"), ("stars", "y")]), None),
    ],
)
def test_pandas_reads_what_was_scored_of_its_own(names: pd.Index, index: list[int] | None, tmp_path: Path) -> None:
    pd.DataFrame([["fine", 1], [None, 2]], columns=names, index=index).to_parquet(tmp_path / "a.parquet")
    with open_table(tmp_path / "a.parquet") as (table, _):
        scoring = Scoring(partial(map, score), table, table.columns[0], "skip")
        score_parquet(scoring, tmp_path / "a.parquet", tmp_path / "b.parquet")
    after = pd.read_parquet(tmp_path / "b.parquet")
    assert list(after.columns) == [name for name in scoring.columns if "index" not in name]
    assert list(after.index) == [index[0] if index else 0]
    assert after.iloc[0].tolist() == ["fine", 1, 0.4, "negative"]


@pytest.mark.parametrize(
    ("cells", "written"),
    [
        (pa.array([0, 10**7], pa.date32()), ["1970-01-01", "29349-01-26"]),
        (
            pa.array([0, 4 * 10**17], pa.timestamp("us", "Europe/Berlin")),
            ["1970-01-01 01:00:00+01:00", "14645-06-30 15:06:40.000000Z"],
        ),
        (pa.array([-(10**17)], pa.timestamp("us")), ["-1199-02-15 14:13:20.000000"]),
        (pa.array([1000, 5], pa.time64("ns")), ["00:00:00.000001", "00:00:00.000000005"]),
        (pa.array([2**63 - 1], pa.duration("s")), None),
        (pa.array([2**62], pa.timestamp("us")), None),
        (pa.array([[10**7]], pa.list_(pa.date32())), None),
        (pa.array([0], pa.timestamp("us", "Mars/Phobos")), ["1970-01-01 00:00:00.000000Z"]),
        (pa.array([10**18], pa.timestamp("us", "UTC")), None),
        (pa.array([b"\xe9"], pa.binary()).view(pa.string()), None),
        (pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], ["x", "x"]), None),
    ],
)
@pytest.mark.parametrize("name", ["b.csv", "b.jsonl"])
def test_what_python_has_no_value_for_is_written_or_named(
    cells: pa.Array, written: list[str] | None, name: str, tmp_path: Path
) -> None:
    rows = 3 + len(cells)
    before = pa.table({"text": ["fine"] * rows, "cell": pa.concat_arrays([pa.nulls(3, cells.type), cells])})
    parquet.write_table(before, tmp_path / "a.parquet")
    if written is not None:
        scored_file(tmp_path / "a.parquet", tmp_path / name)
        assert [row[1] for row in read_table(tmp_path / name).rows][3:] == written
    else:
        with pytest.raises(
            InputError, match=r"a\.parquet, row 4: 'cell' cannot be read \(.*\); mend it, or leave"
        ) as told:
            scored_file(tmp_path / "a.parquet", tmp_path / name)
        assert "no whole" not in str(told.value)
    assert scored_file(tmp_path / "a.parquet", tmp_path / "b.parquet").equals(before)


def test_a_text_that_is_no_unicode_is_named_by_its_row(tmp_path: Path) -> None:
    texts = pa.array([b"a", b"b", b"c", b"d", b"\xe9"], pa.binary()).view(pa.string())
    parquet.write_table(pa.table({"text": texts}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a\.parquet, row 5: 'text' cannot be read \('utf-8' codec .*; mend it"):
        scored_file(tmp_path / "a.parquet", tmp_path / "b.parquet")


@pytest.mark.parametrize("name", ["b.parquet", "b.csv", "b.jsonl"])
def test_a_damaged_input_is_not_blamed_on_the_output(name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    parquet.write_table(pa.table({"text": [rng.bytes(50).hex() for _ in range(500)]}), tmp_path / "a.parquet")
    whole = bytearray((tmp_path / "a.parquet").read_bytes())
    whole[100:20_000] = bytes(19_900)
    (tmp_path / "a.parquet").write_bytes(whole)
    with pytest.raises(InputError, match=r"^cannot read .*a\.parquet \("):
        scored_file(tmp_path / "a.parquet", tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


@pytest.mark.parametrize(("most", "groups"), [({}, 1), ({"_GROUP": 6}, 4), ({"_GROUP_BYTES": 1}, 7)])
def test_a_scored_file_has_few_groups_of_rows(
    most: dict[str, int], groups: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in most.items():
        monkeypatch.setattr(data_parquet, name, value)
    parquet.write_table(pa.table({"text": ["fine"] * 20}), tmp_path / "a.parquet")
    assert len(scored_file(tmp_path / "a.parquet", tmp_path / "b.parquet")) == 20
    assert parquet.read_metadata(tmp_path / "b.parquet").num_row_groups == groups
