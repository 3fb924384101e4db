"""A password of an address is never shown and never stored."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment_tune.errors import InputError, hide_passwords
from support import ask, runs

SECRET = "s3cr3t-of-mine"
SMALL = ("--model", "linear", "--data", "sample", "--vocabulary", "300", "--epochs", "1", "--quiet")
PASSWORDS = st.text(st.characters(codec="ascii", min_codepoint=33, exclude_characters="'\""), min_size=1)


@pytest.mark.parametrize(
    "text",
    [
        "no storage at 'postgresql://tuner:SECRET@db/optuna': refused; or postgresql://USER@HOST/DATABASE",
        "postgresql+psycopg://tuner:SECRET@db:5432/optuna?sslmode=require",
        "postgresql:///optuna?user=tuner&password=SECRET",
        "mysql://tuner:SECRET/with@signs@db/optuna",
        "redis://:SECRET@db:6379/0",
        "postgresql://tuner:with SECRET blanks@db/optuna",
        "https://SECRET@host/path",
        "url: /api?access_token=SECRET&x=1",
        "connection failed: host=db password=SECRET dbname=optuna",
        "password='SECRET of blanks'",
        "Authorization: Bearer SECRET",
    ],
)
def test_it_is_hidden_wherever_an_address_has_one(text: str) -> None:
    shown = str(InputError(text.replace("SECRET", SECRET)))
    assert SECRET not in shown
    assert "***" in shown


@given(PASSWORDS)
def test_every_password_is_hidden(password: str) -> None:
    address = f"postgresql://tuner:{password}@db/optuna"
    assert (
        hide_passwords(f"no storage at {address}: refused") == "no storage at postgresql://tuner:***@db/optuna: refused"
    )
    assert quote(password + "@/") not in hide_passwords(f"http://tuner:{quote(password + '@/')}@db")


@pytest.mark.parametrize(
    "text",
    [
        "http://localhost:5000",
        "models:/sentiment@champion",
        "sqlite:////a/b@c/optuna.db",
        "file:///a/b",
        "postgresql://USER@HOST/DATABASE",
        "http://db:5000 and somebody@example.org",
        "the basic settings of a token",
    ],
)
def test_what_has_none_is_shown_as_it_is(text: str) -> None:
    assert hide_passwords(text) == text


ADDRESSES = (
    f"postgresql://tuner:{SECRET}@127.0.0.1:9/optuna",
    f"postgresql+psycopg://tuner:{SECRET}@127.0.0.1:9/optuna?password={SECRET}",
    f"mysql://tuner:{SECRET}@127.0.0.1:9/optuna",
    f"redis://:{SECRET}@127.0.0.1:9/0",
    f"http://tuner:{SECRET}@127.0.0.1:9",
    f"nosuch://tuner:{SECRET}@127.0.0.1:9/x",
    f"postgresql://tuner:{SECRET}@127.0.0.1:port/optuna",
    f"postgresql://tuner:{SECRET}@[::1/optuna",
)


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_command_prints_one(here: Path, address: str) -> None:
    for words in (("tune", *SMALL, "--storage", address), ("score", "fine", "--tracking-uri", address)):
        answer = ask(*words)
        assert SECRET not in answer.out + answer.err
        assert answer.refusal


def test_no_run_keeps_one(here: Path) -> None:
    (here / "mynet.py").write_text(
        "from torch import nn\nclass Talks(nn.Module):\n"
        "    def __init__(self, vocabulary):\n        super().__init__()\n        self.weight = nn.Linear(1, 1)\n"
        "    def forward(self, ids):\n        if len(ids) > 2:\n"
        f"            raise RuntimeError('no answer of postgresql://tuner:{SECRET}@db/x')\n"
        "        return self.weight(ids[:, :1].float()).squeeze(1)\n"
    )
    with pytest.raises(RuntimeError):
        ask("train", "--model", "mynet:Talks", "--data", "sample", "--epochs", "1")
    (failed,) = runs(f"sqlite:///{here}/mlflow.db")
    assert "postgresql://tuner:***@db/x" in failed.data.tags["error"]
    kept = [path.name for path in here.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert [name for name in kept if not re.match(r"mynet\.", name)] == []


def test_neither_a_log_line_nor_a_traceback_shows_one(caplog: pytest.LogCaptureFixture) -> None:
    code = (
        "import logging, sys\nfrom sentiment_tune import process\nprocess.prepare()\n"
        f"logging.getLogger('alembic').error('at %s', 'postgresql://tuner:{SECRET}@db/x')\n"
        "try:\n"
        f"    raise KeyError('postgresql://tuner:{SECRET}@db/x')\n"
        "except KeyError:\n    logging.exception('it failed')\n"
        f"raise ValueError('postgresql://tuner:{SECRET}@db/x')\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ}).stderr
    shown = [line for line in told.splitlines() if "tuner:" in line and "raise" not in line]
    assert len(shown) == 3
    assert not [line for line in shown if SECRET in line]
    assert logging.getLogger().getEffectiveLevel() <= logging.ERROR
