"""The commands as a user starts them, in this process or in another, and what they leave in MLflow."""

import io
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

from sentiment_tune.__main__ import run

SCRIPT = str(Path(sys.executable).with_name("sentiment-tune"))


class Answer(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def refusal(self) -> str:
        """The one line of an error."""
        assert (self.code, self.err.count("\n"), self.err[:16]) == (2, 1, "sentiment-tune: "), self
        return self.err


def ask(*words: str, stdin: str | bytes = "") -> Answer:
    """What the console script does, in this process."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="", write_through=True) for _ in range(2))
    before = sys.argv, sys.stdin, signal.getsignal(signal.SIGTERM)
    typed = io.BytesIO(stdin if isinstance(stdin, bytes) else stdin.encode())
    sys.argv, sys.stdin = ["sentiment-tune", *words], io.TextIOWrapper(typed, "utf-8")
    code: Any = 0
    try:
        with redirect_stdout(out), redirect_stderr(err):
            run()
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv, sys.stdin = before[:2]
        signal.signal(signal.SIGTERM, before[2])
    return Answer(code, *(stream.buffer.getvalue().decode() for stream in (out, err)))


def started(folder: Path, *command: str) -> subprocess.Popen[str]:
    """A process in `folder` that knows nothing of the MLflow of this one, and can be interrupted."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
    )


def ended(process: subprocess.Popen[str], seconds: float = 120) -> Answer:
    with process:
        try:
            out, err = process.communicate(timeout=seconds)
        finally:
            process.kill()
    return Answer(process.returncode, out, err)


def runs(database: str) -> list[Any]:
    """All runs, whatever their status, the newest first."""
    from mlflow import MlflowClient

    client = MlflowClient(database)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments, order_by=["attributes.start_time DESC"]))


def artifact(run: Any, name: str) -> bytes:
    return Path(run.info.artifact_uri, name).read_bytes()
