"""What a GPU is to be measured by: every network has a bare loop, and one that fails costs no other its row."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sentiment_tune.models.registry import NETWORKS
from support import ROOT, TIME_LIMIT

SCRIPT = str(ROOT / "scripts" / "benchmark_gpu.py")


@pytest.mark.slow
def test_each_network_is_measured_and_one_that_fails_is_told(tmp_path: Path) -> None:
    options = ("--data", "sample", "--device", "cpu", "--reviews", "64", "--batches", "32", "--seconds", "0.3")
    names = [*NETWORKS, "nothing"]
    command = [sys.executable, "-W", "ignore", SCRIPT, *options, "--networks", ",".join(names), "--epochs", "1"]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "out")], capture_output=True, text=True, timeout=TIME_LIMIT
    )
    rows = [json.loads(line) for line in (tmp_path / "out" / "gpu.jsonl").read_text(encoding="utf-8").splitlines()]
    contest = [row for row in rows if row["part"] == "contest"]
    assert [row["network"] for row in contest] == [*names, "all"]
    assert all(row["epochs"] == 1 and 0 < row["test_accuracy"] < 1 for row in contest[:-2])
    assert contest[-1]["seconds"] >= sum(row["seconds"] for row in contest[:-2])
    epochs = [row for row in rows if row["part"] == "epochs"]
    assert [row["precision"] for row in epochs] == ["float32"] * len(names) + ["bfloat16"] * len(names)
    assert all(3 <= len(row["package"]) == len(row["bare"]) <= 7 for row in epochs if row["network"] in NETWORKS), rows
    assert all("no network 'nothing'" in row["error"] for row in rows if row["network"] == "nothing")
    assert (done.returncode, done.stdout.count("failed: InputError: no network 'nothing'")) == (1, 3)


def test_the_bare_networks_are_as_large_as_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import benchmark_gpu

    from sentiment_tune.build import count_parameters, create_network
    from sentiment_tune.config import ExperimentConfig

    for name in NETWORKS:
        config = ExperimentConfig.of(name, {"vocabulary": 500})
        network = create_network(config)
        bare = benchmark_gpu.bare_network(name, 500, config.network, network)
        assert count_parameters(bare) == count_parameters(network), name
