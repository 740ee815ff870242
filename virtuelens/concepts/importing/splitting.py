"""Which groups go into main, shifted, and the behaviour items."""

import logging
from collections.abc import Sequence
from typing import Literal

from virtuelens.concepts.importing.drafts import Pair, Single
from virtuelens.concepts.splits import FEW_GROUPS, fit_test_groups
from virtuelens.errors import PackError

Part = Literal["main", "shifted", "behaviour"]

SHIFTED, ITEMS = 0.3, 0.2
"""Share of the pairs whose groups are kept for shifted, and of all for behaviour items."""
TRIES = 50
ALIKE = 0.1
"""Difference of the shares of label 1 in main and shifted that is small enough."""



def parts(
    pairs: Sequence[Pair | Single], groups: Sequence[str], *, items: bool, seed: int
) -> dict[str, Part]:
    """The part of every group. Main and shifted hold both labels; behaviour has its own groups.

    items: keep groups for behaviour items (only where there are enough).

    Raises: PackError: too few groups, or no split of them has both labels on both sides.
    """
    names = set(groups)
    if len(names) < 2:
        raise PackError(
            f"All {len(groups)} texts are in one group ({next(iter(names), 'none')!r}): a split "
            "needs two. Give more files, or a column group with topics or sources."
        )
    out: dict[str, Part] = {}
    if items and len(names) >= 2 * FEW_GROUPS:
        _, held = fit_test_groups(groups, test_share=ITEMS, seed=seed)
        out = dict.fromkeys(held, "behaviour")
    left = [(p, g) for p, g in zip(pairs, groups, strict=True) if g not in out]
    main, shifted = _balanced(left, seed)
    return out | dict.fromkeys(main, "main") | dict.fromkeys(shifted, "shifted")


def _balanced(
    drafts: Sequence[tuple[Pair | Single, str]], seed: int
) -> tuple[frozenset[str], frozenset[str]]:
    """Main and shifted with both labels, and about the same share of them.

    Pairs are balanced whatever the split. Single texts are dealt anew until the shares differ by at
    most `ALIKE`, or the best of all tries is taken.
    """
    groups = [g for _, g in drafts]
    log = logging.getLogger(fit_test_groups.__module__)
    level, best, smallest = log.level, None, 2.0
    try:
        for attempt in range(TRIES):
            sides = fit_test_groups(groups, test_share=SHIFTED, seed=seed + attempt)
            log.setLevel(logging.ERROR)  # few groups are warned of once, not at every try
            shares = [_share(drafts, side) for side in sides]
            if min(shares) > 0 and max(shares) < 1 and abs(shares[0] - shares[1]) < smallest:
                best, smallest = sides, abs(shares[0] - shares[1])
            if smallest <= ALIKE:
                break
    finally:
        log.setLevel(level)
    if best is None:
        raise PackError(
            f"No split of the {len(set(groups))} groups has both labels on both sides: give more "
            "texts, or another group column."
        )
    return best


def _share(drafts: Sequence[tuple[Pair | Single, str]], groups: frozenset[str]) -> float:
    """Share of label 1 in these groups."""
    labels = [p.label if isinstance(p, Single) else 0.5 for p, g in drafts if g in groups]
    return sum(labels) / len(labels)
