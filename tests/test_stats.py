"""Statistics against scikit-learn, against theory, and at chance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from virtuelens import stats


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), n=st.integers(4, 60), ties=st.booleans())
def test_auroc_equals_sklearn(seed: int, n: int, ties: bool) -> None:
    """AUROC, one column or many, one labelling or many, is scikit-learn's, ties included."""
    rng = np.random.default_rng(seed)
    labels = np.array([0, 1, *rng.integers(0, 2, n - 2)])
    scores = rng.integers(0, 4, (n, 3)).astype(float) if ties else rng.normal(size=(n, 3))
    expected = [roc_auc_score(labels, scores[:, j]) for j in range(3)]
    assert stats.auroc_columns(scores, labels) == pytest.approx(expected)
    assert stats.auroc(scores[:, 0], labels) == pytest.approx(expected[0])
    each = stats.auroc_each(scores, np.stack([labels] * 3))
    assert each == pytest.approx(expected)


@pytest.mark.parametrize("n_groups", [3, 12])
def test_the_bootstrap_of_all_draws_at_once_is_the_one_draw_by_draw(n_groups: int) -> None:
    """Same samples, same interval, with ties and with draws that hold one class only."""
    rng = np.random.default_rng(0)
    groups = [f"g{i % n_groups}" for i in range(90)]
    labels = np.array([int(g in {"g0", "g1"}) for g in groups])
    scores = (rng.normal(size=90) + labels).round(1)
    rival = rng.normal(size=90).round(1)
    slow = stats.bootstrap(
        lambda rows: stats.auroc(scores[rows], labels[rows]), groups, n_draws=200, seed=3)
    fast = stats.auroc_estimate(scores, labels, groups, n_draws=200, seed=3)
    assert (fast.value, fast.low, fast.high) == pytest.approx((slow.value, slow.low, slow.high))
    gap = stats.auroc_difference(scores, rival, labels, groups, n_draws=200, seed=3)
    slow = stats.bootstrap(
        lambda rows: stats.auroc(scores[rows], labels[rows])
        - stats.auroc(rival[rows], labels[rows]),
        groups, n_draws=200, seed=3)
    assert (gap.value, gap.low, gap.high) == pytest.approx((slow.value, slow.low, slow.high))


def test_one_class_is_refused() -> None:
    """AUROC of one class is an error, not a number."""
    with pytest.raises(ValueError, match="both classes"):
        stats.auroc(np.arange(3.0), np.ones(3, dtype=int))


def test_the_group_bootstrap_is_wider_than_a_naive_one_when_groups_agree_inside() -> None:
    """Examples of one group are not independent, and the interval knows it."""
    rng = np.random.default_rng(0)
    groups = [f"g{i}" for i in range(12) for _ in range(20)]
    shift = np.repeat(rng.normal(size=12), 20)
    labels = np.tile([0, 1], 120)
    scores = labels * 0.5 + shift * labels + rng.normal(size=240) * 0.1
    clustered = stats.auroc_estimate(scores, labels, groups)
    alone = stats.auroc_estimate(scores, labels, [str(i) for i in range(240)])
    assert clustered.high - clustered.low > 1.5 * (alone.high - alone.low)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Over 100 draws of a known effect, the 95 % interval covers it in at least 85."""
    truth, hits = 0.7602, 0  # P(N(1,1) > N(0,1)) = Phi(1/sqrt 2)
    for seed in range(100):
        rng = np.random.default_rng(seed)
        labels = np.tile([0, 1], 100)
        scores = labels + rng.normal(size=200)
        groups = [str(i // 4) for i in range(200)]
        e = stats.auroc_estimate(scores, labels, groups, n_draws=200, seed=seed)
        hits += e.low <= truth <= e.high
    assert hits >= 85


def test_permuted_labels_swap_sides_of_pairs_only() -> None:
    """Each pair keeps one positive and one negative under every permutation."""
    pairs = [f"p{i // 2}" for i in range(20)]
    labels = np.tile([1, 0], 10)
    drawn = stats.permuted_labels(labels, pairs, n_draws=50, seed=0)
    assert (drawn.reshape(50, 10, 2).sum(axis=2) == 1).all()
    assert 0.3 < (drawn[:, ::2] == 1).mean() < 0.7


def test_benjamini_hochberg_equals_scipy() -> None:
    """Adjusted p-values are SciPy's false_discovery_control."""
    from scipy.stats import false_discovery_control

    p = [0.01, 0.04, 0.03, 0.2, 0.9, 0.011]
    assert stats.benjamini_hochberg(p) == pytest.approx(false_discovery_control(p).tolist())


def test_permutation_p_is_never_zero() -> None:
    """A p-value counts the observed draw itself."""
    assert stats.permutation_p(2.0, np.zeros(99)) == pytest.approx(0.01)
