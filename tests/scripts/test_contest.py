"""The contest of all networks: it trains what is missing, and its tables say what the runs say."""

import json
import sys
from pathlib import Path

import pytest

from support import ROOT, TIME_LIMIT, Answer, ended, runs, started

SCRIPT = str(ROOT / "scripts" / "contest.py")


@pytest.mark.slow
def test_the_contest_goes_on_where_it_stopped_and_tells_what_the_runs_tell(tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    for name in ("embedding", "linear"):
        settings = {"model": name, "epochs": 1, "vocabulary": 300}
        (tmp_path / "recipes" / f"{name}.json").write_text(json.dumps(settings))

    def contest(*words: str) -> Answer:
        options = ("--data", "sample", "--recipes", "recipes", "--any-commit", *words, "--", "--device", "cpu")
        return ended(started(tmp_path, sys.executable, SCRIPT, *options), 3 * TIME_LIMIT)

    first = contest("--networks", "embedding")
    second = contest("--networks", "linear,embedding", "--ensemble", "--picture", "accuracy.png")
    assert (first.code, second.code) == (0, 0), first.err + second.err

    finished = {run.data.tags["network"]: run.data.metrics for run in runs(f"sqlite:///{tmp_path}/mlflow.db")}
    assert len(runs(f"sqlite:///{tmp_path}/mlflow.db")) == 3  # embedding was not trained again
    accuracy, mistakes = (table.splitlines() for table in second.out.strip().split("\n\n"))
    for row in (2, 3, 4):
        name, test, validation = accuracy[row].split(" | ")[:3]
        metrics = finished[name.strip("| `")]
        assert (test, validation) == (f"{metrics['test_accuracy']:.4f}", f"{metrics['best_val_accuracy']:.4f}")
        assert mistakes[row].split(" | ")[:2] == [name, f"{1 - metrics['test_accuracy']:.1%}"]
    assert (tmp_path / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    assert first.out.splitlines()[2] == accuracy[2]
