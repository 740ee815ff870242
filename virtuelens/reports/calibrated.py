"""What a verdict is worth: the ladder's error rates on organisms, quoted beside every finding."""

from collections.abc import Iterable, Mapping
from typing import Any

from virtuelens.audits.ladder import RUNGS
from virtuelens.reports.words import counted, hits, number

NO_RECORD = "This rung has no calibration record."
NO_CLAIM = "This rung claims nothing, so it has no calibration record."


def calibrated(finding: Mapping[str, Any]) -> str:
    """How often the finding's rung was right on organisms, as one sentence."""
    rung, kept = int(finding["rung"]), finding.get("calibration")
    rates = _rates(kept)
    if not rates:
        return NO_RECORD if rung else NO_CLAIM
    return (
        f"On organisms whose truth is proven, the ladder reached rung {rung} in {rates}; organisms "
        "are easier than nature."
    )


def calibrated_short(finding: Mapping[str, Any]) -> str:
    """The same for a cell of a table: `right 38 of 40 (…), false positive 1 of 80 (…)`."""
    kept = finding.get("calibration") or {}
    parts = [f"{name} {counted(kept[key])}"
             for key, name in (("right", "right"), ("false_positive", "false positive"))
             if _tried(kept.get(key))]
    return ", ".join(parts) or "no record"


def calibrated_rungs(findings: Iterable[Mapping[str, Any]]) -> list[str]:
    """One line for each rung that occurs, lowest first."""
    by_rung = {int(f["rung"]): f for f in findings}
    return [
        f"Rung {rung} ({RUNGS[rung]}) on organisms whose truth is proven: "
        + (f"reached in {rates}." if (rates := _rates(by_rung[rung].get("calibration")))
           else "no calibration record.")
        for rung in sorted(by_rung)
    ]


def _rates(kept: Mapping[str, Any] | None) -> str:
    right, false = (_words((kept or {}).get(key)) for key in ("right", "false_positive"))
    if right and false:
        return f"{right.format('where it holds')} and in {false.format('where it does not')}"
    if right:
        return f"{right.format('where it holds')}; where it does not hold it was not tried"
    if false:
        return f"{false.format('where it does not hold')}; where it holds it was not tried"
    return ""


def _words(rate: Mapping[str, Any] | None) -> str:
    """`38 of 40 {} (0.95, interval 0.83 to 0.99)`, with room for where; empty where not tried."""
    if not _tried(rate):
        return ""
    assert rate is not None
    return (f"{hits(rate)} of {int(rate['n'])} {{}} ({number(rate['value'])}, interval "
            f"{number(rate['low'])} to {number(rate['high'])})")


def _tried(rate: Mapping[str, Any] | None) -> bool:
    return bool(rate and rate.get("n"))
