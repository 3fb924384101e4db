"""Who imports what: owners, direction, weight; and what no source file may hold."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter

import pytest

from support import ROOT

PACKAGE = "sentiment_tune"
TREES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): ast.parse(path.read_bytes())
    for path in (ROOT / PACKAGE).rglob("*.py")
}
OWNERS = {
    "keras": {"data.imdb"},
    "mlflow": {"tracking.runs", "tracking.records", "tracking.flavor", "tracking.registry"},
    "matplotlib": {"evaluation.plots", "tuning.plots"},
    "optuna": {"tuning.trials", "tuning.backend", "tuning.study", "tuning.plots"},
}


def running(node: ast.AST, inside_functions: bool) -> Iterator[ast.AST]:
    """The nodes that run when a module does: not those for type checkers, those of functions only where asked."""
    for child in ast.iter_child_nodes(node):
        for_types = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if not for_types and (inside_functions or not function):
            yield child
            yield from running(child, inside_functions)


def imports(module: str, inside_functions: bool) -> set[str]:
    """Full names of the modules imported by `module`, and of what it imports from them."""
    names = set()
    for node in running(TREES[module], inside_functions):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def rooms_imported(module: str) -> set[str]:
    """Modules of the package that `module` needs before it is ready itself."""
    names = {name if name in TREES else name.rpartition(".")[0] for name in imports(module, inside_functions=False)}
    return names & TREES.keys() - {PACKAGE}


@pytest.mark.parametrize("library", OWNERS)
def test_a_library_is_imported_by_its_owners_only(library: str) -> None:
    importers = {
        module.removeprefix(f"{PACKAGE}.")
        for module in TREES
        if any(name.split(".")[0] == library for name in imports(module, inside_functions=True))
    }
    assert importers == OWNERS[library]


def test_imports_run_in_one_direction() -> None:
    graph = {module: rooms_imported(module) for module in TREES}
    assert graph[f"{PACKAGE}.experiment"] > {f"{PACKAGE}.tracking", f"{PACKAGE}.models"}  # the graph is not empty
    TopologicalSorter(graph).prepare()  # raises CycleError


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


def test_the_package_states_nothing_by_assert() -> None:
    assert not [module for module, tree in TREES.items() if any(isinstance(n, ast.Assert) for n in ast.walk(tree))]


def test_no_tracked_file_names_a_folder_of_somebodys_machine() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    folder = re.compile(rb"""(?<![\w.])/(home|tmp|work|root|Users)/\w""")
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert not [file.name for file in files if file.is_file() and folder.search(file.read_bytes())]
