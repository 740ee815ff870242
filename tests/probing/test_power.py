"""Pairs reckoned needed are those with which the difference is found as often as promised."""

import numpy as np
import pytest
from scipy.stats import norm

from virtuelens import stats
from virtuelens.errors import ProbeError
from virtuelens.probing.power import hanley_mcneil, pairs_needed, pairs_planned
from virtuelens.values.estimates import Estimate


def scored(n_pairs: int, gap: float, rng: np.random.Generator, *, per_group: int = 1,
           shared: float = 0.0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Scores of pairs; the gap of a group differs from others' by `shared`."""
    labels = np.tile([1, 0], n_pairs)
    group = np.repeat(np.arange(n_pairs) // per_group, 2)
    gaps = gap + shared * rng.normal(size=group.max() + 1)
    return rng.normal(size=2 * n_pairs) + gaps[group] * labels, labels, [f"g{g}" for g in group]


def test_the_variance_is_that_of_independent_examples() -> None:
    """Hanley and McNeil's variance is about that of simulated AUROCs."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(600):
        s, y, _ = scored(60, 0.5, rng)
        found.append(stats.auroc(s, y))
    truth = norm.cdf(0.5 / np.sqrt(2))
    assert np.var(found) == pytest.approx(hanley_mcneil(truth, 60, 60), rel=0.25)


@pytest.mark.parametrize("gap", [0.4, 0.8])
def test_planned_pairs_find_it_in_four_of_five(gap: float) -> None:
    """The test at the planned number of pairs rejects chance in about 80 % of samples."""
    rng = np.random.default_rng(1)
    n = pairs_planned(float(norm.cdf(gap / np.sqrt(2))))
    limit = 0.5 + 1.96 * np.sqrt(hanley_mcneil(0.5, n, n))
    seen = [stats.auroc(*scored(n, gap, rng)[:2]) > limit for _ in range(400)]
    assert 0.72 < np.mean(seen) < 0.88


def test_planned_pairs_grow_as_they_should() -> None:
    """With power, with a smaller gap, with likeness in groups; the same either way round 0.5."""
    assert pairs_planned(0.6, power=0.9) > pairs_planned(0.6) > pairs_planned(0.7)
    assert pairs_planned(0.6, design_effect=2.0) == pytest.approx(2 * pairs_planned(0.6), abs=2)
    assert pairs_planned(0.4) == pytest.approx(pairs_planned(0.6), rel=0.05)
    with pytest.raises(ProbeError, match="no difference"):
        pairs_planned(0.5)


def test_needed_pairs_are_found_from_a_small_sample_with_groups() -> None:
    """From the interval at hand to the power at that many pairs, groups being alike within."""
    rng = np.random.default_rng(2)
    s, y, g = scored(400, 0.5, rng, per_group=8, shared=0.5)
    e = stats.auroc_estimate(s, y, g, n_draws=500, null=0.5)
    truth = norm.cdf(0.5 / np.sqrt(2 + 0.25)) - 0.5
    n = pairs_needed(e, n_pairs=400, difference=float(truth))
    assert n is not None
    seen = []
    for _ in range(150):
        s, y, g = scored(8 * max(2, round(n / 8)), 0.5, rng, per_group=8, shared=0.5)
        seen.append(stats.auroc_estimate(s, y, g, n_draws=200, null=0.5).low > 0.5)
    assert 0.68 < np.mean(seen) < 0.95


def test_no_difference_needs_no_number() -> None:
    """None where nothing could ever be seen; an estimate without a null is refused."""
    assert pairs_needed(Estimate(0.5, 0.4, 0.6, 80, 0.5), n_pairs=40) is None
    assert pairs_needed(Estimate(0.6, float("-inf"), float("inf"), 80, 0.5), n_pairs=40) is None
    with pytest.raises(ProbeError, match="null"):
        pairs_needed(Estimate(0.6, 0.5, 0.7, 80), n_pairs=40)
