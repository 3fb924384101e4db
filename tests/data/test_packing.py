"""A packed file unpacks to what it may, which the user can change, and is refused before any of it is kept."""

import bisect
import gzip
import io
import json
import lzma
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from click.testing import CliRunner
from pyarrow import parquet

from sentiment_tune.cli.main import main
from sentiment_tune.config import ExperimentConfig
from sentiment_tune.data import packing
from sentiment_tune.data.load import DataConfig, load, load_frame
from sentiment_tune.data.packing import parse_size
from sentiment_tune.data.readers import Reading
from sentiment_tune.data.tables import read_table, write_table
from sentiment_tune.errors import InputError
from support import TIME_LIMIT

MIB = 2**20
PEAK = """
import re, sys
from pathlib import Path
import pyarrow.compute, pyarrow.parquet
from sentiment_tune.data import load
def peak():
    return int(re.search("VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024
before = peak()
try:
    load.load(load.DataConfig(sys.argv[1]), Path(sys.argv[2]))
except load.InputError as error:
    print(peak() - before, error)
"""
LOOKED_AT = """
from sentiment_tune.data import packing
before = peak()
packing.check_packed(Path(sys.argv[1]), None)
print(peak() - before)
"""


def refusal(path: Path, unpack_limit: str | int | None = None) -> str:
    with pytest.raises(InputError) as caught:
        read_table(path, Reading(unpack_limit=unpack_limit))
    message = str(caught.value)
    assert str(path) in message
    assert "--unpack-limit" in message
    assert "\n" not in message
    return message


@pytest.fixture(scope="module")
def bombs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of a few kilobytes that unpack to more than 64 MiB, by their names."""
    folder = tmp_path_factory.mktemp("bombs")
    for name, pack in (("rows.csv.xz", lzma.compress), ("rows.csv.gz", gzip.compress)):  # packed files in a row
        (folder / name).write_bytes(pack(b"text,label\n") + pack(b"a,1\n" * (MIB // 4)) * 6)
    (folder / "line.csv.xz").write_bytes(lzma.compress(b"text,label\n" + b"a" * 70 * MIB, preset=0))
    (folder / "line.jsonl.gz").write_bytes(gzip.compress(b'{"text": "' + b"a" * 70 * MIB + b'"}', 1))
    parquet.write_table(pyarrow.table({"text": ["a" * MIB] * 70}), folder / "long.parquet")
    parquet.write_table(
        pyarrow.table({"text": pyarrow.array(["a" * MIB] * 70).dictionary_encode()}), folder / "kinds.parquet"
    )
    parquet.write_table(
        pyarrow.table({"text": pyarrow.array(["a"] * 9 + ["b" * MIB] * 70, pyarrow.large_string())}),
        folder / "late.parquet",
    )
    views = pyarrow.array(["b" * MIB] * 70, pyarrow.string_view())
    parquet.write_table(pyarrow.table({"text": views}), folder / "views.parquet")
    parquet.write_table(pyarrow.table({"text": np.ones(9 * MIB)}), folder / "many.parquet", compression="zstd")
    parquet.write_table(pyarrow.table({"text": pyarrow.nulls(2 * MIB)}), folder / "nulls.parquet")
    for name in ("long.parquet", "rows.csv.gz"):
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            archive.write(folder / name, name)
    with zipfile.ZipFile(folder / "archive.npz", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("x_train.npy", bytes(70 * MIB))
    (folder / "imdb_word_index.json").write_text(json.dumps({"a": 1}))
    return folder


@pytest.mark.parametrize(
    "name",
    [
        *("rows.csv.xz", "rows.csv.gz", "line.csv.xz", "line.jsonl.gz"),
        *("long.parquet", "many.parquet", "nulls.parquet", "archive.npz"),
        *("kinds.parquet", "late.parquet", "views.parquet", "long.parquet.zip", "rows.csv.gz.zip"),
    ],
)
def test_a_small_file_that_unpacks_to_much_is_refused_without_taking_memory(
    bombs: Path, tmp_path: Path, name: str
) -> None:
    path = bombs / name
    assert path.stat().st_size < 2 * MIB
    finished = subprocess.run(
        [sys.executable, "-c", PEAK, str(path), str(tmp_path)], stdout=subprocess.PIPE, text=True, timeout=TIME_LIMIT
    )
    peak, message = finished.stdout.split(maxsplit=1)
    assert int(peak) < 40
    assert (
        f"{path} has {path.stat().st_size:,} bytes and unpacks to more than 67,108,864, with 64 for each row" in message
    )
    assert "--unpack-limit" in message
    assert message.count("\n") == 1
    assert list(tmp_path.iterdir()) in ([], [tmp_path / "locks"])


def test_many_texts_are_looked_at_in_little_memory(tmp_path: Path) -> None:
    texts = [f"{number:0100}" for number in range(400_000)]  # that one row group holds
    parquet.write_table(pyarrow.table({"text": texts}), tmp_path / "a.parquet", compression="none")
    script = PEAK.partition("before")[0] + LOOKED_AT
    words = [sys.executable, "-c", script, str(tmp_path / "a.parquet")]
    finished = subprocess.run(words, stdout=subprocess.PIPE, check=True, timeout=TIME_LIMIT)
    assert int(finished.stdout) < 60


@pytest.mark.parametrize("suffix", [".csv.gz", ".tsv.xz", ".jsonl.xz", ".parquet"])
def test_the_limit_is_what_the_user_says_to_the_byte(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"reviews{suffix}"
    write_table(path, ["text", "label"], [[f"fine {row}", "1"] for row in range(100)])
    whole = read_table(path).rows
    exact = bisect.bisect_left(range(10**5), True, key=lambda limit: limit > 0 and _reads(path, limit))
    assert read_table(path, Reading(unpack_limit=str(exact))).rows == whole
    assert f"more than {exact - 1:,}" in refusal(path, exact - 1)


def _reads(path: Path, limit: int) -> bool:
    try:
        packing.check_packed(path, limit)
    except InputError:
        return False
    return True


def test_a_large_file_may_unpack_to_many_times_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "LEAST", 1000)
    path = tmp_path / "reviews.csv.gz"
    lines = np.random.default_rng(1).bytes(20_000).hex()
    path.write_bytes(gzip.compress(f"text,label\n{lines},1\n".encode()))
    assert len(read_table(path).rows) == 1
    path.write_bytes(gzip.compress(b"text,label\n" + b"a" * 20_000 + b",1\n"))
    refusal(path)
    assert len(read_table(path, Reading(unpack_limit="20.2 kB")).rows) == 1


def test_a_file_that_is_not_packed_has_no_limit(tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    path.write_bytes(b"text\n" + b"a" * 1000)
    assert read_table(path, Reading(unpack_limit=1)).rows


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_damage_is_told_as_damage_whatever_the_limit(tmp_path: Path, pack: Any) -> None:
    path = tmp_path / ("reviews.csv.gz" if pack is gzip.compress else "reviews.csv.xz")
    path.write_bytes(pack(b"text,label\n" + b"a,1\n" * 1000)[:-10])
    with pytest.raises(InputError, match="damaged"):
        read_table(path)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (1, 1),
        ("1048576", MIB),
        ("500MB", 500_000_000),
        ("500 mb", 500_000_000),
        ("2GiB", 2 * 2**30),
        ("2gib", 2 * 2**30),
        ("1.5k", 1500),
        ("3TB", 3 * 10**12),
        ("10B", 10),
        ("1Ki", 1024),
    ],
)
def test_sizes_are_written_as_people_write_them(size: str | int, expected: int) -> None:
    assert parse_size(size) == expected


@pytest.mark.parametrize(
    "size", ["", "0", 0, -1, "-1", "much", "1XB", "1iB", "nan", "inf", "1e9", "9" * 400, True, "1 2", "9999999999GiB"]
)
def test_what_is_no_size_is_refused(size: str | int) -> None:
    for attempt in (parse_size, lambda size: DataConfig(unpack_limit=size)):
        with pytest.raises(InputError, match=r"unpack_limit cannot be .*: give a size such as 500MB or 2GiB"):
            attempt(size)


def test_the_limit_belongs_to_the_data_and_changes_nothing_of_them(tmp_path: Path) -> None:
    path, packed = tmp_path / "reviews.csv", tmp_path / "reviews.csv.gz"
    for table in (path, packed):
        write_table(table, ["text", "label"], [[f"fine {row}", row % 2] for row in range(100)])
    digest = load(DataConfig(str(path)), tmp_path / "cache").digest
    with pytest.raises(InputError, match="--unpack-limit"):
        load(DataConfig(str(packed), unpack_limit="1kB"), tmp_path / "cache")
    with pytest.raises(InputError, match="--unpack-limit"):
        load(DataConfig(str(path), test=str(packed), unpack_limit="1kB"), tmp_path / "cache")
    assert load(DataConfig(str(packed), unpack_limit="1MB"), tmp_path / "cache").digest == digest
    assert load(DataConfig(str(packed), unpack_limit=1), tmp_path / "cache").digest == digest  # from the cache
    config = ExperimentConfig.of("linear", {"data": str(packed), "unpack_limit": "1kB"})
    assert config.as_dict["unpack_limit"] == "1kB"
    assert ExperimentConfig.of("linear", {"data": str(packed), "unpack_limit": 1000}).data.unpack_limit == 1000
    with pytest.raises(InputError, match=r"unpack_limit cannot be 1\.5"):
        ExperimentConfig.of("linear", {"unpack_limit": 1.5})
    frame = read_table(path)
    import pandas as pd

    with pytest.raises(InputError, match="--unpack-limit"):
        load_frame(
            pd.DataFrame(frame.rows, columns=list(frame.columns)),
            DataConfig(test=str(packed), unpack_limit="1kB"),
            tmp_path / "cache",
        )


def test_an_archive_may_unpack_to_what_the_user_says(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ones(8, dtype=np.int64))
    path = tmp_path / "small.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("y_train.npy", file.getvalue())
    (tmp_path / "imdb_word_index.json").write_text(json.dumps({"a": 1}))
    with pytest.raises(InputError, match="more than 100, with"):
        load(DataConfig(str(path), unpack_limit="100B"), tmp_path / "cache")
    with pytest.raises(InputError, match="x_train"):  # which is wanting
        load(DataConfig(str(path), unpack_limit="1kB"), tmp_path / "cache")


@pytest.mark.parametrize(
    "command",
    [
        ["train", "--data", "{}", "--unpack_limit", "1kB"],
        ["tune", "--data", "{}", "--model", "linear", "--unpack-limit", "1kB"],
        ["score", "--input", "{}", "--unpack-limit", "1kB"],
    ],
)
def test_every_command_that_reads_a_table_takes_the_limit(bare: Path, command: list[str]) -> None:
    write_table(bare / "reviews.csv.gz", ["text", "label"], [[f"fine {row}", row % 2] for row in range(100)])
    answer = CliRunner().invoke(main, [word.format(bare / "reviews.csv.gz") for word in command])
    assert isinstance(answer.exception, InputError)
    assert "unpacks to more than 1,000, " in str(answer.exception)


def test_every_command_that_reads_a_table_tells_of_the_limit() -> None:
    for command in ("train", "tune", "ensemble", "score"):
        assert "--unpack-limit SIZE" in CliRunner().invoke(main, [command, "--help"]).output
