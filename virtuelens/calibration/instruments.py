"""The table of instruments: what each says of a subject, beside what is true.

Every row is used as a user would use it, with its own defaults and its own nulls; nothing here
knows the planted subspace except to judge what was found.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from virtuelens.attribution.attribute import attribute
from virtuelens.audits.audit import audit
from virtuelens.audits.config import AuditConfig
from virtuelens.audits.ladder import RUNGS, Evidence, Thresholds, climb, obstacle
from virtuelens.audits.parts import evidence_of, load_part
from virtuelens.calibration.case import Case, norm_share
from virtuelens.calibration.reading import Reading
from virtuelens.calibration.subjects import Subject
from virtuelens.calibration.truth import CAUSAL, NOT_IN_THE_TEXT, SPECIFIC
from virtuelens.probing.das import SwapPairs, fit_alignment
from virtuelens.probing.data import Site
from virtuelens.probing.sweep import fit_weights, split_fit_test, sweep
from virtuelens.sparse_coding import feature_matrix, load_sae, rank_features
from virtuelens.sparse_coding.make import make_sae
from virtuelens.sparse_coding.recipes import Data, Recipe, Shape, Training

DAS_MARK = 0.5
"""Interchange claims a cause where the fitted swap moves more than this share of the held-out
answers that random subspaces leave where they were, with its interval above both nulls, and the
swap of the whole activation does too (else the subspace is an illusion). An answer with two words
is as expected half of the time whatever is swapped."""
SITE_MARK = 0.5
"""Attribution names a cell where more than this share of the effect goes through it."""
N_ATTRIBUTED = 120


@dataclass(frozen=True)
class Instrument:
    """A row of the table.

    suits: which subjects it is tried on.
    """

    name: str
    about: str
    suits: Callable[[Subject], bool]
    read: Callable[[Case], Iterator[Reading]]


def said_by(evidence: Evidence, thresholds: Thresholds) -> Iterator[Reading]:
    """The ladder's readings: one a rung, and the verdict; steering by itself is read besides."""
    reached = climb(evidence, thresholds)
    for rung in range(1, len(RUNGS)):
        yield Reading("ladder", f"rung {rung}", reached.rung >= rung, reached.rung,
                      reached.stopped_because)
    yield Reading("ladder", "verdict", True, reached.rung, reached.stopped_because)
    c = evidence.causal
    if c is not None:
        against = obstacle(evidence, thresholds, CAUSAL)
        yield Reading("steering", "moves the target", not against, c.slope.value, against)
        if not against:
            besides = obstacle(evidence, thresholds, SPECIFIC)
            yield Reading("steering", "moves nothing else", not besides, c.slope.value, besides)


def _ladder(case: Case) -> Iterator[Reading]:
    start = time.perf_counter()
    # parts of an earlier way of measuring may lie there
    shutil.rmtree(case.folder / "audit", ignore_errors=True)
    audit(case.model, concepts=[case.pack], out=case.folder / "audit", config=case.config)
    took = time.perf_counter() - start
    readings = said_by(case_evidence(case), case.config.thresholds)
    yield from (replace(r, seconds=took) for r in readings)


def case_evidence(case: Case) -> Evidence:
    """The numbers that the ladder had of a subject, from its audit."""
    return evidence_of(case_part(case))


def case_part(case: Case) -> dict[str, Any]:
    """What the audit of a subject wrote of its one concept (`audits.parts`)."""
    (folder,) = (case.folder / "audit/parts").glob("*/")
    part = load_part(folder)
    assert part is not None
    return part


def _probe(method: str) -> Callable[[Case], Iterator[Reading]]:
    def read(case: Case) -> Iterator[Reading]:
        start = time.perf_counter()
        found = sweep(case.examples, methods=(method,), n_permutations=100, n_bootstrap=300,
                      seed=case.subject.seed)
        said = found.p <= case.config.thresholds.fdr and found.test.low > 0.5
        took = time.perf_counter() - start
        yield Reading(f"probe {method}", "decodable", said, found.test.value,
                      f"layer {found.selected.site.layer}", took)
        if case.subject.control == "none" and case.subject.recipe.pinned and (
                case.subject.concept not in NOT_IN_THE_TEXT):
            fit, _ = split_fit_test(case.examples, seed=case.subject.seed)
            weights = fit_weights(fit, planted_site(case), method)
            yield Reading(f"probe {method}", "lies in the planted subspace", True,
                          norm_share(weights, case.planted))

    return read


def planted_site(case: Case) -> Site:
    """Where the variable is pinned."""
    return Site(case.subject.recipe.point, "last_prompt")


SAE_STEPS, SAE_TEXTS, SAE_WIDTH, SAE_K = 400, 1500, 256, 8


def _sae(case: Case) -> Iterator[Reading]:
    """An SAE trained on the organism's own texts at the planted site, searched for the concept."""
    start, recipe = time.perf_counter(), case.subject.recipe
    home = case.folder.parent / f"{case.subject.organism}-{case.subject.seed}.sae"
    if not (home / "cfg.json").is_file():
        make_sae(
            Recipe(
                name=home.name, about="calibration", model=str(case.subject.folder),
                point=recipe.point,
                data=Data("organism", case.subject.organism, SAE_TEXTS, 100, case.subject.seed),
                sae=Shape("batchtopk", SAE_WIDTH, k=SAE_K),
                training=Training(SAE_STEPS, seed=case.subject.seed),
            ),
            home, model=case.model,
        )
    sae = load_sae(home, device=case.model.info.device)
    examples = case.concept.in_split("main")
    acts = feature_matrix(case.model, sae, [e.text for e in examples], position="last_prompt")
    labels = np.array([e.label for e in examples], dtype=np.int64)
    table = rank_features(
        acts.numpy(), labels, groups=[e.group for e in examples], pairs=[e.pair for e in examples],
        n_permutations=100, n_bootstrap=300, seed=case.subject.seed,
    ).table
    top = table.iloc[0]
    above = table[(table["p"] <= case.config.thresholds.fdr)]
    yield Reading("SAE search", "a feature tells it apart", bool(top["low"] > top["null"]),
                  float(top["auroc"]), f"{len(above)} features beat the "
                  "search's null", time.perf_counter() - start)
    if case.subject.control == "none" and case.subject.recipe.pinned:
        row = sae.decoder_row(int(top["feature"])).double().cpu().numpy()
        yield Reading("SAE search", "lies in the planted subspace", True,
                      norm_share(row, case.planted))
        yield Reading("SAE search", "features found", True, float(len(above)))


def _interchange(case: Case) -> Iterator[Reading]:
    """A subspace fitted at the planted site: does its swap move the answers on other words?"""
    start, o, recipe = time.perf_counter(), case.opposed, case.subject.recipe
    found = fit_alignment(
        case.model, SwapPairs(o.base, o.source, o.swapped, o.groups),
        recipe.point, rank=1, steps=100, seed=case.subject.seed,
    )
    nulls = (found.random_subspace, found.random_weights)
    null, left = max(e.high for e in nulls), 1 - max(e.value for e in nulls)
    mark = 1 - left + DAS_MARK * left
    said = found.accuracy.low > null and min(found.accuracy.value, found.whole.value) > mark
    yield Reading("interchange", "swap moves the target", said, found.accuracy.value,
                  f"nulls up to {null:.2f}, whole {found.whole.value:.2f}",
                  time.perf_counter() - start)
    if said and recipe.pinned:
        inside = (case.planted.T @ found.subspace).square().sum() / found.subspace.shape[1]
        yield Reading("interchange", "lies in the planted subspace", True, float(inside))


def _attribution(case: Case) -> Iterator[Reading]:
    """Gradients of the answer: is the planted cell named, and what share lies in the subspace?"""
    start, o, recipe = time.perf_counter(), case.opposed, case.subject.recipe
    n = N_ATTRIBUTED
    found = attribute(case.model, o.base[:n], o.source[:n], o.answers[:n], groups=o.groups[:n],
                      null_source=o.same[:n], n_steps=20)
    named = {(c.point, c.token) for c in found.named(SITE_MARK)}
    share = found.share(recipe.point).value
    where = ", ".join(f"{p.split('.')[1]}@{t}" for p, t in sorted(named))
    yield Reading("attribution", "names the planted site", (recipe.point, -1) in named,
                  share, where, time.perf_counter() - start)


def _whole(s: Subject) -> bool:
    return s.control == "none" and s.concept not in NOT_IN_THE_TEXT


INSTRUMENTS: tuple[Instrument, ...] = (
    Instrument("ladder", "the audit's evidence ladder, and its steering test by itself",
               lambda s: s.control != "labels drawn", _ladder),
    *(
        Instrument(f"probe {m}", f"a sweep with the probe family {m} alone, p <= 0.05",
                   lambda s: s.control in {"none", "labels drawn"} and s.dose == 100, _probe(m))
        for m in AuditConfig().methods
    ),
    Instrument("interchange", "one dimension fitted at the planted site (DAS)",
               lambda s: _whole(s) and s.recipe.pinned, _interchange),
    Instrument("attribution", "attribution patching over all blocks and tokens",
               lambda s: _whole(s) and s.recipe.pinned, _attribution),
    Instrument("SAE search", "the best feature of an SAE trained at the planted site",
               lambda s: s.control in {"none", "labels drawn"} and s.dose == 100
               and s.recipe.pinned, _sae),
)
"""Every row of the table."""


def quick_config() -> AuditConfig:
    """Settings of the reduced calibration, for tests: fewer draws, doses and items."""
    return AuditConfig(n_permutations=60, n_bootstrap=200, n_random_weights=1, n_doses=5,
                       max_steer_layers=3, max_items=60, n_features=5, n_generations=0)
