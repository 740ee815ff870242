"""The rows of many shards in a random order, copied once, straight from the mapped files.

Rows of a shard were put into a random order when it was written (`shards`). So a stretch of a shard
is a sample of its texts, and is read as fast as memory is copied; single rows picked here and there
are read at half that speed.

1. Shards are shuffled and cut into groups. A batch comes from the few shards of a group, however
   many a store has, so a disk reads on.
2. Each shard is cut into stretches, at places drawn anew by the seed.
3. The stretches of a group are shuffled; a batch takes the next ones.
"""

from collections.abc import Callable, Iterator, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

STRETCHES, LONGEST = 8, 512
"""Stretches of a batch, at least; rows of a stretch, at most: shorter ones are read slower."""
MOST_SHARDS = 128
"""Of a group: each is an open file."""


def batches(
    n_rows: Mapping[int, int],
    tensor: Callable[[int], Tensor],
    *,
    rows: int,
    mixed_rows: int,
    generator: torch.Generator,
    reuse: bool = False,
) -> Iterator[Float[Tensor, "rows d_model"]]:
    """Every row of the tensors of all shards once; the last batch may be smaller.

    n_rows: of each shard. tensor: the one of a shard, mapped.
    mixed_rows: of a group of shards, at least, unless they are very many.
    reuse: write each batch where the one before stood.
    """
    if rows < 1:
        raise ValueError(f"rows is {rows}: expected at least 1")
    length = min(LONGEST, -(-rows // STRETCHES))
    room: Tensor | None = None
    held: list[Tensor] = []
    n = 0
    for group in _groups(n_rows, mixed_rows, generator):
        for stretch in _stretches([tensor(number) for number in group], length, generator):
            left = stretch
            while len(left):
                held.append(left[: rows - n])
                n, left = n + len(held[-1]), left[rows - n :]
                if n == rows:
                    room = torch.cat(held, out=room if reuse else None)
                    yield room
                    held, n = [], 0
    if held:
        yield torch.cat(held, out=None if room is None or not reuse else room[:n])


def _groups(
    n_rows: Mapping[int, int], mixed_rows: int, generator: torch.Generator
) -> Iterator[list[int]]:
    """Shards that have rows, in a random order, together so many rows or `MOST_SHARDS`."""
    shards = [number for number, n in sorted(n_rows.items()) if n]
    group: list[int] = []
    held = 0
    for i in torch.randperm(len(shards), generator=generator).tolist():
        group.append(shards[i])
        held += n_rows[shards[i]]
        if held >= mixed_rows or len(group) == MOST_SHARDS:
            yield group
            group, held = [], 0
    if group:
        yield group


def _stretches(
    shards: list[Tensor], length: int, generator: torch.Generator
) -> Iterator[Float[Tensor, "some d_model"]]:
    """All rows of the shards in stretches, the stretches in a random order."""
    cut: list[Tensor] = []
    for rows in shards:
        first = int(torch.randint(1, length + 1, (), generator=generator))
        cut += [rows[:first], *torch.split(rows[first:], length)]
    for i in torch.randperm(len(cut), generator=generator).tolist():
        yield cut[i]
