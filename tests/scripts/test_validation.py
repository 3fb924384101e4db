"""What validation says of the test: rows as they come, and none is trained twice."""

import json
import sys
from pathlib import Path

import pytest

from support import ROOT, TIME_LIMIT, Answer, ended, started

SCRIPT = str(ROOT / "scripts" / "benchmark_validation.py")


@pytest.mark.slow
def test_a_measurement_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    def measure(*words: str) -> Answer:
        options = ("--data", "sample", "--validation", "random", "--device", "cpu", "--rows", "rows.jsonl", *words)
        return ended(started(tmp_path, sys.executable, SCRIPT, *options), 3 * TIME_LIMIT)

    first = measure("--networks", "linear", "--seeds", "1")
    assert first.code == 0, first
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    (tmp_path / "rows.jsonl").write_text("\n".join([*lines, '{"network": "li']))  # cut off while a row was written
    second = measure("--networks", "linear,embedding", "--seeds", "2", "--workers", "2", "--picture", "both.png")
    assert second.code == 0, second
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines() if line.endswith("}")]
    assert rows[0] == json.loads(lines[0])
    assert sorted((row["network"], row["seed"]) for row in rows) == [
        (network, seed) for network in ("embedding", "linear") for seed in (1, 2)
    ]
    table = second.out.splitlines()
    row = rows[0]
    told = f"| `linear` | random | 1 | {row['validation']:.4f} | {row['test']:.4f} | "
    assert [line.startswith(told) for line in table].count(True) == 1
    assert "| random | 4 | " in second.out
    assert (tmp_path / "both.png").read_bytes().startswith(b"\x89PNG")
