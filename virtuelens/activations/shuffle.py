"""The rows of many shards in a random order, copied once, straight from the mapped files.

1. Shards are shuffled and cut into groups of about two buffers. However many shards a store has, a
   batch then comes from few, each read by one call; what stands in a shard is mixed (`plan`).
2. Every shard of a group is cut into blocks of consecutive rows; the group's blocks are shuffled.
3. Blocks are taken until the buffer is full, as row numbers only; the rows of the buffer are
   shuffled. What is left over waits for the next filling.
4. Each batch gathers its rows from the mapped shards; inside a batch they stand as on disk.

Two rows of one block are always in the buffer together, so blocks are small beside it, and large
enough that a disk reads them in one go. A store that fits into the buffer is shuffled exactly.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

BLOCK_ROWS = 256
_SHARD, _ROW = 32, (1 << 32) - 1


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
    room: Tensor | None = None
    blocks = _blocks(n_rows, 2 * buffer_rows, generator)
    for buffer, whole in _fillings(blocks, rows, max(buffer_rows, rows), generator):
        shards, inside = buffer >> _SHARD, torch.from_numpy(buffer & _ROW)
        starts = np.arange(0, whole, rows)
        # every batch is cut where its rows go on in another shard
        cuts = np.union1d(np.flatnonzero(shards[1:whole] != shards[: whole - 1]) + 1, starts)
        of_batch = np.split(cuts, np.searchsorted(cuts, starts[1:]))
        for start, mine in zip(starts.tolist(), of_batch, strict=True):
            end = min(start + rows, whole)
            numbers = shards[mine].tolist()
            if room is None or not reuse:
                one = tensor(numbers[0])
                room = one.new_empty(min(rows, whole), one.shape[1])
            for number, (a, b) in zip(numbers, pairwise([*mine.tolist(), end]), strict=True):
                torch.index_select(tensor(number), 0, inside[a:b], out=room[a - start : b - start])
            yield room[: end - start]


def _blocks(
    n_rows: Mapping[int, int], of_group: int, generator: torch.Generator
) -> Int[np.ndarray, "n 3"]:
    """Shard, first row and rows of every block, in a random order within each group of shards."""
    shards = [number for number, n in sorted(n_rows.items()) if n]
    groups: list[list[tuple[int, int, int]]] = [[]]
    filled = 0
    for i in torch.randperm(len(shards), generator=generator).tolist():
        number, n = shards[i], n_rows[shards[i]]
        if filled >= of_group:
            groups.append([])
            filled = 0
        groups[-1] += [(number, a, min(BLOCK_ROWS, n - a)) for a in range(0, n, BLOCK_ROWS)]
        filled += n
    tables = [np.array(g, dtype=np.int64).reshape(-1, 3) for g in groups]
    return np.concatenate([t[torch.randperm(len(t), generator=generator).numpy()] for t in tables])


def _fillings(
    blocks: Int[np.ndarray, "n 3"], rows: int, buffer_rows: int, generator: torch.Generator
) -> Iterator[tuple[Int[np.ndarray, " n"], int]]:
    """Rows of the buffer, batch after batch, as shard << 32 | row, and how many are given now.

    The others come again. Those of each batch are ascending, which gathers faster.
    """
    left: Int[np.ndarray, " n"] = np.empty(0, dtype=np.int64)
    ends, done = np.cumsum(blocks[:, 2]), 0
    while done < len(blocks):
        wanted = (int(ends[done - 1]) if done else 0) + buffer_rows - len(left)
        until = min(int(np.searchsorted(ends, wanted)) + 1, len(blocks))
        buffer, done = _merged(left, _rows(blocks[done:until])), until
        of_batch = torch.randperm(len(buffer), generator=generator).numpy() // rows
        # stable: rows stay in their order on disk; small numbers are sorted by radix, in one pass
        small = np.uint16 if len(buffer) < rows << 16 else np.uint64
        order = np.argsort(of_batch.astype(small), kind="stable")
        # the last rows wait for the next filling, unless there is none
        whole = len(buffer) // rows * rows if done < len(blocks) else len(buffer)
        yield buffer[order], whole
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
