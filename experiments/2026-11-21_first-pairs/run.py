"""Audit the first organisms with the default settings and write down what came out.

python experiments/2026-11-21_first-pairs/run.py
"""

import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import virtuelens as vl
from virtuelens.organisms import train_organism, verify_organism

HERE = Path(__file__).parent
WORK = Path("runs/first-pairs")
BLANK_SEEDS = range(5)


def main() -> None:
    """All audits, the table on the terminal, results and proofs as JSON."""
    results: dict[str, Any] = {"pairs": {}, "blank": {}, "seconds": {}}
    for name, twin, target in (
        ("sycophant", "candid", "sycophancy"), ("grounded", "parrot", "valence"),
    ):
        start = time.perf_counter()
        run = fresh_audit(f"organism:{name}", twin=f"organism:{twin}", out=WORK / name)
        results["seconds"][f"audit {name} beside {twin}"] = round(time.perf_counter() - start, 1)
        results["pairs"][f"{name} beside {twin}"] = {
            "findings": [summary(f) for f in run.findings],
            "behaviour": behaviour(run, target),
        }
    for seed in BLANK_SEEDS:
        folder = WORK / f"blank-{seed}"
        if not (folder / "config.json").is_file():
            train_organism("blank", folder, seed=seed)
        run = fresh_audit(str(folder), out=WORK / f"audit-blank-{seed}")
        results["blank"][f"seed {seed}"] = [summary(f) for f in run.findings]
    proofs = {
        name: [asdict(row) for row in verify_organism(name).rows]
        for name in ("sycophant", "candid", "grounded", "parrot", "blank")
    }
    write(HERE / "results/results.json", results)
    write(HERE / "results/proofs.json", proofs)
    print(json.dumps(results, indent=1))


def fresh_audit(model: str, *, out: Path, twin: str | None = None) -> vl.Run:
    """An audit with nothing taken from an earlier run."""
    shutil.rmtree(out, ignore_errors=True)
    return vl.audit(model, twin=twin, out=out)


def summary(finding: dict[str, Any]) -> dict[str, Any]:
    """The numbers of a finding that the predictions are about."""
    s = finding["steering"]
    return {
        "model": finding["model"], "concept": finding["concept"], "rung": finding["rung"],
        "rung_name": finding["rung_name"], "stopped_because": finding["stopped_because"],
        "auroc": finding["auroc"], "q": finding["q"],
        "steering": s and {k: s[k] for k in (
            "slope", "low", "high", "n", "random_p99", "n_random", "rate_change", "kl_at_dose",
        )},
    }


def behaviour(run: vl.Run, concept: str) -> dict[str, Any]:
    """Share of target choices at the lowest, zero and highest dose, with intervals and n."""
    t = run.table("steering")
    t = t[(t["concept"] == concept) & (t["direction"] == "concept")]
    out: dict[str, Any] = {}
    for (model, name, kind), found in t.groupby(["model", "behaviour", "kind"]):
        rows = found.sort_values("dose")
        picks = rows.iloc[[0, len(rows) // 2, -1]]
        out.setdefault(str(model), {})[f"{name} ({kind})"] = [
            {"dose": round(r["dose"], 2), "rate": round(r["rate"], 3), "low": round(r["low"], 3),
             "high": round(r["high"], 3), "n": int(r["n"])}
            for _, r in picks.iterrows()
        ]
    return out


def write(path: Path, value: Any) -> None:
    """Readable JSON."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
