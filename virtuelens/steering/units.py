"""Units of doses that carry over between directions and models, each shown beside the raw one.

- `raw`: activation units along the unit direction: says nothing about what it does
- `sigma`: standard deviations of the direction's projection
- `kl`: multiples of the addition whose KL on neutral text is 1 nat at the 95th percentile of tokens
  (added at every token, whatever tokens are steered later: the unit is the direction's own)

The iso-KL unit is found by a secant search in logarithms: KL grows with the square of a small dose,
so the curve is nearly straight there. Protocol: steering-lite; METHODS rule "comparable units".
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from virtuelens.errors import SteeringError
from virtuelens.steering.edits import Add
from virtuelens.steering.side_effects import KL_BUDGET, Neutral, side_effect
from virtuelens.values.directions import Direction

if TYPE_CHECKING:
    from virtuelens.models import HookedModel

TOLERANCE = 0.02
"""How near to the target the KL must come, as a share of it."""


@dataclass(frozen=True)
class Dose:
    """One dose in all units.

    raw: activation units along the unit direction. sigma: standard deviations.
    kl: in iso-KL units; None where it was not measured.
    """

    raw: float
    sigma: float
    kl: float | None = None

    def __str__(self) -> str:
        shown = f"{self.sigma:+.3g} σ = {self.raw:+.3g} raw"
        return shown if self.kl is None else f"{self.kl:+.3g} iso-KL = {shown}"


Measure = Callable[["HookedModel", Direction, float, Neutral | None], Dose]
"""Model, direction, amount in the unit, neutral texts -> the dose."""


def _raw(_model: "HookedModel", d: Direction, amount: float, _neutral: Neutral | None) -> Dose:
    return Dose(amount, amount / d.scale if d.scale else math.inf * amount)


def _sigma(_model: "HookedModel", d: Direction, amount: float, _neutral: Neutral | None) -> Dose:
    return Dose(amount * d.scale, amount)


def _kl(model: "HookedModel", d: Direction, amount: float, neutral: Neutral | None) -> Dose:
    if neutral is None:
        raise SteeringError("Doses in iso-KL units need neutral texts to measure on: give some, "
                            "or use sigma.")
    unit = iso_kl(model, neutral, d if amount >= 0 else d.negated()) if amount else 0.0
    return Dose(amount * unit, amount * unit / d.scale if d.scale else math.inf * amount, amount)


UNITS: dict[str, Measure] = {"sigma": _sigma, "kl": _kl, "raw": _raw}


def dose(
    model: "HookedModel", direction: Direction, amount: float, *, unit: str,
    neutral: Neutral | None = None,
) -> Dose:
    """What `amount` of a unit is for this direction in this model.

    neutral: needed for `kl` only. The sign of an amount is measured on its own: to push one way may
    cost more than to push the other.

    Raises: SteeringError: no such unit, or the unit cannot be measured here.
    """
    if unit not in UNITS:
        raise SteeringError(f"Unknown unit of dose {unit!r}: choose from {', '.join(UNITS)}.")
    return UNITS[unit](model, direction, amount, neutral)


def iso_kl(
    model: "HookedModel", neutral: Neutral, direction: Direction, *, target: float = KL_BUDGET
) -> float:
    """How much of the direction, in activation units, moves predictions by `target` nats.

    Nats of KL(unedited || edited) at the 95th percentile of neutral tokens.

    Raises: SteeringError: no dose within reason does.
    """
    def kl_p95(raw: float) -> float:
        return side_effect(model, neutral, [Add(direction.point, direction.vector * raw)]).kl_p95

    return solve(kl_p95, target=target, start=direction.scale or 1.0,
                 about=f"{direction.concept!r} at {direction.point}")


def solve(
    kl_p95: Callable[[float], float], *, target: float, start: float, about: str = "the direction",
    n_steps: int = 24,
) -> float:
    """The dose at which a KL that grows from 0 at dose 0 is `target`, to within TOLERANCE.

    Secant steps on log KL against log dose, kept inside the bracket once there is one.

    Raises: SteeringError: the KL does not reach the target, or jumps over it.
    """
    low, high = 0.0, math.inf  # doses known to do too little, and too much
    x, known = start, dict[float, float]()
    for _ in range(n_steps):
        y = kl_p95(x)
        if abs(y / target - 1) <= TOLERANCE:
            return x
        low, high = (max(low, x), high) if y < target else (low, min(high, x))
        if low > 1e9 * start or high < 1e-9 * start:
            break
        slope = 2.0
        if known and 0 < y < math.inf:
            x0, y0 = min(known.items(), key=lambda at: abs(math.log(at[0] / x)))
            slope = max(0.5, math.log(y / y0) / math.log(x / x0)) if x != x0 else 2.0
            if high == math.inf and x > 8 * x0 and y < 1.05 * y0:
                break  # more of it does no more
        if 0 < y < math.inf:
            known[x] = y
        x = x * (target / max(y, 1e-9)) ** (1 / slope)
        x = min(max(x, high / 100 if low == 0 else low * 1.001), 1e3 * low or math.inf)
        if not low < x < high:
            x = math.sqrt(low * high) if low else high / 8
    raise SteeringError(
        f"No dose of {about} moves predictions on neutral text by {target:g} nats (95th "
        f"percentile): the nearest tried is {max(low, 0):.3g}. Give the dose in sigma instead."
    )


@torch.inference_mode()
def ordinary_limit(
    model: "HookedModel", neutral: Neutral, direction: Direction, *, percentile: float = 99.0
) -> float:
    """The percentile of the projection over the tokens of neutral text, in activation units.

    For `Cap` (a high one) and `Floor` (a low one): what ordinary text does stays untouched.
    """
    if not 0 <= percentile <= 100:
        raise SteeringError(f"A percentile is between 0 and 100, not {percentile:g}.")
    parts = []
    for batch in neutral.batches:
        acts = model.run(batch, read=[direction.point]).acts[direction.point]
        parts.append(direction.project(acts[batch.real].float().cpu()))
    return float(torch.cat(parts).quantile(percentile / 100))
