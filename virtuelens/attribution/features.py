"""Which features of a dictionary carried the difference between two inputs to the answer.

At one hook point the activation is a sum: what each feature writes, and the reconstruction error
that no feature writes. Source minus base is such a sum as well.

1. Base and source are run; the dictionary encodes both, which gives how far every feature and the
   error move at every token.
2. Gradients of the metric at the point are taken on the straight way from the base's activations
   to the source's; their mean times a part's movement, summed over tokens, is that part's estimated
   effect. With gradients from steps all along the way (`integrated`) the parts add up to what the
   whole layer does; with the base's alone (`gradient`) it is gradient times activation.
3. The estimate is checked: the largest features, as many others at random, and the error are moved
   one at a time to their source's values in the base's run, and the metric is read. The
   correlation of estimated with measured effects is part of the result.

A share of the effect that lies in the error is not explained by any feature, however large the
explained variance is.

Source: Marks et al. 2024, arXiv:2403.19647; integrated gradients, Sundararajan et al. 2017,
arXiv:1703.01365.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.stats import rankdata
from torch import Tensor

from virtuelens import stats
from virtuelens.activations.plan import plan_batches
from virtuelens.attribution.attribute import BATCH_TOKENS
from virtuelens.attribution.effects import check_metrics, groups_of
from virtuelens.attribution.pairs import Answers, Pairs, encode_pairs
from virtuelens.attribution.steps import Added, writer
from virtuelens.errors import AttributionError
from virtuelens.models.run import Batch, Edit
from virtuelens.values.estimates import Estimate
from virtuelens.values.texts import Text

if TYPE_CHECKING:
    import pandas as pd

    from virtuelens.models import HookedModel

Array = np.ndarray

ERROR = -1
"""Stands for the reconstruction error where a feature's number is expected."""

WAYS: dict[str, Callable[[int], list[float]]] = {
    "gradient": lambda n: [0.0],
    "integrated": lambda n: [(k + 0.5) / n for k in range(n)],
}
"""Where on the way from base (0) to source (1) gradients are taken, given the number of steps."""


@dataclass(frozen=True, eq=False)
class Dictionary:
    """What attribution needs of a sparse autoencoder.

    encode: from activations to feature activations. decoder: what one unit of each feature writes.
    """

    name: str
    point: str
    encode: Callable[[Float[Tensor, "*batch d_model"]], Float[Tensor, "*batch feature"]]
    decoder: Float[Tensor, "feature d_model"]


@dataclass(frozen=True)
class Agreement:
    """Estimated against measured effects of the features checked at one point.

    pearson: over features, with a bootstrap over them; its null is the 95 % quantile of its size
        when estimates are dealt out at random. spearman: of their ranks.
    """

    point: str
    n_features: int
    pearson: Estimate
    spearman: float


@dataclass(frozen=True, eq=False)
class FeatureEffects:
    """Effects of all features that differ between base and source, largest first in each point.

    table: one row a part, with the columns
        point, dictionary
        feature    its number, or `ERROR` for the reconstruction error
        effect     estimated, mean over pairs, in logits of the metric
        low, high  its 95 % interval over pairs; NaN where it was not checked
        share      of the whole difference between source and base
        measured   what moving this part alone does; NaN where it was not checked
    total: what the whole source does to the metric.
    agreement: by point; a point where fewer than three features could be checked has none.
    """

    table: "pd.DataFrame"
    total: Estimate
    agreement: dict[str, Agreement]

    def sum_at(self, point: str) -> float:
        """All effects at a point, the error's too; near `total` where the steps are small enough.

        Raises: AttributionError: no such point.
        """
        mine = self.table[self.table["point"] == point]
        if not len(mine):
            raise AttributionError(f"Nothing was attributed at {point!r}.")
        return float(mine["effect"].sum())


def attribute_dictionaries(
    model: "HookedModel",
    base: Sequence[Text],
    source: Sequence[Text],
    answers: Answers,
    dictionaries: Sequence[Dictionary],
    *,
    method: str = "integrated",
    n_steps: int = 10,
    n_check: int = 20,
    groups: Sequence[str] | None = None,
    seed: int = 0,
    batch_tokens: int = BATCH_TOKENS,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> FeatureEffects:
    """Estimated effect of every feature and of the error, of one dictionary a layer, checked.

    base, source, answers, groups: as in `attribute`.
    method: row of `WAYS`. n_check: features measured at each point, half of them the largest.
    progress: called with dictionaries done and in all.

    Raises: AttributionError: an unknown method, a dictionary of another width, two at one point,
    or as `attribute`. NotFiniteError: a metric is NaN or infinite. HookPointError,
    TextTooLongError.
    """
    import pandas as pd

    if method not in WAYS:
        raise AttributionError(f"Unknown method {method!r}: choose from {', '.join(WAYS)}.")
    if n_steps < 1 or not dictionaries:
        raise AttributionError(
            f"{n_steps} steps and {len(dictionaries)} dictionaries: give at least one of each."
        )
    for d in dictionaries:
        if d.decoder.ndim != 2 or d.decoder.shape[1] != model.info.d_model:
            raise AttributionError(
                f"The dictionary {d.name} writes {list(d.decoder.shape)}, expected [feature "
                f"{model.info.d_model}] for {model.info.name}."
            )
    points = [d.point for d in dictionaries]
    twice = [p for i, p in enumerate(points) if p in points[:i]]
    if twice:
        raise AttributionError(
            f"There are two dictionaries at {twice[0]}, and effects of both would count one "
            "difference twice: attribute them one after the other."
        )
    pairs = encode_pairs(model, base, source, answers)
    units = groups_of(groups, len(pairs.base))
    tables, agreement = [], {}
    at_base, at_source = torch.zeros(2, len(units))
    for done, d in enumerate(dictionaries):
        effects = torch.zeros(len(units), len(d.decoder) + 1)  # the last one is the error's
        differs = torch.zeros(len(d.decoder), dtype=torch.bool)
        for rows in plan_batches(pairs.lengths, batch_tokens=batch_tokens):
            moved = _moved(model, pairs, rows, d)
            at_base[list(rows)], at_source[list(rows)] = moved.base, moved.source
            slope = _slope(model, pairs, moved, WAYS[method](n_steps))
            effects[list(rows)] = _effects(moved, slope, d)
            differs |= (moved.features != 0).any(0).any(0).cpu()
        check_metrics(at_base, at_source)
        order = _order(effects, differs)
        chosen = _chosen(order, n_check, seed)
        measured = _measured(model, pairs, d, chosen, batch_tokens)
        tables.append(_table(d, effects, order, measured, units, seed=seed))
        of_features = {f: m for f, m in measured.items() if f != ERROR}
        found = _agreement(d.point, effects, of_features, seed)
        if found is not None:
            agreement[d.point] = found
        progress(done + 1, len(dictionaries))
    change = (at_source - at_base).double().numpy()
    total = stats.bootstrap(lambda r: float(change[r].mean()), units, seed=seed)
    table = pd.concat(tables, ignore_index=True)
    table["share"] = table["effect"] / total.value if total.value else np.nan
    return FeatureEffects(table, total, agreement)


class _Moved(NamedTuple):
    """One batch of pairs, padded on the left; movements are source minus base, 0 on padding."""

    rows: tuple[int, ...]
    batch: Batch
    point: str
    acts: Tensor  # [batch pos d_model], the base's
    whole: Tensor  # [batch pos d_model]
    features: Tensor  # [batch pos feature]
    error: Tensor  # [batch pos d_model]
    base: Tensor  # [batch], metric
    source: Tensor


@torch.no_grad()
def _moved(model: "HookedModel", pairs: Pairs, rows: Sequence[int], d: Dictionary) -> _Moved:
    base = model.batch([pairs.base[i] for i in rows], side="left")
    source = model.batch([pairs.source[i] for i in rows], side="left")
    here = model.run(base, read=[d.point], logits=True)
    there = model.run(source, read=[d.point], logits=True)
    assert here.logits is not None
    assert there.logits is not None
    real = base.real[..., None]
    x, y = here.acts[d.point].float(), there.acts[d.point].float()
    features = (d.encode(y).float() - d.encode(x).float()) * real
    whole = (y - x) * real
    return _Moved(
        tuple(rows), base, d.point, x, whole, features,
        whole - features @ d.decoder.to(features),
        pairs.metric(here.logits[:, -1], rows).cpu(), pairs.metric(there.logits[:, -1], rows).cpu(),
    )


def _slope(
    model: "HookedModel", pairs: Pairs, moved: _Moved, at: Sequence[float]
) -> Float[Tensor, "batch pos d_model"]:
    """The mean gradient of the metric, over the places on the way."""
    total = torch.zeros_like(moved.whole)
    for share in at:
        shift = (share * moved.whole).requires_grad_()
        edits: list[Edit] = [Added(writer(moved.point), shift)]
        logits = model.logits_with_grad(moved.batch, edits=edits)[:, -1]
        (gradient,) = torch.autograd.grad(pairs.metric(logits, moved.rows).sum(), [shift])
        total += gradient.float()
    return total / len(at)


@torch.no_grad()
def _effects(
    moved: _Moved, slope: Float[Tensor, "batch pos d_model"], d: Dictionary
) -> Float[Tensor, "batch part"]:
    """Of every feature, and last of the error."""
    along = d.decoder.to(slope).T
    features = [((g @ along) * f).sum(0) for g, f in zip(slope, moved.features, strict=True)]
    error = (slope * moved.error).sum((-1, -2))
    return torch.cat([torch.stack(features), error[:, None]], dim=1).cpu()


@torch.no_grad()
def _measured(
    model: "HookedModel", pairs: Pairs, d: Dictionary, chosen: Sequence[int], batch_tokens: int
) -> dict[int, Float[Array, " pair"]]:
    """What moving one part alone to the source's value does to the metric."""
    out = {f: np.zeros(len(pairs.base)) for f in chosen}
    for rows in plan_batches(pairs.lengths, batch_tokens=batch_tokens):
        moved = _moved(model, pairs, rows, d)
        for f in chosen:
            by = moved.error if f == ERROR else (
                moved.features[..., f, None] * d.decoder[f].to(moved.features))
            logits = model.run(moved.batch, edits=[Added(d.point, by)], logits=True).logits
            assert logits is not None
            after = pairs.metric(logits[:, -1], rows).cpu()
            out[f][list(rows)] = (after - moved.base).double().numpy()
    return out


def _order(effects: Float[Tensor, "pair part"], differs: Tensor) -> Int[Array, " live"]:
    """Features that differ at all, by the size of their mean effect."""
    size = effects[:, :-1].mean(0).abs()
    order = size.argsort(descending=True, stable=True)
    return order[differs[order]].numpy()


def _chosen(order: Int[Array, " live"], n: int, seed: int) -> list[int]:
    """The largest half, as many others at random, and the error."""
    top, rest = order[: (n + 1) // 2], order[(n + 1) // 2 :]
    few = np.random.default_rng(seed).permutation(len(rest))[: n - len(top)]
    return [*(int(f) for f in top), *(int(rest[i]) for i in few), ERROR]


def _table(
    d: Dictionary, effects: Float[Tensor, "pair part"], order: Int[Array, " live"],
    measured: dict[int, Float[Array, " pair"]], units: Sequence[str], *, seed: int,
) -> "pd.DataFrame":
    import pandas as pd

    numbers = np.r_[order, ERROR]
    each = effects.double().numpy()
    rows = []
    for f in numbers.tolist():
        column = each[:, f]  # ERROR is the last one
        low = high = np.nan
        if f in measured:
            e = stats.bootstrap(lambda r, c=column: float(c[r].mean()), units, n_draws=500,  # type: ignore[misc]
                                seed=seed)
            low, high = e.low, e.high
        rows.append({
            "point": d.point, "dictionary": d.name, "feature": f, "effect": float(column.mean()),
            "low": low, "high": high,
            "measured": float(measured[f].mean()) if f in measured else np.nan,
        })
    table = pd.DataFrame(rows)
    return table.iloc[np.argsort(-table["effect"].abs().to_numpy(), kind="stable")]


def _agreement(
    point: str, effects: Float[Tensor, "pair part"], measured: dict[int, Float[Array, " pair"]],
    seed: int,
) -> Agreement | None:
    estimated = effects.double().mean(0).numpy()[list(measured)]
    found = np.array([m.mean() for m in measured.values()])
    if len(found) < 3 or not np.ptp(estimated) or not np.ptp(found):
        return None
    rng = np.random.default_rng(seed)
    luck = [abs(_pearson(rng.permutation(estimated), found)) for _ in range(500)]
    return Agreement(
        point, len(found),
        stats.bootstrap(lambda r: _pearson(estimated[r], found[r]), [str(f) for f in measured],
                        seed=seed, null=float(np.quantile(luck, 0.95))),
        _pearson(rankdata(estimated), rankdata(found)),
    )


def _pearson(x: Float[Array, " n"], y: Float[Array, " n"]) -> float:
    if not np.ptp(x) or not np.ptp(y):
        raise ValueError("a correlation needs values that differ")
    return float(np.corrcoef(x, y)[0, 1])
