"""SAE search beside probes, from the readings of a calibration.

python experiments/2026-11-21_sae-against-probe/run.py [runs/calibration]
"""

import json
import sys
from pathlib import Path

from virtuelens.calibration.calibrate import readings_of

HERE = Path(__file__).parent


def main() -> None:
    """Hits, false alarms, AUROC and share in the planted subspace, by instrument and concept."""
    readings = readings_of(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/calibration"))
    readings = readings[(readings["dose"] == 100)
                        & readings["instrument"].str.startswith(("probe", "SAE"))]
    out = []
    for (instrument, control, concept), rows in readings.groupby(
            ["instrument", "control", "concept"]):
        found = rows[rows["claim"].isin(["decodable", "a feature tells it apart"])]
        known = found[found["true"].notna()]
        inside = rows[rows["claim"] == "lies in the planted subspace"]["value"]
        count = rows[rows["claim"] == "features found"]["value"]
        out.append({
            "instrument": instrument, "control": control, "concept": concept,
            "claimed where it holds": share(known[known["true"].astype(bool)]),
            "claimed where it does not": share(known[~known["true"].astype(bool)]),
            "median auroc": round(float(found["value"].median()), 3),
            "median share in the planted subspace":
                round(float(inside.median()), 3) if len(inside) else None,
            "median number of features": float(count.median()) if len(count) else None,
            "n": len(found),
        })
    (HERE / "results").mkdir(exist_ok=True)
    text = json.dumps(out, indent=1) + "\n"
    (HERE / "results/results.json").write_text(text, encoding="utf-8")
    print(text)


def share(rows: "object") -> str:
    """Claims made of how many."""
    return f"{int(rows['said'].sum())} of {len(rows)}"  # type: ignore[index]


if __name__ == "__main__":
    main()
