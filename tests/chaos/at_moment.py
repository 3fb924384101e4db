"""The command line, which sends itself a signal at a moment: at_moment.py MOMENT SIGNAL TIMES WORD...

A moment is `import MODULE`, `commit NUMBER` (of the process, in whatever database) or `call MODULE:FUNCTION`.
"""

import importlib
import importlib.abc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

PAUSE = 0.5  # seconds between signals


def main() -> None:
    moment, number, times, *words = sys.argv[1:]
    kind, _, what = moment.partition(" ")
    heard = once(int(number), int(times))
    {"import": at_import, "commit": at_commit, "call": at_call}[kind](what, heard)
    sys.argv = ["sentiment-tune", *words]
    from sentiment_tune.cli.main import run

    run()


def once(number: int, times: int) -> Callable[[], None]:
    """A function that sends this process the signal when it is called first, and again after pauses."""
    left: Iterator[int] = iter([times])

    def more(count: int) -> None:
        for _ in range(count):
            time.sleep(PAUSE)
            os.kill(os.getpid(), number)

    def send() -> None:
        count = next(left, 0)
        if count:
            print("now", file=sys.stderr, flush=True)
            threading.Thread(target=more, args=(count - 1,), daemon=True).start()
            os.kill(os.getpid(), number)

    return send


def at_import(name: str, send: Callable[[], None]) -> None:
    class Finder(importlib.abc.MetaPathFinder):
        def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
            if fullname == name:
                send()

    sys.meta_path.insert(0, Finder())


def at_commit(count: str, send: Callable[[], None]) -> None:
    from sqlalchemy import Engine, event

    commits = iter(range(1, int(count)))

    def committing(connection: Any) -> None:
        if next(commits, None) is None:
            send()

    event.listen(Engine, "commit", committing)


def at_call(where: str, send: Callable[[], None]) -> None:
    module, _, name = where.partition(":")
    home = importlib.import_module(module)
    original = getattr(home, name)

    def instead(*given: Any, **named: Any) -> Any:
        send()
        return original(*given, **named)

    setattr(home, name, instead)


if __name__ == "__main__":
    main()
