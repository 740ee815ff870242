"""The tables of a trial.

`effect` is a change of the probability of the target choice (of the two): from the lowest to the
highest dose in `matrix` and `items`, from no edit on in `prompts` (for `away`: how much less).
`ahead`: the prompt's effect minus the steer's, item by item. `null`: what 95 % of random directions
stay below, without sign.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from virtuelens import stats
from virtuelens.errors import TextError, TextTooLongError
from virtuelens.steering.behaviour import score_items
from virtuelens.trials.config import TrialConfig
from virtuelens.trials.found import Found, at_zero, probabilities
from virtuelens.trials.prompts import SIDES, Framing, framed_questions

if TYPE_CHECKING:
    import pandas as pd

    from virtuelens.models import HookedModel

TABLES: dict[str, tuple[str, ...]] = {
    "doses": ("steer", "behaviour", "kind", "direction", "dose", "raw", "score", "rate", "low",
              "high", "n", "kl_mean", "kl_p95", "perplexity"),
    "matrix": ("steer", "behaviour", "kind", "of", "effect", "low", "high", "n", "null"),
    "items": ("steer", "item", "group", "slope", "effect", "score_at_0"),
    "prompts": ("steer", "source", "side", "behaviour", "kind", "effect", "low", "high",
                "ahead", "ahead_low", "ahead_high", "n", "note"),
}

Rows = list[dict[str, Any]]


def table(name: str, rows: Sequence[Mapping[str, Any]], steer: str) -> "pd.DataFrame":
    """Rows as the table of that name."""
    import pandas as pd

    return pd.DataFrame([{"steer": steer} | dict(r) for r in rows], columns=list(TABLES[name]))


def dose_rows(found: Found, config: TrialConfig) -> Rows:
    """Score and rate per behaviour and dose; of the target also along every stand-in."""
    response, name = found.response, found.response.target
    own = response.candidate.direction.scale
    lines = [(n, found.watched[n].kind, "concept", r, own) for n, r in response.responses.items()]
    lines += [(name, "target", f"random_{i:02d}", r, own) for i, r in enumerate(response.random)]
    lines += [(name, "target", f"swapped_{i:02d}", r, scale) for i, (r, scale) in enumerate(
        zip(found.swapped, found.swapped_scales, strict=True))]
    rows: Rows = []
    for behaviour, kind, direction, r, scale in lines:
        for k, dose in enumerate(r.doses):
            wins = (r.scores[k] > 0).astype(np.float64)
            row = {
                "behaviour": behaviour, "kind": kind, "direction": direction, "dose": float(dose),
                "raw": float(dose) * scale, "score": float(r.scores[k].mean()),
                "rate": float(wins.mean()), "n": len(wins),
            }
            if direction == "concept":
                e, side = _mean(wins, r.groups, config), response.side_effects[k]
                row |= {"low": e.low, "high": e.high, "kl_mean": side.kl_mean,
                        "kl_p95": side.kl_p95, "perplexity": side.perplexity}
            rows.append(row)
    return rows


def matrix_rows(found: Found, config: TrialConfig) -> Rows:
    """Effect of the steer on every behaviour."""
    rows: Rows = []
    for name, w in found.watched.items():
        e = found.response.responses[name].effect(seed=config.seed, n_draws=config.n_bootstrap)
        rows.append({"behaviour": name, "kind": w.kind, "of": w.of, "effect": e.value,
                     "low": e.low, "high": e.high, "n": e.n, "null": found.nulls[name]})
    return rows


def item_rows(found: Found) -> Rows:
    """The target's items one by one: what a mean would hide."""
    r, questions = found.target, found.watched[found.response.target].questions
    return [
        {"item": q.item.id, "group": q.item.group, "slope": float(slope), "effect": float(effect),
         "score_at_0": float(score)}
        for q, slope, effect, score in zip(
            questions, r.item_slopes, r.item_effects, r.scores[at_zero(r)], strict=True)
    ]


def prompt_rows(
    model: "HookedModel", found: Found, framings: Sequence[Framing], config: TrialConfig
) -> tuple[Rows, list[str]]:
    """Target and neutral items under every prompt, and under the steer at the ends of its range.

    Besides: which framings a behaviour's items could not be put into, and why.
    """
    rows: Rows = []
    refused: list[str] = []
    for name, r in found.of_kind("target", "neutral").items():
        kind, middle = found.watched[name].kind, at_zero(r)
        p = probabilities(r.scores)
        steered = {"toward": p[-1] - p[middle], "away": p[middle] - p[0]}
        for side in SIDES:
            e = _mean(steered[side], r.groups, config)
            rows.append({"source": "steer", "side": side, "behaviour": name, "kind": kind,
                         "effect": e.value, "low": e.low, "high": e.high, "n": e.n, "note": ""})
        for f in framings:
            try:
                questions = framed_questions(
                    model, [q.item for q in found.watched[name].questions], f)
            except (TextTooLongError, TextError) as error:
                refused.append(f"{f.source} ({f.side}) on {name}: {error}")
                continue
            asked = probabilities(score_items(model, questions))
            effect = asked - p[middle] if f.side == "toward" else p[middle] - asked
            e = _mean(effect, r.groups, config)
            ahead = _mean(effect - steered[f.side], r.groups, config)
            rows.append({
                "source": f.source, "side": f.side, "behaviour": name, "kind": kind,
                "effect": e.value, "low": e.low, "high": e.high, "n": e.n, "note": f.note,
                "ahead": ahead.value, "ahead_low": ahead.low, "ahead_high": ahead.high,
            })
    return rows, refused


def _mean(values: Any, groups: Sequence[str], config: TrialConfig) -> Any:
    return stats.mean(values, groups, n_draws=config.n_bootstrap, seed=config.seed)
