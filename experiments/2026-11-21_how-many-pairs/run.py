"""How many contrast pairs a direction needs: to read, to lie in the planted subspace, to steer.

python experiments/2026-11-21_how-many-pairs/run.py
"""

import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

import virtuelens as vl
from virtuelens import stats, storage
from virtuelens.activations.harvest import harvest
from virtuelens.organisms.languages import LANGUAGES
from virtuelens.organisms.recipe import list_organisms, load_recipe
from virtuelens.probing.data import Site
from virtuelens.probing.methods import METHODS
from virtuelens.probing.probes import examples_of
from virtuelens.steering.behaviour import encode_items, score_items
from virtuelens.steering.edits import Add

HERE = Path(__file__).parent
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 240)
N_DRAWS, N_STEERED = 30, 3


def main() -> None:
    """Every organism whose answers follow its variable."""
    rows = []
    for name in [o.name for o in list_organisms()]:
        recipe = load_recipe(name)
        if recipe.pinned and recipe.teller == LANGUAGES[recipe.dialect].tellers[0]:
            rows += study(name, next(c for c in recipe.rungs if c != "knowledge"))
    (HERE / "results").mkdir(exist_ok=True)
    text = json.dumps(rows, indent=1) + "\n"
    (HERE / "results/results.json").write_text(text, encoding="utf-8")
    print(text)


def study(name: str, concept: str) -> list[dict[str, Any]]:
    """One organism: medians over random draws of n pairs, by family."""
    model, recipe = vl.load_model(f"organism:{name}"), load_recipe(name)
    pack = vl.load_concept(concept, dialect=recipe.dialect)
    tensors, _ = storage.read_tensors(Path(model.hf.config._name_or_path) / "planted.safetensors")
    planted = tensors["subspace"].double().numpy()
    site = Site(recipe.point, "last_prompt")
    main_set, shifted = (
        examples_of(harvest(model, pack.in_split(s), points=recipe.point,
                            positions=["last_prompt"]))
        for s in ("main", "shifted")
    )
    X, pairs = main_set.matrices[site], np.array(main_set.pairs)
    names = sorted(set(main_set.pairs))
    target = next(b for b in pack.behaviours if b.kind == "target")
    questions = encode_items(model, target.items[:120])
    plain = float((score_items(model, questions) > 0).mean())
    out = []
    for n in [s for s in SIZES if s <= len(names)]:
        found: dict[str, dict[str, list[float]]] = {m: {"auroc": [], "share": [], "moved": []}
                                                    for m in METHODS}
        for draw in range(N_DRAWS if n < len(names) else 1):
            chosen = np.isin(pairs, Random(f"{name} {n} {draw}").sample(names, n))
            for method, row in METHODS.items():
                try:
                    w = row.fit(X[chosen], main_set.labels[None, chosen])[0]
                except (ValueError, np.linalg.LinAlgError, vl.errors.VirtueLensError):
                    continue
                if not np.linalg.norm(w) > 0:
                    continue
                w = w / np.linalg.norm(w)
                kept = found[method]
                kept["auroc"].append(stats.auroc(shifted.matrices[site] @ w, shifted.labels))
                kept["share"].append(float(((w @ planted) ** 2).sum()))
                if draw < N_STEERED:
                    vector = torch.from_numpy(w).float() * float(np.std(X @ w)) * 3
                    edit = Add(site.point, vector, "from_last_prompt")
                    rate = float((score_items(model, questions, edits=[edit]) > 0).mean())
                    kept["moved"].append(rate - plain)
        for method, kept in found.items():
            if kept["auroc"]:
                low, mid, high = np.quantile(kept["auroc"], [0.05, 0.5, 0.95]).round(3).tolist()
                out.append({
                    "organism": name, "n_pairs": n, "method": method,
                    "auroc on the shifted set": mid, "5 % and 95 % of draws": [low, high],
                    "share in the planted subspace": round(float(np.median(kept["share"])), 3),
                    "rate moved at 3 sd": round(float(np.median(kept["moved"])), 3),
                    "draws": len(kept["auroc"]),
                })
    return out


if __name__ == "__main__":
    main()
