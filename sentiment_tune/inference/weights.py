"""Reading a file of tensors: what it claims to hold is compared with what is to be built before memory is taken."""

import os
from math import prod
from pathlib import Path

import psutil
import torch
from torch import nn

from sentiment_tune.inference.files import check_names, open_file, parse_json

_LARGEST_HEADER = 2**24  # bytes
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def read_weights(path: Path, skeleton: nn.Module | None) -> bytes:
    """The content of a safetensors file; ValueError where it is not whole, or does not fit the network.

    `skeleton` is the network without memory for its weights, where one can be made.
    """
    with open_file(path, psutil.virtual_memory().available // 2) as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if length > min(size - 8, _LARGEST_HEADER):
            raise ValueError(f"{path.name} is no file of tensors: its header claims {length:,} bytes")
        tensors = _read_header(file.read(length), size - 8 - length)
        if skeleton is not None:
            _check_fit(skeleton, tensors)
        file.seek(0)
        return file.read(size)


def _read_header(content: bytes, size: int) -> dict[str, torch.Tensor]:
    """The tensors that a header describes, without memory; ValueError unless they fill so many bytes."""
    header = parse_json(content)
    if not isinstance(header, dict):
        raise ValueError("the header of the weights is no object")
    header.pop("__metadata__", None)
    tensors = {}
    for name, about in header.items():
        about = check_names(about, ("dtype", "shape", "data_offsets"), f"tensor {name!r:.100}")
        shape, dtype = about["shape"], _DTYPES.get(str(about["dtype"]))
        if dtype is None or not (isinstance(shape, list) and all(type(n) is int and 0 <= n <= size for n in shape)):
            raise ValueError(f"tensor {name!r:.100} cannot be {about['dtype']!r:.20} of shape {shape!r:.100}")
        if prod(shape) * dtype.itemsize > size:
            raise ValueError(f"tensor {name!r:.100} claims the shape {shape} in {size:,} bytes")
        tensors[name] = torch.empty(shape, dtype=dtype, device="meta")
    if sum(tensor.numel() * tensor.itemsize for tensor in tensors.values()) != size:
        raise ValueError(f"its tensors do not fill {size:,} bytes")
    return tensors


def _check_fit(skeleton: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    with torch.device("meta"):
        skeleton.load_state_dict(tensors)  # raises RuntimeError where names or shapes differ
    for name, tensor in skeleton.state_dict().items():
        if tensor.dtype != tensors[name].dtype:
            raise ValueError(f"tensor {name!r} is of {tensors[name].dtype}, not of {tensor.dtype}")
