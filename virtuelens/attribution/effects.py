"""`Attribution`: what each cell does to the metric, and which cells stand out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from virtuelens import stats
from virtuelens.errors import AttributionError, NotFiniteError
from virtuelens.values.estimates import Estimate

Array = np.ndarray


@dataclass(frozen=True)
class Cell:
    """A place in the network and the share of the total effect that goes through it.

    token: counted from the last prompt token, which is -1.
    """

    point: str
    token: int
    share: Estimate


@dataclass(frozen=True, eq=False)
class Attribution:
    """Effects of all cells, pair by pair.

    effects: what taking the source's activation at one token and point adds to the metric, in
        logits; column -1 is the last prompt token, NaN where a pair's text does not reach.
    base, source: the metric of both runs: logit of what is said if the source's cause holds minus
        logit of what the base says.
    null: as `effects`, of sources that do not differ in the cause; None where none were given.
    groups: the unit of the bootstrap, one a pair.

    Raises: NotFiniteError: a metric is NaN or infinite.
    """

    points: tuple[str, ...]
    effects: Float[Tensor, "pair point token"]
    base: Float[Tensor, " pair"]
    source: Float[Tensor, " pair"]
    null: Float[Tensor, "pair point token"] | None
    groups: tuple[str, ...]

    def __post_init__(self) -> None:
        check_metrics(self.base, self.source)

    @property
    def total(self) -> Estimate:
        """Mean of what the whole source does to the metric, in logits."""
        change = _array(self.source - self.base)
        return stats.bootstrap(lambda rows: float(change[rows].mean()), self.groups)

    @property
    def turned(self) -> Estimate:
        """Share of pairs in which the base prefers its own answer and the source the other one."""
        return stats.share(int(((self.base < 0) & (self.source > 0)).sum()), len(self.groups))

    def shares(self) -> Float[Tensor, "point token"]:
        """Mean effect of each cell over the mean total effect, of the pairs that have the token.

        A ratio of means: a mean of ratios would be ruled by pairs whose total is near 0. Shares of
        different cells need not add up to 1: what passes one layer passes the next as well.
        """
        return torch.from_numpy(self._shares(np.arange(len(self.groups))))

    def share(self, point: str, token: int = -1) -> Estimate:
        """Share of one cell with its bootstrap interval; its null is the largest cell of the null.

        Raises: AttributionError: no such cell, or base and source do not differ in the metric.
        """
        n_tokens = self.effects.shape[2]
        if point not in self.points or not -n_tokens <= token < 0:
            raise AttributionError(
                f"No cell ({point!r}, {token}): the points are {', '.join(self.points)}, the "
                f"tokens -{n_tokens} to -1, counted from the last prompt token."
            )
        column = self.points.index(point)
        one = replace(self, effects=self.effects[:, column : column + 1, token, None], null=None)
        found = stats.bootstrap(lambda rows: float(one._shares(rows)[0, 0]), self.groups)
        return replace(found, null=self.largest_null())

    def largest_null(self) -> float | None:
        """The largest mean size of a null effect over all cells, as a share of the total effect.

        Sizes, not signs: what unrelated sources do would average out, however large it is.
        """
        if self.null is None:
            return None
        sizes = replace(self, effects=self.null.abs(), null=None)
        return float(np.nanmax(np.abs(sizes._shares(np.arange(len(self.groups))))))

    def named(self, threshold: float = 0.5) -> tuple[Cell, ...]:
        """Cells whose share has its lower bound above the threshold and above the null's largest.

        None where sources do not turn most answers (`turned` has its lower bound at one half or
        below): the cause is not used there, and shares of next to nothing would be of anything.
        Largest first. Without null sources only the threshold counts.
        """
        if not self.turned.low > 0.5:
            return ()
        mark = max(threshold, self.largest_null() or 0.0)
        shares = self.shares()
        above = [(float(shares[p, t]), p, t) for p, t in (shares > mark).nonzero().tolist()]
        n_tokens = shares.shape[1]
        cells = [
            Cell(self.points[p], t - n_tokens, self.share(self.points[p], t - n_tokens))
            for _, p, t in sorted(above, key=lambda found: -found[0])
        ]
        return tuple(cell for cell in cells if cell.share.low > mark)

    def _shares(self, rows: Int[Array, " k"]) -> Float[Array, "point token"]:
        effects, total = _array(self.effects)[rows], _array(self.source - self.base)[rows]
        there = ~np.isnan(effects)
        sums = (there * total[:, None, None]).sum(axis=0)
        if not np.any(sums):
            raise AttributionError(
                "Base and source do not differ in the metric at all, so a share of their "
                "difference is not defined: give sources that the model answers otherwise."
            )
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.nansum(effects, axis=0) / np.where(there.any(axis=0), sums, np.nan)


def check_metrics(base: Float[Tensor, " pair"], source: Float[Tensor, " pair"]) -> None:
    """Raise unless the metrics of both runs are numbers.

    Raises: NotFiniteError.
    """
    broken = ~torch.isfinite(base + source)
    if broken.any():
        raise NotFiniteError(
            f"The logits of pair {int(broken.nonzero()[0])} are NaN or infinite: the model "
            "overflows. Load it in another precision (dtype='float32'), or check its weights."
        )


def groups_of(groups: Sequence[str] | None, n: int) -> tuple[str, ...]:
    """The groups given, or one a pair.

    Raises: AttributionError: not one a pair.
    """
    if groups is None:
        return tuple(str(i) for i in range(n))
    if len(groups) != n:
        raise AttributionError(f"{len(groups)} groups for {n} pairs: give one a pair.")
    return tuple(groups)


def _array(values: Tensor) -> Array:
    return values.double().numpy()
