"""Splits never cut through a group, are decided by the seed, and are alike in size."""

import logging
import random

import pytest

from virtuelens.concepts.splits import fit_test_groups, group_folds
from virtuelens.errors import ProbeError


def ragged(seed: int, n: int) -> list[str]:
    """`n` groups of 1 to 40 rows, rows in no order."""
    rng = random.Random(seed)
    rows = [f"g{i}" for i in range(n) for _ in range(rng.randint(1, 40))]
    rng.shuffle(rows)
    return rows


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n", [2, 3, 7, 30])
def test_fit_and_test_share_no_group_and_leave_none_out(n: int, seed: int) -> None:
    """Every group is on exactly one side, and neither side is empty."""
    groups = ragged(seed, n)
    fit, test = fit_test_groups(groups, seed=seed)
    assert fit
    assert test
    assert not fit & test
    assert fit | test == set(groups)


@pytest.mark.parametrize("seed", range(5))
def test_the_test_side_has_its_share_of_rows(seed: int) -> None:
    """With many groups of unlike size, within 3 points of what was asked."""
    groups = ragged(seed, 30)
    for share in (0.2, 0.4, 0.5):
        _, test = fit_test_groups(groups, test_share=share, seed=seed)
        assert abs(sum(g in test for g in groups) / len(groups) - share) < 0.03


@pytest.mark.parametrize("seed", range(5))
def test_folds_cover_every_group_once_and_are_alike_in_size(seed: int) -> None:
    """Held-out sets are disjoint; no fold has more rows than another by a largest group."""
    groups = ragged(seed, 30)
    folds = group_folds(groups, 5, seed=seed)
    assert len(folds) == 5
    assert sorted(g for f in folds for g in f) == sorted(set(groups))
    sizes = [sum(g in f for g in groups) for f in folds]
    assert max(sizes) - min(sizes) <= max(groups.count(g) for g in set(groups))


def test_only_seed_and_sizes_decide() -> None:
    """The order of the rows does not; another seed does."""
    groups = ragged(0, 30)
    for seed in range(3):
        assert fit_test_groups(groups, seed=seed) == fit_test_groups(sorted(groups), seed=seed)
        assert group_folds(groups, 4, seed=seed) == group_folds(groups[::-1], 4, seed=seed)
    assert len({fit_test_groups(groups, seed=seed) for seed in range(5)}) == 5
    assert len({frozenset(group_folds(groups, 4, seed=seed)) for seed in range(5)}) == 5


def test_fewer_groups_give_fewer_folds() -> None:
    """Three groups are three folds; one is an error that says what a group is."""
    assert len(group_folds(["a", "b", "c", "c"], 5, seed=0)) == 3
    for split in (lambda g: group_folds(g, 5, seed=0), lambda g: fit_test_groups(g, seed=0)):
        with pytest.raises(ProbeError, match=r"at least 2 groups.*one \('a'\).*`group`"):
            split(["a", "a"])
        with pytest.raises(ProbeError, match="none"):
            split([])


def test_few_groups_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """Once below six, not from six on."""
    with caplog.at_level(logging.WARNING, logger="virtuelens"):
        fit_test_groups(list("abcdef"), seed=0)
        assert not caplog.records
        fit_test_groups(list("abc"), seed=0)
    assert "Only 3 groups" in caplog.text
