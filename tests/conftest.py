"""What all tests share: a cache of their own, and the real IMDB where it is at hand."""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # importing MLflow warns, of what is not ours
    import mlflow.pyfunc  # noqa: F401


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of converted data, for this session only."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENTIMENT_TUNE_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def imdb_folder() -> Path:
    """The folder of imdb.npz, its word index and the raw texts."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SENTIMENT_TUNE_TEST_DATA", beside))
    if not (folder / "imdb.npz").is_file():
        pytest.skip("the real IMDB is not here: name its folder in SENTIMENT_TUNE_TEST_DATA")
    return folder
