"""Options and arguments that mean nothing: what they ask for is done, or refused in one line, and nothing is left.

The options are read from the commands and the arguments from the functions, so that new ones are tried too.
"""

import inspect
import os
import random
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path, PurePath
from typing import Any, NoReturn

import click
import numpy as np
import pandas as pd
import pytest

import sentiment_tune as st
from sentiment_tune import experiment
from sentiment_tune.cli.main import main
from sentiment_tune.cli.options import CommandWithSettings, setting_option
from sentiment_tune.config import setting_groups
from sentiment_tune.data import load
from sentiment_tune.errors import InputError, one_line
from sentiment_tune.tracking import server
from sentiment_tune.tuning import campaign
from support import SCRIPT, ask, ended, started

TINY = ("--model", "linear", "--data", "sample", "--epochs", "1", "--vocabulary", "300")
NEEDED = {
    "train": TINY,
    "tune": (*TINY, "--trials", "1", "--top", "0"),
    "score": ("fine",),
    "ensemble": ("--data", "sample"),
    "inspect": ("--data", "sample"),
}
SIGNS = ["'", '"', "a'\"b", "a'b@77", "%", "{0}", "\udc80", "名\u202e", "a\x1b[31m\x07", "\n", "a\tb\r\nc", "x" * 5000]
NUMBERS = ["nan", "inf", "-1", "1e400", "9" * 5000, "0x10", "٣", "²", "true", "None"]
ADDRESSES = ["-", "--", ",", ":", "a:b", ":A", "@", "a@²", "://", "http://[", "sqlite://", "models:/", "models:/a/b/c"]
ADDRESSES += ["runs:/", "runs:/a", "file://x/y", "postgresql://127.0.0.1:1/x", "nonsense://x", "memory"]
PATHS = ["..", "../..", "/", "/dev/null", "/dev/full", "~nobody at all/x.csv", "none.csv", "loop.csv"]
PATHS += [kind + suffix for kind in ("folder", "pipe", "binary") for suffix in ("", ".csv", ".npz")]
PATHS += ["binary.parquet", "binary.jsonl", "binary.csv.gz"]
WORDS = [*SIGNS, *NUMBERS, *ADDRESSES, *PATHS]


class ReachedError(Exception):
    """Raised in place of a training: what was given is what can be trained with."""


def reached(*_: object, **__: object) -> NoReturn:
    raise ReachedError


def options() -> Iterator[tuple[str, str]]:
    for name, command in main.commands.items():
        context = click.Context(command)
        if isinstance(command, CommandWithSettings):
            groups = setting_groups("linear").items()
            context.meta["settings"] = [setting_option(one, group) for group, own in groups for one in own.values()]
        for parameter in command.get_params(context):
            yield name, parameter.opts[0] if isinstance(parameter, click.Option) else ""


OPTIONS = list(options())


@pytest.fixture
def odd(bare: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of odd files, in which nothing is trained, and no database is made."""
    for suffix in ("", ".csv", ".npz"):
        Path(f"folder{suffix}").mkdir()
        os.mkfifo(f"pipe{suffix}")
    for suffix in ("", ".csv", ".npz", ".parquet", ".jsonl", ".csv.gz"):
        Path(f"binary{suffix}").write_bytes(bytes(range(256)) * 9)
    Path("loop.csv").symlink_to("loop.csv")
    monkeypatch.setattr("sentiment_tune.config._PATIENCE", 0.01)
    monkeypatch.setattr(experiment, "run_experiment", reached)
    monkeypatch.setattr(campaign, "run_studies", reached)
    monkeypatch.setattr(load, "_sample", cache(load._sample))
    return bare


def check(command: str, option: str, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask the command with this word for an option."""
    needed = list(NEEDED.get(command, ()))
    if option in needed:
        del needed[needed.index(option) : needed.index(option) + 2]
    before = set(Path.cwd().iterdir())
    with monkeypatch.context() as patch:
        if command in ("train", "tune") and option not in ("--tracking-uri", "--resume", "--storage"):
            patch.setattr(server, "connect", reached)
        try:
            answer = ask(command, *needed, *((f"{option}={word}",) if option else ("--", word)))
        except ReachedError:
            answer = None
    told = f"{command} {option} {word[:40]!r}: {answer}"
    if answer is not None and answer.code:
        assert answer.refusal.strip().isprintable(), told
        assert len(answer.err) < 3000, told
        assert set(Path.cwd().iterdir()) == before, told


def test_some_words_that_mean_nothing(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = random.Random(19)
    for command, option in OPTIONS:
        check(command, option, chosen.choice(WORDS), monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_words_that_mean_nothing(command: str, option: str, odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for word in WORDS:
        check(command, option, word, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "option"), [one for one in OPTIONS if one[0] not in ("train", "tune", "recipes", "ensemble")]
)
def test_words_that_mean_nothing_where_there_are_runs(
    command: str, option: str, here: Path, odd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for word in WORDS:
        check(command, option, word, monkeypatch)


# ---- the Python door

NAMELESS: Any = object()
VALUES: list[Any] = [[], {}, [1], {"a": 1}, (1, 2), (1,), ([], []), 0, -1, 1.5, float("nan"), 10**400, True, b"a"]
VALUES += [np.int64(3), np.float64("nan"), np.array([1]), np.str_("a"), PurePath("a"), NAMELESS, int, {1}, 1j, None]
VALUES += ["", "a'\"b", "\udc80", "x\0y.csv", "x" * 5000, "x" * 5000 + ".csv", pd.Series(["a"]), pd.DataFrame()]
TRAINED: dict[str, Any] = {"model": "linear", "data": "sample", "epochs": 1, "vocabulary": 300, "progress": False}
STUDIED = TRAINED | {"trials": 1, "top": 0}
DOORS: dict[Callable[..., Any], dict[str, Any]] = {
    st.train: TRAINED | {"seed": 1, "schedule": "constant", "text": "text", "nothing": 1},
    st.tune: STUDIED | {"dropout": 0.3, "split": "split"},
    st.tune_each: STUDIED | {"study": "x", "listener": None},
    st.load_model: {},
    st.leaderboard: {},
    st.register: {"run": "x"},
    st.promote: {"name": "x", "version": 1},
    st.ensemble: {"data": "sample", "text": "text"},
    st.inspect: {"data": "sample"},
    st.doctor: {},
    st.upload: {},
    st.settings: {"recipe": "linear"},
}
ARGUMENTS = [
    (door, name)
    for door, given in DOORS.items()
    for name in {**given, **dict.fromkeys(inspect.signature(door).parameters)}
    if name not in ("settings", "columns", "options", "nothing")
]


def give(door: Callable[..., Any], name: str, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {key: known for key, known in DOORS[door].items() if key != "nothing"} | {name: value}
    before = set(Path.cwd().iterdir())
    with monkeypatch.context() as patch:
        if door in (st.train, st.tune, st.tune_each) and name not in ("tracking_uri", "resume"):
            patch.setattr(server, "connect", reached)
        refused: InputError | None = None
        try:
            door(**given)
        except ReachedError:
            return
        except InputError as error:
            refused = error
        if refused:
            assert str(refused).isprintable(), (door, name, value)
            assert set(Path.cwd().iterdir()) == before, (door, name, value)


def test_some_arguments_that_mean_nothing(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = random.Random(19)
    for door, name in ARGUMENTS:
        give(door, name, chosen.choice(VALUES), monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(("door", "name"), ARGUMENTS)
def test_arguments_that_mean_nothing(
    door: Callable[..., Any], name: str, odd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in VALUES:
        give(door, name, value, monkeypatch)


def test_numbers_of_numpy_and_paths_are_taken(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "connect", reached)
    with pytest.raises(ReachedError):
        st.tune(**STUDIED | {"trials": np.int64(2), "timeout": np.float32(3), "study": np.str_("x")})
    assert st.settings(Path("linear"))["model"] == "linear"  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"trials cannot be 2\.5: give a whole number"):
        st.tune(**STUDIED | {"trials": 2.5})


# ---- streams and variables

PRINTING = "from sentiment_tune.process import open_standard_streams as o; o(); print('名')"


@pytest.mark.parametrize(
    ("sign", "shown"), [("\udc80", "\\udc80"), ("\x1b", "\\x1b"), ("x" * 5000, "x" * 200 + "..." + "x" * 100)]
)
def test_a_line_shows_no_control_characters_and_no_endless_words(sign: str, shown: str) -> None:
    assert one_line(f"no run  {sign}\nthere") == f"no run {shown} there"


def test_settings_out_of_a_pipe(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.write(writing, b'{"model": "cnn"}')
    os.close(writing)
    assert st.settings(f"/dev/fd/{reading}") == {"model": "cnn"}
    os.close(reading)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value"), [("MLFLOW_LOGGING_LEVEL", "nonsense"), ("MLFLOW_CONFIGURE_LOGGING", "maybe")]
)
def test_a_variable_that_mlflow_cannot_be_imported_with(name: str, value: str, bare: Path) -> None:
    answer = ended(started(bare, "env", f"{name}={value}", SCRIPT, "compare"))
    assert f"{name}={value!r} in the environment" in answer.refusal


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "| true", ">/dev/full", "2>/dev/full"])
@pytest.mark.parametrize("words", ["train --help", "recipes", "score --input -", "doctor"])
def test_streams_that_are_closed_or_full(words: str, closed: str, bare: Path) -> None:
    answer = ended(started(bare, "bash", "-c", f"{SCRIPT} {words} {closed} </dev/null"))
    assert "Traceback" not in answer.out + answer.err
    assert answer.err.strip().count("\n") == 0


@pytest.mark.slow
def test_an_output_that_has_not_the_characters(bare: Path) -> None:
    answer = ended(started(bare, SCRIPT, "score", "名", "--input", "x", PYTHONIOENCODING="ascii"))
    assert answer.refusal
    assert ended(started(bare, sys.executable, "-c", PRINTING, PYTHONIOENCODING="ascii")).out == "\\u540d\n"
