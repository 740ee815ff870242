"""From readings to rates: how often each claim is made where it holds, and where it does not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from virtuelens import stats
from virtuelens.calibration.targets import by_size, targets
from virtuelens.values.estimates import Estimate

if TYPE_CHECKING:
    import pandas as pd

CONTROLS = ("twins and blanks", "random weights", "labels drawn", "agreeing only")
"""Where a claim is false: trained organisms in which it does not hold, and the three controls."""


@dataclass(frozen=True)
class Rate:
    """One claim of one instrument over all subjects.

    right: share of subjects where the claim holds in which it was made.
    false_positive: share of subjects where it does not hold in which it was made all the same.
    by_control: the latter for each row of `CONTROLS` that was tried.
    seconds: median time of one reading.
    """

    instrument: str
    claim: str
    right: Estimate | None
    false_positive: Estimate | None
    by_control: dict[str, Estimate]
    seconds: float


def rates(readings: "pd.DataFrame") -> list[Rate]:
    """A rate for every claim whose truth is known, in the order of the readings.

    Intervals are Wilson's, 95 %, over subjects. Subjects of one training seed share a base, so
    they are not quite independent; the page says so.
    """
    known = readings[readings["true"].notna()]
    out = []
    for (instrument, claim), rows in known.groupby(["instrument", "claim"], sort=False):
        true = rows["true"].astype(bool)
        negative = rows[~true]
        out.append(Rate(
            str(instrument), str(claim), _share(rows[true]), _share(negative),
            {c: e for c in CONTROLS if (e := _share(_of_control(negative, c))) is not None},
            float(rows["seconds"].median()),
        ))
    return out


def _of_control(rows: "pd.DataFrame", control: str) -> "pd.DataFrame":
    return rows[rows["control"] == ("none" if control == CONTROLS[0] else control)]


def _share(rows: "pd.DataFrame") -> Estimate | None:
    return stats.share(int(rows["said"].sum()), len(rows)) if len(rows) else None


def doses(readings: "pd.DataFrame") -> list[dict[str, Any]]:
    """Sensitivity: share of claims made, and their mean number, by per cent of the planted effect.

    100 % are the organisms in which the claim holds; 0 % their twins that share the base and
    answer as its teller does. Of concepts for which the claim holds at 100 %.
    """
    from virtuelens.organisms.recipe import load_recipe, split_name

    rows = readings[(readings["control"] == "none") & readings["claim"].isin(DOSED)]
    dosed = {split_name(n)[0] for n in rows["organism"] if "@" in n}
    out = []
    for plain in sorted(dosed):
        recipe = load_recipe(plain)
        zero = next((n for n in rows["organism"].unique() if "@" not in n
                     and (r := load_recipe(n)).dialect == recipe.dialect
                     and r.teller == r.base_teller == recipe.base_teller and r.pinned), None)
        for (instrument, claim), each in rows.groupby(["instrument", "claim"], sort=False):
            whole = each[(each["organism"] == plain) & each["true"].fillna(value=False)]
            mine = each[each["concept"].isin(whole["concept"])]
            for organism in (zero, *sorted(o for o in mine["organism"].unique()
                                           if split_name(o)[0] == plain and "@" in o), plain):
                at = mine[mine["organism"] == organism]
                if organism is None or at.empty:
                    continue
                share = _share(at)
                assert share is not None
                out.append({
                    "organism": plain, "instrument": instrument, "claim": claim,
                    "dose": 0 if organism == zero else int(at["dose"].iloc[0]),
                    "share": share.to_json(), "mean_value": float(at["value"].mean()),
                })
    return sorted(out, key=lambda r: (r["organism"], r["instrument"], r["claim"], r["dose"]))


DOSED = ("rung 4", "moves the target", "swap moves the target", "names the planted site")
"""Claims whose sensitivity is followed over the dose series."""


def qualities(readings: "pd.DataFrame") -> list[dict[str, Any]]:
    """Numbers that judge what was found and are not true or false: median and quartiles."""
    rows = readings[readings["claim"].isin(QUALITIES) & (readings["control"] == "none")
                    & (readings["dose"] == 100)]
    out = []
    for (instrument, claim), mine in rows.groupby(["instrument", "claim"], sort=False):
        low, middle, high = mine["value"].quantile([0.25, 0.5, 0.75])
        out.append({"instrument": instrument, "claim": claim, "median": float(middle),
                    "quartiles": [float(low), float(high)], "n": len(mine)})
    return out


QUALITIES = ("lies in the planted subspace", "features found")


def verdicts(readings: "pd.DataFrame") -> Iterator[dict[str, Any]]:
    """For each organism and control, how often the ladder named each rung."""
    rows = readings[(readings["instrument"] == "ladder") & (readings["claim"] == "verdict")]
    keys = ["organism", "concept", "control"]
    for (organism, concept, control), mine in rows.groupby(keys, sort=False):
        low, high = mine[["true_low", "true_high"]].fillna(-1).astype(int).iloc[0]
        yield {
            "organism": organism, "concept": concept, "control": control,
            "true_rungs": None if low < 0 else [int(low), int(high)],
            "named": {str(r): int((mine["value"] == r).sum()) for r in sorted(set(
                mine["value"].astype(int)))},
            "right": int(mine["said"].sum()), "n": len(mine),
        }


WITH_MARKS = ("ladder", "steering", "interchange", "attribution")
"""Instruments whose claims rest on marks that were chosen; the others have a p-value alone."""


def record(
    readings: "pd.DataFrame", *, thresholds: dict[str, float], chosen_on: Sequence[int],
    reported_on: Sequence[int], choice: dict[str, Any], version: str,
) -> dict[str, Any]:
    """The machine-readable summary: `docs/calibration.json`.

    instruments: instrument -> claim -> {"right", "false_positive"}, each {value, low, high, n} or
        null; those of `WITH_MARKS` on the seeds that marks were not chosen on, others on all.
    """
    held = readings[readings["seed"].isin(list(reported_on))]
    judged = rates(_concat(held[held["instrument"].isin(WITH_MARKS)],
                           readings[~readings["instrument"].isin(WITH_MARKS)]))
    instruments: dict[str, Any] = {}
    for r in judged:
        instruments.setdefault(r.instrument, {})[r.claim] = {
            "right": _json(r.right), "false_positive": _json(r.false_positive),
            "by_control": {c: _json(e) for c, e in r.by_control.items()},
            "seconds": round(r.seconds, 2),
        }
    trained = readings[(readings["control"] == "none") & (readings["dose"] == 100)]
    return {
        "schema": 1, "virtuelens": version,
        "seeds": sorted(int(s) for s in readings["seed"].unique()),
        "thresholds": thresholds, "chosen_on": list(chosen_on), "reported_on": list(reported_on),
        "choice": choice,
        "organisms": sorted(trained["organism"].unique().tolist()),
        "targets": [{"name": t.name, "asked": t.asked, "found": _json(t.found), "met": t.met}
                    for t in targets(held)],
        "by_size": by_size(held),
        "instruments": instruments,
        "verdicts": list(verdicts(held)),
        "verdicts_all_seeds": list(verdicts(readings)),
        "doses": doses(readings),
        "qualities": qualities(readings),
    }


def _concat(*tables: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    return pd.concat(tables, ignore_index=True)


def _json(e: Estimate | None) -> dict[str, Any] | None:
    return None if e is None else {"value": e.value, "low": e.low, "high": e.high, "n": e.n}
