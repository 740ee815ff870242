"""Families that look at pairs and not at labels: PCA of differences, contrast-consistent search.

Both see only that two texts belong together, never which of the two has the concept; labels choose
nothing but the sign. So they find what differs most within pairs, and nothing says that this is
the concept: the more a pair differs in besides, the less they are worth.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from virtuelens.errors import ProbeError
from virtuelens.probing.scaling import standardised

Array = np.ndarray

CCS_RESTARTS = 10
CCS_RIDGE = 0.01
"""Penalty on the squared norm of the weights (features standardised): without one, the loss of
pairs that can be told apart falls for ever as the weights grow."""


def pca_diff(
    X: Float[Array, "n d"], labelings: Int[Array, "b n"], pairs: Sequence[str]
) -> Float[Array, "b d"]:
    """First principal component of the differences within pairs.

    They are not centred, because a pair has no order. Where a pair holds more than two examples,
    of their distances from the pair's mean. Features are not standardised: a feature of large
    scale is a large difference.

    Raises: ProbeError: no two examples share a pair.
    Source: representation engineering (reading vectors), Zou et al. 2023, arXiv:2310.01405.
    """
    from scipy.linalg import eigh

    within = _within_pairs(X, pairs)
    n, d = within.shape
    # the smaller of the two Gram matrices: the same component
    gram = within.T @ within if d <= n else within @ within.T
    top = eigh(gram, subset_by_index=[len(gram) - 1] * 2)[1][:, 0]
    w = top if d <= n else within.T @ top
    norm = np.linalg.norm(w)
    return _signed(w / norm if norm > 0 else w, X, labelings)


def ccs(
    X: Float[Array, "n d"], labelings: Int[Array, "b n"], pairs: Sequence[str]
) -> Float[Array, "b d"]:
    """Contrast-consistent search: weights that tell the two texts of a pair apart, and are sure.

    Minimises (p1 + p2 - 1)^2 + min(p1, p2)^2 over pairs of two, from 10 random starts, of which the
    lowest loss is kept. Two departures from the paper: our pairs have no known order (theirs end in
    "yes" and "no", and each ending is normalised by itself), so both texts are normalised together;
    and it is solved by L-BFGS with a small ridge instead of AdamW with weight decay.

    Offered as a foil, not as an instrument. Farquhar et al. 2023 (arXiv:2312.10029) prove that
    arbitrary features satisfy the objective, and show that what it finds is the most prominent
    feature that differs within pairs, whoever's it is; its authors' own reading, that consistency
    singles out the model's knowledge, does not follow. Where it agrees with the labels, that says
    that the pairs differ in little else.

    Raises: ProbeError: fewer than two pairs of two examples.
    Source: Burns et al. 2022, arXiv:2212.03827.
    """
    from scipy.optimize import minimize

    first, second = _couples(pairs)
    Z, scale = standardised(X)
    A, B = Z[first], Z[second]
    rng = np.random.default_rng(0)
    starts = rng.normal(size=(CCS_RESTARTS, X.shape[1])) / np.sqrt(X.shape[1])
    found = [
        minimize(_ccs_loss, np.append(w, 0.0), args=(A, B), jac=True, method="L-BFGS-B",
                 options={"maxiter": 300, "ftol": 1e-12, "gtol": 1e-8})
        for w in starts
    ]
    best = min(found, key=lambda r: float(r.fun))
    return _signed(best.x[:-1] / scale, X, labelings)


def _ccs_loss(
    wb: Float[Array, " d1"], A: Float[Array, "m d"], B: Float[Array, "m d"]
) -> tuple[float, Float[Array, " d1"]]:
    """Loss and gradient in weights and bias."""
    from scipy.special import expit

    w, b = wb[:-1], wb[-1]
    p, q = expit(A @ w + b), expit(B @ w + b)
    odd = p + q - 1
    p_less = p < q
    loss = (odd**2).mean() + (np.minimum(p, q) ** 2).mean() + CCS_RIDGE * (w @ w)
    dp = (2 * odd + 2 * p * p_less) * p * (1 - p) / len(p)
    dq = (2 * odd + 2 * q * ~p_less) * q * (1 - q) / len(p)
    slope = dp @ A + dq @ B + 2 * CCS_RIDGE * w
    return float(loss), np.append(slope, dp.sum() + dq.sum())


def _within_pairs(X: Float[Array, "n d"], pairs: Sequence[str]) -> Float[Array, "n d"]:
    """Every example minus the mean of its pair."""
    names, of, sizes = np.unique(np.asarray(pairs), return_inverse=True, return_counts=True)
    if sizes.max(initial=0) < 2:
        raise ProbeError(
            "No two of these examples share a pair, and this family looks at differences within "
            "pairs: use diff_means, logistic or lda."
        )
    means = np.zeros((len(names), X.shape[1]))
    np.add.at(means, of, X)
    return X - (means / sizes[:, None])[of]


def _couples(pairs: Sequence[str]) -> tuple[Int[Array, " m"], Int[Array, " m"]]:
    """Rows of the two examples of each pair that has exactly two."""
    _, of, sizes = np.unique(np.asarray(pairs), return_inverse=True, return_counts=True)
    inside = np.flatnonzero(sizes[of] == 2)
    rows = inside[np.argsort(of[inside], kind="stable")]  # the two of a pair beside each other
    if len(rows) < 4:
        raise ProbeError(
            f"CCS needs at least 2 pairs of two examples, here are {len(rows) // 2}: use "
            "diff_means, logistic or lda."
        )
    return rows[::2], rows[1::2]


def _signed(
    w: Float[Array, " d"], X: Float[Array, "n d"], labelings: Int[Array, "b n"]
) -> Float[Array, "b d"]:
    """`w`, turned for each labelling so that the positives score higher on average."""
    along = X @ w  # [n]
    y = labelings.astype(np.float64)
    gap = y @ along / y.sum(axis=1) - (1 - y) @ along / (1 - y).sum(axis=1)
    return np.where(gap < 0, -1.0, 1.0)[:, None] * w
