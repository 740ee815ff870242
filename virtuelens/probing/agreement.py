"""Do the probes of several packs say the same? How much, beyond the label, and where not.

Two probes that both read their labels well agree for that reason alone, so agreement is also
measured among examples of one label. Everything is on held-out examples that neither probe was
fitted on (nor on a text nearly the same), pack by pack; the overall value is the mean over packs,
so that differences between packs do not pass for agreement.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import rankdata

from virtuelens import stats
from virtuelens.probing.data import Array
from virtuelens.probing.generalisation import Comparison, Trained, site_of
from virtuelens.probing.methods import METHODS
from virtuelens.values.estimates import Estimate

if TYPE_CHECKING:
    import pandas as pd

ALL = "all"
"""Stands for the mean over packs in the column `on`."""

MEASURES = ("same_verdict", "kappa", "rank_correlation", "rank_correlation_within_label")
"""Share of verdicts (probability above 0.5) that are the same; the same beyond what the two shares
of positives give by chance (Cohen 1960); Spearman's correlation of the scores; the mean of it
among the positives and among the negatives, of whichever there are three."""


class _Shared(NamedTuple):
    """Two probes on the held-out examples of one pack that both may be judged on."""

    on: str
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    labels: Int[Array, " n"]
    a: Float[Array, " n"]
    b: Float[Array, " n"]
    p_a: Float[Array, " n"]
    p_b: Float[Array, " n"]
    texts: tuple[str, ...]


def agreement(compared: Comparison) -> "pd.DataFrame":
    """A row per pair of probes, pack and measure.

    Columns: `a`, `b` (packs the probes come from), `on` (pack judged on, or "all"), `metric`,
    `value`, `low`, `high` (over groups of `on`), `n`, `null` (0; of `same_verdict` what the two
    shares of positives give by chance). `cosine` (on "all" only) is of the two directions, both
    fitted at a's site with a's family, with its interval over groups of either fitting set; its
    null is the 95 % quantile of the size of a cosine of random directions, 1.96 / sqrt(d_model).
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for a, b in combinations(compared.trained.values(), 2):
        names = {"a": a.pack.name, "b": b.pack.name}
        found: dict[str, list[tuple[Estimate, Float[Array, " d"]]]] = {m: [] for m in MEASURES}
        for k, shared in enumerate(_shared(compared, a, b)):
            for metric, value in _measured(shared, compared, seed=compared.seed + 1000 * k):
                found[metric].append(value)
                rows.append(names | {"on": shared.on, "metric": metric, **value[0].to_json()})
        for metric, values in found.items():
            if values:
                estimate = _over_packs(values)
                rows.append(names | {"on": ALL, "metric": metric, **estimate.to_json()})
        cosine = _cosine(a, b, n_draws=min(200, compared.n_bootstrap), seed=compared.seed)
        rows.append(names | {"on": ALL, "metric": "cosine", **cosine.to_json()})
    return pd.DataFrame(rows)


def disagreements(compared: Comparison, *, most: int = 10) -> "pd.DataFrame":
    """The examples on which two probes' probabilities lie furthest apart, furthest first.

    Columns: `a`, `b`, `on`, `example_id`, `group`, `label` (of `on`), `p_a`, `p_b`, `text`.
    most: rows per pair of probes.
    """
    import pandas as pd

    columns = ["a", "b", "on", "example_id", "group", "label", "p_a", "p_b", "text"]
    rows: list[dict[str, Any]] = []
    for a, b in combinations(compared.trained.values(), 2):
        mine = [
            dict(zip(columns, (a.pack.name, b.pack.name, s.on, i, g, int(y), float(p), float(q),
                               t), strict=True))
            for s in _shared(compared, a, b)
            for i, g, y, p, q, t in zip(s.ids, s.groups, s.labels, s.p_a, s.p_b, s.texts,
                                        strict=True)
        ]
        rows += sorted(mine, key=lambda r: -abs(r["p_a"] - r["p_b"]))[:most]
    return pd.DataFrame(rows, columns=columns)


def disagreement_by_group(compared: Comparison) -> "pd.DataFrame":
    """Share of examples with different verdicts, by group: where two probes part company.

    Columns: `a`, `b`, `on`, `group`, `n`, `share`; largest shares first.
    """
    import pandas as pd

    rows = []
    for a, b in combinations(compared.trained.values(), 2):
        for s in _shared(compared, a, b):
            differ = pd.Series((s.p_a > 0.5) != (s.p_b > 0.5))
            for group, mine in differ.groupby(list(s.groups), sort=False):
                rows.append({"a": a.pack.name, "b": b.pack.name, "on": s.on, "group": group,
                             "n": len(mine), "share": float(mine.mean())})
    table = pd.DataFrame(rows, columns=["a", "b", "on", "group", "n", "share"])
    return table.sort_values("share", ascending=False, kind="stable").reset_index(drop=True)


def _shared(compared: Comparison, a: Trained, b: Trained) -> Iterator[_Shared]:
    """The packs with examples left for both probes."""
    for test in compared.trained.values():
        name = test.pack.name
        keep = compared.usable[a.pack.name, name] & compared.usable[b.pack.name, name]
        if not keep.any():
            continue
        words = {i: t.words for i, t in zip(test.pack.examples.ids, test.pack.texts, strict=True)}
        held = test.held_out.rows(keep)
        score_a, score_b = a.scores(test)[keep], b.scores(test)[keep]
        yield _Shared(
            name, held.ids, held.groups, held.labels, score_a, score_b, a.calibration(score_a),
            b.calibration(score_b), tuple(words[i] for i in held.ids),
        )


def _measured(
    s: _Shared, compared: Comparison, *, seed: int
) -> Iterator[tuple[str, tuple[Estimate, Float[Array, " d"]]]]:
    """Every measure with its draws. Ranks are those of the whole set, not of each draw."""
    counts = stats.sample_counts(s.groups, n_draws=compared.n_bootstrap, seed=seed)
    once = np.ones((1, len(s.labels)))
    says_a, says_b = s.p_a > 0.5, s.p_b > 0.5
    same = (says_a == says_b).astype(np.float64)

    def chance(weights: Array) -> Float[Array, " d"]:
        total = weights.sum(axis=1)
        share_a, share_b = weights @ says_a / total, weights @ says_b / total
        return share_a * share_b + (1 - share_a) * (1 - share_b)

    def agreed(weights: Array) -> Float[Array, " d"]:
        return weights @ same / weights.sum(axis=1)

    def kappa(weights: Array) -> Float[Array, " d"]:
        by_chance = chance(weights)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(by_chance < 1, (agreed(weights) - by_chance) / (1 - by_chance), np.nan)

    def ranked(weights: Array) -> Float[Array, " d"]:
        return _correlation(rankdata(s.a), rankdata(s.b), weights)

    def within(weights: Array) -> Float[Array, " d"]:
        sides = [k for label in (0, 1) if (k := s.labels == label).sum() > 2]
        if not sides:
            return np.full(len(weights), np.nan)
        return np.mean([_correlation(rankdata(s.a[k]), rankdata(s.b[k]), weights[:, k])
                        for k in sides], axis=0)

    for metric, measure in zip(MEASURES, (agreed, kappa, ranked, within), strict=True):
        value, draws = float(measure(once)[0]), measure(counts)
        null = float(chance(once)[0]) if metric == "same_verdict" else 0.0
        yield metric, (stats.from_draws(value, draws, len(s.labels), null=null), draws)


def _correlation(
    x: Float[Array, " n"], y: Float[Array, " n"], weights: Float[Array, "d n"] | Int[Array, "d n"]
) -> Float[Array, " d"]:
    """Pearson's correlation under each weighting; NaN where one of the two does not vary."""
    total = weights.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_x, mean_y = weights @ x / total, weights @ y / total
        both = weights @ (x * y) / total - mean_x * mean_y
        spread = np.sqrt(np.clip(weights @ x**2 / total - mean_x**2, 0, None)
                         * np.clip(weights @ y**2 / total - mean_y**2, 0, None))
        return np.where(spread > 0, both / spread, np.nan)


def _over_packs(values: Sequence[tuple[Estimate, Float[Array, " d"]]]) -> Estimate:
    """The mean over packs, each counting alike; `n` is the number of examples in all."""
    known = [(e, draws) for e, draws in values if np.isfinite(e.value)]
    if not known:
        return Estimate(float("nan"), float("-inf"), float("inf"), 0)
    return stats.from_draws(
        float(np.mean([e.value for e, _ in known])), np.mean([d for _, d in known], axis=0),
        sum(e.n for e, _ in known), null=float(np.mean([e.null for e, _ in known])),
    )


def _cosine(a: Trained, b: Trained, *, n_draws: int, seed: int) -> Estimate:
    """Cosine of the two directions, both fitted at a's site with a's family."""
    site, row = site_of(a.probe), METHODS[a.probe.direction.method]

    def direction(t: Trained, rows: Int[Array, " k"]) -> Float[Array, " d_model"]:
        labels = t.fit.labels[rows]
        if len(set(labels.tolist())) < 2:
            raise ValueError("one class only")
        pairs = [t.fit.pairs[i] for i in rows]
        w = row.weights(t.fit.matrices[site][rows], labels[None, :], pairs)[0]
        return w / (np.linalg.norm(w) or 1.0)

    value = float(direction(a, np.arange(len(a.fit.labels)))
                  @ direction(b, np.arange(len(b.fit.labels))))
    draws = []
    for rows_a, rows_b in zip(
        stats.samples(a.fit.groups, n_draws=n_draws, seed=seed),
        stats.samples(b.fit.groups, n_draws=n_draws, seed=seed + 1), strict=True,
    ):
        try:
            draws.append(float(direction(a, rows_a) @ direction(b, rows_b)))
        except ValueError:
            continue
    null = 1.96 / float(np.sqrt(a.fit.matrices[site].shape[1]))
    return stats.from_draws(value, np.array(draws), len(a.fit.labels) + len(b.fit.labels),
                            null=null)
