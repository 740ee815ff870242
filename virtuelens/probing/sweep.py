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
from jaxtyping import Bool, Float, Int

from virtuelens import stats
from virtuelens.concepts.splits import fit_test_groups, group_folds
from virtuelens.errors import ProbeError
from virtuelens.probing.data import Array, Examples, Site
from virtuelens.probing.methods import METHODS, STRENGTHS, SWEPT
from virtuelens.values.estimates import Estimate


@dataclass(frozen=True)
class Cell:
    """One combination that was tried, with its cross-validated AUROC on the fitting groups.

    separation: difference of the class means of the same scores, in standard deviations within a
        class (d'): it still tells apart cells that all sort perfectly.
    strength: the penalty's C that the same folds chose, where the method leaves that open.
    """

    site: Site
    method: str
    cv: Estimate
    separation: float
    strength: float | None = None


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
    """Fitting and test examples, split by group.

    Raises: ProbeError: fewer than two groups, or a side with one class only.
    """
    in_fit = rows_to_fit(examples.groups, examples.labels, seed=seed)
    return examples.rows(in_fit), examples.rows(~in_fit)


def rows_to_fit(
    groups: Sequence[str], labels: Int[Array, " n"], *, seed: int
) -> Bool[Array, " n"]:
    """Which rows are in the fitting groups.

    Raises: ProbeError: fewer than two groups, or a side with one class only.
    """
    fit_groups, _ = fit_test_groups(groups, seed=seed)
    in_fit = np.array([g in fit_groups for g in groups])
    if any(len(set(labels[side].tolist())) < 2 for side in (in_fit, ~in_fit)):
        raise ProbeError(
            f"Split by group (seed {seed}), one side holds one class only: a probe needs both. "
            "Give groups that hold both classes."
        )
    return in_fit


def held_out_rows(
    examples: Examples, *, n_folds: int = 5, seed: int
) -> list[Bool[Array, " n"]]:
    """Which rows each fold of groups holds out.

    Raises: ProbeError: fewer than two groups, or one class only on the rest of a fold.
    """
    folds = group_folds(examples.groups, n_folds, seed=seed)
    held = [np.array([g in fold for g in examples.groups]) for fold in folds]
    if any(len(set(examples.labels[~rows].tolist())) < 2 for rows in held):
        raise ProbeError(
            "Without one fold of groups the others hold one class only: a probe needs both. "
            "Give groups that hold both classes."
        )
    return held


def sweep(
    examples: Examples,
    *,
    methods: Sequence[str] = SWEPT,
    n_permutations: int = 200,
    n_bootstrap: int = 1000,
    seed: int = 0,
    progress: Callable[[], None] = lambda: None,
) -> Sweep:
    """Find the best cell, its held-out AUROC, and the null of the whole search.

    Raises: ProbeError: an unknown method, fewer than two groups, or one class only.
    """
    check_methods(methods)
    if len(set(examples.labels.tolist())) < 2:
        raise ProbeError("These examples hold one class only: a probe needs both.")
    fit, held_out = split_fit_test(examples, seed=seed)
    cells = cross_validate(fit, methods=methods, seed=seed, progress=progress)
    selected = best(cells)
    weights = fit_weights(
        fit, selected.site, selected.method, strength=selected.strength, seed=seed
    )
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


def check_methods(methods: Sequence[str]) -> None:
    """Refuse what is no row of METHODS, and no method at all.

    Raises: ProbeError.
    """
    unknown = [m for m in methods if m not in METHODS]
    if unknown or not methods:
        wrong = f"Unknown probe method {unknown[0]!r}" if unknown else "No probe method was named"
        raise ProbeError(f"{wrong}: choose from {', '.join(METHODS)}.")


def cross_validate(
    fit: Examples,
    *,
    methods: Sequence[str],
    seed: int,
    n_folds: int = 5,
    progress: Callable[[], None] = lambda: None,
) -> tuple[Cell, ...]:
    """AUROC of every cell over group folds; the interval is over groups, scores pooled in folds.

    Raises: ProbeError: an unknown method, fewer than two groups, or a fold without which one class
    only is left.
    """
    check_methods(methods)
    folds = held_out_rows(fit, n_folds=n_folds, seed=seed)
    pairs = np.array(fit.pairs)
    cells = []
    for site in fit.matrices:
        X = fit.matrices[site]
        for method in methods:
            if METHODS[method].path is not None:
                cells.append(_path_cell(fit, X, site, method, folds, seed=seed))
                continue
            scores = np.zeros(len(X))
            for held in folds:
                w = METHODS[method].weights(X[~held], fit.labels[None, ~held],
                                            pairs[~held].tolist())[0]
                out = X[held] @ w
                # folds have their own scale and offset: make them comparable before pooling
                scores[held] = (out - out.mean()) / (out.std() or 1.0)
            cv = stats.auroc_estimate(scores, fit.labels, fit.groups, n_draws=200, seed=seed)
            cells.append(Cell(site, method, cv, separation(scores, fit.labels)))
        del X  # before the next one is read
        progress()
    return tuple(cells)


def _path_cell(
    fit: Examples, X: Float[Array, "n d"], site: Site, method: str,
    folds: Sequence[Bool[Array, " n"]], *, seed: int,
) -> Cell:
    """The cell at the strength whose pooled scores sort best; of equal ones the smallest C."""
    y, path = fit.labels, METHODS[method].path
    assert path is not None
    held = np.stack(folds)  # [k n]
    weights = path(X, np.repeat(y[None], len(folds), axis=0), STRENGTHS, ~held)  # [s k d]
    scores = np.zeros((len(X), len(STRENGTHS)))
    for fold, w in zip(held, weights.swapaxes(0, 1), strict=True):
        out = X[fold] @ w.T  # [m s]
        spread = out.std(axis=0)
        scores[fold] = (out - out.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    chosen = int(np.round(stats.auroc_columns(scores, y), 3).argmax())
    cv = stats.auroc_estimate(scores[:, chosen], y, fit.groups, n_draws=200, seed=seed)
    return Cell(site, method, cv, separation(scores[:, chosen], y), STRENGTHS[chosen])


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


def fit_weights(
    fit: Examples, site: Site, method: str, *, strength: float | None = None, seed: int = 0
) -> Float[Array, " d"]:
    """Raw-space weights of one cell.

    strength: C of a method that leaves it open; chosen by group folds of `fit` unless given.
    """
    row = METHODS[method]
    X = fit.matrices[site]
    if row.path is None:
        return row.weights(X, fit.labels[None, :], fit.pairs)[0]
    if strength is None:
        folds = held_out_rows(fit, seed=seed)
        strength = _path_cell(fit, X, site, method, folds, seed=seed).strength
    return row.path(X, fit.labels[None, :], (strength,))[0, 0]


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
    for site in fit.matrices:
        X, other = fit.matrices[site], held_out.matrices[site]
        for method in methods:
            row = METHODS[method]
            # every strength that could have been chosen counts as tried
            tried = (row.weights(X, fit_labels, fit.pairs)[None] if row.path is None
                     else row.path(X, fit_labels, STRENGTHS))  # [s b d]
            for weights in tried:
                scores = other @ weights.T  # [m b]
                maxima = np.maximum(maxima, stats.auroc_each(scores, test_labels))
        del X, other  # before the next ones are read
        progress()
    return maxima
