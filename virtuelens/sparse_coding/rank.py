"""Which features of an SAE tell a concept apart: chosen on fitting groups, reported on test groups.

1. Split the groups as probes do; a group is never on both sides.
2. On the fitting groups, take every feature's AUROC and its sign (does more of the feature speak
   for the concept, or against it?); features are ordered by it.
3. On the test groups, take the AUROC of sign times feature, with a cluster bootstrap for the top.
4. Null: swap the sides of pairs at random everywhere, take every feature's sign on the fitting
   groups and the largest test AUROC over *all* features. A feature must beat that maximum, because
   it was looked for among all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from virtuelens import stats
from virtuelens.concepts.splits import fit_test_groups
from virtuelens.errors import SaeError
from virtuelens.values.estimates import Estimate

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Ranking:
    """All features that vary over the examples, best first by the fitting groups.

    table: one row a feature, in order of rank, with the columns
        feature
        sign       +1: more of the feature where the concept is present; -1: less
        auroc_fit  on the fitting groups, oriented by `sign`
        auroc      on the test groups, oriented by `sign`: the one to report
        low, high  its 95 % interval; NaN below the top features
        null       95 % quantile of `null_max`
        p          permutation p-value, corrected for the search over all features
        density    share of all examples in which the feature is active
    null_max: largest test AUROC over all features, for each random swap of the sides of pairs.
    n_test: examples in the test groups.
    n_silent: features that do not vary on the fitting groups, so cannot be ranked.
    """

    table: "pd.DataFrame"
    null_max: Float[Array, " b"]
    n_test: int
    n_silent: int

    def estimate(self, rank: int = 0) -> Estimate:
        """Held-out AUROC of the feature at that rank (0 is the best), with interval and null.

        Raises: SaeError: no interval was computed at that rank.
        """
        if rank >= len(self.table) or np.isnan(self.table["low"].iloc[rank]):
            raise SaeError(f"No interval for the feature at rank {rank}: ask for more with n_top.")
        row = self.table.iloc[rank]
        null = None if np.isnan(row["null"]) else float(row["null"])
        return Estimate(
            float(row["auroc"]), float(row["low"]), float(row["high"]), self.n_test, null
        )


def rank_features(
    feature_acts: Float[Array, "n d_sae"],
    labels: Int[Array, " n"],
    *,
    groups: Sequence[str],
    pairs: Sequence[str],
    n_top: int = 10,
    n_permutations: int = 200,
    n_bootstrap: int = 500,
    seed: int = 0,
) -> Ranking:
    """Every feature's AUROC for a concept, held out, against the null of the whole search.

    pairs: which examples belong together; where there are no pairs, pass `groups`.
    seed: of the split (the same as a probe's with this seed), the bootstrap and the null.

    Raises: SaeError: one class only on a side of the split, or no feature varies.
    """
    import pandas as pd

    acts, labels = np.asarray(feature_acts), np.asarray(labels)
    fit = _fitting_rows(groups, labels, seed)
    live = np.flatnonzero(np.ptp(acts[fit], axis=0) > 0)
    if not len(live):
        raise SaeError("No feature of this SAE varies over these examples: none can be ranked.")
    on_fit, on_test, null_max, signs = _aurocs(
        acts[:, live], labels, pairs, fit, n_draws=n_permutations, seed=seed
    )
    order = np.argsort(-on_fit, kind="stable")
    low, high = np.full(len(live), np.nan), np.full(len(live), np.nan)
    test_groups = [group for group, inside in zip(groups, fit, strict=True) if not inside]
    for i in order[:n_top]:
        e = stats.auroc_estimate(
            acts[~fit, live[i]] * signs[i], labels[~fit], test_groups,
            n_draws=n_bootstrap, seed=seed,
        )
        low[i], high[i] = e.low, e.high
    table = pd.DataFrame(
        {
            "feature": live, "sign": signs, "auroc_fit": on_fit, "auroc": on_test,
            "low": low, "high": high,
            "null": np.quantile(null_max, 0.95) if n_permutations else np.nan,
            "p": (1 + (null_max[:, None] >= on_test).sum(axis=0)) / (1 + n_permutations),
            "density": (acts[:, live] != 0).mean(axis=0),
        }
    ).iloc[order].reset_index(drop=True)
    return Ranking(table, null_max, int((~fit).sum()), acts.shape[1] - len(live))


def _aurocs(
    acts: Float[Array, "n m"], labels: Int[Array, " n"], pairs: Sequence[str],
    fit: Array, *, n_draws: int, seed: int,
) -> tuple[Float[Array, " m"], Float[Array, " m"], Float[Array, " b"], Int[Array, " m"]]:
    """AUROC on fitting and test groups, the null of their maximum, and the features' signs.

    The true labels are the first of all labellings, so that features are ranked (in the sense of
    statistics) only once.
    """
    swapped = stats.permuted_labels(labels, pairs, n_draws=n_draws, seed=seed)
    labelings = np.concatenate([labels[None], swapped])
    fitted = stats.auroc_labelings(acts[fit], labelings[:, fit])  # [1+b m]
    tested = stats.auroc_labelings(acts[~fit], labelings[:, ~fit])
    signs = np.where(fitted >= 0.5, 1, -1)
    tested = 0.5 + signs * (tested - 0.5)
    return 0.5 + np.abs(fitted[0] - 0.5), tested[0], tested[1:].max(axis=1), signs[0]


def _fitting_rows(groups: Sequence[str], labels: Int[Array, " n"], seed: int) -> Array:
    """Which rows are in the fitting groups; both sides must hold both classes."""
    if not len(groups) == len(labels):
        raise SaeError(f"{len(labels)} labels for {len(groups)} groups: give one group an example.")
    in_fit, _ = fit_test_groups(groups, seed=seed)
    fit = np.array([group in in_fit for group in groups])
    for side in (fit, ~fit):
        if len(set(labels[side].tolist())) < 2:
            raise SaeError(
                "Split by group, one side holds one class only: rank features on examples whose "
                "groups hold both classes, such as contrast pairs."
            )
    return fit
