"""The file of a shard: written so that its rows begin where lines of the cache do, and mapped.

safetensors puts tensors after a header of any length. Where rows begin within a line of the
processor's cache, every row lies in one line more and each copy crosses lines: gathering rows of
1,536 bytes then takes 13 to 20 % longer. So the header is filled up.
"""

import json
import math
import mmap
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from virtuelens import storage

LINE = 64
_DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16}
"""safetensors' names."""


def write_shard(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write tensors of one dtype, whole or not at all; the first begins at a multiple of `LINE`."""
    about = {**about, "fill": ""}
    about["fill"] = " " * (-_header_bytes(tensors, about) % LINE)
    storage.write_tensors(path, tensors, about)


def _header_bytes(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> int:
    """Before the first tensor, as safetensors writes it: by name, without spaces."""
    header: dict[str, Any] = {"__metadata__": storage.tensors_header(about)}
    names, end = {dtype: name for name, dtype in _DTYPES.items()}, 0
    for name, tensor in sorted(tensors.items()):
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape),
                        "data_offsets": [start, end]}
    return 8 + len(json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode())


def mapped(shard: Path, name: str) -> Float[Tensor, "rows d_model"]:
    """One tensor of a shard, mapped: pages are read when they are touched; not to be written to."""
    with shard.open("rb") as f:
        n_header = int.from_bytes(f.read(8), "little")
        about = json.loads(f.read(n_header))[name]
        dtype, shape = _DTYPES[about["dtype"]], about["shape"]
        if 0 in shape:
            return torch.empty(shape, dtype=dtype)
        content = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given buffer is not writable")
        return torch.frombuffer(
            content, dtype=dtype, count=math.prod(shape),
            offset=8 + n_header + int(about["data_offsets"][0]),
        ).view(shape)
