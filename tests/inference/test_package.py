"""What is logged is what scores: two doors, data only, everywhere, and nothing that was tampered with."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from sentiment_tune.data.text import FIRST_WORD, TextConfig, Vocabulary
from sentiment_tune.errors import InputError
from sentiment_tune.inference import package as packaging
from sentiment_tune.inference.package import MANIFEST, SETTINGS, WEIGHTS, ModelPackage
from sentiment_tune.space import Value, resolve
from sentiment_tune.tracking import flavor
from support import CASES, ROOT, TIME_LIMIT, VOCABULARY, over, padded, toy, trained

WORDS = Vocabulary([f"word{number}" for number in range(VOCABULARY - FIRST_WORD)])
TEXTS = ["word1 word2 word9", "", "word7", "never seen", " ".join(["word3 word30"] * 40), "WORD1, word2. (word9)"]
TEXT_CONFIG = TextConfig(vocabulary=VOCABULARY, length=50)
# A process that may not read pickles, without this package on its path, opens both doors of a model.
OPEN = """
import importlib.util, json, sys
assert importlib.util.find_spec("sentiment_tune") is None, "it is to be found in the model alone"
import mlflow.pyfunc, mlflow.pytorch, torch
texts, ids = json.loads(sys.stdin.read())
scored = mlflow.pyfunc.load_model(sys.argv[1]).predict(texts)
network = mlflow.pytorch.load_model(sys.argv[1])
print(json.dumps([scored["probability"].tolist(), scored["label"].tolist(), network(torch.tensor(ids)).tolist()]))
"""


DATA = (WEIGHTS, packaging.VOCABULARY, SETTINGS)


def make_package(name: str, variant: dict[str, Value]) -> ModelPackage:
    from support import SMALL

    settings = {**SMALL, **variant}
    return ModelPackage(
        name, trained(name, bool(variant)), resolve(type(trained(name, bool(variant))), settings), WORDS, TEXT_CONFIG
    )


@over(CASES)
def test_a_saved_network_scores_as_before(name: str, variant: dict[str, Value], tmp_path: Path) -> None:
    package = make_package(name, variant)
    packaging.save_package(package, tmp_path / "saved")
    loaded = packaging.load_package(tmp_path / "saved")
    assert np.array_equal(loaded.scorer.predict_proba(TEXTS), package.scorer.predict_proba(TEXTS))
    assert (loaded.model, loaded.settings, loaded.text_config) == (name, package.settings, TEXT_CONFIG)
    assert list(loaded.vocabulary.words) == list(WORDS.words)
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == sorted([MANIFEST, *DATA])


@over(CASES)
def test_the_exported_network_takes_any_batch_and_length(name: str, variant: dict[str, Value], tmp_path: Path) -> None:
    network = trained(name, bool(variant))
    network.train()  # as it is after an epoch: it must be exported as it scores
    flavor.export(network, tmp_path / "model.pt2")
    exported = torch.export.load(tmp_path / "model.pt2").module()
    reviews = toy(count=64).reviews
    with torch.no_grad():
        for count in (1, 2, 5, 64):
            for more in (0, 1, 30, 700):
                ids = nn.functional.pad(padded(reviews[:count]), (0, more))
                torch.testing.assert_close(exported(ids), network.eval()(ids), rtol=0, atol=2e-6)
        one = torch.tensor([[5]])
        torch.testing.assert_close(exported(one), network(one), rtol=0, atol=2e-6)


@pytest.fixture(scope="module", params=["embedding", "lstm"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelPackage, Path]:
    """A package and the MLflow model made of it."""
    package = make_package(request.param, {})
    folder = tmp_path_factory.mktemp("saved") / "model"
    flavor.save_model(str(folder), package)
    return package, folder


def test_both_doors_open_without_the_package_and_without_pickle(
    saved: tuple[ModelPackage, Path], tmp_path: Path
) -> None:
    package, folder = saved
    ids = padded(toy(count=3).reviews)
    hidden = tmp_path / "hidden.py"  # hides an installed package, so that the model's own code must do
    hidden.write_text(
        "import sys\n"
        "sys.meta_path = [f for f in sys.meta_path if '__editable__' not in getattr(f, '__module__', '') + repr(f)]\n"
        f"sys.path = [p for p in sys.path if p not in ('', {str(Path(packaging.__file__).parents[2])!r})]\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "PYTHON"))}
    finished = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", hidden.read_text() + OPEN, str(folder)],
        cwd=tmp_path,
        env=environment | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"},
        input=json.dumps([TEXTS, ids.tolist()]),
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
    )
    assert finished.returncode == 0, finished.stderr
    probabilities, labels, logits = json.loads(finished.stdout)
    expected = package.scorer.predict_proba(TEXTS)
    assert probabilities == pytest.approx(list(expected), abs=1e-12)
    assert labels == ["positive" if p > 0.5 else "negative" for p in expected]
    with torch.no_grad():
        assert logits == pytest.approx(package.network(ids).tolist(), abs=2e-6)


def test_a_folder_is_scored_with_by_the_command_without_mlflow(tmp_path: Path) -> None:
    packaging.save_package(make_package("embedding", {}), tmp_path / "model")
    code = (
        "import sys; from sentiment_tune.cli.main import run; "
        f"sys.argv = ['sentiment-tune', 'score', '--model', {str(tmp_path / 'model')!r}, 'a fine film']; run(); "
        "assert not {'mlflow', 'scipy', 'pyarrow'} & set(sys.modules)"  # what is slow to import
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert answer.stdout.endswith("a fine film\n")


def test_its_requirements_are_the_pinned_versions(saved: tuple[ModelPackage, Path]) -> None:
    listed = (saved[1] / "requirements.txt").read_text().splitlines()
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in listed if line not in pins] == []
    assert {line.split("==")[0] for line in listed} == set(flavor.NEEDED)


def change_file(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """A harm that changes one file."""

    def apply(folder: Path) -> None:
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return apply


def with_manifest(change: Callable[[Path], None]) -> Callable[[Path], None]:
    """The change, by somebody who also writes the manifest anew."""

    def apply(folder: Path) -> None:
        change(folder)
        (folder / MANIFEST).write_text(
            json.dumps({name: packaging.digest_of((folder / name).read_bytes()) for name in DATA})
        )

    return apply


def spoil_weights(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    tensors["output.bias"] = torch.tensor([float("nan")])
    save_file(tensors, folder / WEIGHTS)


def drop_weight(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    del tensors["output.bias"]
    save_file(tensors, folder / WEIGHTS)


def rename_model(folder: Path) -> None:
    description = json.loads((folder / SETTINGS).read_text())
    (folder / SETTINGS).write_text(json.dumps(description | {"model": "antigravity_of_mine:Network"}))


@pytest.mark.parametrize(
    ("harm", "complaint"),
    [
        (change_file(WEIGHTS, lambda content: content[:-1] + bytes([content[-1] ^ 1])), "SHA-256"),
        (change_file(WEIGHTS, lambda content: content[: len(content) // 2]), "claims the shape"),
        (change_file(SETTINGS, lambda content: content.replace(b"16", b"17")), "SHA-256"),
        (change_file(packaging.VOCABULARY, lambda content: content[::-1]), "SHA-256"),
        (change_file(MANIFEST, lambda content: b"{"), "no usable model"),
        (change_file(MANIFEST, lambda content: b"[1]"), "no usable model"),
        (with_manifest(change_file(SETTINGS, lambda content: b"{")), "no usable model"),
        (with_manifest(change_file(packaging.VOCABULARY, lambda content: b"\xff")), "no usable model"),
        (lambda folder: (folder / WEIGHTS).unlink(), "no usable model"),
        (with_manifest(spoil_weights), "not finite"),
        (with_manifest(drop_weight), "no usable model"),
        (with_manifest(rename_model), "--trust-code true"),
        (with_manifest(change_file(WEIGHTS, lambda content: b"\x80\x04." + content)), "no usable model"),
        (
            with_manifest(change_file(SETTINGS, lambda content: content.replace(b'"format": 3', b'"format": 9'))),
            "format 9",
        ),
    ],
)
def test_a_model_that_was_harmed_is_refused(harm: Callable[[Path], None], complaint: str, tmp_path: Path) -> None:
    packaging.save_package(make_package("embedding", {}), tmp_path / "saved")
    shutil.copytree(tmp_path / "saved", tmp_path / "harmed")
    harm(tmp_path / "harmed")
    with pytest.raises(InputError, match=complaint) as refused:
        packaging.load_package(tmp_path / "harmed")
    assert "\n" not in str(refused.value)
