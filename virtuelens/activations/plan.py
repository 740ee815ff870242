"""Which texts run together where they must be padded: those of like length, so hardly anything is.

Where a model allows texts end to end in one row, `families.plan_rows` plans instead.

1. The lengths are cut into ranges so that padding and batches cost least together, found exactly by
   dynamic programming; a batch costs as much as some tokens, whatever it holds.
2. Each range is cut into batches of a token budget, as even as can be.
3. The longest batch goes first: if memory fails, it fails at once. The others follow in an order
   shuffled by a fixed seed, so that each stretch of a store holds texts of all lengths.
4. Batches in a row make a shard, until it has its size.
"""

import math
import random
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np

T = TypeVar("T")

PER_BATCH = 40
"""What a batch costs besides its tokens, in tokens.

Measured on 2 cores, 7 layers of 768: a batch takes as long as its tokens and 19 (fp32) or 59 (bf16)
more. 256 texts of 8 to 200 tokens (median 45) are padded by 4 %.
"""


CPU_WIDTH, MOST_TOKENS = 1024 * 768, 8192
"""On a CPU, numbers of a batch's residual stream at one point; and the most tokens of a batch.

Batches of 1,024 and 2,048 tokens are equally fast there, of 512 slower by 2 to 7 %, of 4,096 by 12
to 15 % (7 layers of 768, 2 cores); memory grows with them.
"""

GPU_WIDTH, GPU_ROWS, GPU_LAUNCH = 1 << 25, 1 << 28, 1 << 23
"""On a GPU: numbers of a batch's residual stream at one point, and at all that are read; and what a
batch costs besides its tokens, in numbers of the stream: starting its kernels takes the processor
as long as the GPU needs for that many (9 ms for 7 layers of 2,048 on an H100).
"""


def default_batch_tokens(d_model: int, device: str, n_points: int = 1) -> int:
    """Tokens of a batch where the user gives none: no more memory than speed asks for."""
    if not device.startswith("cpu"):
        fast = min(GPU_WIDTH // d_model, GPU_ROWS // (d_model * n_points))
        return max(1024, min(1 << 16, fast))
    return max(256, min(MOST_TOKENS, CPU_WIDTH // d_model))


def batch_cost(d_model: int, device: str) -> int:
    """What a batch costs besides its tokens, in tokens."""
    return PER_BATCH if device.startswith("cpu") else max(PER_BATCH, GPU_LAUNCH // d_model)


def plan_batches(
    lengths: Sequence[int], *, batch_tokens: int, per_batch: int = PER_BATCH
) -> list[tuple[int, ...]]:
    """Indices of the texts of each batch, in the order to run them.

    batch_tokens: the most tokens of a batch, padding counted; a longer text is a batch of its own.
    per_batch: what a batch costs besides its tokens, in tokens.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    batches: list[tuple[int, ...]] = []
    for start, end in _ranges([lengths[i] for i in order], batch_tokens, per_batch):
        rows = max(1, batch_tokens // max(1, lengths[order[start]]))
        n = math.ceil((end - start) / rows)
        cuts = [start + round(k * (end - start) / n) for k in range(n + 1)]
        batches += [tuple(order[a:b]) for a, b in pairwise(cuts)]
    return first_then_mixed(batches)


def _ranges(descending: Sequence[int], batch_tokens: int, per_batch: int) -> list[tuple[int, int]]:
    """Stretches of texts in order of length, so that the padded tokens and batches cost least."""
    widths, starts = np.unique(-np.asarray(descending, dtype=np.int64), return_index=True)
    widths, ends = -widths, np.append(starts[1:], len(descending))
    # cost[k]: of the k longest distinct lengths; came[k]: where the last range of them began
    cost, came = np.zeros(len(widths) + 1), np.zeros(len(widths) + 1, dtype=int)
    for k in range(1, len(widths) + 1):
        padded = widths[:k] * (ends[k - 1] - starts[:k])  # range j..k, padded to length j
        tried = cost[:k] + padded + per_batch * np.ceil(padded / batch_tokens)
        came[k] = int(tried.argmin())
        cost[k] = tried[came[k]]
    found, k = [], len(widths)
    while k > 0:
        found.append((int(starts[came[k]]), int(ends[k - 1])))
        k = int(came[k])
    return found[::-1]


def first_then_mixed(batches: Sequence[T]) -> list[T]:
    """The first batch first, the others in an order that does not depend on what they hold."""
    return [*batches[:1], *mixed(batches[1:])]


def mixed(things: Sequence[T]) -> list[T]:
    """The same in an order that does not depend on what they are."""
    new = list(things)
    random.Random(0).shuffle(new)
    return new


def plan_shards(sizes: Sequence[int], *, limit: int) -> list[range]:
    """Runs of batches that make a shard each: closed when it has reached `limit`.

    sizes: of the batches, in any unit, in the order to run them.
    """
    cuts, filled = [0], 0
    for i, size in enumerate(sizes, start=1):
        filled += size
        if filled >= limit:
            cuts.append(i)
            filled = 0
    if cuts[-1] < len(sizes):
        cuts.append(len(sizes))
    return [range(a, b) for a, b in pairwise(cuts)]
