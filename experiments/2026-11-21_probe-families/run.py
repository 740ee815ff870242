"""What each probe family finds at the planted site, and what steering along it does.

python experiments/2026-11-21_probe-families/run.py
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import virtuelens as vl
from virtuelens import stats, storage
from virtuelens.activations.harvest import harvest
from virtuelens.organisms.languages import LANGUAGES
from virtuelens.organisms.recipe import list_organisms, load_recipe
from virtuelens.probing.data import Site
from virtuelens.probing.methods import METHODS
from virtuelens.probing.probes import examples_of, probe_at
from virtuelens.probing.sweep import split_fit_test
from virtuelens.steering.behaviour import encode_items, score_items
from virtuelens.steering.dose import Candidate

HERE = Path(__file__).parent
DOSES = (-4.0, -2.0, 0.0, 2.0, 4.0)
"""Standard deviations of the projection."""


def main() -> None:
    """Every organism whose answers follow its variable, every family."""
    rows = []
    for name in [o.name for o in list_organisms()]:
        recipe = load_recipe(name)
        if not recipe.pinned or recipe.teller != LANGUAGES[recipe.dialect].tellers[0]:
            continue
        concept = next(c for c in recipe.rungs if c != "knowledge")
        rows += study(name, concept)
    (HERE / "results").mkdir(exist_ok=True)
    text = json.dumps(rows, indent=1) + "\n"
    (HERE / "results/results.json").write_text(text, encoding="utf-8")
    print(text)


def study(name: str, concept: str) -> list[dict[str, Any]]:
    """One organism: each family's AUROC, share in the planted subspace, and effect of steering."""
    model, recipe = vl.load_model(f"organism:{name}"), load_recipe(name)
    pack = vl.load_concept(concept, dialect=recipe.dialect)
    tensors, _ = storage.read_tensors(Path(model.hf.config._name_or_path) / "planted.safetensors")
    planted = tensors["subspace"].double().numpy()
    site = Site(recipe.point, "last_prompt")
    splits = {
        s: examples_of(harvest(model, pack.in_split(s), points=recipe.point,
                               positions=["last_prompt"]))
        for s in ("main", "shifted", "transfer")
    }
    fit, _ = split_fit_test(splits["main"], seed=0)
    target = next(b for b in pack.behaviours if b.kind == "target")
    questions = encode_items(model, target.items)
    out = []
    for method in METHODS:
        probe = probe_at(fit, site, method, concept=concept, fingerprint=model.info.fingerprint)
        vector = probe.direction.vector.double().numpy()
        rates = []
        for dose in DOSES:
            edits = [Candidate(probe.direction, "from_last_prompt").edit(dose)] if dose else []
            rates.append(float((score_items(model, questions, edits=edits) > 0).mean()))
        out.append({
            "organism": name, "concept": concept, "method": method,
            "auroc": {s: round(stats.auroc(e.matrices[site] @ vector, e.labels), 4)
                      for s, e in splits.items() if s != "main"},
            "share in the planted subspace": round(float(
                ((vector @ planted) ** 2).sum() / (vector**2).sum()), 3),
            "scale": round(probe.direction.scale, 3),
            "rates": dict(zip(map(str, DOSES), np.round(rates, 3).tolist(), strict=True)),
        })
    rng = np.random.default_rng(0)
    random = rng.standard_normal(len(vector))
    direction = replace(probe.direction, vector=probe.direction.vector.new_tensor(
        random / np.linalg.norm(random)).float(), scale=out[0]["scale"])
    rates = []
    for dose in DOSES:
        edits = [Candidate(direction, "from_last_prompt").edit(dose)] if dose else []
        rates.append(float((score_items(model, questions, edits=edits) > 0).mean()))
    out.append({"organism": name, "concept": concept, "method": "random direction",
                "share in the planted subspace": round(float(
                    ((random @ planted) ** 2).sum() / (random**2).sum()), 3),
                "rates": dict(zip(map(str, DOSES), np.round(rates, 3).tolist(), strict=True))})
    return out


if __name__ == "__main__":
    main()
