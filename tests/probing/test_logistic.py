"""The batched logistic solver finds scikit-learn's solutions, folds and strengths at once."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from virtuelens import stats
from virtuelens.errors import ProbeError
from virtuelens.probing import logistic
from virtuelens.probing.data import Examples, Site
from virtuelens.probing.logistic import fit_layer, logistic_path, sweep_layers
from virtuelens.probing.methods import STRENGTHS
from virtuelens.probing.sweep import fit_weights, sweep

SOME = (1e-3, 0.1, 1.0, 100.0)


def correlated(seed: int, n: int, d: int, gap: float = 2.0) -> tuple:
    """Features that share a falling spectrum, with scales and means of their own; ten groups."""
    rng = np.random.default_rng(seed)
    spectrum = np.arange(1, d + 1) ** -0.7
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    y = rng.integers(0, 2, n)
    toward = rng.normal(size=d)
    latent = rng.normal(size=(n, d)) + gap * np.outer(y - 0.5, toward / np.linalg.norm(toward))
    X = (latent * spectrum) @ turn * np.geomspace(0.1, 10, d) + rng.normal(size=d)
    return X, y, np.arange(n) % 10


def theirs(X: np.ndarray, y: np.ndarray, rows: np.ndarray, C: float) -> tuple:
    """scikit-learn's converged weights and intercept, standardised by all rows."""
    scaler = StandardScaler().fit(X)
    model = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-10, max_iter=500)
    model.fit(scaler.transform(X)[rows], y[rows])
    w = model.coef_[0] / scaler.scale_
    return w, float(model.intercept_[0]) - w @ scaler.mean_


@pytest.mark.parametrize(("n", "d"), [(240, 40), (120, 300)], ids=["n > d", "d > n"])
def test_weights_and_intercept_are_sklearns_in_every_fold_at_every_strength(
    n: int, d: int
) -> None:
    """Objective, standardisation and unpenalised intercept are the same."""
    X, y, groups = correlated(0, n, d)
    inside = np.stack([groups % 5 != k for k in range(5)])
    path = logistic_path(torch.from_numpy(X), torch.from_numpy(y).expand(5, -1), SOME,
                         rows=torch.from_numpy(inside), tol=2e-9)
    assert path.converged.all()
    for s, C in enumerate(SOME):
        for k in range(5):
            w, b = theirs(X, y, inside[k], C)
            ours = path.weights[s, k].numpy()
            assert np.linalg.norm(ours - w) < 1e-4 * np.linalg.norm(w)
            assert float(path.bias[s, k]) == pytest.approx(b, rel=1e-4, abs=1e-4)


def test_single_precision_sorts_held_out_rows_alike() -> None:
    """float32 at the default tolerance: fold AUROCs within 0.002 of converged scikit-learn."""
    X, y, groups = correlated(1, 600, 100)
    fitted = fit_layer(torch.from_numpy(X).float(), y, groups % 5, SOME)
    for s, C in enumerate(SOME):
        for k in range(5):
            w, _ = theirs(X, y, groups % 5 != k, C)
            held = groups % 5 == k
            assert fitted.fold_auroc[s, k] == pytest.approx(
                stats.auroc(X[held] @ w, y[held]), abs=2e-3)
    assert fitted.strength == SOME[int(fitted.fold_auroc.mean(axis=1).argmax())]


def test_the_layer_fit_is_the_solution_on_all_rows_at_the_chosen_strength() -> None:
    """Its weights act on raw activations."""
    X, y, groups = correlated(2, 300, 30)
    fitted = fit_layer(torch.from_numpy(X), y, groups % 5, SOME, tol=1e-10)
    w, b = theirs(X, y, np.ones(300, dtype=bool), fitted.strength)
    assert fitted.weights.numpy() == pytest.approx(w, rel=1e-4, abs=1e-7)
    assert fitted.bias == pytest.approx(b, rel=1e-4, abs=1e-6)


def test_order_of_strengths_and_chunks_of_problems_change_nothing(monkeypatch) -> None:
    """Strengths come back as they were asked for; problems solved apart are the same."""
    X, y, _ = correlated(3, 100, 20)
    labels = torch.from_numpy(np.stack([y, 1 - y, np.roll(y, 5)]))
    there = logistic_path(torch.from_numpy(X), labels, (1.0, 0.01), tol=1e-10)
    monkeypatch.setattr(logistic, "PROBLEM_ELEMENTS", 100)
    back = logistic_path(torch.from_numpy(X), labels, (0.01, 1.0), tol=1e-10)
    assert torch.allclose(there.weights, back.weights.flip(0), rtol=1e-5, atol=1e-8)
    assert torch.allclose(there.weights[:, 0], -there.weights[:, 1], rtol=1e-5, atol=1e-8)


def test_without_variance_nothing_is_learnt() -> None:
    """Constant activations give zero weights, more features than rows or not."""
    for d in (3, 30):
        path = logistic_path(torch.full((10, d), 5.0), torch.arange(10)[None] % 2, (0.1, 10.0))
        assert not path.weights.any()


def test_folds_of_one_class_are_refused() -> None:
    """Nothing could be chosen: said in one line."""
    X, y, _ = correlated(4, 40, 5)
    with pytest.raises(ProbeError, match="both classes"):
        fit_layer(torch.from_numpy(X), y, y)


def test_layers_are_let_go_one_by_one() -> None:
    """When the next layer is asked for, the one before is held nowhere."""
    import gc
    import weakref

    X, y, groups = correlated(5, 60, 8)
    seen: list = []

    def layers():
        for _ in range(3):
            gc.collect()
            assert all(ref() is None for ref in seen)
            layer = torch.from_numpy(X) * 1.0
            seen.append(weakref.ref(layer))
            yield layer
            del layer

    assert len(list(sweep_layers(layers(), y, groups % 5, SOME))) == 3


def test_the_sweep_chooses_a_strength_and_says_which() -> None:
    """`logistic_cv`: the cell holds the C, and the weights are the fit at that C."""
    rng = np.random.default_rng(0)
    n, d, site = 240, 60, Site("blocks.0.hook_resid_post", "last")
    y = np.tile([1, 0], n // 2)
    X = rng.normal(size=(n, d))
    X[:, 0] += 2.0 * y
    e = Examples({site: X}, y, tuple(f"g{i // 20}" for i in range(n)),
                 tuple(f"p{i // 2}" for i in range(n)), tuple(f"e{i}" for i in range(n)))
    found = sweep(e, methods=["logistic_cv"], n_permutations=40, n_bootstrap=50)
    assert found.selected.strength in STRENGTHS
    assert found.selected.strength < 1  # sixty features, sixty kept rows a class: shrinking helps
    w, _ = theirs(found.fit.matrices[site], found.fit.labels,
                  np.ones(len(found.fit.ids), dtype=bool), found.selected.strength)
    assert found.weights == pytest.approx(w, rel=1e-3, abs=1e-6)
    assert fit_weights(found.fit, site, "logistic_cv") == pytest.approx(w, rel=1e-3, abs=1e-6)
    assert found.p == pytest.approx(1 / 41)
