"""The table of probe families: each maps activations and labels to a direction in raw space.

Every method fits *many labellings at once* (`[b n]` labels give `[b d_model]` weights), so that the
permutation null runs through exactly the code that made the observed value, and cheaply.
Fitting may standardise inside; the weights returned always act on raw activations.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

Array = np.ndarray
Fit = Callable[[Float[Array, "n d"], Int[Array, "b n"]], Float[Array, "b d"]]


@dataclass(frozen=True)
class Method:
    """A row of the table. `fit` returns weights whose scores `X @ w` rise with label 1."""

    name: str
    about: str
    source: str
    fit: Fit


def diff_means(X: Float[Array, "n d"], labelings: Int[Array, "b n"]) -> Float[Array, "b d"]:
    """Mean of the positives minus mean of the negatives.

    Source: Marks and Tegmark 2023, arXiv:2310.06824 (mass-mean); Rimsky et al. 2023 (CAA).
    """
    signed = _class_weights(labelings)
    return signed @ X


def lda(X: Float[Array, "n d"], labelings: Int[Array, "b n"]) -> Float[Array, "b d"]:
    """Linear discriminant with Ledoit-Wolf shrinkage: the mean difference, whitened.

    The *total* covariance stands in for the within-class one: the two give the same direction
    (Sherman-Morrison), and the total one does not depend on the labels, so one factorisation
    serves every permutation.

    Source: Fisher 1936; shrinkage by Ledoit and Wolf 2004.
    """
    from sklearn.covariance import ledoit_wolf

    spread = X.std(axis=0)
    Z = (X - X.mean(axis=0)) / np.where(spread > _flat(X), spread, np.inf)
    covariance, _ = ledoit_wolf(Z, assume_centered=True)
    # a constant column has no variance: keep the matrix invertible, its weight is zero anyway
    covariance[np.diag_indices_from(covariance)] += 1e-8
    w = np.linalg.solve(covariance, diff_means(Z, labelings).T).T
    return w / np.where(spread > _flat(X), spread, np.inf)


def logistic(X: Float[Array, "n d"], labelings: Int[Array, "b n"]) -> Float[Array, "b d"]:
    """L2-regularised logistic regression on standardised features (sklearn's C = 0.1).

    Solved in the basis of the singular vectors, where the bound of Böhning and Lindsay (1988) on
    the Hessian is diagonal: each step is two matrix products for all labellings together,
    accelerated by Nesterov's method. Agrees with sklearn's LogisticRegression (tested).
    """
    n = len(X)
    spread = X.std(axis=0)
    scale = np.where(spread > _flat(X), spread, np.inf)
    Z = (X - X.mean(axis=0)) / scale
    U, s, Vt = np.linalg.svd(Z, full_matrices=False)
    keep = s > s[0] * 1e-7 if s[0] > 0 else np.zeros_like(s, dtype=bool)
    U, s, Vt = U[:, keep], s[keep], Vt[keep]
    if not len(s):
        return np.zeros((len(labelings), X.shape[1]))
    B = U * s  # [n r]
    y = labelings.astype(np.float64)
    ridge = 1 / (LOGISTIC_C * n)
    step = 1 / (s**2 / (4 * n) + ridge)  # [r], inverse of the bound on the curvature
    w = np.zeros((len(y), len(s)))
    bias = np.zeros((len(y), 1))
    w_ahead, bias_ahead, momentum = w, bias, 1.0
    for _ in range(400):
        p = _sigmoid(w_ahead @ B.T + bias_ahead)  # [b n]
        gradient = (p - y) @ B / n + ridge * w_ahead
        w_next = w_ahead - gradient * step
        bias_next = bias_ahead - 4 * (p - y).mean(axis=1, keepdims=True)
        momentum_next = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        pull = (momentum - 1) / momentum_next
        w_ahead = w_next + pull * (w_next - w)
        bias_ahead = bias_next + pull * (bias_next - bias)
        change = np.abs(w_next - w).max()
        w, bias, momentum = w_next, bias_next, momentum_next
        if change < 1e-6:
            break
    return (w @ Vt) / scale


LOGISTIC_C = 0.1

METHODS: dict[str, Method] = {
    m.name: m
    for m in (
        Method("diff_means", "difference of class means", "arXiv:2310.06824", diff_means),
        Method("logistic", "logistic regression, L2", "arXiv:2502.16681", logistic),
        Method("lda", "linear discriminant, shrunk covariance", "Fisher 1936", lda),
    )
}


def _class_weights(labelings: Int[Array, "b n"]) -> Float[Array, "b n"]:
    """Per row: 1/n_pos at positives, -1/n_neg at negatives."""
    y = labelings.astype(np.float64)
    return y / y.sum(axis=1, keepdims=True) - (1 - y) / (1 - y).sum(axis=1, keepdims=True)


def _flat(X: Float[Array, "n d"]) -> float:
    """Spread below which a feature counts as constant (rounding of its own magnitude)."""
    return 1e-6 * float(np.abs(X).max(initial=0.0)) + 1e-30


def _sigmoid(x: Float[Array, "..."]) -> Float[Array, "..."]:
    return 1 / (1 + np.exp(-np.clip(x, -40, 40)))
