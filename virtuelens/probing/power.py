"""Power: how many contrast pairs would have been needed to see a difference of AUROC.

Two reckonings, each for a two-sided z test:

- `pairs_needed`, after the fact: the interval at hand shows how far the estimate scatters over
  groups; its variance falls with the number of pairs (groups of the same size), so no model of the
  scores is needed, and what pairs of one group share, and two probes on one text, is in it.
- `pairs_planned`, before there are data: the variance of an AUROC by Hanley and McNeil 1982, for
  independent examples; pairs within a group are alike, so it is a lower bound unless a design
  effect is given.
"""

import math

from scipy.stats import norm

from virtuelens.errors import ProbeError
from virtuelens.values.estimates import Estimate


def pairs_needed(
    estimate: Estimate, *, n_pairs: int, difference: float | None = None, power: float = 0.8,
    alpha: float = 0.05,
) -> int | None:
    """Pairs with which a difference from the null would be seen with that power.

    estimate: an AUROC or a difference of two, with its null and its bootstrap interval over
        groups, on `n_pairs` pairs of held-out groups.
    difference: to be seen; by default the one that was observed (then no more than a description
        of the result: an observed effect makes no case for its own size).

    None where there is no difference, or no bounded interval.

    Raises: ProbeError: an estimate without a null.
    """
    if estimate.null is None:
        raise ProbeError("Power is against a null, and this estimate has none.")
    gap = abs(difference if difference is not None else estimate.value - estimate.null)
    width = estimate.high - estimate.low
    if gap == 0 or not math.isfinite(width):
        return None
    error = width / (2 * norm.ppf(0.975))  # the interval is at 95 %, whatever alpha
    return max(1, math.ceil(n_pairs * (_reach(power, alpha) * error / gap) ** 2))


def pairs_planned(
    auroc: float, *, null: float = 0.5, power: float = 0.8, alpha: float = 0.05,
    design_effect: float = 1.0,
) -> int:
    """Pairs with which a probe of that AUROC would be told from `null`, planned without data.

    design_effect: variance over that of independent pairs (1 + (pairs in a group - 1) * likeness).

    Raises: ProbeError: no difference to be seen, or values outside 0 to 1.
    """
    if not (0 <= auroc <= 1 and 0 <= null <= 1) or auroc == null:
        raise ProbeError(f"AUROC {auroc:g} against {null:g}: there is no difference to be seen.")
    wanted = (auroc - null) ** 2
    low, high = 1, 2
    z_alpha, z_power = norm.ppf(1 - alpha / 2), norm.ppf(power)

    def enough(n: int) -> bool:
        spread = z_alpha * math.sqrt(hanley_mcneil(null, n, n))
        spread += z_power * math.sqrt(hanley_mcneil(auroc, n, n))
        return design_effect * spread**2 <= wanted

    while not enough(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return low if enough(low) else high


def hanley_mcneil(auroc: float, n_pos: int, n_neg: int) -> float:
    """Variance of an AUROC from independent examples.

    Source: Hanley and McNeil 1982, with Q1 = A/(2 - A) and Q2 = 2 A^2/(1 + A).
    """
    q1, q2 = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    return (auroc * (1 - auroc) + (n_pos - 1) * (q1 - auroc**2)
            + (n_neg - 1) * (q2 - auroc**2)) / (n_pos * n_neg)


def _reach(power: float, alpha: float) -> float:
    return float(norm.ppf(1 - alpha / 2) + norm.ppf(power))
