"""The rows of many shards in a random order, copied once, straight from the mapped files.

1. Every shard is cut into blocks of consecutive rows; the blocks of all shards are shuffled.
2. Blocks are taken until the buffer is full, as row numbers only; the rows of the buffer are
   shuffled. What is left over waits for the next filling.
3. Each batch gathers its rows from the mapped shards; inside a batch they stand as on disk.

Two rows of one block are always in the buffer together, so blocks are small beside it, and large
enough that a disk reads them in one go. A store that fits into the buffer is shuffled exactly.
"""

import json
import math
import mmap
import warnings
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

BLOCK_ROWS = 256
_SHARD, _ROW = 32, (1 << 32) - 1
_DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16}
"""safetensors' names."""


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


def batches(
    n_rows: Mapping[int, int],
    tensor: Callable[[int], Tensor],
    *,
    rows: int,
    buffer_rows: int,
    generator: torch.Generator,
    reuse: bool = False,
) -> Iterator[Float[Tensor, "rows d_model"]]:
    """Every row of the tensors of all shards once; the last batch may be smaller.

    n_rows: of each shard. tensor: the one of a shard, mapped.
    reuse: write each batch where the one before stood.
    """
    if rows < 1:
        raise ValueError(f"rows is {rows}: expected at least 1")
    blocks = [(number, start, min(BLOCK_ROWS, n - start))
              for number, n in sorted(n_rows.items()) for start in range(0, n, BLOCK_ROWS)]
    table = np.array(blocks, dtype=np.int64)[torch.randperm(len(blocks), generator=generator)]
    ends = np.cumsum(table[:, 2])
    left, done = np.empty(0, dtype=np.int64), 0
    room: Tensor | None = None
    while done < len(table):
        before = int(ends[done - 1]) if done else 0
        wanted = before + max(buffer_rows, rows) - len(left)
        until = min(int(np.searchsorted(ends, wanted)) + 1, len(table))
        buffer, done = _merged(left, _rows(table[done:until])), until
        # the last rows wait for the next filling, unless there is none
        whole = len(buffer) // rows * rows if done < len(table) else len(buffer)
        of_batch = (torch.randperm(len(buffer), generator=generator).numpy() // rows)
        # stable: inside a batch rows stay in their order on disk, where they are gathered faster
        order = np.argsort(of_batch.astype(_smallest(len(buffer) // rows)), kind="stable")
        for start in range(0, whole, rows):
            places = buffer[order[start : min(start + rows, whole)]]
            if room is None or not reuse:
                one = tensor(int(places[0]) >> _SHARD)
                room = one.new_empty(min(rows, len(buffer)), one.shape[1])
            yield _gathered(places, tensor, room[: len(places)])
        left = np.sort(buffer[order[whole:]])


def _rows(blocks: Int[np.ndarray, "n 3"]) -> Int[np.ndarray, " rows"]:
    """Every row of the blocks, as shard << 32 | row, ascending."""
    numbers, starts, sizes = blocks[np.lexsort((blocks[:, 1], blocks[:, 0]))].T
    inside = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    rows: Int[np.ndarray, " rows"] = np.repeat(numbers << _SHARD | starts, sizes) + inside
    return rows


def _merged(
    left: Int[np.ndarray, " a"], more: Int[np.ndarray, " b"]
) -> Int[np.ndarray, " n"]:
    return np.insert(more, np.searchsorted(more, left), left) if len(left) else more


def _smallest(most: int) -> type[np.unsignedinteger[Any]]:
    """Small numbers are sorted by radix, in one pass."""
    return np.uint16 if most < 1 << 16 else np.uint64


def _gathered(
    places: Int[np.ndarray, " n"], tensor: Callable[[int], Tensor], out: Float[Tensor, "n d_model"]
) -> Float[Tensor, "n d_model"]:
    """The rows at these places, ascending, in `out`."""
    shards, inside = places >> _SHARD, torch.from_numpy(places & _ROW)
    cuts = [0, *(np.flatnonzero(np.diff(shards)) + 1).tolist(), len(places)]
    for start, end in pairwise(cuts):
        shard = tensor(int(shards[start]))
        torch.index_select(shard, 0, inside[start:end], out=out[start:end])
    return out
