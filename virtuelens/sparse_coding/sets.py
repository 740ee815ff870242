"""How few features say what a probe says: k-sparse probes, and features beside a direction.

Features are taken in the order of the fitting groups, weights are fitted there, and AUROC is
reported on the test groups, as everywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from virtuelens import stats
from virtuelens.errors import SaeError
from virtuelens.sparse_coding.sae import Sae
from virtuelens.sparse_coding.search import Search
from virtuelens.values.estimates import Estimate

Array = np.ndarray

KS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class FeatureSet:
    """The first k features of a search, weighted together.

    auroc: on the test groups; its null is that of the best single feature of the search.
    """

    features: tuple[int, ...]
    weights: tuple[float, ...]
    auroc: Estimate


@dataclass(frozen=True)
class Beside:
    """A direction (a probe's) and an SAE's features on the same test groups.

    direction: AUROC of the projection. sets: feature sets of growing size.
    needed: features of the smallest set whose AUROC is not below the direction's; None: no set.
    shortfall: the direction's AUROC minus the largest set's, paired bootstrap; null 0.
    cosines: of the direction with the decoder rows of the features that lie closest, as
        (feature, cosine), largest size first.
    rank_of_top: place of the search's first feature in that order, over all features; 0 is first.
    """

    direction: Estimate
    sets: tuple[FeatureSet, ...]
    needed: int | None
    shortfall: Estimate
    cosines: tuple[tuple[int, float], ...]
    rank_of_top: int


def feature_sets(
    search: Search, *, ks: Sequence[int] = KS, n_bootstrap: int = 500, seed: int = 0
) -> tuple[FeatureSet, ...]:
    """k-sparse probes: logistic regression on the search's first k features, for each k.

    ks above the number of features kept (`n_top` of the search) are left out.

    Raises: SaeError: no k is left.
    Source: Gurnee et al. 2023, arXiv:2305.01610; the features are chosen by AUROC here.
    """
    return tuple(made for made, _ in _sets(search, ks, n_bootstrap, seed))


def beside_direction(
    search: Search, sae: Sae, acts: Float[Tensor, "n d_in"], direction: Float[Tensor, " d_in"], *,
    ks: Sequence[int] = KS, n_closest: int = 10, n_bootstrap: int = 500, seed: int = 0,
) -> Beside:
    """The search's features beside a direction, on the same rows and the same split.

    acts: the rows that were searched. direction: a probe's, fitted on the fitting groups alone
        (the same seed gives the same groups), pointing towards the concept.

    Raises: SaeError: other rows, another width, or the SAE has no decoder rows (see `Sae.W_dec`).
    """
    if len(acts) != len(search.fit) or direction.shape != (sae.d_in,):
        raise SaeError(
            f"The search was of {len(search.fit)} rows of {sae.d_in} dimensions; these are "
            f"{len(acts)} rows and a direction of {list(direction.shape)}: give those that were "
            "searched."
        )
    test = ~search.fit
    labels, groups = search.labels[test], [g for g, t in zip(search.groups, test, strict=True) if t]
    along = (acts.float() @ direction.to(acts.device).float()).cpu().numpy()[test]
    made = _sets(search, ks, n_bootstrap, seed)
    ours = stats.auroc_estimate(along, labels, groups, n_draws=n_bootstrap, seed=seed, null=0.5)
    reached = [len(s.features) for s, _ in made if s.auroc.value >= ours.value]
    unit = torch.nn.functional.normalize(direction.float().cpu(), dim=0)
    rows = torch.nn.functional.normalize(sae.W_dec.float().cpu(), dim=-1)
    cosines = rows @ unit  # [d_sae]
    order = cosines.abs().argsort(descending=True, stable=True)
    return Beside(
        ours, tuple(s for s, _ in made), min(reached, default=None),
        stats.auroc_difference(along, made[-1][1][test], labels, groups,
                               n_draws=n_bootstrap, seed=seed),
        tuple((int(f), float(cosines[f])) for f in order[:n_closest]),
        int((order == search.top[0]).nonzero()[0]),
    )


def _sets(
    search: Search, ks: Sequence[int], n_bootstrap: int, seed: int
) -> list[tuple[FeatureSet, Float[Array, " n"]]]:
    """The sets, and the scores of every row."""
    from sklearn.linear_model import LogisticRegression

    sizes = sorted({k for k in ks if 1 <= k <= search.columns.shape[1]})
    if not sizes:
        raise SaeError(
            f"The search kept {search.columns.shape[1]} features, a set of {min(ks, default=0)} "
            "cannot be made of them: search with a larger n_top."
        )
    test = ~search.fit
    groups = [g for g, t in zip(search.groups, test, strict=True) if t]
    null = search.ranking.table["null"].iloc[0]
    made = []
    for k in sizes:
        X = search.columns[:, :k]
        spread = X[search.fit].std(axis=0)
        spread[spread == 0] = 1.0
        fitted = LogisticRegression(max_iter=1000).fit(
            X[search.fit] / spread, search.labels[search.fit])
        weights = fitted.coef_[0] / spread
        scores = X @ weights
        e = stats.auroc_estimate(
            scores[test], search.labels[test], groups, n_draws=n_bootstrap, seed=seed,
            null=None if np.isnan(null) else float(null),
        )
        made.append((FeatureSet(search.top[:k], tuple(float(w) for w in weights), e), scores))
    return made
