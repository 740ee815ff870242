"""Which groups to fit on and which to test on; a group is never on both sides.

A split depends on the set of groups, their sizes and the seed, not on the order of the rows.
"""

import logging
import random
from collections import Counter
from collections.abc import Sequence

from virtuelens.errors import ProbeError

FEW_GROUPS = 6
"""Below this, intervals over groups are too wide to say much."""

_LOG = logging.getLogger(__name__)


def fit_test_groups(
    groups: Sequence[str], *, test_share: float = 0.4, seed: int
) -> tuple[frozenset[str], frozenset[str]]:
    """(fitting groups, test groups), with about `test_share` of the rows in the test groups.

    groups: the group of every row. Neither side is ever empty.

    Raises: ProbeError: fewer than two groups. ValueError: `test_share` is not between 0 and 1.
    """
    if not 0 < test_share < 1:
        raise ValueError(f"test_share is {test_share}: expected a share between 0 and 1")
    sizes = _sizes(groups, "A split into fitting and test examples")
    if len(sizes) < FEW_GROUPS:
        _LOG.warning("Only %d groups: what is found on them may not hold on others.", len(sizes))
    wanted = test_share * len(groups)
    test: set[str] = set()
    filled = 0
    for group in _shuffled(sizes, seed):
        # take it if that brings the test side closer to its share
        if abs(filled + sizes[group] - wanted) < abs(filled - wanted):
            test.add(group)
            filled += sizes[group]
    smallest = min(_shuffled(sizes, seed), key=lambda g: sizes[g])
    if not test:
        test.add(smallest)
    if len(test) == len(sizes):
        test.discard(smallest)
    return frozenset(sizes) - test, frozenset(test)


def group_folds(groups: Sequence[str], k: int, *, seed: int) -> list[frozenset[str]]:
    """The held-out groups of each of `k` folds, alike in size; fewer folds with fewer groups.

    Raises: ProbeError: fewer than two groups. ValueError: `k` is below 2.
    """
    if k < 2:
        raise ValueError(f"k is {k}: expected at least 2 folds")
    sizes = _sizes(groups, "Cross-validation over groups")
    folds: list[set[str]] = [set() for _ in range(min(k, len(sizes)))]
    filled = [0] * len(folds)
    for group in sorted(_shuffled(sizes, seed), key=lambda g: -sizes[g]):  # largest first
        smallest = min(range(len(folds)), key=lambda i: (filled[i], len(folds[i])))
        folds[smallest].add(group)
        filled[smallest] += sizes[group]
    return [frozenset(fold) for fold in folds]


def _sizes(groups: Sequence[str], what: str) -> dict[str, int]:
    sizes = dict(Counter(groups))
    if len(sizes) < 2:
        held = f"one ({next(iter(sizes))!r})" if sizes else "none"
        raise ProbeError(
            f"{what} needs at least 2 groups, these {len(groups)} examples have {held}: name "
            "their templates, topics or sources in `group`."
        )
    return sizes


def _shuffled(sizes: dict[str, int], seed: int) -> list[str]:
    names = sorted(sizes)
    random.Random(seed).shuffle(names)
    return names
