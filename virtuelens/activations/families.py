"""Texts that begin alike: what they share is run once (`reading`).

1. Sort the texts by their tokens: those that begin alike stand together.
2. Cut the order into families so that most tokens are spared, each family running its shared
   beginning once. Found exactly, by dynamic programming over the sorted order.
3. Families run together: in one row, or, where texts must be padded, those of like size.

Contrast pairs share all before the words that differ, chats their system prompt, forced choices
the whole question. Where little would be spared, nothing is shared: two passes cost more than one.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np
from jaxtyping import Integer

from virtuelens.activations.plan import PER_BATCH, first_then_mixed, mixed

LEAST, MOST = 8, 64
"""Fewest tokens worth sharing, and most texts of a family."""
WORTH = 0.15
"""Share of all tokens that must be spared, or nothing is shared."""
MOST_FAMILIES = 256
"""Of a batch; only so far back is the cheapest cut looked for."""
LOOK, FULL = 64, 0.9
"""Units looked at for what fits into the end of a row, and from what share it is filled up."""


@dataclass(frozen=True, slots=True)
class Family:
    """Texts whose first `shared` tokens are the same; every text has tokens of its own after."""

    texts: tuple[int, ...]
    shared: int


def find_families(ids: Sequence[Integer[np.ndarray, " _"]]) -> tuple[Family, ...]:
    """Families of two texts or more, so that most tokens are spared; none if not worth it.

    ids: tokens of each text.
    """
    # bytes with the largest digit first are in the order of the numbers
    order = sorted(range(len(ids)), key=lambda i: ids[i].astype(">i4").tobytes())
    alike = [0, *(_alike(ids[a], ids[b]) for a, b in pairwise(order))]
    # spared[i]: most tokens spared among the first i texts; size[i]: of the last family there
    spared, size = [0] * (len(order) + 1), [1] * (len(order) + 1)
    for i in range(1, len(order) + 1):
        spared[i], shared = spared[i - 1], len(ids[order[i - 1]]) - 1
        for n in range(2, min(i, MOST) + 1):
            shared = min(shared, alike[i - n + 1], len(ids[order[i - n]]) - 1)
            if shared < LEAST:
                break
            gain = spared[i - n] + shared * (n - 1)
            if gain > spared[i]:
                spared[i], size[i] = gain, n
    if spared[-1] < WORTH * sum(map(len, ids)):
        return ()
    found, i = [], len(order)
    while i > 0:
        texts = order[i - size[i] : i]
        if len(texts) > 1:
            first, last = ids[texts[0]], ids[texts[-1]]
            shared = min(_alike(first, last), *(len(ids[t]) - 1 for t in texts))
            found.append(Family(tuple(sorted(texts)), shared))
        i -= size[i]
    return tuple(reversed(found))


def plan_families(
    families: Sequence[Family], lengths: Sequence[int], *, batch_tokens: int,
    per_batch: int = 2 * PER_BATCH,
) -> list[tuple[Family, ...]]:
    """Families that run together, in the order to run them.

    Both passes are padded, so families are put in order by what they share and by what is left,
    this way and that way, and the order whose best cut costs least is taken.
    batch_tokens: the most tokens of either pass, padding counted.
    """
    rest = {f: max(lengths[t] for t in f.texts) - f.shared for f in families}
    orders: list[Callable[[Family], tuple[int, ...]]] = [
        lambda f: (f.shared, rest[f]),
        lambda f: (rest[f], f.shared),
        lambda f: (f.shared // 8, rest[f]),
        lambda f: (rest[f] // 8, f.shared),
    ]
    tried = []
    for key in orders:
        order = sorted(sorted(families, key=lambda f: f.texts), key=key, reverse=True)
        tried.append(_cut(order, rest, batch_tokens, per_batch))
    return first_then_mixed(min(tried, key=lambda t: t[0])[1])


Unit = Family | int
"""A family, or a text that shares nothing with others."""


def plan_rows(
    units: Sequence[Unit], lengths: Sequence[int], *, batch_tokens: int
) -> list[tuple[tuple[Unit, ...], int]]:
    """What stands in one row, and the tokens that the row is filled up to.

    Each row takes texts of all lengths, and at its end the largest of the next `LOOK` that still
    fits: so rows hardly differ, and nearly all are filled up to one size. Memory and the
    library's plans of work, kept by size, are then used again and again: with rows of many sizes
    the same harvest took half as much memory again (benchmarks/harvest_store.py).
    The longest row goes first.
    batch_tokens: the most tokens of a row; a longer family is a row of its own.
    """
    order = iter(mixed([(u, _tokens(u, lengths)) for u in units]))
    rows: list[tuple[list[Unit], int]] = []
    following = list(islice(order, LOOK))
    while following:
        row: list[Unit] = []
        room = batch_tokens
        while following:
            chosen = _fitting(following, room)
            if chosen is None and row:
                break
            unit, size = following.pop(chosen or 0)
            row.append(unit)
            room -= size
            following += islice(order, 1)
        rows.append((row, batch_tokens - room))
    longest = max((size for _, size in rows), default=0)
    # what is much shorter, as the last row often is, stays so
    return [(tuple(row), longest if size >= FULL * longest else size)
            for row, size in sorted(rows, key=lambda r: -r[1])]


def _tokens(unit: Unit, lengths: Sequence[int]) -> int:
    if isinstance(unit, int):
        return lengths[unit]
    return unit.shared + sum(lengths[t] - unit.shared for t in unit.texts)


def _fitting(following: Sequence[tuple[Unit, int]], room: int) -> int | None:
    """Which comes next: the first if it fits, else the largest that does."""
    if following[0][1] <= room:
        return 0
    fits = [i for i, (_, size) in enumerate(following) if size <= room]
    return max(fits, key=lambda i: following[i][1], default=None)


def _cut(
    order: Sequence[Family], rest: Mapping[Family, int], batch_tokens: int, per_batch: int
) -> tuple[float, list[tuple[Family, ...]]]:
    """The cheapest cut of an order into batches (dynamic programming), and its cost in tokens."""
    cost, came = [0.0], [0]
    for k in range(1, len(order) + 1):
        head = tail = texts = 0
        best, where = math.inf, k - 1
        for j in range(k - 1, max(-1, k - 1 - MOST_FAMILIES), -1):
            f = order[j]
            head, tail, texts = max(head, f.shared), max(tail, rest[f]), texts + len(f.texts)
            heads, tails = head * (k - j), tail * texts
            if j < k - 1 and max(heads, tails) > batch_tokens:
                break
            if (c := cost[j] + heads + tails + per_batch) < best:
                best, where = c, j
        cost.append(best)
        came.append(where)
    batches, k = [], len(order)
    while k > 0:
        batches.append(tuple(order[came[k] : k]))
        k = came[k]
    return cost[-1], batches[::-1]


def _alike(a: Integer[np.ndarray, " n"], b: Integer[np.ndarray, " m"]) -> int:
    """How many first tokens are the same."""
    n = min(len(a), len(b))
    unlike = np.flatnonzero(a[:n] != b[:n])
    return int(unlike[0]) if len(unlike) else n
