"""Checkpoints of a process that is killed while it writes them: what is there under its name is whole."""

import os
import random
import time
from pathlib import Path

import pytest

from forks import forked
from sentiment_tune.events import Event
from sentiment_tune.training.checkpoint import KEPT, Checkpoints
from support import ended

pytestmark = [pytest.mark.chaos, pytest.mark.usefixtures("forking")]
SEED = int(os.environ.get("SENTIMENT_TUNE_CHAOS_SEED", "0")) or random.randrange(10**6)
KILLS = 40
SCRIPT = str(Path(__file__).with_name("write_checkpoints.py"))


def test_a_kill_while_checkpoints_are_written_leaves_whole_ones(tmp_path: Path) -> None:
    print(f"SENTIMENT_TUNE_CHAOS_SEED={SEED}")
    chance, folder = random.Random(SEED), tmp_path / "checkpoints"
    told: list[Event] = []
    cut_off = 0
    for _ in range(KILLS):
        process = forked(tmp_path, SCRIPT, str(folder))
        first = process.stdout.readline()
        time.sleep(chance.uniform(0, 0.1))
        process.kill()
        *_, written = map(int, [first, *ended(process).out.split()])
        cut_off += any(folder.glob(".*.partial"))
        latest = Checkpoints(folder, {"seed": 1}, listener=told.append).latest()
        assert latest
        assert latest.facts["number"] >= written
        assert set(latest.tensors["values"].tolist()) == {latest.facts["number"]}
        assert not list(folder.glob(".*"))
        assert len(list(folder.iterdir())) <= KEPT + 1
    assert told == []
    print(f"{cut_off} of {KILLS} kills have met a write")
    assert cut_off, "no kill has met a write"
