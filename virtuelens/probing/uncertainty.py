"""How sure an AUROC is, for any family: over groups by bootstrap, over splits by repeating them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from virtuelens import stats
from virtuelens.errors import ProbeError
from virtuelens.probing.bags import BagExamples
from virtuelens.probing.data import Examples, Site
from virtuelens.probing.methods import METHODS
from virtuelens.probing.scorers.scorer import check_shape
from virtuelens.probing.scorers.table import SCORERS
from virtuelens.probing.sweep import fit_weights, rows_to_fit, split_fit_test
from virtuelens.values.estimates import Estimate

Array = np.ndarray

_HERE = Site("", "")  # there is one place only, so its name does not matter


@dataclass(frozen=True)
class Uncertainty:
    """AUROC of one family at one place, with its two kinds of uncertainty.

    test: on the groups that the first split keeps aside; the interval resamples those groups with
        the probe as it is; its null is the 95 % quantile when the sides of the test pairs are
        swapped at random, and `p` the share of swaps that reach the value.
    splits: the AUROC of each split with its own interval, one a seed; the seed also starts the fit.
    """

    family: str
    test: Estimate
    p: float
    splits: tuple[Estimate, ...]

    @property
    def over_splits(self) -> Estimate:
        """Mean over splits; low and high are the 2.5 and 97.5 % quantiles of the splits, n of them.

        A spread, not a confidence interval: splits share examples.
        """
        return _spread([e.value for e in self.splits])

    def rows(self) -> list[dict[str, object]]:
        """One row a split, for a table: family, split, value, low, high, n, null."""
        return [{"family": self.family, "split": i} | e.to_json()
                for i, e in enumerate(self.splits)]


def uncertainty(
    examples: BagExamples,
    family: str,
    *,
    n_splits: int = 10,
    n_bootstrap: int = 1000,
    n_permutations: int = 200,
    seed: int = 0,
) -> Uncertainty:
    """Fit and judge one family on `n_splits` splits by group, seeds `seed`, `seed + 1`, ...

    family: row of METHODS (examples of one row each) or of SCORERS.

    Raises: ProbeError: unknown family, several rows where it reads one, fewer than two groups, or
    one class only.
    """
    if family not in METHODS and family not in SCORERS:
        raise ProbeError(
            f"Unknown family {family!r}: choose from {', '.join((*METHODS, *SCORERS))}."
        )
    _check_splits(n_splits)
    check_shape(family, examples.bags)
    splits, first = [], np.zeros(0)
    for number in range(n_splits):
        fit, held = split(examples, seed=seed + number)
        scores = held_out_scores(family, fit, held, seed=seed + number)
        if number == 0:
            first = swapped_aurocs(scores, held, n_draws=n_permutations, seed=seed)
        splits.append(stats.auroc_estimate(
            scores, held.labels, held.groups, n_draws=n_bootstrap, seed=seed + number, null=0.5,
        ))
    null = float(np.quantile(first, 0.95)) if len(first) else None
    return Uncertainty(family, replace(splits[0], null=null),
                       stats.permutation_p(splits[0].value, first), tuple(splits))


def direction_over_splits(
    examples: Examples, site: Site, family: str, *, n_splits: int, seed: int = 0
) -> Estimate:
    """`over_splits` of a direction at one site of a sweep, of which one part is held at a time.

    Raises: ProbeError: fewer than two groups, or one class only.
    """
    _check_splits(n_splits)
    values = []
    for number in range(seed, seed + n_splits):
        fit, held = split_fit_test(examples.at((site,)), seed=number)
        weights = fit_weights(fit, site, family, seed=number)
        values.append(stats.auroc(held.matrices[site] @ weights, held.labels))
    return _spread(values)


def _check_splits(n_splits: int) -> None:
    if n_splits < 1:
        raise ProbeError(f"n_splits is {n_splits}: at least one split is needed.")


def _spread(values: Sequence[float]) -> Estimate:
    low, high = np.quantile(values, [0.025, 0.975])
    return Estimate(float(np.mean(values)), float(low), float(high), len(values), 0.5)


def swapped_aurocs(
    scores: Float[Array, " m"], held: BagExamples, *, n_draws: int, seed: int
) -> Float[Array, " b"]:
    """AUROC of the same scores when the sides of the pairs are swapped at random."""
    if n_draws == 0:
        return np.zeros(0)
    swapped = stats.permuted_labels(held.labels, held.pairs, n_draws=n_draws, seed=seed)
    return stats.auroc_labelings(scores[:, None], swapped)[:, 0]


def held_out_scores(
    family: str, fit: BagExamples, held: BagExamples, *, seed: int = 0
) -> Float[Array, " m"]:
    """Scores of `held` by a family fitted on `fit`."""
    if family in METHODS:
        ids = tuple(map(str, range(len(fit.labels))))
        here = Examples({_HERE: fit.bags.values}, fit.labels, fit.groups, fit.pairs, ids)
        return held.bags.values @ fit_weights(here, _HERE, family, seed=seed)
    row = SCORERS[family]
    return row.score(row.fit(fit.bags, fit.labels, seed), held.bags)


def split(examples: BagExamples, *, seed: int) -> tuple[BagExamples, BagExamples]:
    """Fitting and test examples, split by group; the same groups as a sweep's with this seed.

    Raises: ProbeError: fewer than two groups, or a side with one class only.
    """
    inside = rows_to_fit(examples.groups, examples.labels, seed=seed)
    return examples.where(inside), examples.where(~inside)
