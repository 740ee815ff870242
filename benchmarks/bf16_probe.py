"""What computing in bfloat16 does to probes: held-out AUROC of every organism, in both precisions.

    python benchmarks/bf16_probe.py [--json]

Every shipped organism, each of its concepts: activations computed in fp32 and in bfloat16, kept in
fp32, at every layer and position of the pack; the difference-of-means and LDA probes fitted on the
fitting groups, judged on the others. The largest difference of AUROC is asked to stay under 0.005.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from virtuelens import stats
from virtuelens.activations.harvest import harvest
from virtuelens.concepts.pack import load_concept
from virtuelens.models import load_model
from virtuelens.organisms.recipe import list_organisms, load_recipe
from virtuelens.probing.probes import examples_of
from virtuelens.probing.sweep import best, cross_validate, fit_weights, split_fit_test

METHODS = ("diff_means", "lda")


def main() -> None:
    """Compare and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = [
        _compare(o.name, concept) for o in list_organisms()
        for concept in load_recipe(o.name).rungs
    ]
    chosen = [abs(r["chosen"][0] - r["chosen"][1]) for r in rows]
    result = {
        "n": len(rows), "largest_at_the_chosen_site": round(max(chosen), 5),
        "median_over_all_sites": round(float(np.median(np.concatenate(
            [r["differences"] for r in rows]))), 5),
        "largest_over_all_sites": round(float(max(max(r["differences"]) for r in rows)), 5),
    }
    if not args.json:
        print(f"{'organism':<14}{'concept':<20}{'fp32':>8}{'bf16':>8}   largest over sites")
        for r in rows:
            print(f"{r['organism']:<14}{r['concept']:<20}{r['chosen'][0]:>8.4f}"
                  f"{r['chosen'][1]:>8.4f}   {max(r['differences']):.4f}")
    print(json.dumps(result))


def _compare(organism: str, name: str) -> dict[str, Any]:
    parts = {}
    for dtype in ("float32", "bfloat16"):
        model = load_model(f"organism:{organism}", dtype=dtype)
        concept = load_concept(name, dialect=model.info.dialect)
        acts = harvest(model, concept.in_split("main"), points="resid_post",
                       positions=concept.positions)
        parts[dtype] = split_fit_test(examples_of(acts), seed=0)
    fit, _ = parts["float32"]
    cell = best(cross_validate(fit, methods=METHODS, seed=0))
    scores: dict[tuple[Any, str], list[float]] = {}
    for fit, held_out in parts.values():
        for site in fit.matrices:
            for method in METHODS:
                w = fit_weights(fit, site, method)
                scores.setdefault((site, method), []).append(
                    stats.auroc(held_out.matrices[site] @ w, held_out.labels))
    return {"organism": organism, "concept": name, "chosen": scores[cell.site, cell.method],
            "differences": [abs(a - b) for a, b in scores.values()]}


if __name__ == "__main__":
    main()
