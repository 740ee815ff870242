"""The rows of many shards in a random order, in bounded memory.

1. Every shard is cut into blocks of consecutive rows; the blocks of all shards are shuffled.
2. Blocks are read until the buffer is full, shard by shard; the buffer is shuffled.
3. Batches are cut from it; what is left over waits for the next filling.

Two rows of one block are always in the buffer together, so blocks are small beside it. A store
that fits into the buffer is shuffled exactly.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import safe_open
from torch import Tensor

BLOCK_ROWS = 256


def rows(shard: Path, name: str) -> Float[Tensor, "rows d_model"]:
    """One tensor of a shard."""
    with safe_open(str(shard), framework="pt") as f:
        tensor: Tensor = f.get_tensor(name)
    return tensor


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
    blocks = [
        (number, start, min(start + BLOCK_ROWS, n))
        for number, n in sorted(n_rows.items())
        for start in range(0, n, BLOCK_ROWS)
    ]
    order = torch.randperm(len(blocks), generator=generator).tolist()
    left: Tensor | None = None
    while order:
        filled = 0 if left is None else len(left)
        taken = []
        while order and filled < max(buffer_rows, rows):
            taken.append(blocks[order.pop()])
            filled += taken[-1][2] - taken[-1][1]
        read = _read(sorted(taken), shard, name)
        buffer = torch.cat(read if left is None else [left, *read])
        buffer = buffer[torch.randperm(len(buffer), generator=generator)]
        whole = len(buffer) // rows * rows
        for start in range(0, whole, rows):
            yield buffer[start : start + rows].clone()
        left = buffer[whole:].clone()
    if left is not None and len(left):
        yield left


def _read(
    blocks: list[tuple[int, int, int]], shard: Callable[[int], Path], name: str
) -> list[Tensor]:
    """The blocks, each shard opened once."""
    out: list[Tensor] = []
    for number in dict.fromkeys(b[0] for b in blocks):
        with safe_open(str(shard(number)), framework="pt") as f:
            part = f.get_slice(name)
            out += [part[start:end] for n, start, end in blocks if n == number]
    return out
