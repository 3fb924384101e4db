"""What lies in the current folder: imported when the user names it as a network, and never else."""

import sys
from pathlib import Path

import pytest
from mutations import CANARY, NETWORK

from sentiment_tune.errors import InputError
from sentiment_tune.models import registry
from support import SCRIPT, ask, ended, started

# Libraries that are imported at once, late, by a process of its own, or not at all.
LIBRARIES = ("click", "cmaes", "keras", "mlflow", "multiprocessing", "numexpr", "numpy", "pandas", "signal", "torch")
SMALL = ("--model", "linear", "--data", "sample", "--vocabulary", "300", "--length", "60", "--epochs", "1")


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a file that runs leaves."""
    monkeypatch.setenv("CANARY", str(tmp_path / "ran"))
    return tmp_path / "ran"


def lay_traps(folder: Path) -> None:
    for name in LIBRARIES:
        (folder / f"{name}.py").write_text(CANARY)


@pytest.mark.parametrize("program", [(SCRIPT,), (sys.executable, "-m", "sentiment_tune")], ids=["script", "module"])
def test_a_file_called_like_a_library_is_not_taken_for_it(
    tmp_path: Path, canary: Path, program: tuple[str, ...]
) -> None:
    lay_traps(tmp_path)
    assert "no finished run" in ended(started(tmp_path, *program, "score", "a fine film")).refusal
    assert not canary.exists()


@pytest.mark.slow
def test_no_process_that_a_command_starts_takes_it_either(
    tmp_path: Path, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_traps(tmp_path)
    few = ("--trials", "2", "--workers", "2", "--top", "1", "--seeds", "1")
    answer = ended(started(tmp_path, SCRIPT, "tune", *SMALL, *few))  # workers, and one that verifies the winner
    assert (answer.code, canary.exists()) == (0, False), answer
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "none"))
    (tmp_path / "none").touch()  # so that nothing can be downloaded into it
    downloading = ended(started(tmp_path, SCRIPT, "train", "--data", "imdb"))
    assert (downloading.code, "no IMDB" in downloading.err, canary.exists()) == (2, True, False), downloading


PLACES = {
    "a model": ("some/model/MLmodel", "some/model/code/network.py", "some.model.code.network"),
    "a model, above": ("some/MLmodel", "some/a/b/network.py", "some.a.b.network"),
    "mlruns": ("mlruns/meta.yaml", "mlruns/x/network.py", "mlruns.x.network"),
    "mlartifacts": ("mlartifacts/1/a", "mlartifacts/1/network.py", "mlartifacts.1.network"),
    "a package in a model": ("model/MLmodel", "model/nets/__init__.py", "model.nets"),
    "a module of a package in a model": ("model/MLmodel", "model/nets/network.py", "model.nets.network"),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("linked", [False, True], ids=["", "linked"])
def test_no_network_is_imported_from_where_models_are_kept(bare: Path, canary: Path, place: str, linked: bool) -> None:
    marker, module, name = PLACES[place]
    for path in (marker, module):
        (bare / path).parent.mkdir(parents=True, exist_ok=True)
    (bare / marker).touch()
    (bare / module).write_text(NETWORK)
    if linked:
        (bare / "innocent").symlink_to((bare / module).parent, target_is_directory=True)
        name = f"innocent.{Path(module).stem}"
    before = set(sys.modules)
    refusal = ask("train", "--model", f"{name}:Net", "--data", "sample").refusal
    assert "where models are kept" in refusal
    assert (canary.exists(), set(sys.modules) & {name} - before) == (False, set())


def test_the_packages_around_a_network_do_not_run_either(bare: Path, canary: Path) -> None:
    (bare / "nets" / "mlruns").mkdir(parents=True)
    (bare / "nets" / "__init__.py").write_text(CANARY)
    (bare / "nets" / "mlruns" / "network.py").write_text(NETWORK)
    with pytest.raises(InputError, match="where models are kept"):
        registry.network_class("nets.mlruns.network:Net")
    assert not canary.exists()


def test_a_network_of_the_folder_finds_what_lies_beside_it(bare: Path) -> None:
    (bare / "mynet_layers.py").write_text("SIZE = 3\n")
    (bare / "mynet_beside.py").write_text("import mynet_layers\n" + NETWORK.replace(CANARY, ""))
    before = [*sys.path]
    assert registry.network_class("mynet_beside:Net").__name__ == "Net"
    assert sys.path == before
