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
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

BLOCK_ROWS = 256
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
    cuts = {number: np.arange(0, n, BLOCK_ROWS) for number, n in sorted(n_rows.items())}
    starts = np.concatenate(list(cuts.values()))
    numbers = np.repeat(list(cuts), [len(c) for c in cuts.values()])
    sizes = np.minimum(np.repeat([n_rows[k] for k in cuts], [len(c) for c in cuts.values()])
                       - starts, BLOCK_ROWS)
    order = torch.randperm(len(starts), generator=generator).numpy()
    ends = np.cumsum(sizes[order])
    done, left = 0, np.empty((2, 0), dtype=np.int64)
    while done < len(order):
        before = int(ends[done - 1]) if done else 0
        wanted = before + max(buffer_rows, rows) - left.shape[1]
        until = min(int(np.searchsorted(ends, wanted)) + 1, len(order))
        blocks, done = order[done:until], until
        size = sizes[blocks]
        inside = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
        taken = np.stack([np.repeat(numbers[blocks], size),
                          np.repeat(starts[blocks], size) + inside])
        buffer = np.concatenate([left, taken], axis=1)
        filled = buffer.shape[1]
        buffer = buffer[:, torch.randperm(filled, generator=generator).numpy()]
        # the last rows wait for the next filling, unless there is none
        whole = filled // rows * rows if done < len(order) else filled
        yield from _gathered(buffer[:, :whole], rows, tensor)
        left = buffer[:, whole:]


def _gathered(
    places: Int[np.ndarray, "2 n"], rows: int, tensor: Callable[[int], Tensor]
) -> Iterator[Float[Tensor, "rows d_model"]]:
    """Batches of the rows at (shard, row); inside a batch they stand as they do on disk."""
    shards, inside = places
    numbers, shards = np.unique(shards, return_inverse=True)
    batch = np.arange(len(inside)) // rows
    # one sort for all batches; rows in their order on disk are gathered faster
    key = np.sort((batch * len(numbers) + shards) << 32 | inside)
    picked, run = torch.from_numpy(key & 0xFFFFFFFF), key >> 32
    ends = np.append(np.flatnonzero(np.diff(run)) + 1, len(run))
    runs = iter(zip(np.append(0, ends[:-1]).tolist(), ends.tolist(), strict=True))
    first = tensor(int(numbers[0]))
    for start in range(0, len(inside), rows):
        end = min(start + rows, len(inside))
        out = first.new_empty(end - start, first.shape[1])
        filled = 0
        while filled < end - start:
            a, b = next(runs)
            shard = tensor(int(numbers[int(run[a]) % len(numbers)]))
            torch.index_select(shard, 0, picked[a:b], out=out[filled : filled + b - a])
            filled += b - a
        yield out
