"""Which features of an SAE tell a concept apart: chosen on fitting groups, reported on test groups.

1. Split the groups as probes do; a group is never on both sides.
2. On the fitting groups, take every feature's AUROC and its sign (does more of the feature speak
   for the concept, or against it?); features are ordered by it.
3. On the test groups, take the AUROC of sign times feature, with a cluster bootstrap for the top.
4. Null: swap the sides of pairs at random everywhere, take every feature's sign on the fitting
   groups and the largest test AUROC over *all* features. A feature must beat that maximum, because
   it was looked for among all of them. For a list of features rather than the best one, `q` holds
   the false-discovery rate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from virtuelens import stats
from virtuelens.concepts.splits import fit_test_groups
from virtuelens.errors import NotFiniteError, SaeError
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
        q          false-discovery rate at which the feature would be called one of the concept's
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

    Raises: SaeError: one class only on a side of the split, or no feature varies. NotFiniteError:
    NaN or infinity in `feature_acts`.
    """
    acts, labels = np.asarray(feature_acts), np.asarray(labels)
    if not np.isfinite(acts).all():  # such a feature would count as one that does not vary
        raise NotFiniteError(
            "NaN or infinity in the feature activations: load the model in float32, or check its "
            "weights."
        )
    fit = fitting_rows(groups, labels, seed)
    live = np.flatnonzero(np.ptp(acts[fit], axis=0) > 0)
    # the true labels are the first of all labellings, so that features are ranked only once
    swapped = stats.permuted_labels(labels, pairs, n_draws=n_permutations, seed=seed)
    labelings = np.concatenate([labels[None], swapped])
    found = oriented(
        stats.auroc_labelings(acts[fit][:, live], labelings[:, fit]),
        stats.auroc_labelings(acts[~fit][:, live], labelings[:, ~fit]),
    )
    best = live[np.argsort(-found.on_fit, kind="stable")[:n_top]]
    return ranking(
        [found], live, (acts[:, live] != 0).mean(axis=0), {int(i): acts[:, i] for i in best},
        labels=labels, groups=groups, fit=fit, n_features=acts.shape[1],
        n_bootstrap=n_bootstrap, seed=seed,
    )


class Oriented(NamedTuple):
    """AUROCs of some features, turned so that each speaks for the concept on the fitting groups.

    on_test[0] and signs[0] are those of the true labels, the others those of the null.
    """

    on_fit: Float[Array, " m"]
    on_test: Float[Array, "draws m"]
    signs: Int[Array, " m"]


def oriented(fitted: Float[Array, "draws m"], tested: Float[Array, "draws m"]) -> Oriented:
    """AUROCs on fitting and test groups under all labellings, each by its own fitting sign."""
    signs = np.where(fitted >= 0.5, 1, -1)
    tested = 0.5 + signs * (tested - 0.5)
    return Oriented(0.5 + np.abs(fitted[0] - 0.5), tested, signs[0])


def ranking(
    found: Sequence[Oriented], live: Int[Array, " m"], density: Float[Array, " m"],
    columns: Mapping[int, Float[Array, " n"]], *, labels: Int[Array, " n"], groups: Sequence[str],
    fit: Bool[Array, " n"], n_features: int, n_bootstrap: int, seed: int,
) -> Ranking:
    """The table of all live features from the AUROCs of blocks of them.

    live: which features these are, block after block. columns: activations of the top ones, which
        get an interval.

    Raises: SaeError: no feature is live.
    """
    import pandas as pd

    if not len(live):
        raise SaeError("No feature of this SAE varies over these examples: none can be ranked.")
    on_fit = np.concatenate([f.on_fit for f in found])
    signs = np.concatenate([f.signs for f in found])
    on_test = np.concatenate([f.on_test[0] for f in found])
    null_max = np.max([f.on_test[1:].max(axis=1, initial=0.0) for f in found], axis=0)
    place = {int(feature): i for i, feature in enumerate(live)}
    low, high = np.full(len(live), np.nan), np.full(len(live), np.nan)
    test_groups = [group for group, inside in zip(groups, fit, strict=True) if not inside]
    for feature, column in columns.items():
        i = place[feature]
        low[i], high[i] = _interval(
            column[~fit] * signs[i], labels[~fit], test_groups, n_draws=n_bootstrap, seed=seed
        )
    n_draws = len(null_max)
    order = np.argsort(-on_fit, kind="stable")
    table = pd.DataFrame(
        {
            "feature": live, "sign": signs, "auroc_fit": on_fit, "auroc": on_test,
            "low": low, "high": high,
            "null": np.quantile(null_max, 0.95) if n_draws else np.nan,
            "p": (1 + n_draws - np.searchsorted(np.sort(null_max), on_test)) / (1 + n_draws),
            "q": _q_values(found), "density": density,
        }
    ).iloc[order].reset_index(drop=True)
    return Ranking(table, null_max, int((~fit).sum()), n_features - len(live))


def _interval(
    scores: Float[Array, " n"], labels: Int[Array, " n"], groups: Sequence[str], *, n_draws: int,
    seed: int,
) -> tuple[float, float]:
    """That of `stats.auroc_estimate`, with equal rows of a group (such as its zeros) taken as one.

    Groups are drawn whole, so such rows have one weight; with few groups rows are drawn as well.
    """
    _, first, number = np.unique(groups, return_index=True, return_inverse=True)
    if len(first) < 5:
        e = stats.auroc_estimate(scores, labels, groups, n_draws=n_draws, seed=seed)
        return e.low, e.high
    rows = np.stack([first[number], labels, scores], axis=1)  # groups by their first row
    kept, times = np.unique(rows, axis=0, return_counts=True)  # in the groups' order
    weights = times * stats.sample_counts(
        [groups[int(g)] for g in kept[:, 0]], n_draws=n_draws, seed=seed)
    draws = stats.auroc_weighted(kept[:, 2], kept[:, 1].astype(int), weights)
    e = stats.from_draws(stats.auroc(scores, labels), draws, len(groups), null=None)
    return e.low, e.high


def _q_values(found: Sequence[Oriented]) -> Float[Array, " m"]:
    """Benjamini and Hochberg's q of every feature; NaN without a null (fewer than two draws).

    Each feature's AUROC is put in units of its own null's mean and standard deviation. In these
    units the null draws of all features are one distribution, which resolves far smaller p-values
    than the draws of one feature could.
    """
    observed, null = [], []
    for block in found:
        draws = block.on_test[1:]
        if len(draws) < 2:
            return np.full(sum(len(f.on_fit) for f in found), np.nan)
        mean, spread = draws.mean(axis=0), draws.std(axis=0)
        spread = np.where(spread > 0, spread, np.inf)  # the same under any labels: not unusual
        observed.append((block.on_test[0] - mean) / spread)
        null.append(((draws - mean) / spread).ravel().astype(np.float32))
    pooled = np.sort(np.concatenate(null))
    z = np.concatenate(observed).astype(np.float32)
    p = (1 + len(pooled) - np.searchsorted(pooled, z)) / (1 + len(pooled))
    return np.asarray(stats.benjamini_hochberg(p.tolist()), dtype=np.float64)


def fitting_rows(
    groups: Sequence[str], labels: Int[Array, " n"], seed: int
) -> Bool[Array, " n"]:
    """Which rows are in the fitting groups, by the split that probes have with this seed.

    Raises: SaeError: one class only on a side.
    """
    if not len(groups) == len(labels):
        raise SaeError(f"{len(labels)} labels for {len(groups)} groups: give one group an example.")
    in_fit, _ = fit_test_groups(groups, seed=seed)
    fit = np.array([group in in_fit for group in groups])
    check_both_classes(labels, fit)
    return fit


def check_both_classes(labels: Int[Array, " n"], fit: Bool[Array, " n"]) -> None:
    """Raise unless both classes are among the fitting rows and among the others.

    Raises: SaeError.
    """
    for side in (fit, ~fit):
        if len(set(labels[side].tolist())) < 2:
            raise SaeError(
                "Split by group, one side holds one class only: rank features on examples whose "
                "groups hold both classes, such as contrast pairs."
            )
