"""Rank statistics, cluster bootstrap, pair permutation, false-discovery rate. numpy only.

Labels are 0/1 arrays. Bootstraps resample *groups* (the unit that splits may not cross), because
examples of one template are not independent. Seeds are arguments; no global state is touched.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int, Num
from scipy.stats import binomtest, rankdata

from virtuelens.values.estimates import Estimate

Array = np.ndarray


def auroc(scores: Float[Array, " n"], labels: Int[Array, " n"]) -> float:
    """Probability that a random positive scores above a random negative, ties counting half.

    Raises: ValueError: only one class is present, so the value is undefined.
    Source: Mann-Whitney U; equals sklearn.metrics.roc_auc_score.
    """
    return float(auroc_columns(np.asarray(scores)[:, None], labels)[0])


def auroc_columns(scores: Float[Array, "n m"], labels: Int[Array, " n"]) -> Float[Array, " m"]:
    """AUROC of every column of `scores` against one label vector."""
    return auroc_labelings(scores, np.asarray(labels)[None, :])[0]


def auroc_labelings(
    scores: Float[Array, "n m"], labelings: Int[Array, "b n"]
) -> Float[Array, "b m"]:
    """AUROC of every column under every labelling; columns are ranked only once."""
    positive = np.asarray(labelings, dtype=np.float64)
    n_pos = positive.sum(axis=1, keepdims=True)
    n_neg = positive.shape[1] - n_pos
    if (n_pos == 0).any() or (n_neg == 0).any():
        raise ValueError("AUROC needs both classes: this set holds only one")
    ranks = rankdata(scores, axis=0)  # average ranks, so ties count half
    return (positive @ ranks - n_pos * (n_pos + 1) / 2) / (n_pos * n_neg)


def auroc_each(scores: Float[Array, "n b"], labelings: Int[Array, "b n"]) -> Float[Array, " b"]:
    """AUROC of column i under labelling i."""
    positive = np.asarray(labelings, dtype=np.float64).T  # [n b]
    n_pos = positive.sum(axis=0)
    n_neg = len(positive) - n_pos
    if (n_pos == 0).any() or (n_neg == 0).any():
        raise ValueError("AUROC needs both classes: this set holds only one")
    in_positives = (positive * rankdata(scores, axis=0)).sum(axis=0)
    return (in_positives - n_pos * (n_pos + 1) / 2) / (n_pos * n_neg)


def auroc_weighted(
    scores: Float[Array, " n"], labels: Int[Array, " n"], weights: Num[Array, "b n"]
) -> Float[Array, " b"]:
    """AUROC under each weighting of the rows; NaN where a class has no weight.

    With counts as weights it is the AUROC of the rows repeated so often; scores are sorted once.
    """
    order = np.argsort(scores, kind="stable")
    steps = np.flatnonzero(np.r_[True, np.diff(np.asarray(scores)[order]) != 0])
    positive = np.asarray(labels)[order] == 1
    out = np.empty(len(weights))
    at_once = max(1, 4_000_000 // max(1, len(order)))
    for start in range(0, len(weights), at_once):
        w = np.asarray(weights[start : start + at_once], dtype=np.float64)[:, order]
        # equal scores are one step: of those on the same step half count as above
        above = np.add.reduceat(np.where(positive, w, 0.0), steps, axis=1)
        below = np.add.reduceat(np.where(positive, 0.0, w), steps, axis=1)
        n_below = np.cumsum(below, axis=1)
        wins = (above * (n_below - below / 2)).sum(axis=1)
        pairs = above.sum(axis=1) * n_below[:, -1]
        with np.errstate(invalid="ignore", divide="ignore"):
            out[start : start + at_once] = wins / pairs
    return out


def group_draws(groups: Sequence[str], *, n_draws: int, seed: int) -> list[Int[Array, " k"]]:
    """Row indices of `n_draws` cluster-bootstrap samples: groups drawn with replacement."""
    rows = _rows_by_group(groups)
    rng = np.random.default_rng(seed)
    return [
        np.concatenate([rows[i] for i in rng.integers(len(rows), size=len(rows))])
        for _ in range(n_draws)
    ]


def bootstrap(
    statistic: Callable[[Int[Array, " k"]], float],
    groups: Sequence[str],
    *,
    n_draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    null: float | None = None,
) -> Estimate:
    """The statistic on all rows, with its percentile interval under a cluster bootstrap.

    statistic: takes row indices (repeats allowed) and returns a number; a draw on which it is
        undefined (ValueError, e.g. one class only) is left out.
    With fewer than five groups the draws would hardly vary, and an interval from them would look
    far too narrow; of the rows of the groups drawn, rows are then drawn again.
    """
    values = []
    for rows in samples(groups, n_draws=n_draws, seed=seed):
        try:
            values.append(statistic(rows))
        except ValueError:
            continue
    n = len(groups)
    return from_draws(statistic(np.arange(n)), np.array(values), n, level=level, null=null)


def samples(groups: Sequence[str], *, n_draws: int, seed: int) -> Iterator[Int[Array, " k"]]:
    """The rows of each bootstrap sample, as `bootstrap` draws them."""
    few = len(set(groups)) < 5
    rng = np.random.default_rng(seed + 1)
    for rows in group_draws(groups, n_draws=n_draws, seed=seed):
        yield rng.choice(rows, size=len(rows)) if few else rows


def sample_counts(groups: Sequence[str], *, n_draws: int, seed: int) -> Int[Array, "b n"]:
    """How often each row is in each bootstrap sample."""
    if len(set(groups)) < 5:
        counts = np.zeros((n_draws, len(groups)), dtype=np.int32)
        for draw, rows in enumerate(samples(groups, n_draws=n_draws, seed=seed)):
            counts[draw] = np.bincount(rows, minlength=len(groups))
        return counts
    # whole groups are drawn, so a row is drawn as often as its group
    number = {g: i for i, g in enumerate(dict.fromkeys(groups))}
    n_groups, group_of = len(number), [number[g] for g in groups]
    drawn = np.random.default_rng(seed).integers(n_groups, size=(n_draws, n_groups))
    of_groups = np.zeros((n_draws, n_groups), dtype=np.int32)
    np.add.at(of_groups, (np.arange(n_draws)[:, None], drawn), 1)
    return of_groups[:, group_of]


def from_draws(
    value: float, values: Float[Array, " b"], n: int, *, level: float = 0.95, null: float | None
) -> Estimate:
    """The estimate with the percentile interval of the draws on which it is defined."""
    values = values[np.isfinite(values)]
    if not len(values):
        return Estimate(value, float("-inf"), float("inf"), n, null)
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Estimate(value, float(min(low, value)), float(max(high, value)), n, null)


def mean(
    values: Float[Array, " n"],
    groups: Sequence[str],
    *,
    n_draws: int = 1000,
    seed: int = 0,
    null: float | None = None,
) -> Estimate:
    """The mean with its cluster-bootstrap interval (that of `bootstrap`, all draws at once)."""
    counts = sample_counts(groups, n_draws=n_draws, seed=seed)
    draws = counts @ np.asarray(values, dtype=np.float64) / counts.sum(axis=1)
    return from_draws(float(np.mean(values)), draws, len(groups), null=null)


def share(hits: int, n: int, *, null: float | None = None) -> Estimate:
    """A share of independent items with its Wilson interval (it has width at 0 and 1 too)."""
    interval = binomtest(hits, n).proportion_ci(method="wilson")
    return Estimate(hits / n, float(interval.low), float(interval.high), n, null)


def auroc_estimate(
    scores: Float[Array, " n"],
    labels: Int[Array, " n"],
    groups: Sequence[str],
    *,
    n_draws: int = 1000,
    seed: int = 0,
    null: float | None = None,
) -> Estimate:
    """AUROC with its cluster-bootstrap interval (that of `bootstrap`, all draws at once)."""
    counts = sample_counts(groups, n_draws=n_draws, seed=seed)
    draws = auroc_weighted(scores, labels, counts)
    return from_draws(auroc(scores, labels), draws, len(groups), null=null)


def auroc_difference(
    scores: Float[Array, " n"],
    rival: Float[Array, " n"],
    labels: Int[Array, " n"],
    groups: Sequence[str],
    *,
    n_draws: int = 1000,
    seed: int = 0,
) -> Estimate:
    """AUROC of `scores` minus AUROC of `rival` on the same rows, paired cluster bootstrap."""
    counts = sample_counts(groups, n_draws=n_draws, seed=seed)
    draws = auroc_weighted(scores, labels, counts) - auroc_weighted(rival, labels, counts)
    value = auroc(scores, labels) - auroc(rival, labels)
    return from_draws(value, draws, len(groups), null=0.0)


def permuted_labels(
    labels: Int[Array, " n"], pairs: Sequence[str], *, n_draws: int, seed: int
) -> Int[Array, "b n"]:
    """Labellings under the null "which side of a pair shows the concept is arbitrary".

    Sides are swapped pair by pair, so groups, topics and class balance stay as they are. Where
    examples do not come in pairs, pass the group as the pair: labels are then shuffled within it.
    """
    labels = np.asarray(labels)
    rng = np.random.default_rng(seed)
    out = np.repeat(labels[None, :], n_draws, axis=0)
    for rows in _rows_by_group(pairs):
        for draw in out:
            draw[rows] = labels[rng.permutation(rows)]
    return out


def permutation_p(observed: float, null: Float[Array, " b"]) -> float:
    """Share of null draws at least as large, counting the observed one (never exactly 0)."""
    null = np.asarray(null)
    return float((1 + (null >= observed).sum()) / (1 + len(null)))


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values (q-values) that hold the false-discovery rate.

    Source: Benjamini and Hochberg 1995.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    q = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    out = np.empty_like(q)
    out[order] = q
    return [float(x) for x in out]


def _rows_by_group(groups: Sequence[str]) -> list[Int[Array, " k"]]:
    """Row indices of each group, groups in order of first appearance."""
    rows: dict[str, list[int]] = {}
    for i, group in enumerate(groups):
        rows.setdefault(group, []).append(i)
    return [np.asarray(r) for r in rows.values()]
