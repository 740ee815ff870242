"""Train both pairs from fresh seeds, prove them, audit them, and write down what came out.

python experiments/2026-11-21_fresh-seeds/run.py
"""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import virtuelens as vl
from virtuelens.organisms import verify_organism
from virtuelens.organisms.training import train_organism

HERE = Path(__file__).parent
WORK = Path("runs/fresh-seeds")
SEEDS = (1, 2)
PAIRS = (("sycophant", "candid", "sycophancy"), ("grounded", "parrot", "valence"))


def main() -> None:
    """All seeds, the results as JSON on the terminal and in results/."""
    results: dict[str, Any] = {}
    for seed in SEEDS:
        for name, twin, concept in PAIRS:
            folders = [trained(n, seed) for n in (name, twin)]
            out = WORK / f"audit-{name}-{seed}"
            shutil.rmtree(out, ignore_errors=True)
            run = vl.audit(str(folders[0]), twin=str(folders[1]), out=out)
            results[f"{name} beside {twin}, seed {seed}"] = {
                "proofs": {f.name: proof(f) for f in folders},
                "findings": [summary(f, run) for f in run.findings if f["concept"] == concept],
            }
    (HERE / "results").mkdir(exist_ok=True)
    text = json.dumps(results, indent=1) + "\n"
    (HERE / "results/results.json").write_text(text, encoding="utf-8")
    print(text)


def trained(name: str, seed: int) -> Path:
    """The organism of that seed, trained unless it is there already."""
    folder = WORK / f"{name}-{seed}"
    if not (folder / "config.json").is_file():
        train_organism(name, folder, seed=seed, bases=WORK / "bases")
    return folder


def proof(folder: Path) -> dict[str, Any]:
    """Whether every obligation holds, and those that do not."""
    found = verify_organism(str(folder))
    return {"passed": found.passed, "n_obligations": len(found.rows),
            "failed": [asdict(r) for r in found.rows if not r.passed]}


def summary(f: dict[str, Any], run: vl.Run) -> dict[str, Any]:
    """The numbers of a finding that the prediction is about."""
    t = run.table("steering")
    t = t[(t["model"] == f["model"]) & (t["concept"] == f["concept"])
          & (t["direction"] == "concept")]
    rates = {}
    for (behaviour, kind), rows in t.groupby(["behaviour", "kind"]):
        r = rows.sort_values("dose")["rate"]
        rates[f"{behaviour} ({kind})"] = [round(float(r.iloc[i]), 3) for i in (0, len(r) // 2, -1)]
    return {
        "model": Path(f["model"]).name, "concept": f["concept"], "rung": f["rung"],
        "stopped_because": f["stopped_because"], "auroc": f["auroc"],
        "steering": {k: f["steering"][k] for k in (
            "slope", "low", "high", "n", "random_p99", "rate_change", "kl_at_dose", "dose")},
        "rates at lowest, zero, highest dose": rates,
    }


if __name__ == "__main__":
    main()
