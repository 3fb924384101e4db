"""The reference page and the help pages say what the declarations say."""

import subprocess
import sys

import pytest

from sentiment_tune.cli.options import setting_options
from sentiment_tune.models.registry import NETWORKS
from support import ROOT, ask


@pytest.mark.parametrize(
    ("words", "path"), [([], "docs/settings.md"), (["--help-pages"], "sentiment_tune/cli/options.json")]
)
def test_the_page_is_what_the_script_writes(words: list[str], path: str) -> None:
    command = [sys.executable, "-W", "ignore", str(ROOT / "scripts" / "reference.py"), *words]
    written = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert written == (ROOT / path).read_text(encoding="utf-8"), " ".join(
        ["python scripts/reference.py", *words, ">", path]
    )


@pytest.mark.parametrize("network", NETWORKS)
def test_a_help_page_has_every_setting(network: str) -> None:
    page = ask("train", "--model", network, "--help").out
    for option in setting_options(network):
        assert f"{option.opts[0]} {option.metavar} " in page


def test_a_help_page_loads_no_torch() -> None:
    for words in (["train"], ["tune", "--model", "lstm"]):
        command = [sys.executable, "-X", "importtime", "-m", "sentiment_tune", *words, "--help"]
        loaded = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stderr
        assert "| sentiment_tune.cli.options" in loaded.replace("  ", "")
        assert not {"torch", "mlflow", "numpy"} & set(loaded.split())
