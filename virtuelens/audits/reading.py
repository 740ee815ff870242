"""Numbers 1 and 2 of an audit: is the concept decodable, and more than the words give?

The probe, the embedding layer and the random-weight copies go through the same sweep, on the same
splits; the word and length classifiers are fitted on the same fitting groups.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from virtuelens import stats
from virtuelens.activations.harvest import harvest
from virtuelens.audits.config import AuditConfig
from virtuelens.probing.baselines import BASELINES
from virtuelens.probing.data import Array, Examples
from virtuelens.probing.probes import examples_of
from virtuelens.probing.sweep import Cell, Sweep, best, cross_validate, fit_weights, sweep
from virtuelens.values.estimates import Estimate
from virtuelens.values.texts import Example

if TYPE_CHECKING:
    from virtuelens.concepts.pack import Concept
    from virtuelens.models import HookedModel

EMBEDDING = "hook_embed"
PROBE = "probe"


@dataclass(frozen=True)
class Reading:
    """What was decodable where, by the probe and by its rivals.

    found: the sweep over the model's residual stream.
    scores: (split, source) -> score of every example of that split, rows as in `splits[split]`.
    splits: "test" (held-out groups of main), "shifted", "transfer" -> examples, at the probe's site
        and at the embedding only.
    """

    found: Sweep
    splits: Mapping[str, Examples]
    scores: Mapping[tuple[str, str], Float[Array, " n"]]

    def auroc(self, split: str, source: str, *, config: AuditConfig) -> Estimate:
        """AUROC of one source on one split."""
        e = self.splits[split]
        return stats.auroc_estimate(
            self.scores[split, source], e.labels, e.groups,
            n_draws=config.n_bootstrap, seed=config.seed, null=0.5,
        )

    def beyond(self, split: str, rival: str, *, config: AuditConfig) -> Estimate:
        """AUROC of the probe minus that of a rival on one split."""
        e = self.splits[split]
        return stats.auroc_difference(
            self.scores[split, PROBE], self.scores[split, rival], e.labels, e.groups,
            n_draws=config.n_bootstrap, seed=config.seed,
        )

    @property
    def rivals(self) -> tuple[str, ...]:
        """Every source but the probe."""
        return tuple(s for split, s in self.scores if split == "test" and s != PROBE)


def read_concept(
    model: "HookedModel",
    concept: "Concept",
    *,
    config: AuditConfig,
    progress: Callable[[str], None] = lambda stage: None,
) -> Reading:
    """Harvest, sweep, and score every split with the probe and with each rival."""
    progress("harvest")
    everything = _split_examples(model, concept, ["resid_post", EMBEDDING])
    residual = tuple(s for s in everything["main"].matrices if s.point != EMBEDDING)
    embedding = tuple(s for s in everything["main"].matrices if s.point == EMBEDDING)

    progress("sweep and its permutation null")
    found = sweep(
        everything["main"].at(residual), methods=config.methods,
        n_permutations=config.n_permutations, n_bootstrap=config.n_bootstrap, seed=config.seed,
    )
    in_test = np.isin(everything["main"].ids, found.held_out.ids)
    main = everything["main"].at(embedding)
    needed = (found.selected.site, *embedding)
    splits = {"test": everything["main"].at(needed).rows(in_test)} | {
        name: e.at(needed) for name, e in everything.items() if name != "main"
    }
    del everything
    scores: dict[tuple[str, str], Float[Array, " n"]] = {}
    for name, e in splits.items():
        scores[name, PROBE] = e.matrices[found.selected.site] @ found.weights

    progress("surface baselines")
    texts = {e.id: e.text.words for e in concept.examples}
    fit_texts = [texts[i] for i in found.fit.ids]
    for baseline in BASELINES.values():
        for name, e in splits.items():
            scores[name, baseline.name] = baseline.score(
                fit_texts, found.fit.labels, [texts[i] for i in e.ids]
            )
    for name, s in _rival(main.rows(~in_test), splits, config).items():
        scores[name, "embedding"] = s

    progress("random-weight copies")
    for name, s in _random_weights(model, concept, found, config).items():
        scores[name, "random_weights"] = s
    return Reading(found, splits, scores)


def evidence_rows(reading: Reading, *, config: AuditConfig) -> list[dict[str, object]]:
    """Rows of evidence.parquet: every cell's cross-validation, every source on every split."""
    rows: list[dict[str, object]] = []
    chosen = reading.found.selected

    def row(cell: Cell, split: str, source: str, metric: str, e: Estimate, *,
            p: float | None = None, selected: bool = False) -> None:
        site = cell.site
        rows.append({
            "layer": site.layer, "point": site.point, "position": site.position,
            "method": cell.method,
            "split": split, "source": source, "metric": metric, "value": e.value, "low": e.low,
            "high": e.high, "n": e.n, "null": e.null, "p": p, "selected": selected,
        })

    for cell in reading.found.cells:
        row(cell, "cv", PROBE, "auroc", cell.cv, selected=cell == chosen)
    for split in reading.splits:
        for source in (PROBE, *reading.rivals):
            if split == "test" and source == PROBE:
                row(chosen, split, source, "auroc", reading.found.test,
                    p=reading.found.p, selected=True)
            else:
                e = reading.auroc(split, source, config=config)
                row(chosen, split, source, "auroc", e, selected=True)
            if source != PROBE:
                d = reading.beyond(split, source, config=config)
                row(chosen, split, source, "auroc_difference", d,
                    selected=True)
    return rows


def score_rows(reading: Reading) -> list[dict[str, object]]:
    """Rows of scores.parquet."""
    return [
        {"split": split, "source": source, "example_id": i, "group": g, "label": int(y),
         "score": float(s)}
        for (split, source), scores in reading.scores.items()
        for i, g, y, s in zip(
            reading.splits[split].ids, reading.splits[split].groups,
            reading.splits[split].labels, scores, strict=True,
        )
    ]


def transfer_null(reading: Reading, split: str, *, config: AuditConfig) -> float:
    """95 % quantile of the probe's AUROC on a split when the sides of its pairs are swapped."""
    e = reading.splits[split]
    labelings = stats.permuted_labels(
        e.labels, e.pairs, n_draws=max(config.n_permutations, 20), seed=config.seed
    )
    null = stats.auroc_labelings(reading.scores[split, PROBE][:, None], labelings)[:, 0]
    return float(np.quantile(null, 0.95))


def _split_examples(
    model: "HookedModel", concept: "Concept", points: Sequence[str]
) -> dict[str, Examples]:
    """One set of examples per split of the pack, every site of the sweep read."""
    out = {}
    for split in ("main", "shifted", "transfer"):
        texts: tuple[Example, ...] = concept.in_split(split)
        if texts:
            acts = harvest(model, texts, points=points, positions=concept.positions)
            out[split] = examples_of(acts)
    return out


def _rival(
    fit: Examples, splits: Mapping[str, Examples], config: AuditConfig
) -> dict[str, Float[Array, " n"]]:
    """Scores on every split by the best cell of other activations, chosen inside `fit`."""
    cell = best(cross_validate(fit, methods=config.methods, seed=config.seed))
    weights = fit_weights(fit, cell.site, cell.method, strength=cell.strength)
    return {name: e.matrices[cell.site] @ weights for name, e in splits.items()}


def _random_weights(
    model: "HookedModel", concept: "Concept", found: Sweep, config: AuditConfig
) -> dict[str, Float[Array, " n"]]:
    """The strongest of several random-weight copies, judged by the set that counts most."""
    strongest: dict[str, Float[Array, " n"]] = {}
    top = -1.0
    for seed in range(config.n_random_weights):
        copy = model.random_copy(config.seed + seed)
        everything = _split_examples(copy, concept, ["resid_post"])
        in_test = np.isin(everything["main"].ids, found.held_out.ids)
        splits = {"test": everything["main"].rows(in_test)} | {
            name: e for name, e in everything.items() if name != "main"
        }
        scores = _rival(everything["main"].rows(~in_test), splits, config)
        judge = "shifted" if "shifted" in splits else "test"
        value = stats.auroc(scores[judge], splits[judge].labels)
        if value > top:
            top, strongest = value, scores
    return strongest
