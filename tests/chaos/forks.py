"""Commands that begin at once: forks of a process that has imported what they import, which takes seconds.

A fork is a process like any other, with signals, files, a session and an end of its own. Where the
imports themselves are tried, `support.started` begins one from nothing.
"""

import contextlib
import importlib
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from select import select
from typing import Any, TextIO

# What commands import when they come to it, or have imported for them.
LAZY = [
    "alembic.config",
    "git",
    "importlib_metadata",
    "matplotlib.backends.backend_agg",
    "mlflow.pytorch",
    "mlflow.store.db.utils",
    "mlflow.store.tracking.sqlalchemy_workspace_store",
    "mlflow.store.tracking._sql_backend_utils",
    "networkx",
    "optuna.storages._rdb.storage",
    "optuna.visualization.matplotlib",
    "rich.progress",
    "sklearn.metrics",
    "sqlalchemy.dialects.sqlite",
    "sympy.combinatorics",
    "torch.export._trace",
    "torch.export.pt2_archive._package",
    "torch._export.non_strict_utils",
    "torch._functorch.partitioners",
    "torch._inductor.codecache",
    "torch._inductor.decomposition",
    "torch.fx._graph_pickler",
]
READY = b"ready"
_channels: list[socket.socket] = []  # to the process that forks, if there is one


class Fork(subprocess.Popen[str]):
    """A Python script that runs in a fork; to its caller like a process that it has started itself."""

    stdout: TextIO
    stderr: TextIO

    def __init__(self, request: dict[str, Any]):  # nothing is begun by the class above
        (out, out_of_it), (err, err_of_it), (self._end, end_of_it) = os.pipe(), os.pipe(), os.pipe()
        self.args, self.returncode, self.stdin = request["words"], None, None
        self.stdout, self.stderr = os.fdopen(out, encoding="utf-8"), os.fdopen(err, encoding="utf-8")
        (channel,) = _channels
        socket.send_fds(channel, [json.dumps(request).encode()], [out_of_it, err_of_it, end_of_it])
        for descriptor in (out_of_it, err_of_it, end_of_it):
            os.close(descriptor)
        self.pid = int(channel.recv(100))

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select([self._end], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = int(os.read(self._end, 100))
            os.close(self._end)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def communicate(self, input: str | None = None, timeout: float | None = None) -> tuple[str, str]:
        told: dict[TextIO, str] = {}
        streams = [stream for stream in (self.stdout, self.stderr) if not stream.closed]
        readers = [threading.Thread(target=lambda one: told.update({one: one.read()}), args=(stream,), daemon=True)
                   for stream in streams]  # fmt: skip
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(timeout)
            if reader.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        self.wait(timeout)
        return told.get(self.stdout, ""), told.get(self.stderr, "")


def forked(
    folder: Path, *words: str, session: bool = False, constants: dict[str, float] | None = None, **more: str
) -> Fork:
    """Run a script, the first word, with the others, in `folder`, knowing nothing of the MLflow of this process.

    `constants` are those of modules, as `module:NAME`, that this process is to have another value of.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    request = {"words": words, "folder": str(folder), "environment": environment | more}
    return Fork(request | {"session": session, "constants": constants or {}})


@contextlib.contextmanager
def forking() -> Iterator[None]:
    """A block in which there is a process that forks; it is ready when the block begins."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        process = subprocess.Popen(
            [sys.executable, __file__, str(its.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[its.fileno()],
            start_new_session=True,
        )
    with process, ours:
        assert ours.recv(100) == READY
        _channels.append(ours)
        yield
        _channels.remove(ours)


# ---- the process that forks


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    import_all()
    channel.send(READY)
    run(*fork_when_asked(channel))


def import_all() -> None:
    import sentiment_tune

    own = [module.name for module in pkgutil.walk_packages(sentiment_tune.__path__, "sentiment_tune.")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in (*own, *LAZY):
            if not name.endswith("__main__"):
                importlib.import_module(name)
    assert threading.active_count() == 1, "a fork would have half of these threads"


def fork_when_asked(channel: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Comes back in the forks only, with what each is to do and the files that it was given."""
    selector = selectors.DefaultSelector()
    selector.register(channel, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.data is not None:
                selector.unregister(key.fileobj)
                tell_end(int(key.fd), *key.data)
                continue
            content, files, *_ = socket.recv_fds(channel, 2**20, 3)
            if not content:
                os._exit(0)
            pid = os.fork()
            if not pid:
                selector.close()
                channel.close()
                return json.loads(content), files[:2]
            selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, files.pop()))
            for file in files:
                os.close(file)
            channel.send(str(pid).encode())


def tell_end(handle: int, pid: int, listener: int) -> None:
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(BrokenPipeError):
        os.write(listener, str(code).encode())
    os.close(listener)
    os.close(handle)


def run(request: dict[str, Any], files: list[int]) -> None:
    """What a fork does, up to its end."""
    for number, file in enumerate(files, 1):
        os.dup2(file, number)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)  # what it was may have had a place
    sys.stderr = os.fdopen(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    if request["session"]:
        os.setsid()
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    tempfile.tempdir = None
    sys.argv = request["words"]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    for place, value in request["constants"].items():
        module, _, name = place.partition(":")
        assert hasattr(sys.modules[module], name)
        setattr(sys.modules[module], name, value)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
