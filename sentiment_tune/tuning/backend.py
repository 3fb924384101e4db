"""Optuna's parts by the names that a user gives them: storage, sampler, pruner."""

import importlib
import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy.engine import make_url

from sentiment_tune.build import check_classes, create_network
from sentiment_tune.data.corpus import Corpus
from sentiment_tune.data.folds import cut_folds
from sentiment_tune.errors import InputError
from sentiment_tune.local import lock
from sentiment_tune.space import unknown_name
from sentiment_tune.tracking import server
from sentiment_tune.tracking.outages import reach
from sentiment_tune.tuning.search import StudyConfig

PATIENCE = 5  # seconds for a database server to answer
DATABASES = ("sqlite:", "postgresql", "mysql")
HYPERBAND_FROM = 51  # trials; its brackets need so many to begin with


def check_backend(search: StudyConfig, corpus: Corpus) -> None:
    """InputError if the search's sampler, pruner or storage is none, or no trial could train so on the corpus."""
    create_sampler(search.sampler, 0, search.joint)
    create_pruner(search)
    if search.folds:
        cut_folds(corpus, search.folds)
    for config in search.default_configs:
        check_classes(config, corpus)
        create_network(config, corpus.classes)
        if config.training.refit:
            raise InputError("refit cannot be true in a study, which compares: train its best settings with it")
    for config in search.configs_of_texts:
        check_classes(config, corpus)
    with explained(search.storage):
        _reach(search.storage)


def has_storage(url: str) -> bool:
    """Whether a storage is there; one in a file is made only by who has something for it."""
    with explained(url):
        address = make_url(url)
    return address.get_backend_name() != "sqlite" or Path(address.database or "").is_file()


def open_storage(url: str) -> BaseStorage:
    """Optuna's storage at `url`; its tables are made once, by the first who comes. InputError where there is none."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # what there is to say, the program says itself
    with explained(url):
        _reach(url)
        if not url.startswith(DATABASES):
            return optuna.storages.get_storage(url)
        waiting = {"timeout": 60} if url.startswith("sqlite:") else {"connect_timeout": PATIENCE}
        with lock(url):
            return RDBStorage(url, {"connect_args": waiting})


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Whatever goes wrong in the block as an InputError; each kind of storage raises what its own library does."""
    try:
        yield
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"no storage at {url!r}: {reason}; give --storage sqlite:///FILE.db or postgresql://USER@HOST/DATABASE"
        ) from None


def _reach(url: str) -> None:
    """Raise at once where a database is not to be had, instead of after minutes of retries; nothing is made."""
    address = make_url(url)
    if address.get_backend_name() != "redis":
        address.get_dialect().import_dbapi()
    if address.get_backend_name() == "sqlite":
        server.check_database_path(Path(address.database or ""))
    reach(url)


def create_sampler(name: str, seed: int, joint: bool) -> BaseSampler:
    """The sampler that Optuna calls so."""
    for_grids = ("GridSampler", "BruteForceSampler")  # which cannot search a learning rate
    names = [
        sampler
        for sampler in optuna.samplers.__all__
        if _takes(optuna.samplers, sampler, "seed") and sampler not in for_grids
    ]
    if name not in names:
        raise unknown_name("sampler", name, names)
    chosen: dict[str, Any] = {"seed": seed}
    if name == "TPESampler":
        # A study has ten or twenty trials; with Optuna's ten random ones there would be little left to search.
        chosen |= {"n_startup_trials": 5, "multivariate": True, "group": joint}
    try:
        if name == "CmaEsSampler":
            importlib.import_module("cmaes")  # Optuna would look for it in a trial
        with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
            return getattr(optuna.samplers, name)(**chosen)
    except ImportError as error:
        raise InputError(f"sampler {name!r} needs a package that is not installed: {error}") from None


def _takes(module: Any, name: str, parameter: str) -> bool:
    member = getattr(module, name)
    return inspect.isclass(member) and parameter in inspect.signature(member.__init__).parameters


def create_pruner(search: StudyConfig, reviews: int = 1) -> BasePruner:
    """The pruner that Optuna calls so, at its defaults but for what a study of epochs over so many reviews needs."""
    most = search.folds or search.default_configs[0].training.for_reviews(reviews).epochs  # told to Optuna of a trial
    median = optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=1, n_min_trials=3)
    pruners: dict[str, Callable[[], BasePruner]] = {
        "MedianPruner": lambda: median,
        "HyperbandPruner": lambda: optuna.pruners.HyperbandPruner(1, most, 3),
        "SuccessiveHalvingPruner": lambda: optuna.pruners.SuccessiveHalvingPruner(1),
        "PercentilePruner": lambda: optuna.pruners.PercentilePruner(25.0, 3, 1, n_min_trials=3),
        "PatientPruner": lambda: optuna.pruners.PatientPruner(median, patience=1),
        "NopPruner": optuna.pruners.NopPruner,
    }
    name = search.pruner or ("MedianPruner" if search.trials < HYPERBAND_FROM else "HyperbandPruner")
    if name not in pruners:
        raise unknown_name("pruner", name, pruners)
    return pruners[name]()


def default_storage() -> str:
    """A SQLite file beside the one of MLflow, or in the current folder if MLflow's is elsewhere."""
    database = server.database_path()
    folder = database.parent if database is not None else Path()
    # Optuna takes braces in an address for a place to fill.
    return server.database_uri(folder / "optuna.db").replace("{", "%7B").replace("}", "%7D")
