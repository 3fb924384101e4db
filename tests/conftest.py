"""What all tests share: a cache and an MLflow of their own, and the real IMDB where it is at hand."""

import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import forks

# Before torch is loaded, here and in what tests start: test processes side by side would wait for each other's threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # importing MLflow warns, of what is not ours
    import mlflow.pyfunc  # noqa: F401


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of converted data, for this session only; another holds what belongs to the user."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENTIMENT_TUNE_CACHE", str(folder))
        patch.setenv("SENTIMENT_TUNE_STATE", str(tmp_path_factory.mktemp("state")))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def _own_environment() -> Iterator[None]:
    """Nothing of the environment that tests are started in, `make test` or a shell with an MLflow, reaches them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("MLFLOW_", "MAKE", "MFLAGS")):
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def forking() -> Iterator[None]:
    """A process to fork commands of; no test that measures a time is the one that waits for its imports."""
    with forks.forking():
        yield


@pytest.fixture(scope="session")
def imdb_folder() -> Path:
    """The folder of imdb.npz, its word index and the raw texts."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    named = os.environ.get("SENTIMENT_TUNE_TEST_DATA")
    folder = Path(named or beside)
    if not (folder / "imdb.npz").is_file():
        if named:
            pytest.fail(f"SENTIMENT_TUNE_TEST_DATA names {named}, where imdb.npz is not")
        pytest.skip("the real IMDB is not here: name its folder in SENTIMENT_TUNE_TEST_DATA")
    return folder


@pytest.fixture(scope="session", autouse=True)
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database to be copied, since making one takes seconds."""
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # importing MLflow and its first store warn, of what is not ours
        import mlflow.pyfunc

        mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to work in, the place of an MLflow database that is not there yet."""
    import mlflow

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID"):  # MLflow sets both; they are to go again
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.tracking.fluent._active_experiment_id = None  # one that a test outside of such a folder has left
    yield tmp_path
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # back to the default
    mlflow.tracking.fluent._active_experiment_id = None  # which was one of this folder
    for name in ("mynet", "nets", "nets.mynet"):
        sys.modules.pop(name, None)


@pytest.fixture
def here(bare: Path, empty_database: Path) -> Path:
    """A folder to work in, with an MLflow of its own that holds no run yet."""
    shutil.copy(empty_database, bare)
    return bare
