"""Who imports what: owners, direction, weight; and what no source file may hold."""

import ast
import re
import subprocess
import sys

import pytest

from support import ROOT

PACKAGE = "sentiment_tune"
TREES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): ast.parse(path.read_bytes())
    for path in (ROOT / PACKAGE).rglob("*.py")
}

# Paths in backquotes; one with a placeholder names none.
NAMED_PATHS = re.findall(r"`([\w.-]+/[\w./-]*|[\w.-]+\.(?:py|md|txt|toml))`", (ROOT / "CONTRIBUTING.md").read_text())


@pytest.mark.parametrize(
    "code",
    [
        "import sentiment_tune",
        "import sys, runpy; sys.argv[1:] = ['--help']; runpy.run_module('sentiment_tune', run_name='__main__')",
    ],
    ids=["import", "help"],
)
def test_neither_import_nor_help_loads_a_heavy_library(code: str) -> None:
    code += "\nimport sys\nprint('loaded', sorted({'torch', 'mlflow', 'keras'} & sys.modules.keys()))"
    finished = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.endswith("loaded []\n")
    assert ("train" in finished.stdout) == ("--help" in code)


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import sentiment_tune.ranking, sentiment_tune.cli.console", "torch"),
        (
            "from sentiment_tune.models.registry import NETWORKS, create_skeleton\n"
            "for name in NETWORKS: create_skeleton(name, 100, {})",
            "torch._dynamo",
        ),
    ],
    ids=["a ranking", "a model that is loaded"],
)
def test_a_short_command_does_without_what_takes_a_second_to_load(code: str, unwanted: str) -> None:
    code += f"\nimport sys\nprint({unwanted!r} in sys.modules)"
    finished = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (finished.returncode, finished.stdout) == (0, "False\n"), finished.stderr


def test_the_package_states_nothing_by_assert() -> None:
    assert not [module for module, tree in TREES.items() if any(isinstance(n, ast.Assert) for n in ast.walk(tree))]


def test_every_path_in_the_contributors_guide_exists() -> None:
    assert [path for path in NAMED_PATHS if not (ROOT / path).exists()] == []


def test_the_contributors_guide_lists_the_whole_package() -> None:
    entries = [
        path for path in (ROOT / PACKAGE).iterdir() if not path.name.startswith("__") and path.name != "py.typed"
    ]
    listed = {ROOT / path for path in NAMED_PATHS}
    assert [path.name for path in entries if path not in listed] == []


def test_no_tracked_file_names_a_folder_of_somebodys_machine() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    folder = re.compile(rb"""(?<![\w.])/(home|tmp|work|root|Users)/\w""")
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert not [file.name for file in files if file.is_file() and folder.search(file.read_bytes())]
