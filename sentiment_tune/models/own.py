"""Networks of a user's own: where the module of one may lie, and how it is imported.

A module is taken from what is installed, or from the folder that the command was started in, never from a model, an
artifact store or `mlruns`, where others may write. Where it lies is known before anything of it, or of the packages
around it, has run.
"""

import contextlib
import importlib
import importlib.util
import itertools
import pkgutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import nn

from sentiment_tune.errors import InputError

MODEL_FILE = "MLmodel"  # that makes a folder a model of MLflow
STORES = ("mlruns", "mlartifacts")  # what MLflow calls the folders in which it keeps artifacts


def load_class(module: str, name: str, code: Path | None = None) -> type[nn.Module]:
    """The class of that name in a module that is installed, or lies in the current folder.

    Args:
        module: its dotted name.
        name: of the class.
        code: a folder of somebody's code that may be imported where nothing else has that name.

    Raises:
        InputError: there is no such module or class, it is no network, or it lies where a model or a store does.
    """
    try:
        network = getattr(sys.modules.get(module) or _import(module, code), name)
    except InputError:
        raise
    except (ImportError, AttributeError, SyntaxError, TypeError, ValueError, OSError) as error:
        raise InputError(f"no network '{module}:{name}': {error}; write importable.module:Class") from None
    if not (isinstance(network, type) and issubclass(network, nn.Module)):
        raise InputError(f"'{module}:{name}' is no torch.nn.Module class; see the networks of sentiment_tune.models")
    return network


def _import(module: str, code: Path | None) -> object:
    with _search_path(code):
        for place in _places(module):
            _refuse_stores(module, place, code)
        return importlib.import_module(module)


@contextlib.contextmanager
def _search_path(code: Path | None) -> Iterator[None]:
    """What is installed goes before the current folder, and that before `code`, while a module is imported.

    Afterwards neither of these is searched: a file there that is called like a library would be taken for it.
    """
    added = [entry for entry in map(str, (Path.cwd(), *([code] if code else []))) if entry not in sys.path]
    sys.path.extend(added)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        for entry in added:
            with contextlib.suppress(ValueError):  # the module may have changed the path itself
                sys.path.remove(entry)


def _places(module: str) -> Iterator[Path]:
    """Files and folders that an import of the module would read, the packages around it first; nothing is run."""
    first, *_ = names = list(itertools.accumulate(module.split("."), "{}.{}".format))
    spec = importlib.util.find_spec(first) if first else None
    origin, folders = (spec.origin, list(spec.submodule_search_locations or ())) if spec else (None, [])
    for name in names[1:]:
        yield from map(Path, [*([origin] if origin else []), *folders])
        origin, folders = _found(name, folders)
    yield from map(Path, [*([origin] if origin else []), *folders])


def _found(name: str, folders: Sequence[str]) -> tuple[str | None, list[str]]:
    """The file of a module in these folders of its package, and the folders in which its own modules are."""
    portions: list[str] = []
    for folder in folders:
        finder = pkgutil.get_importer(folder)
        spec = finder.find_spec(name) if finder else None
        if spec is not None and spec.loader is not None:
            return spec.origin, list(spec.submodule_search_locations or ())
        portions += (spec.submodule_search_locations or ()) if spec else ()  # of a folder without an __init__.py
    return None, portions


def _refuse_stores(module: str, place: Path, code: Path | None) -> None:
    """InputError if a module would be read from a model or from where MLflow keeps artifacts."""
    real = place.resolve()
    if code is not None and real.is_relative_to(code.resolve()):
        return
    for folder in (real, *real.parents):
        if folder.name in STORES or (folder / MODEL_FILE).is_file():
            raise InputError(
                f"no network of {module!r}: it lies in {folder}, where models are kept; copy its file to the current "
                "folder, or install it"
            )
