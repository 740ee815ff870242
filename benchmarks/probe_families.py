"""Every probe family on two organisms: as drawn, and where the families' assumptions fail.

    python benchmarks/probe_families.py [--only CONDITION] [--json]

organism:sycophant's sycophancy and organism:grounded's valence are planted, proven and easy, so
that what differs is the families' doing. At the site where the directions read best, over ten
splits by group, AUROC on the groups kept aside when a family is fitted on

- as drawn: contrast pairs that differ in the concept alone
- mixed pairs: the same examples, each positive paired with a negative drawn at random
- eight pairs: the first eight pairs of the fitting groups, in random order
- wrong labels: the same examples, the sides of 30 % of the pairs swapped
- shifted: as drawn, judged on the pack's set in another format
- distractor: in every pair, at random, one side lies further along a random direction, twice as far
  as the classes lie apart; in fitting and test examples alike
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch

from virtuelens import stats
from virtuelens.activations.activations import Activations
from virtuelens.activations.harvest import harvest
from virtuelens.audits.features import sae_of
from virtuelens.concepts.pack import load_concept
from virtuelens.models import load_model
from virtuelens.probing.bags import BagExamples, Bags, at_site, one_row_each, tokens_of
from virtuelens.probing.comparison import FAMILIES, best_site
from virtuelens.probing.probes import examples_of
from virtuelens.probing.scorers.table import SCORERS
from virtuelens.probing.uncertainty import held_out_scores, split
from virtuelens.sparse_coding import load_sae
from virtuelens.sparse_coding.rows import features_of_rows

SUBJECTS = (("sycophant", "sycophancy"), ("grounded", "valence"))
N_SPLITS = 10

Reader = Callable[[Activations], BagExamples]
Change = Callable[[BagExamples, np.random.Generator], BagExamples]


def main() -> None:
    """Measure and print one table a subject."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", choices=CONDITIONS)
    args = parser.parse_args()
    chosen = (args.only,) if args.only else CONDITIONS
    result = [_subject(*s, chosen) for s in SUBJECTS]
    for subject in () if args.json else result:
        print(f"\n{subject['concept']} of organism:{subject['organism']}, {subject['point']}, "
              f"{subject['position']}")
        print(f"{'':<12}" + "".join(f"{name:>22}" for name in chosen))
        for row in subject["rows"]:
            print(f"{row['family']:<12}" + "".join(
                "{:>22}".format("{:.2f} [{:.2f}, {:.2f}]".format(*row[name]))
                for name in chosen))
    if args.json:
        print(json.dumps(result, indent=1))


def _mixed(e: BagExamples, rng: np.random.Generator) -> BagExamples:
    pairs = np.empty(len(e.labels), dtype=object)
    for label in (0, 1):
        rows = np.flatnonzero(e.labels == label)
        pairs[rng.permutation(rows)] = [f"m{i}" for i in range(len(rows))]
    return replace(e, pairs=tuple(pairs))


def _eight(e: BagExamples, rng: np.random.Generator) -> BagExamples:
    chosen = rng.permutation(sorted(set(e.pairs)))[:8].tolist()
    return e.where(np.isin(np.array(e.pairs), chosen))


def _wrong(e: BagExamples, rng: np.random.Generator) -> BagExamples:
    names = sorted(set(e.pairs))
    swapped = set(rng.permutation(names)[: round(0.3 * len(names))].tolist())
    inside = np.array([p in swapped for p in e.pairs])
    return replace(e, labels=np.where(inside, 1 - e.labels, e.labels))


CHANGES: dict[str, Change] = {
    "as drawn": lambda e, rng: e, "mixed pairs": _mixed, "eight pairs": _eight,
    "wrong labels": _wrong,
}
"""What is done to the fitting examples."""
CONDITIONS = (*CHANGES, "shifted", "distractor")


def _distracted(e: BagExamples) -> BagExamples:
    rng = np.random.default_rng(0)
    means = e.bags.means()
    apart = np.linalg.norm(means[e.labels == 1].mean(0) - means[e.labels == 0].mean(0))
    away = rng.normal(size=means.shape[1])
    away /= np.linalg.norm(away)
    ahead = {pair: bool(side) for pair, side in zip(
        sorted(set(e.pairs)), rng.integers(0, 2, len(set(e.pairs))), strict=True)}
    one_side = np.array([ahead[p] == (y == 1) for p, y in zip(e.pairs, e.labels, strict=True)])
    moved = e.bags.values + 2 * apart * np.outer(one_side[e.bags.owners], away)
    return replace(e, bags=Bags(moved.astype(e.bags.values.dtype), e.bags.sizes))


def _subject(organism: str, name: str, conditions: tuple[str, ...]) -> dict[str, Any]:
    model = load_model(f"organism:{organism}")
    concept = load_concept(name, dialect=model.info.dialect)
    texts = [e for e in concept.examples if e.split in {"main", "shifted"}]
    acts = harvest(model, texts, points="resid_post", positions=["last_prompt", "tokens"])
    parts = {s: acts.where(acts.index["split"] == s) for s in ("main", "shifted")}
    site = best_site(examples_of(parts["main"]), seed=0)
    sae = sae_of(model.info.fingerprint)
    readers: dict[str, Reader] = {
        "activations": lambda a: at_site(examples_of(a), site),
        "tokens": lambda a: tokens_of(a, site.point),
    }
    if sae is not None:
        readers["features"] = lambda a: _features(a, sae)
    rows = []
    for family in FAMILIES:
        reads = SCORERS[family].reads if family in SCORERS else "activations"
        if reads not in readers:
            continue
        main, shifted = (readers[reads](parts[s]) for s in ("main", "shifted"))
        row: dict[str, Any] = {"family": family}
        for condition in conditions:
            change = CHANGES.get(condition, CHANGES["as drawn"])
            given = _distracted(main) if condition == "distractor" else main
            other = shifted if condition == "shifted" else None
            row[condition] = _spread([_value(family, given, change, other, seed=s)
                                      for s in range(N_SPLITS)])
        rows.append(row)
        print(organism, family, file=sys.stderr)
    return {"organism": organism, "concept": name, "point": site.point, "position": site.position,
            "n": len(parts["main"].index) // 2, "n_splits": N_SPLITS, "rows": rows}


def _value(
    family: str, main: BagExamples, change: Change, other: BagExamples | None, *, seed: int
) -> float:
    fit, held = split(main, seed=seed)
    held = other or held
    fit = change(fit, np.random.default_rng(seed))
    return stats.auroc(held_out_scores(family, fit, held, seed=seed), held.labels)


def _features(acts: Activations, name: str) -> BagExamples:
    sae = load_sae(name)
    given = tokens_of(acts, sae.point)
    matrix = features_of_rows(sae, torch.from_numpy(given.bags.values), given.bags.sizes.tolist(),
                              fingerprint=acts.info.fingerprint)
    return one_row_each(matrix.numpy(), given.labels, groups=given.groups, pairs=given.pairs)


def _spread(values: list[float]) -> list[float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return [round(float(x), 4) for x in (np.mean(values), low, high)]


if __name__ == "__main__":
    main()
