"""The file of a shard: rows in a random order, and where lines of the processor's cache begin.

    <point>/<position>   [rows d_model]
    order/<position>     [rows], int64: which row of the shard's texts, one after the other, each is

Rows are shuffled here, once, so that they can be read shuffled as fast as memory is copied
(`shuffle`). safetensors puts tensors after a header of any length; where rows begin within a line
of the cache, copies of single rows take 13 to 20 % longer, so the header is filled up.
"""

import json
import math
import mmap
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from virtuelens import storage

LINE = 64
_DTYPES = {"BF16": torch.bfloat16, "F32": torch.float32, "I64": torch.int64}
"""safetensors' names; it writes the last of these first."""


def order_of(shard: int, n_rows: int) -> Int[Tensor, " n_rows"]:
    """Which row of its texts, one after the other, stands at each place of a shard."""
    return torch.from_numpy(np.random.default_rng(shard).permutation(n_rows))


def order_name(position: str) -> str:
    """The tensor that holds the order of a position's rows."""
    return f"order/{position}"


def write_shard(
    path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any], *, first: str
) -> None:
    """Write tensors, whole or not at all; the one named `first` begins at a multiple of `LINE`.

    So do those of its dtype, if their rows are of whole lines.
    """
    about = {**about, "fill": ""}
    about["fill"] = " " * (-_begins(tensors, about, first) % LINE)
    storage.write_tensors(path, tensors, about)


def _begins(tensors: Mapping[str, Tensor], about: Mapping[str, Any], name: str) -> int:
    """Where a tensor begins in the file: by dtype and name, after a header without spaces."""
    header: dict[str, Any] = {"__metadata__": storage.tensors_header(about)}
    names, rank = {dtype: name for name, dtype in _DTYPES.items()}, list(_DTYPES.values())
    end = 0
    for each in sorted(tensors, key=lambda n: (-rank.index(tensors[n].dtype), n)):
        start, end = end, end + tensors[each].nbytes
        header[each] = {"dtype": names[tensors[each].dtype], "shape": list(tensors[each].shape),
                        "data_offsets": [start, end]}
    n_header = len(json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode())
    return 8 + n_header + int(header[name]["data_offsets"][0])


def mapped(shard: Path, name: str) -> Tensor:
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
