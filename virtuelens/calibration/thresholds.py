"""The ladder's thresholds: chosen on one half of the seeds, reported on the other."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from virtuelens.audits.ladder import Evidence, Thresholds, climb
from virtuelens.values.estimates import Estimate

GRID: Mapping[str, tuple[float, ...]] = {
    "monotone": (0.8, 0.9, 0.95),
    "rate_change": (0.1, 0.2, 0.3),
    "neighbour_share": (0.25, 0.5, 0.75),
}
"""What is tried. The false-discovery rate is not chosen: it is what is asked for."""


@dataclass(frozen=True)
class Choice:
    """The thresholds that name most true rungs, and how many of how many.

    shipped_right: how many the shipped thresholds name right on the same subjects.
    """

    thresholds: Thresholds
    right: int
    shipped_right: int
    n: int
    tied: int


def choose(
    known: Sequence[tuple[Evidence, tuple[int, int]]], shipped: Thresholds
) -> Choice:
    """The cell of the grid with most verdicts right; among equals the one nearest the shipped.

    known: evidence of each subject, with the lowest and the highest rung that may be named.
    """
    def right(t: Thresholds) -> int:
        return sum(verdict_right(e, t, shipped, rungs) for e, rungs in known)

    found = [(right(t), t) for t in _grid(shipped)]
    most = max(n for n, _ in found)
    best = [t for n, t in found if n == most]
    nearest = min(best, key=lambda t: sum(
        GRID[k].index(getattr(t, k)) != GRID[k].index(getattr(shipped, k)) for k in GRID
    ))
    return Choice(nearest, most, right(shipped), len(known), len(best))


def verdict_right(
    e: Evidence, t: Thresholds, measured: Thresholds, rungs: tuple[int, int]
) -> bool:
    """Whether the ladder names a rung that is true."""
    return rungs[0] <= climb(at(e, t, measured), t).rung <= rungs[1]


def at(e: Evidence, t: Thresholds, measured: Thresholds) -> Evidence:
    """Evidence measured under one neighbour share, as it stands under another.

    The null of a neighbour is (1 - share) times the target's own effect.
    """
    if t.neighbour_share == measured.neighbour_share:
        return e
    scale = (1 - t.neighbour_share) / (1 - measured.neighbour_share)

    def moved(d: Estimate) -> Estimate:
        return replace(d, null=None if d.null is None else d.null * scale)

    return replace(e, specific={k: moved(d) for k, d in e.specific.items()})


def _grid(shipped: Thresholds) -> Iterator[Thresholds]:
    for values in product(*GRID.values()):
        yield replace(shipped, **dict(zip(GRID, values, strict=True)))

