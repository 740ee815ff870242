"""Every probe method passes one contract."""

import numpy as np
import pytest

from virtuelens import stats
from virtuelens.probing.methods import LOGISTIC_C, METHODS, Method


def planted(seed: int, n: int = 400, d: int = 24, gap: float = 3.0) -> tuple:
    """Two classes that differ along one direction of an anisotropic cloud."""
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=d)
    direction /= np.linalg.norm(direction)
    labels = rng.integers(0, 2, n)
    X = rng.normal(size=(n, d)) + gap * np.outer(labels - 0.5, direction)
    return X, labels, direction


each_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())


@each_method
def test_recovers_a_planted_direction(method: Method) -> None:
    """In a round cloud the weights point along the planted direction, towards label 1."""
    X, y, direction = planted(0)
    w = method.fit(X, y[None])[0]
    assert w @ direction / np.linalg.norm(w) > 0.9


@each_method
def test_is_indifferent_to_the_order_of_examples(method: Method) -> None:
    """Shuffling the examples changes nothing but rounding."""
    X, y, _ = planted(1)
    order = np.random.default_rng(0).permutation(len(y))
    a, b = method.fit(X, y[None])[0], method.fit(X[order], y[None, order])[0]
    assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 1 - 1e-6


@each_method
def test_is_indifferent_to_a_common_scale_and_shift(method: Method) -> None:
    """Scores rank the same when all activations are scaled and shifted together."""
    X, y, _ = planted(2)
    held = planted(3)[0]
    a = held @ method.fit(X, y[None])[0]
    b = (held * 50 + 7) @ method.fit(X * 50 + 7, y[None])[0]
    assert np.corrcoef(a, b)[0, 1] > 1 - 1e-5


@each_method
def test_weights_act_on_raw_activations_even_where_features_differ_in_scale(
    method: Method,
) -> None:
    """Whatever is standardised inside is mapped back (EasySteer's bug)."""
    X, y, _ = planted(4)
    held, y_held, _ = planted(4, n=401)
    scale = np.geomspace(1e-2, 1e2, X.shape[1])
    w = method.fit(X * scale, y[None])[0]
    if method.name == "diff_means":  # not scale-free by nature: it must only be the raw means
        assert w == pytest.approx((X * scale)[y == 1].mean(0) - (X * scale)[y == 0].mean(0))
    else:
        assert stats.auroc((held * scale) @ w, y_held) > 0.9


@each_method
def test_is_at_chance_on_shuffled_labels(method: Method) -> None:
    """Over 40 label shuffles, held-out AUROC is 0.5 on average."""
    X, y, _ = planted(5)
    held, y_held, _ = planted(6)
    drawn = stats.permuted_labels(y, ["all"] * len(y), n_draws=40, seed=0)
    scores = held @ method.fit(X, drawn).T
    assert abs(stats.auroc_columns(scores, y_held).mean() - 0.5) < 0.12


@each_method
def test_many_labellings_at_once_equal_one_at_a_time(method: Method) -> None:
    """The batch that the permutation null uses is the same fit."""
    X, y, _ = planted(7, n=120)
    drawn = np.stack([y, 1 - y, np.roll(y, 3)])
    together = method.fit(X, drawn)
    for labels, w in zip(drawn, together, strict=True):
        alone = method.fit(X, labels[None])[0]
        assert w @ alone / np.linalg.norm(w) / np.linalg.norm(alone) > 1 - 1e-6


@each_method
def test_constant_and_duplicate_features_do_no_harm(method: Method) -> None:
    """Columns without variance, and copies of columns, give finite weights."""
    X, y, _ = planted(8)
    X = np.concatenate([X, X[:, :3], np.full((len(X), 2), 5.0)], axis=1)
    w = method.fit(X, y[None])[0]
    assert np.isfinite(w).all()
    assert stats.auroc(X @ w, y) > 0.9


def test_logistic_is_sklearns() -> None:
    """The batched solver finds scikit-learn's solution on standardised features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    for seed, gap in ((0, 0.5), (1, 4.0)):
        X, y, _ = planted(seed, n=200, d=60, gap=gap)
        X = X * np.geomspace(0.1, 10, 60)
        scaler = StandardScaler().fit(X)
        reference = LogisticRegression(C=LOGISTIC_C, tol=1e-8, max_iter=5000)
        theirs = reference.fit(scaler.transform(X), y).coef_[0] / scaler.scale_
        ours = METHODS["logistic"].fit(X, y[None])[0]
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-6)


def test_lda_is_sklearns_direction() -> None:
    """The total covariance gives the direction of scikit-learn's within-class discriminant."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    X, y, _ = planted(9, n=2000, d=10)
    theirs = LinearDiscriminantAnalysis(solver="lsqr").fit(X, y).coef_[0]
    ours = METHODS["lda"].fit(X, y[None])[0]
    assert ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs) > 0.999
