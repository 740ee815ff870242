"""Verdicts on a steer: each a number with its interval, what it had to clear, and passed or not.

No check is a score of the model, and together they are no rung: the evidence ladder is the audit's.
A check that could not be made has `passed` None and says why.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from virtuelens import stats
from virtuelens.steering.dose import Response
from virtuelens.trials.config import TrialConfig
from virtuelens.trials.found import Found, at_zero
from virtuelens.values.estimates import Estimate

Array = np.ndarray
MONOTONE = 0.9
RATE_CHANGE = 0.2
WRONG_WAY = 0.25
NEIGHBOUR_SHARE, NOTHING = 0.5, 0.05
CAPABILITY = 0.05
"""Marks. The first two are the audit's (`audits.ladder.Thresholds`); at most this share of items
may move against the steer; a neighbour may move half as much as the target, or by 5 points; neutral
questions may lose 5 points of accuracy at either end of the range."""


@dataclass(frozen=True)
class Check:
    """One verdict: `mark` says what `value` had to do, in words."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    mark: str
    passed: bool | None
    said: str

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)


def checks(
    found: Found, prompts: Sequence[Mapping[str, Any]], config: TrialConfig
) -> tuple[Check, ...]:
    """All verdicts, in the order in which one would ask; `prompts` are rows of that table."""
    # a pack may have a second target behaviour, which is watched beside the one on trial
    asked = [r for r in prompts if r["behaviour"] == found.response.target]
    return (
        _beats_random(found, config),
        _beats_swapped(found, config),
        _monotone(found),
        _changes_choices(found, config),
        _few_the_wrong_way(found, config),
        _leaves_neighbours(found, config),
        _keeps_capability(found, config),
        *(_against_prompt(source, asked) for source in ("system prompt", "few-shot prompt")),
    )


def _beats_random(found: Found, config: TrialConfig) -> Check:
    null = float(np.quantile(found.response.random_slopes, 0.99))
    return _beats("beats random directions", _slope(found, config), null,
                  f"99th percentile of {len(found.response.random)} random directions")


def _beats_swapped(found: Found, config: TrialConfig) -> Check:
    name = "beats swapped labels"
    if not found.swapped:
        return _untested(name, "no directions could be fitted to swapped labels there")
    most = max(abs(float(r.item_slopes.mean())) for r in found.swapped)
    return _beats(name, _slope(found, config), most,
                  f"largest of {len(found.swapped)} fits to swapped labels")


def _beats(name: str, e: Estimate, null: float, what: str) -> Check:
    return _check(name, e, f"its interval above {null:.3g} ({what})", e.low > null,
                  f"slope {e.value:+.3g} nats per σ, from {e.low:+.3g}; {what}: {null:.3g}")


def _monotone(found: Found) -> Check:
    value = found.target.monotonicity()
    return Check("rises with the dose", value, None, None, len(found.target.doses),
                 f"at least {MONOTONE:g} of the curve explained by one that never falls",
                 value >= MONOTONE, f"a never falling curve explains {value:.2f} of it")


def _changes_choices(found: Found, config: TrialConfig) -> Check:
    wins = _wins(found.target)
    e = _mean(wins[-1] - wins[0], found.target, config)
    return _check("changes choices", e, f"at least {RATE_CHANGE:g}", e.value >= RATE_CHANGE,
                  f"from the lowest to the highest dose {100 * e.value:+.0f} % of choices change")


def _few_the_wrong_way(found: Found, config: TrialConfig) -> Check:
    slopes = found.target.item_slopes
    e = _mean((slopes < 0).astype(np.float64), found.target, config)
    low, high = np.quantile(slopes, [0.05, 0.95])
    return _check("few items go the wrong way", e, f"at most {WRONG_WAY:g}", e.value <= WRONG_WAY,
                  f"{100 * e.value:.0f} % of {e.n} items move against the steer; slopes from "
                  f"{low:+.2g} (5 %) to {high:+.2g} (95 %) nats per σ")


def _leaves_neighbours(found: Found, config: TrialConfig) -> Check:
    """The one that moves most: at most half of the target's effect, 5 points, or chance."""
    name = "leaves neighbours alone"
    effects = {n: r.effect(seed=config.seed, n_draws=config.n_bootstrap)
               for n, r in found.of_kind("neighbour").items()}
    if not effects:
        return _untested(name, "no neighbouring behaviour in this dialect")
    ours = abs(float(found.target.item_effects.mean()))
    most = max(NEIGHBOUR_SHARE * ours, NOTHING)
    worst = max(effects, key=lambda n: abs(effects[n].value))
    moved = [n for n, e in effects.items() if abs(e.value) > max(most, found.nulls[n])]
    return _check(
        name, effects[worst],
        f"none beyond {most:.2f} ({NEIGHBOUR_SHARE:g} of the target's effect, at least "
        f"{NOTHING:g}) and beyond random directions", not moved,
        f"{worst} moves most: {effects[worst].value:+.2f} (target {ours:.2f}, random up to "
        f"{found.nulls[worst]:.2f})" + (f"; too far: {', '.join(moved)}" if moved else ""),
    )


def _keeps_capability(found: Found, config: TrialConfig) -> Check:
    """The largest loss of right answers on neutral questions at either end of the range."""
    losses: dict[tuple[str, str], Estimate] = {}
    for behaviour, r in found.of_kind("neutral").items():
        wins = _wins(r)
        for at, words in ((0, "lowest"), (-1, "highest")):
            losses[behaviour, words] = _mean(wins[at_zero(r)] - wins[at], r, config)
    name = "keeps neutral questions right"
    if not losses:
        return _untested(name, "the pack has no neutral questions in this dialect")
    (behaviour, end), e = max(losses.items(), key=lambda item: item[1].value)
    return _check(name, e, f"at most {CAPABILITY:g} lost", e.value <= CAPABILITY,
                  f"{behaviour} loses most: {100 * e.value:.0f} points at the {end} dose")


def _against_prompt(source: str, prompts: Sequence[Mapping[str, Any]]) -> Check:
    """Passed unless the prompt moves the target beyond the steer, on one side, for certain."""
    name = f"not beaten by a {source}"
    target = [r for r in prompts if r["kind"] == "target"]
    rows = [r for r in target if r["source"] == source]
    if not rows:
        return _untested(name, "it could not be given")
    ours = {r["side"]: r["effect"] for r in target if r["source"] == "steer"}
    best = max(rows, key=lambda r: (r["ahead_low"] > 0, r["ahead"]))  # what is certain comes first
    e = Estimate(best["ahead"], best["ahead_low"], best["ahead_high"], best["n"], 0.0)
    verdict = ("the prompt moves it further" if e.low > 0 else
               "the steer moves it further" if e.high < 0 else "neither is ahead for certain")
    told = "; ".join(f"{r['side']}: prompt {r['effect']:+.2f}, steer {ours[r['side']]:+.2f}"
                     for r in rows)
    return _check(name, e, "the prompt not ahead for certain", e.low <= 0,
                  f"{told}; {verdict} ({best['side']}: {e.value:+.2f})")


def _check(name: str, e: Estimate, mark: str, passed: bool, said: str) -> Check:
    return Check(name, e.value, e.low, e.high, e.n, mark, bool(passed), said)


def _untested(name: str, why: str) -> Check:
    return Check(name, None, None, None, 0, "", None, f"not tested: {why}")


def _slope(found: Found, config: TrialConfig) -> Estimate:
    return found.target.slope(seed=config.seed, n_draws=config.n_bootstrap)


def _wins(response: Response) -> Float[Array, "k n"]:
    return (response.scores > 0).astype(np.float64)


def _mean(values: Float[Array, " n"], response: Response, config: TrialConfig) -> Estimate:
    return stats.mean(values, response.groups, n_draws=config.n_bootstrap, seed=config.seed)
