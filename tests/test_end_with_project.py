"""Under `mlflow run` a process ends with that command, also where it ends while it is looked for."""

from dataclasses import dataclass, field
from typing import NoReturn

import psutil
import pytest

from sentiment_tune import signals


@dataclass
class Process:
    """What is asked of a process."""

    pid: int
    called: str
    above: int = 1
    words: tuple[str, ...] = ()
    started: float = 1_000.0
    ended: type[psutil.Error] | None = None  # what it answers to the first question about its command
    chain: list["Process"] = field(default_factory=list)

    def parents(self) -> list["Process"]:
        return self.chain

    def name(self) -> str:
        return self.called

    def ppid(self) -> int:
        if self.ended is psutil.NoSuchProcess:
            self._raise(self.ended)
        return self.above

    def create_time(self) -> float:
        return self.started

    def cmdline(self) -> list[str]:
        return self._raise(self.ended) if self.ended else list(self.words)

    def _raise(self, error: type[psutil.Error]) -> NoReturn:
        raise error(self.pid)


INIT = Process(1, "init", above=0, words=("/sbin/init",), started=0.0)
SHELL = Process(20, "bash", above=30, words=("bash", "-c", "python -m sentiment_tune train"))
MLFLOW = Process(30, "mlflow", above=40, words=("/usr/bin/python", "/usr/bin/mlflow", "run"))
ZOMBIE = Process(30, "mlflow", above=40, ended=psutil.ZombieProcess)
GONE = Process(20, "bash", above=30, words=("bash",), ended=psutil.NoSuchProcess)


@pytest.mark.parametrize(
    ("chain", "watched"),
    [
        ([SHELL, MLFLOW, INIT], [20, 30]),
        ([MLFLOW, INIT], [30]),
        ([INIT], "itself"),  # which has taken in the child of one that is gone
        ([SHELL, INIT], "itself"),
        ([SHELL, ZOMBIE], "itself"),
        ([ZOMBIE], "itself"),
        ([GONE], "itself"),
        ([SHELL], "itself"),  # whose parent has ended since
        ([], "itself"),
        ([Process(30, "mlflow", ended=psutil.AccessDenied)], []),
        ([Process(1, "bash", above=0, words=("bash",))], []),  # a container's first, with the variable set by hand
        ([Process(1, "tini", above=0, words=("tini",), started=999.0)], []),
    ],
)
def test_it_ends_with_mlflow_run_whenever_that_ends(
    chain: list[Process], watched: list[int] | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Process(10, "python", above=20, chain=chain)
    monkeypatch.setattr(psutil, "Process", lambda: own)
    found = [process.pid for process in signals._project_processes()]
    assert found == ([own.pid] if watched == "itself" else watched)
