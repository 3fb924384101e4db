"""One logged model, two doors: an MLflow flavor of our own.

`mlflow.pyfunc.load_model(uri).predict(["a fine film"])` takes raw text; `mlflow.pytorch.load_model(uri)` gives the
torch network for word ids [batch, word], exported, of any batch size and length. Neither reads a pickle, and the
package's code travels with the model, so both open where the package is not installed.
"""

import functools
import importlib.metadata
import sys
import tempfile
import types
import warnings
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import torch
from mlflow.models import Model, ModelSignature
from mlflow.utils.import_hooks import register_post_import_hook
from torch import nn

from sentiment_tune.errors import InputError
from sentiment_tune.inference import package as packaging
from sentiment_tune.inference import predict
from sentiment_tune.inference.description import Trust
from sentiment_tune.inference.package import FOLDER
from sentiment_tune.tracking.logged_models import record_files
from sentiment_tune.tracking.text_model import ANSWER, PARAMETERS, TextModel

EXAMPLE = ["a fine film", "a dull one"]
NEEDED = ("mlflow", "numpy", "pandas", "safetensors", "torch")
SIZE = "bytes"  # in the model's metadata
_EXPORT = "network"


def _load_pyfunc(path: str) -> TextModel:
    """What MLflow calls, once it has put the code that was logged with the model before everything that is installed.

    So whoever loads a model through MLflow has its code run already, before any of ours can look at it.
    """
    register_post_import_hook(_replace_evaluators, "mlflow.models.evaluation.evaluator_registry", overwrite=True)
    return TextModel(packaging.load_package(Path(path), Trust(Path(path).parents[1] / "code")).scorer)


def _replace_evaluators(registry: Any) -> None:
    from sentiment_tune.tracking.evaluators import replace_evaluators  # takes a second, and few models are evaluated

    replace_evaluators(registry)


def save_model(path: str, package: packaging.ModelPackage, mlflow_model: Model | None = None) -> None:
    """Write an MLflow model with both flavors into the folder `path`."""
    model = mlflow_model or Model()
    with tempfile.TemporaryDirectory() as temporary:
        packaging.save_package(package, Path(temporary, FOLDER))
        mlflow.pyfunc.save_model(
            path,
            loader_module=__name__,
            data_path=str(Path(temporary, FOLDER)),
            code_paths=code_of(package.network),
            mlflow_model=model,
            signature=ModelSignature(outputs=ANSWER, params=PARAMETERS),
            input_example=EXAMPLE,
            pip_requirements=[f"{name}=={_version(name)}" for name in NEEDED],
        )
    Path(path, _EXPORT).mkdir()
    try:
        export(package.network, Path(path, _EXPORT, "model.pt2"))
    except Exception as error:
        raise InputError(f"network {package.model!r} cannot be exported for mlflow.pytorch: {error}") from error
    files = [file for file in Path(path).rglob("*") if file.is_file() and file.name != "MLmodel"]  # which holds times
    model.metadata = {SIZE: sum(file.stat().st_size for file in files)}
    model.add_flavor("pytorch", model_data=_EXPORT, pytorch_version=str(torch.__version__), code="code")
    model.save(str(Path(path, "MLmodel")))
    record_files(Path(path), model.model_id)


def _let_networks_eval(pytorch: Any) -> None:
    """Have `mlflow.pytorch` give networks of ours that take eval(), which torch refuses an exported one."""
    load = pytorch._load_model

    @functools.wraps(load)
    def load_model(path: str, *args: Any, **more: Any) -> nn.Module:
        network: nn.Module = load(path, *args, **more)
        if Path(path).name == _EXPORT and Path(path).with_name("data").joinpath(FOLDER).is_dir():
            del network.eval
            network.train = types.MethodType(_train, network)  # type: ignore[method-assign]
        return network

    pytorch._load_model = load_model


def _train(network: nn.Module, mode: bool = True) -> nn.Module:
    if mode:
        raise InputError("exported as it scores: to train on, take sentiment_tune.load_model(uri).network")
    for module in network.modules():
        module.training = False
    return network


register_post_import_hook(_let_networks_eval, "mlflow.pytorch", overwrite=True)


def size_of(path: Path) -> int:
    """Bytes of the files of a model that was saved, its code and both flavors' data."""
    metadata: dict[str, int] = Model.load(str(path)).metadata or {}
    return metadata[SIZE]


def export(network: nn.Module, path: Path) -> None:
    """Write the network as it scores as a torch.export archive for ids [batch, word], both of any size."""
    device = predict.device_of(network)
    # A size of 0 or 1 would be frozen, here and wherever the network thins the words: so the example is long.
    example = torch.ones(2, 512, dtype=torch.int64, device=device)
    sizes = {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about its own future
        program = torch.export.export(network.eval(), (example,), dynamic_shapes=(sizes,))
        _forget_places(program.graph_module)
        torch.export.save(program, path)
        ids = torch.arange(1, 36, device=device).reshape(5, 7) % 3
        torch.testing.assert_close(program.module()(ids), network(ids))


def _forget_places(graph: nn.Module) -> None:
    """Remove from an exported graph which line of which file, below whose home folder, each step stands in."""
    for module in graph.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)


def code_of(network: nn.Module) -> list[str]:
    """Folders or files of the code that builds the network: this package, and the module of a user's own class."""
    packages = {__name__.split(".")[0], type(network).__module__.split(".")[0]}
    return [_source(sys.modules[name]) for name in sorted(packages)]


def _source(module: Any) -> str:
    file = Path(module.__file__ or next(iter(module.__path__)))  # a folder without an __init__.py has no file
    return str(file.parent if file.name == "__init__.py" else file)


def _version(name: str) -> str:
    return importlib.metadata.version(name).split("+")[0]
