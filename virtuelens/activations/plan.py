"""Which texts run together: those of like length, so that hardly anything is padded.

1. Texts are sorted by length (longest first) and cut into batches of a token budget.
2. The longest batch goes first: if memory fails, it fails at once. The others follow in an order
   shuffled by a fixed seed, so that each stretch of a store holds texts of all lengths.
3. Batches in a row make a shard, until it has its size.
"""

import random
from collections.abc import Sequence
from itertools import pairwise


def plan_batches(lengths: Sequence[int], *, batch_tokens: int) -> list[tuple[int, ...]]:
    """Indices of the texts of each batch, in the order to run them.

    batch_tokens: the most tokens of a batch, padding counted; a longer text is a batch of its own.
    """
    batches: list[tuple[int, ...]] = []
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        # the first of a batch is its longest: every row is padded to it
        if batch and lengths[batch[0]] * (len(batch) + 1) > batch_tokens:
            batches.append(tuple(batch))
            batch = []
        batch.append(i)
    if batch:
        batches.append(tuple(batch))
    rest = batches[1:]
    random.Random(0).shuffle(rest)
    return batches[:1] + rest


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
