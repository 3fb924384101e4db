"""What MLflow lives on goes away while a network trains: the training goes on, and nothing is missing or there twice.

Real locks, real full disks (a small file system where this user may mount one), real servers that are killed.
"""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from forks import forked
from support import SCRIPT, TIME_LIMIT, Answer, ended, started, wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.usefixtures("forking")]

EPOCHS, FIRST = 30, 3  # and the epoch in which MLflow goes away
SMALL = ("--model", "embedding", "--embedding", "8", "--hidden", "8", "--vocabulary", "2000", "--length", "80")
LONG = (*SMALL, "--epochs", str(EPOCHS), "--patience", str(EPOCHS))
TRAIN = (SCRIPT, "train", "--data", "sample", *LONG)
LOCK = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
database.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
database.execute("COMMIT")
"""
# Hands on what it hears and what is answered, the first time after a while.
PROXY = """
import socket, sys, threading, time
address, seconds = ("127.0.0.1", int(sys.argv[1])), [float(sys.argv[2])]

def hand_on(source, target):
    while content := source.recv(2**16):
        target.sendall(content)
    target.shutdown(socket.SHUT_WR)

def answer(client):
    time.sleep(seconds.pop() if seconds else 0)
    server = socket.create_connection(address)
    threading.Thread(target=hand_on, args=(server, client), daemon=True).start()
    hand_on(client, server)

listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
while True:
    threading.Thread(target=answer, args=listening.accept()[:1], daemon=True).start()
"""


@pytest.fixture
def state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this user's journals are, if they cannot be beside the database."""
    folder = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("SENTIMENT_TUNE_STATE", str(folder))
    return folder


def at_epoch(process: subprocess.Popen[str], number: int) -> None:
    """Wait until a training has shown an epoch."""
    assert process.stdout
    while not (line := process.stdout.readline()).startswith(f"epoch {number:3}"):
        assert line, "it ended before"


def stored(database: Path) -> list[tuple[str, list[int], int, int]]:
    """Of each run: status, epochs, points that are there twice, models that are whole."""
    with closing(sqlite3.connect(database, timeout=60)) as opened:
        found = []
        for run, status in opened.execute("SELECT run_uuid, status FROM runs ORDER BY start_time").fetchall():
            where = "FROM metrics WHERE run_uuid = ?"
            epochs = opened.execute(f"SELECT step {where} AND key = 'val_loss' ORDER BY step", (run,)).fetchall()
            keys = f"SELECT 1 {where} GROUP BY key, step HAVING count(*) > 1"
            ready = "SELECT count(*) FROM logged_models WHERE source_run_id = ? AND status = 2"
            doubles = len(opened.execute(keys, (run,)).fetchall())
            found.append((status, [step for (step,) in epochs], doubles, opened.execute(ready, (run,)).fetchone()[0]))
    return found


# MLflow comes back as late as it likes, and is looked for often; or it never does, for which nobody is to wait long.
WAITS = {"sentiment_tune.tracking.delivery:BACK": TIME_LIMIT, "sentiment_tune.tracking.delivery:PAUSE": 0.5}
GIVES_UP = {"sentiment_tune.tracking.delivery:BACK": 2.0}
WHOLE = [("FINISHED", list(range(1, EPOCHS + 1)), 0, 1)]


def check_told(answer: Answer, *beginnings: str) -> None:
    """Standard error holds just these lines, but for the one of checkpoints where those find no place either."""
    lines = [line for line in answer.err.splitlines() if not line.startswith("WARNING: no checkpoint at ")]
    assert len(answer.err.splitlines()) <= len(lines) + 1, answer.err
    assert len(lines) == len(beginnings), answer.err
    for line, beginning in zip(lines, beginnings, strict=True):
        assert line.startswith(beginning), answer.err


AWAY, BACK, LEFT = "WARNING: MLflow is away (", "WARNING: MLflow is back", "sentiment-tune: run "


def locked(database: Path, seconds: float) -> subprocess.Popen[str]:
    """A process that holds the database; nobody else can read or write it."""
    holder = started(database.parent, sys.executable, "-c", LOCK, str(database), str(seconds))
    assert holder.stdout
    assert holder.stdout.readline() == "locked\n"
    return holder


def test_a_database_that_is_locked_for_half_a_minute_costs_nothing(here: Path, state: Path) -> None:
    process = forked(here, *TRAIN)
    at_epoch(process, FIRST)
    holder = locked(here / "mlflow.db", 30)
    answer = ended(process)
    ended(holder)
    assert answer.code == 0, answer.err
    check_told(answer, AWAY + "its database is locked)", BACK)
    assert stored(here / "mlflow.db") == WHOLE
    assert not list((here / ".sentiment_tune").glob("journal/*"))


def test_a_study_does_not_mind_a_locked_database(here: Path, state: Path) -> None:
    study = (SCRIPT, "tune", "--data", "sample", *SMALL, "--epochs", "8", "--trials", "3", "--top", "0")
    process = forked(here, *study)
    wait_until(lambda: len(stored(here / "mlflow.db")) == 2)
    holder = locked(here / "mlflow.db", 15)
    answer = ended(process)
    ended(holder)
    assert answer.code == 0, answer.err
    runs = stored(here / "mlflow.db")
    assert len(runs) == 4, answer
    assert {status for status, *_ in runs} <= {"FINISHED", "KILLED"}
    assert sum(doubles for _, _, doubles, _ in runs) == 0
    with closing(sqlite3.connect(here / "optuna.db")) as database:
        states = [state for (state,) in database.execute("SELECT state FROM trials")]
    assert "FAIL" not in states, (states, answer.err)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this user may mount no file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """A file that takes all that is left of a disk."""
    filler = folder / "filler"
    with filler.open("wb") as file, suppress(OSError):
        while True:
            file.write(bytes(2**16))
            file.flush()
    return filler


@pytest.mark.parametrize("comes_back", [True, False])
def test_a_disk_that_is_full(here: Path, state: Path, comes_back: bool) -> None:
    with small_disk(here / "disk", 40) as disk:
        shutil.copy(here / "mlflow.db", disk)
        process = forked(disk, *TRAIN, constants=WAITS if comes_back else GIVES_UP)
        at_epoch(process, FIRST)
        filler = fill(disk)
        if comes_back:
            at_epoch(process, EPOCHS // 2)
            filler.unlink()
        answer = ended(process)
        if comes_back:
            assert answer.code == 0, answer.err
            check_told(answer, AWAY, BACK)
        else:
            assert answer.code == 1, answer.err
            check_told(answer, AWAY, LEFT)
            assert str(state) in answer.err  # another disk
            filler.unlink()
            check_uploaded(disk)
        assert stored(disk / "mlflow.db") == WHOLE
        assert list(state.rglob("writes.jsonl")) == []


def check_uploaded(folder: Path, *more: str) -> None:
    answer = ended(forked(folder, SCRIPT, "upload", *more))
    assert (answer.code, answer.err) == (0, ""), answer
    assert answer.out.endswith("is whole in MLflow now\n")
    assert ended(forked(folder, SCRIPT, "upload", *more)).out.startswith("nothing is kept")


def test_a_disk_without_room_for_files_keeps_the_figures(here: Path, state: Path) -> None:
    with small_disk(here / "mlruns", 1) as artifacts:
        fill(artifacts)
        answer = ended(forked(here, *TRAIN, constants=GIVES_UP))
        assert answer.code == 1, answer.err
        check_told(answer, AWAY, LEFT)
        assert "No space left on device" in answer.err
        ((status, epochs, doubles, _),) = stored(here / "mlflow.db")
        assert (status, epochs, doubles) == ("RUNNING", WHOLE[0][1], 0)
    check_uploaded(here)
    assert stored(here / "mlflow.db") == WHOLE


def rename(database: Path) -> Callable[[], object]:
    moved = database.rename(database.with_name("moved.db"))
    return lambda: moved.rename(database)


def damage(database: Path) -> Callable[[], object]:
    whole = shutil.copy(database, database.with_name("copy.db"))
    with database.open("r+b") as file:
        file.write(bytes(2**18))
    return lambda: Path(whole).replace(database)


def remove(database: Path) -> Callable[[], object]:
    whole = shutil.copy(database, database.with_name("copy.db"))
    database.unlink()
    return lambda: Path(whole).replace(database)


@pytest.mark.parametrize("spoil", [rename, damage, remove])
def test_a_database_file_that_is_gone_or_cannot_be_read(
    here: Path, state: Path, spoil: Callable[[Path], Callable[[], object]]
) -> None:
    process = forked(here, *TRAIN, constants=GIVES_UP)
    at_epoch(process, FIRST)
    mend = spoil(here / "mlflow.db")
    answer = ended(process)
    assert answer.code == 1, answer
    check_told(answer, AWAY, LEFT)
    mend()
    check_uploaded(here)
    assert stored(here / "mlflow.db") == WHOLE


def test_a_database_file_that_comes_back(here: Path, state: Path) -> None:
    process = forked(here, *TRAIN, constants=WAITS)
    at_epoch(process, FIRST)
    mend = rename(here / "mlflow.db")
    at_epoch(process, EPOCHS // 2)
    mend()
    answer = ended(process)
    assert answer.code == 0, answer.err
    check_told(answer, AWAY, BACK)
    assert stored(here / "mlflow.db") == WHOLE


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


class Server:
    """An MLflow server of its own that can be killed and started again."""

    def __init__(self, folder: Path):
        self.folder, self.port = folder, free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        mlflow = str(Path(SCRIPT).with_name("mlflow"))
        command = (mlflow, "server", "--port", str(self.port), "--workers", "1")
        stores = ("--backend-store-uri", "sqlite:///mlflow.db", "--artifacts-destination", "mlartifacts")
        self._process = forked(
            self.folder,
            *command,
            *stores,
            "--uvicorn-opts",
            "--log-level critical",
            session=True,
            MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",  # by five processes that have nothing to do
        )
        wait_until(self._answers)

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
            return b"200" in connection.recv(100)
        return False

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.killpg(self._process.pid, number)
        if number == signal.SIGKILL:
            with self._process:
                pass


@pytest.fixture
def server(here: Path) -> Iterator[Server]:
    running = Server(here)
    yield running
    with suppress(ProcessLookupError):
        running.kill(signal.SIGCONT)
        running.kill()


def test_a_server_that_goes_and_comes_back(here: Path, state: Path, server: Server) -> None:
    process = forked(here, *TRAIN, "--tracking-uri", server.address, constants=WAITS)
    at_epoch(process, FIRST)
    server.kill()
    at_epoch(process, EPOCHS // 2)
    server.start()
    answer = ended(process)
    assert answer.code == 0, answer.err
    check_told(answer, AWAY, BACK)
    assert stored(here / "mlflow.db") == WHOLE


def test_a_server_that_goes_for_good_leaves_what_upload_brings_in(here: Path, state: Path, server: Server) -> None:
    process = forked(here, *TRAIN, "--tracking-uri", server.address, constants=GIVES_UP)
    at_epoch(process, FIRST)
    server.kill()
    answer = ended(process)
    assert answer.code == 1, answer.err
    check_told(answer, AWAY, LEFT)
    assert list(state.rglob("writes.jsonl"))
    refused = ended(forked(here, SCRIPT, "upload", "--tracking-uri", server.address))
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    server.start()
    check_uploaded(here, "--tracking-uri", server.address)
    assert stored(here / "mlflow.db") == WHOLE


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["dead", "silent"])
def test_a_signal_ends_a_training_in_time_whose_server_is_away(
    here: Path, state: Path, server: Server, number: int
) -> None:
    process = forked(here, SCRIPT, "train", "--data", "sample", *SMALL, "--epochs", "9999", "--patience", "9999",
                     "--tracking-uri", server.address)  # fmt: skip
    at_epoch(process, FIRST)
    server.kill(number)
    at_epoch(process, FIRST + 2)
    process.send_signal(signal.SIGINT)
    begun = time.monotonic()
    answer = ended(process)
    assert time.monotonic() - begun < 12
    assert answer.code == 130, answer.err
    assert len(list(filter(None, answer.err.splitlines()))) <= 2, answer.err  # click adds an empty one
    if number == signal.SIGSTOP:
        server.kill(signal.SIGCONT)
    else:
        server.start()
    ended(forked(here, SCRIPT, "upload", "--tracking-uri", server.address))
    ((status, epochs, doubles, _),) = stored(here / "mlflow.db")
    assert (status, epochs, doubles) == ("KILLED", list(range(1, len(epochs) + 1)), 0)


def test_a_server_that_is_slow_at_first_is_waited_for(here: Path, state: Path, server: Server) -> None:
    proxy = started(here, sys.executable, "-c", PROXY, str(server.port), "6")
    assert proxy.stdout
    port = int(proxy.stdout.readline())
    uri = f"http://127.0.0.1:{port}"
    answer = ended(forked(here, SCRIPT, "train", "--data", "sample", *SMALL, "--epochs", "1", "--tracking-uri", uri))
    ended_proxy(proxy)
    assert (answer.code, answer.err) == (0, "")


def ended_proxy(proxy: subprocess.Popen[str]) -> None:
    proxy.kill()
    proxy.communicate()


@pytest.mark.parametrize(
    ("option", "address"),
    [
        ("--tracking-uri", "http://127.0.0.1:{}"),
        ("--tracking-uri", "postgresql://somebody@127.0.0.1:{}/mlflow"),
        ("--storage", "postgresql://somebody@127.0.0.1:{}/optuna"),
    ],
)
def test_a_closed_port_is_told_in_time(here: Path, state: Path, address: str, option: str) -> None:
    begun = time.monotonic()
    command = ("train",) if option == "--tracking-uri" else ("tune", "--trials", "1")
    answer = ended(forked(here, SCRIPT, *command, "--data", "sample", option, address.format(free_port())))
    assert time.monotonic() - begun < 10 * TIME_LIMIT / 120
    assert (answer.code, answer.err.count("\n")) == (2, 1), answer.err
    assert "refused" in answer.err


@pytest.mark.parametrize("status", ["404 Not Found", "500 Internal Server Error"])
def test_a_server_that_is_none_of_mlflow_is_told_in_a_line(here: Path, state: Path, status: str) -> None:
    code = (
        "import socketserver, sys\n"
        "class Handler(socketserver.StreamRequestHandler):\n"
        "    def handle(self):\n"
        "        while self.rfile.readline().strip(): pass\n"
        f"        self.wfile.write(b'HTTP/1.0 {status}\\r\\ncontent-type: text/html\\r\\n\\r\\n<html>\\n<p>no</p>')\n"
        "server = socketserver.ThreadingTCPServer(('127.0.0.1', 0), Handler)\n"
        "print(server.server_address[1], flush=True)\n"
        "server.serve_forever()\n"
    )
    other = started(here, sys.executable, "-c", code)
    assert other.stdout
    uri = f"http://127.0.0.1:{int(other.stdout.readline())}"
    train = (SCRIPT, "train", "--data", "sample", "--tracking-uri", uri)
    answer = ended(forked(here, *train, constants={"sentiment_tune.tracking.server:FIRST_ANSWER": 2}))
    ended_proxy(other)
    assert (answer.code, answer.err.count("\n")) == (2, 1), answer.err
    assert status[:3] in answer.err
