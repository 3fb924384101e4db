"""What the ways of training cost: rows as they come, the tables, and none is trained twice."""

import json
import sys
from pathlib import Path

import pytest

from support import ROOT, TIME_LIMIT, Answer, ended, started

SCRIPT = str(ROOT / "scripts" / "benchmark_schedules.py")


@pytest.mark.slow
def test_ways_of_training_are_compared_with_the_first(tmp_path: Path) -> None:
    def measure(seeds: int) -> Answer:
        options = ("--data", "sample", "--networks", "embedding", "--rows", "rows.jsonl", "--seeds", str(seeds))
        ways = ("--way", "epochs=2", "--way", "epochs=1 batch=256")
        return ended(started(tmp_path, sys.executable, SCRIPT, *options, *ways), 3 * TIME_LIMIT)

    assert measure(1).code == 0
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    (tmp_path / "rows.jsonl").write_text("\n".join([*lines[:1], lines[1][:50]]))  # cut off while it was written
    answer = measure(2)
    assert answer.code == 0, answer
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines() if line.endswith("}")]
    assert (rows[0], len(rows)) == (json.loads(lines[0]), 4)
    assert [len(row["seconds"]) for row in rows] == [2 if row["way"] == "epochs=2" else 1 for row in rows]
    table = [line.split(" | ") for line in answer.out.splitlines() if line.startswith("| `epochs")]
    assert [line[0] for line in table] == ["| `epochs=2`", "| `epochs=1 batch=256`"]
    assert [line[2] for line in table] == ["2.0", "1.0"]
    assert (table[0][4], table[0][5]) == ("1.00", "none")
