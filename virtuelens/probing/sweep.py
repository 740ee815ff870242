"""The sweep over sites and methods: choose inside the fitting groups, report on the others.

1. Split the groups of the main set into fitting and test groups (a group is never on both sides).
2. Score every cell (site x method) by cross-validation over the fitting groups; take the best, and
   of those that cannot be told apart by AUROC the one whose classes lie furthest apart.
3. Refit that cell on all fitting groups; its AUROC on the test groups is the reported one, with a
   cluster bootstrap over groups.
4. Null: swap the sides of pairs at random everywhere, refit every cell, and take the largest test
   AUROC of the whole sweep; the observed value must beat the distribution of that maximum.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from virtuelens import stats
from virtuelens.concepts.splits import fit_test_groups, group_folds
from virtuelens.errors import ProbeError
from virtuelens.probing.data import Array, Examples, Site
from virtuelens.probing.methods import METHODS
from virtuelens.values.estimates import Estimate


@dataclass(frozen=True)
class Cell:
    """One combination that was tried, with its cross-validated AUROC on the fitting groups.

    separation: difference of the class means of the same scores, in standard deviations within a
        class (d'): it still tells apart cells that all sort perfectly.
    """

    site: Site
    method: str
    cv: Estimate
    separation: float


@dataclass(frozen=True)
class Sweep:
    """What the sweep found.

    weights: `[d_model]` raw-space weights of the selected cell, fitted on all fitting groups.
    test: AUROC on test groups; its `null` is the 95 % quantile of `null_max`.
    p: permutation p-value of `test` against the maximum over the sweep.
    """

    cells: tuple[Cell, ...]
    selected: Cell
    weights: Float[Array, " d"]
    fit: Examples
    held_out: Examples
    test: Estimate
    test_scores: Float[Array, " m"]
    null_max: Float[Array, " b"]
    p: float


def split_fit_test(examples: Examples, *, seed: int) -> tuple[Examples, Examples]:
    """Fitting and test examples, split by group."""
    fit_groups, _ = fit_test_groups(examples.groups, seed=seed)
    in_fit = np.array([g in fit_groups for g in examples.groups])
    return examples.rows(in_fit), examples.rows(~in_fit)


def sweep(
    examples: Examples,
    *,
    methods: Sequence[str] = tuple(METHODS),
    n_permutations: int = 200,
    n_bootstrap: int = 1000,
    seed: int = 0,
    progress: Callable[[], None] = lambda: None,
) -> Sweep:
    """Find the best cell, its held-out AUROC, and the null of the whole search.

    Raises: ProbeError: an unknown method, fewer than two groups, or one class only.
    """
    unknown = [m for m in methods if m not in METHODS]
    if unknown:
        raise ProbeError(f"Unknown probe method {unknown[0]!r}: choose from {', '.join(METHODS)}.")
    if len(set(examples.labels.tolist())) < 2:
        raise ProbeError("These examples hold one class only: a probe needs both.")
    fit, held_out = split_fit_test(examples, seed=seed)
    cells = cross_validate(fit, methods=methods, seed=seed, progress=progress)
    selected = best(cells)
    weights = fit_weights(fit, selected.site, selected.method)
    scores = held_out.matrices[selected.site] @ weights
    null_max = permutation_maxima(
        fit, held_out, methods=methods, n_draws=n_permutations, seed=seed, progress=progress
    )
    null = float(np.quantile(null_max, 0.95)) if len(null_max) else None
    test = stats.auroc_estimate(
        scores, held_out.labels, held_out.groups, n_draws=n_bootstrap, seed=seed, null=null
    )
    p = stats.permutation_p(test.value, null_max)
    return Sweep(cells, selected, weights, fit, held_out, test, scores, null_max, p)


def cross_validate(
    fit: Examples,
    *,
    methods: Sequence[str],
    seed: int,
    n_folds: int = 5,
    progress: Callable[[], None] = lambda: None,
) -> tuple[Cell, ...]:
    """AUROC of every cell over group folds; the interval is over groups, scores pooled in folds."""
    folds = group_folds(fit.groups, n_folds, seed=seed)
    cells = []
    for site, X in fit.matrices.items():
        for method in methods:
            scores = np.zeros(len(X))
            for held in folds:
                inside = np.array([g not in held for g in fit.groups])
                w = METHODS[method].fit(X[inside], fit.labels[None, inside])[0]
                out = X[~inside] @ w
                # folds have their own scale and offset: make them comparable before pooling
                scores[~inside] = (out - out.mean()) / (out.std() or 1.0)
            cv = stats.auroc_estimate(scores, fit.labels, fit.groups, n_draws=200, seed=seed)
            cells.append(Cell(site, method, cv, separation(scores, fit.labels)))
        progress()
    return tuple(cells)


def best(cells: Sequence[Cell]) -> Cell:
    """The cell with the largest cross-validated AUROC (to a thousandth), then separation."""
    return max(cells, key=lambda c: (round(c.cv.value, 3), c.separation))


def separation(scores: Float[Array, " n"], labels: Array) -> float:
    """d': difference of the class means over the standard deviation within a class.

    0 where scores do not vary within a class.
    """
    of = [scores[labels == label] for label in (0, 1)]
    within = float(np.sqrt((of[0].var() + of[1].var()) / 2))
    return float(of[1].mean() - of[0].mean()) / within if within > 0 else 0.0


def fit_weights(fit: Examples, site: Site, method: str) -> Float[Array, " d"]:
    """Raw-space weights of one cell."""
    return METHODS[method].fit(fit.matrices[site], fit.labels[None, :])[0]


def permutation_maxima(
    fit: Examples,
    held_out: Examples,
    *,
    methods: Sequence[str],
    n_draws: int,
    seed: int,
    progress: Callable[[], None] = lambda: None,
) -> Float[Array, " b"]:
    """Largest test AUROC over the whole sweep, for each random swap of the sides of pairs."""
    if n_draws == 0:
        return np.zeros(0)
    fit_labels = stats.permuted_labels(fit.labels, fit.pairs, n_draws=n_draws, seed=seed)
    test_labels = stats.permuted_labels(
        held_out.labels, held_out.pairs, n_draws=n_draws, seed=seed + 1
    )
    maxima = np.zeros(n_draws)
    for site, X in fit.matrices.items():
        for method in methods:
            weights = METHODS[method].fit(X, fit_labels)  # [b d]
            scores = held_out.matrices[site] @ weights.T  # [m b]
            maxima = np.maximum(maxima, stats.auroc_each(scores, test_labels))
        progress()
    return maxima
