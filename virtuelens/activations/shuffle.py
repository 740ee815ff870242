"""The rows of many shards in a random order, copied once, straight from the mapped files.

1. Every shard is cut into blocks of consecutive rows; the blocks of all shards are shuffled.
2. Blocks are taken until the buffer is full, as row numbers only; the rows of the buffer are
   shuffled. What is left over waits for the next filling.
3. Each batch gathers its rows from the mapped shards; inside a batch they stand shard by shard.

Two rows of one block are always in the buffer together, so blocks are small beside it, and large
enough that a disk reads them in one go. A store that fits into the buffer is shuffled exactly.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

BLOCK_ROWS = 256
_DTYPES = {"F32": (np.float32, torch.float32), "BF16": (np.int16, torch.bfloat16)}
"""safetensors' names -> what numpy maps it as, and what it is."""


def mapped(shard: Path, name: str) -> Float[Tensor, "rows d_model"]:
    """One tensor of a shard, mapped: pages are read when they are touched, writes stay private."""
    with shard.open("rb") as f:
        n_header = int.from_bytes(f.read(8), "little")
        about = json.loads(f.read(n_header))[name]
    kind, dtype = _DTYPES[about["dtype"]]
    start = 8 + n_header + int(about["data_offsets"][0])
    shape = tuple(about["shape"])
    if 0 in shape:
        return torch.empty(shape, dtype=dtype)
    return torch.from_numpy(np.memmap(shard, kind, "c", start, shape)).view(dtype)


def batches(
    n_rows: Mapping[int, int],
    shard: Callable[[int], Path],
    name: str,
    *,
    rows: int,
    buffer_rows: int,
    generator: torch.Generator,
) -> Iterator[Float[Tensor, "rows d_model"]]:
    """Every row of the tensor `name` of all shards once; the last batch may be smaller.

    n_rows: of each shard. shard: the path of one.
    """
    if rows < 1:
        raise ValueError(f"rows is {rows}: expected at least 1")
    tensor = cache(lambda number: mapped(shard(number), name))
    blocks = [
        (number, start, min(start + BLOCK_ROWS, n))
        for number, n in sorted(n_rows.items())
        for start in range(0, n, BLOCK_ROWS)
    ]
    order = torch.randperm(len(blocks), generator=generator).tolist()
    left = torch.empty(0, 2, dtype=torch.long)
    while order:
        taken, filled = [left], len(left)
        while order and filled < max(buffer_rows, rows):
            number, start, end = blocks[order.pop()]
            taken.append(torch.stack([torch.full((end - start,), number),
                                      torch.arange(start, end)], dim=1))
            filled += end - start
        buffer = torch.cat(taken)
        buffer = buffer[torch.randperm(len(buffer), generator=generator)]
        whole = len(buffer) // rows * rows
        for start in range(0, whole, rows):
            yield _gather(buffer[start : start + rows], tensor)
        left = buffer[whole:]
    if len(left):
        yield _gather(left, tensor)


def _gather(
    places: Int[Tensor, "n 2"], tensor: Callable[[int], Tensor]
) -> Float[Tensor, "n d_model"]:
    """The rows at (shard, row), shard by shard."""
    places = places[places[:, 0].argsort(stable=True)]
    shards, counts = np.unique(places[:, 0].numpy(), return_counts=True)
    first = tensor(int(shards[0]))
    out = first.new_empty(len(places), first.shape[1])
    sizes = counts.tolist()
    for number, part, into in zip(
        shards.tolist(), torch.split(places[:, 1], sizes), torch.split(out, sizes), strict=True
    ):
        torch.index_select(tensor(number), 0, part, out=into)
    return out
