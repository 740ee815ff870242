"""Feature search: finds a planted feature, and at chance stays inside its own null."""

import numpy as np
import pytest

from virtuelens import stats
from virtuelens.errors import NotFiniteError
from virtuelens.sparse_coding.rank import fitting_rows, rank_features


def _acts(seed: int, gap: float) -> tuple[np.ndarray, np.ndarray, list[str], list[str]]:
    rng = np.random.default_rng(seed)
    labels = np.tile([1, 0], 100)
    acts = np.maximum(rng.normal(size=(200, 64)), 0)
    acts[:, 17] += gap * labels
    groups = [f"g{i // 20}" for i in range(200)]
    return acts, labels, groups, [f"p{i // 2}" for i in range(200)]


def test_intervals_are_those_of_the_cluster_bootstrap() -> None:
    """Though equal rows of a group are counted once: with many ties, and with few groups."""
    acts, labels, groups, pairs = _acts(0, 1.0)
    acts = np.round(acts, 1)
    for units in (groups, [f"g{i // 50}" for i in range(200)]):
        found = rank_features(acts, labels, groups=units, pairs=pairs, n_permutations=5)
        test = ~fitting_rows(units, labels, 0)
        for row in found.table.head(10).itertuples():
            e = stats.auroc_estimate(
                row.sign * acts[test, row.feature], labels[test],
                [g for g, t in zip(units, test, strict=True) if t], n_draws=500, seed=0)
            assert (row.auroc, row.low, row.high) == pytest.approx((e.value, e.low, e.high))


def test_a_planted_feature_is_first_and_beats_the_null_of_the_search() -> None:
    """Feature 17 carries the label: it ranks first with its interval above the null."""
    acts, labels, groups, pairs = _acts(0, 3.0)
    found = rank_features(acts, labels, groups=groups, pairs=pairs, n_permutations=50)
    assert found.table["feature"].iloc[0] == 17
    assert found.estimate().low > found.estimate().null  # type: ignore[operator]


def test_without_a_planted_feature_nothing_beats_the_null() -> None:
    """The best of 64 random features stays within what the search reaches by luck."""
    beats = 0
    for seed in range(10):
        acts, labels, groups, pairs = _acts(seed, 0.0)
        found = rank_features(acts, labels, groups=groups, pairs=pairs, n_permutations=50)
        beats += found.table["p"].iloc[0] <= 0.05
    assert beats <= 2


def test_a_feature_that_is_no_number_is_said() -> None:
    """It would be taken for one that does not vary, and left out of the search without a word."""
    acts, labels, groups, pairs = _acts(0, 3.0)
    acts[5, 17] = np.nan
    with pytest.raises(NotFiniteError, match="float32"):
        rank_features(acts, labels, groups=groups, pairs=pairs)
