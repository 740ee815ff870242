"""What the ladder was asked to reach, and what it reached: three targets and rates by size."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from virtuelens import stats
from virtuelens.values.estimates import Estimate

if TYPE_CHECKING:
    import pandas as pd

CAUSAL = 4


@dataclass(frozen=True)
class Target:
    """A share that was asked for; `found` is None where nothing was read that bears on it."""

    name: str
    asked: str
    found: Estimate | None
    met: bool | None


def targets(readings: "pd.DataFrame") -> list[Target]:
    """The three targets, over the readings given.

    Echoes are the organisms whose report follows a rival cause: those that are not causal where
    the contrast is confounded.
    """
    verdict = readings[(readings["claim"] == "verdict") & (readings["instrument"] == "ladder")
                       & (readings["dose"] == 100)]
    trained = verdict[verdict["control"] == "none"]
    null = verdict[(verdict["control"] == "random weights")
                   | ((verdict["organism"] == "blank") & (verdict["control"] == "none"))]
    confounded = verdict["control"] == "agreeing only"
    echoes = verdict[confounded & (verdict["true_high"] < CAUSAL)]["organism"].unique()
    of_echoes = verdict[verdict["organism"].isin(list(echoes))
                        & (confounded | (verdict["control"] == "none"))]
    return [
        _at_least("the true rung is named, trained organisms", 0.95, trained["said"]),
        _at_most("a rung above 1 on blanks or random weights", 0.05, null["value"] > 1),
        _at_most("the report of an echo is called causal, also where the contrast is confounded",
                 0.0, of_echoes["value"] >= CAUSAL),
    ]


def by_size(readings: "pd.DataFrame") -> list[dict[str, Any]]:
    """Verdicts right for each size of organism (its `d_model`), the widest first."""
    verdict = readings[(readings["claim"] == "verdict") & (readings["instrument"] == "ladder")
                       & readings["true"].notna()]
    out = []
    for width in sorted(verdict["d_model"].unique().tolist(), reverse=True):
        mine = verdict[verdict["d_model"] == width]
        out.append({"d_model": width, "seeds": sorted(mine["seed"].unique().tolist()),
                    "right": _share(mine["said"]).to_json()})
    return out


def _at_least(name: str, asked: float, hits: "pd.Series") -> Target:
    found = _share(hits) if len(hits) else None
    return Target(name, f"at least {asked:.0%}", found, None if found is None
                  else found.value >= asked)


def _at_most(name: str, asked: float, hits: "pd.Series") -> Target:
    found = _share(hits) if len(hits) else None
    return Target(name, f"at most {asked:.0%}" if asked else "never", found,
                  None if found is None else found.value <= asked)


def _share(hits: "pd.Series") -> Estimate:
    return stats.share(int(hits.astype(bool).sum()), len(hits))
