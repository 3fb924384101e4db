"""What somebody who can write a model's folder may do to it: each changes one thing, and writes every list anew."""

import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from sentiment_tune.inference.package import MANIFEST, SETTINGS, VOCABULARY, WEIGHTS, digest_of
from sentiment_tune.tracking import logged_models

Mutation = Callable[[Path], None]  # takes the folder of a logged model
SCORER = Path("data", "scorer")
LOADER = "sentiment_tune.tracking.flavor"
# Python that shows that it has run.
CANARY = "import os, pathlib\npathlib.Path(os.environ['CANARY']).touch()\n"
NETWORK = (
    CANARY + "from torch import nn\nclass Net(nn.Module):\n"
    "    def __init__(self, vocabulary, **settings):\n"
    "        super().__init__()\n        self.output = nn.Linear(1, 1)\n"
    "    def forward(self, ids):\n        return self.output(ids.float().sum(1, keepdim=True)).squeeze(1)\n"
)


class Canary:
    """A pickle that runs code when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (CANARY,)


def listed_anew(change: Mutation) -> Mutation:
    """The change, by somebody who writes the manifest and the list of files anew."""

    def apply(folder: Path) -> None:
        change(folder)
        scorer = folder / SCORER
        names = [name for name in (WEIGHTS, VOCABULARY, SETTINGS) if (scorer / name).is_file()]
        content = {name: digest_of((scorer / name).read_bytes()) for name in names}
        (scorer / MANIFEST).write_text(json.dumps(content))
        (folder / "files.json").unlink()
        logged_models.record_files(folder, None)

    return apply


def content(path: Path | str, change: Callable[[bytes], bytes]) -> Mutation:
    """Another content of a file."""

    def apply(folder: Path) -> None:
        (folder / path).write_bytes(change((folder / path).read_bytes()))

    return apply


def setting(path: str, value: object) -> Mutation:
    """Another value of a setting; no value at all for `...`."""

    def apply(folder: Path) -> None:
        description = json.loads((folder / SCORER / SETTINGS).read_text())
        *outer, last = path.split(".")
        holder = description
        for name in outer:
            holder = holder[name]
        holder[last] = value
        if value is ...:
            del holder[last]
        (folder / SCORER / SETTINGS).write_text(json.dumps(description))

    return apply


def members(value: object) -> Mutation:
    """An ensemble in place of the network."""

    def apply(folder: Path) -> None:
        setting("model", "ensemble")(folder)
        setting("network", {"members": value})(folder)

    return apply


def member(**changes: object) -> Mutation:
    reading = {"vocabulary": 300, "length": 60, "keep": "tail"}
    return members(json.dumps([{"model": "linear", "network": {}, "reading": reading} | changes]))


def text(replace: str) -> Mutation:
    return content(SCORER / SETTINGS, lambda _: replace.encode())


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Mutation:
    """Other tensors."""

    def apply(folder: Path) -> None:
        held = load_file(folder / SCORER / WEIGHTS)
        change(held)
        save_file(held, folder / SCORER / WEIGHTS)

    return apply


def header(change: Callable[[dict[str, Any]], object] | str) -> Mutation:
    """Another header of the tensors."""

    def anew(data: bytes) -> bytes:
        length = int.from_bytes(data[:8], "little")
        described = json.loads(data[8 : 8 + length])
        if isinstance(change, str):
            written = change.encode()
        else:
            change(described)
            written = json.dumps(described).encode()
        return struct.pack("<Q", len(written)) + written + data[8 + length :]

    return content(SCORER / WEIGHTS, anew)


def first(described: dict[str, Any]) -> dict[str, Any]:
    return next(about for name, about in sorted(described.items()) if name != "__metadata__")


def outside(path: Path | str) -> Mutation:
    """A link to the same thing elsewhere."""

    def apply(folder: Path) -> None:
        shutil.move(folder / path, folder.parent / "outside")
        (folder / path).symlink_to(folder.parent / "outside")

    return apply


def fifo(path: Path) -> Mutation:
    def apply(folder: Path) -> None:
        (folder / path).unlink()
        os.mkfifo(folder / path)

    return apply


def added(path: str, source: str = CANARY) -> Mutation:
    def apply(folder: Path) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(source)

    return apply


def both(*changes: Mutation) -> Mutation:
    def apply(folder: Path) -> None:
        for change in changes:
            change(folder)

    return apply


def pickled_record(name: str) -> Mutation:
    """A pickle in place of a record of the exported network."""

    def apply(folder: Path) -> None:
        path = folder / "network" / "model.pt2"
        with zipfile.ZipFile(path) as archive:
            records = {record: archive.read(record) for record in archive.namelist()}
        (chosen,) = [record for record in records if record.endswith(name)]
        with zipfile.ZipFile(path, "w") as archive:
            for record, data in records.items():
                archive.writestr(record, pickle.dumps(Canary()) if record == chosen else data)

    return apply


def gone(path: Path | str) -> Mutation:
    return lambda folder: (folder / path).unlink()


def sparse(path: Path | str, size: int) -> Mutation:
    """A file that claims to be large and takes no room."""
    return lambda folder: os.truncate(folder / path, size)


def spoil(value: float) -> Mutation:
    return tensors(lambda held: held["output.weight"].fill_(value))


# ---- what is loaded: by somebody who does, and who does not, write the lists anew

DEEP = "[" * 100_000 + "]" * 100_000
OWN = "code.canary_network:Net"
DATA: dict[str, Mutation] = {
    **{
        f"{name}: {what}": change
        for name in (WEIGHTS, VOCABULARY, SETTINGS, MANIFEST)
        for what, change in {
            "a bit": content(SCORER / name, lambda data: data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]),
            "half": content(SCORER / name, lambda data: data[: len(data) // 2]),
            "empty": content(SCORER / name, lambda _: b""),
            "gone": gone(SCORER / name),
            "a link": outside(SCORER / name),
            "a pipe": fifo(SCORER / name),
        }.items()
    },
    "manifest: nested": content(SCORER / MANIFEST, lambda _: DEEP.encode()),
    "manifest: a list": content(SCORER / MANIFEST, lambda _: b"[1]"),
    "manifest: one file less": content(SCORER / MANIFEST, lambda data: json.dumps({WEIGHTS: "0"}).encode()),
    "manifest: no text": content(SCORER / MANIFEST, lambda _: b"\xff\xfe{"),
    "manifest: huge": sparse(SCORER / MANIFEST, 2**33),
    "data: a link": outside("data"),
    "scorer: a link": outside(SCORER),
}
SETTING: dict[str, Mutation] = {
    **{
        f"{path} = {value!r:.40}": setting(path, value)
        for path, values in {
            "format": (..., None, 0, 3, "2", True, 2.0, [2], 10**30),
            "model": (
                ...,
                None,
                7,
                "",
                "rrn",
                ":",
                "os:system",
                "__main__:Net",
                "..code.x:Y",
                "x" * 300,
                "模:型",
                ["cnn"],
            ),
            "network": (..., None, [], "hidden", {"hidden": 16}, {"depth": 3}),
            "network.hidden": (None, -1, 0, "16", True, 16.0, 65_536, 10**12, 10**400, [16], {"a": 1}, "9" * 5000),
            "network.embedding": (0, 60_000, 1.5),
            "network.dropout": ("0.3", 5, -0.1, True, None),
            "reading": (..., None, {}, [], {"length": 60}),
            "reading.length": (..., None, -1, 0, "60", True, 60.5, 10**9, 10**400),
            "reading.keep": (..., None, "foo", 7, True, ""),
            "reading.text_rule": (..., None, "foo", 7, True, "", ["keras"], {"keras": 1}),
            "reading.vocabulary": (..., None, 0, 3, -300, 299, 10**7, 10**18, "300"),
            "reading.more": (1,),
            "words": (..., None, -1, 0, 7, "7", True, 10**9),
            "more": (1,),
        }.items()
        for value in values
    },
    "settings: no number": text('{"format": NaN}'),
    "settings: infinite": content(SCORER / SETTINGS, lambda data: data.replace(b'"length": 60', b'"length": Infinity')),
    "settings: twice": content(SCORER / SETTINGS, lambda data: data.replace(b'"keep"', b'"keep": "head", "keep"')),
    "settings: nested": text(DEEP),
    "settings: nested objects": text('{"a":' * 50_000 + "1" + "}" * 50_000),
    "settings: digits": text('{"format": ' + "9" * 100_000 + "}"),
    "settings: a list": text("[]"),
    "settings: null": text("null"),
    "settings: a tail": content(SCORER / SETTINGS, lambda data: data + b"{}"),
    "settings: no UTF-8": content(SCORER / SETTINGS, lambda data: data.replace(b"tail", b"\xff\xfe")),
    "settings: half a character": text('{"format": 2, "model": "\\ud800"}'),
    "settings: huge": sparse(SCORER / SETTINGS, 2**33),
    "code of the model": both(added("code/canary_network.py", NETWORK), setting("model", OWN)),
    "code of the model, by itself": both(added("code/canary_network.py", NETWORK), setting("model", OWN[5:])),
    "members: none": members("[]"),
    "members: no JSON": members("["),
    "members: no text": members(7),
    "members: nested": members(DEEP),
    "members: a number": members("[7]"),
    "members: of one's own": both(added("code/canary_network.py", NETWORK), member(model=OWN)),
    "members: no model": member(model=None),
    "members: another setting": member(network={"depth": 3}),
    "members: a text": member(network={"order": "3"}),
    "members: no reading": member(reading={}),
    "members: more words": member(reading={"vocabulary": 5000, "length": 60, "keep": "tail"}),
    "members: no length": member(reading={"vocabulary": 300, "length": 0, "keep": "tail"}),
    "members: a rule": member(reading={"vocabulary": 300, "length": 60, "keep": "tail", "text_rule": "keras"}),
    "members: more names": member(weights=[1]),
    "members: another network": member(),
}
WORDS: dict[str, Mutation] = {
    "words: half": content(SCORER / VOCABULARY, lambda data: data[: data.index(b"\n", len(data) // 2)]),
    "words: none": content(SCORER / VOCABULARY, lambda _: b""),
    "words: one more": content(SCORER / VOCABULARY, lambda data: data + b"\nmore"),
    "words: one twice": content(SCORER / VOCABULARY, lambda data: data.replace(b"\n", b"\nthe\nthe\n", 2)),
    "words: the first again": content(
        SCORER / VOCABULARY, lambda data: b"\n".join([*data.split(b"\n")[:-1], data.split(b"\n")[0]])
    ),
    "words: lines": content(SCORER / VOCABULARY, lambda _: b"\n" * 100_000),
    "words: no UTF-8": content(SCORER / VOCABULARY, lambda data: b"\xff" + data),
    "words: huge": sparse(SCORER / VOCABULARY, 2**40),
}
TENSORS: dict[str, Mutation] = {
    "tensors: not a number": spoil(float("nan")),
    "tensors: infinite": spoil(float("inf")),
    "tensors: too large to add": tensors(lambda held: [one.fill_(3e38) for one in held.values()]),
    "tensors: one gone": tensors(lambda held: held.pop("output.bias")),
    "tensors: one more": tensors(lambda held: held.update(more=torch.zeros(2))),
    "tensors: another name": tensors(lambda held: held.update(more=held.pop("output.bias"))),
    "tensors: doubles": tensors(lambda held: held.update({"output.bias": held["output.bias"].double()})),
    "tensors: whole numbers": tensors(lambda held: held.update({"output.bias": held["output.bias"].int()})),
    "tensors: another shape": tensors(lambda held: held.update({"output.bias": held["output.bias"].reshape(1, 1)})),
    "tensors: huge": sparse(SCORER / WEIGHTS, 2**43),
    "tensors: a pickle": content(SCORER / WEIGHTS, lambda _: pickle.dumps(Canary())),
    "tensors: a tail": content(SCORER / WEIGHTS, lambda data: data + b"\0" * 8),
    "header: huge": content(SCORER / WEIGHTS, lambda data: struct.pack("<Q", 2**63) + data[8:]),
    "header: no JSON": header("{"),
    "header: a list": header("[]"),
    "header: nested": header(DEEP),
    "header: empty": header("{}"),
    "header: another type": header(lambda described: first(described).update(dtype="F128")),
    "header: half a type": header(lambda described: first(described).update(dtype="F16")),
    "header: huge shape": header(lambda described: first(described).update(shape=[2**31, 2**31])),
    "header: negative shape": header(lambda described: first(described).update(shape=[-1, -16])),
    "header: many dimensions": header(lambda described: first(described).update(shape=[1] * 10_000)),
    "header: shape of text": header(lambda described: first(described).update(shape="16")),
    "header: offsets": header(lambda described: first(described).update(data_offsets=[0, 2**60])),
    "header: no offsets": header(lambda described: first(described).pop("data_offsets")),
}

# ---- what only MLflow reads: scoring does without, registering must not let it pass

OTHERS: dict[str, Mutation] = {
    "MLmodel: another loader": both(
        added("code/canary_loader.py"), content("MLmodel", lambda data: data.replace(LOADER.encode(), b"canary_loader"))
    ),
    "MLmodel: code elsewhere": both(
        added("../elsewhere/sentiment_tune/__init__.py"),
        content("MLmodel", lambda data: data.replace(b"code: code", b"code: ../elsewhere")),
    ),
    "MLmodel: gone": gone("MLmodel"),
    "MLmodel: no YAML": content("MLmodel", lambda _: b"{"),
    "MLmodel: another signature": content("MLmodel", lambda data: data.replace(b"double", b"string")),
    "MLmodel: a link": outside("MLmodel"),
    "code: the loader": content("code/sentiment_tune/tracking/flavor.py", lambda data: CANARY.encode() + data),
    "code: the package": content("code/sentiment_tune/__init__.py", lambda data: data + CANARY.encode()),
    "code: MLflow": added("code/mlflow/__init__.py"),
    "code: torch": added("code/torch.py"),
    "code: sitecustomize": added("code/sitecustomize.py"),
    "code: a link": outside("code"),
    "code: a file gone": gone("code/sentiment_tune/space.py"),
    "network: another": content("network/model.pt2", lambda data: data[:-1] + bytes([data[-1] ^ 1])),
    "network: gone": gone("network/model.pt2"),
    "network: a pickle": content("network/model.pt2", lambda _: pickle.dumps(Canary())),
    "network: a pickled record": pickled_record("sample_inputs/model.pt"),
    "network: a second": added("network/model.pth"),
    "requirements.txt": content("requirements.txt", lambda data: data + b"\nevil==1.0"),
    "conda.yaml": content("conda.yaml", lambda data: data.replace(b"mlflow", b"evil")),
    "python_env.yaml": content("python_env.yaml", lambda data: data + b"\n- evil"),
    "input_example.json": content("input_example.json", lambda data: data.replace(b"fine", b"dull")),
    "files.json: gone": gone("files.json"),
    "files.json: nested": content("files.json", lambda _: DEEP.encode()),
    "files.json: empty": content("files.json", lambda _: b"{}"),
    "files.json: a link": outside("files.json"),
    "files.json: huge": sparse("files.json", 2**40),
    "a folder more": added("more/file.txt"),
}
