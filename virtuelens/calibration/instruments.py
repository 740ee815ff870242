"""The table of instruments: what each says of a subject, beside what is true.

Every row is used as a user would use it, with its own defaults and its own nulls; nothing here
knows the planted subspace except to judge what was found.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random

import numpy as np

from virtuelens.attribution.attribute import attribute
from virtuelens.audits.audit import audit
from virtuelens.audits.config import AuditConfig
from virtuelens.audits.ladder import RUNGS, Evidence, Thresholds, climb, obstacle
from virtuelens.audits.parts import evidence_of, load_part
from virtuelens.calibration.case import Case, norm_share
from virtuelens.calibration.reading import Reading
from virtuelens.calibration.subjects import NOT_IN_THE_TEXT, Subject
from virtuelens.probing.das import SwapPairs, fit_alignment
from virtuelens.probing.data import Site
from virtuelens.probing.methods import METHODS
from virtuelens.probing.sweep import fit_weights, split_fit_test, sweep
from virtuelens.sparse_coding import feature_matrix, load_sae, rank_features
from virtuelens.sparse_coding.make import make_sae
from virtuelens.sparse_coding.recipes import Data, Recipe, Shape, Training
from virtuelens.values.texts import Text

CAUSAL, SPECIFIC = 4, 5
DAS_MARK = 0.5
"""Interchange claims a cause where the fitted swap moves more than this share of held-out answers,
with its interval above both nulls."""
SITE_MARK = 0.5
"""Attribution names a cell where more than this share of the effect goes through it."""


@dataclass(frozen=True)
class Instrument:
    """A row of the table.

    suits: which subjects it is tried on.
    """

    name: str
    about: str
    suits: Callable[[Subject], bool]
    read: Callable[[Case], Iterator[Reading]]


def said_by(evidence: Evidence, thresholds: Thresholds, true: int | None) -> Iterator[Reading]:
    """The ladder's readings: one a rung, and the verdict; steering by itself is read besides."""
    reached = climb(evidence, thresholds)
    for rung in range(1, len(RUNGS)):
        # whether anything is decodable where nothing was planted, the process does not settle
        holds = None if true is None or (true == 0 and rung == 1) else rung <= true
        yield Reading("ladder", f"rung {rung}", reached.rung >= rung, holds, reached.rung,
                      reached.stopped_because)
    right = None if true is None else (reached.rung == true or (true == 0 and reached.rung <= 1))
    yield Reading("ladder", "verdict", bool(right), None if right is None else True, reached.rung,
                  reached.stopped_because)
    c = evidence.causal
    if c is not None:
        against = obstacle(evidence, thresholds, CAUSAL)
        yield Reading("steering", "moves the target", not against,
                      None if true is None else true >= CAUSAL, c.slope.value, against)
        if not against:
            besides = obstacle(evidence, thresholds, SPECIFIC)
            yield Reading("steering", "moves nothing else", not besides,
                          None if true is None else true >= SPECIFIC, c.slope.value, besides)


def _ladder(case: Case) -> Iterator[Reading]:
    start = time.perf_counter()
    audit(case.model, concepts=[case.pack], out=case.folder / "audit", config=case.config)
    took = time.perf_counter() - start
    readings = said_by(case_evidence(case), case.config.thresholds, case.subject.true_rung)
    yield from (replace(r, seconds=took) for r in readings)


def case_evidence(case: Case) -> Evidence:
    """The numbers that the ladder had of a subject, from its audit."""
    (folder,) = (case.folder / "audit/parts").glob("*/")
    part = load_part(folder)
    assert part is not None
    return evidence_of(part)


def _decodable(subject: Subject) -> bool | None:
    """Whether the concept is there to be decoded; None where the process does not settle it."""
    if subject.control == "labels drawn":
        return False
    if subject.true_rung == 0:
        return False if subject.concept in NOT_IN_THE_TEXT else None
    return True


def _probe(method: str) -> Callable[[Case], Iterator[Reading]]:
    def read(case: Case) -> Iterator[Reading]:
        start = time.perf_counter()
        found = sweep(case.examples, methods=(method,), n_permutations=100, n_bootstrap=300,
                      seed=case.subject.seed)
        said = found.p <= case.config.thresholds.fdr and found.test.low > 0.5
        took = time.perf_counter() - start
        yield Reading(f"probe {method}", "decodable", said, _decodable(case.subject),
                      found.test.value, f"layer {found.selected.site.layer}", took)
        if case.subject.control == "none" and case.subject.recipe.pinned and (
                case.subject.concept not in NOT_IN_THE_TEXT):
            fit, _ = split_fit_test(case.examples, seed=case.subject.seed)
            weights = fit_weights(fit, planted_site(case), method)
            yield Reading(f"probe {method}", "lies in the planted subspace", True, None,
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
    acts = feature_matrix(case.model, sae, [e.text for e in examples], position="last_prompt").numpy()
    labels = np.array([e.label for e in examples], dtype=np.int64)
    table = rank_features(
        acts, labels, groups=[e.group for e in examples], pairs=[e.pair for e in examples],
        n_permutations=100, n_bootstrap=300, seed=case.subject.seed,
    ).table
    top = table.iloc[0]
    above = table[(table["p"] <= case.config.thresholds.fdr)]
    yield Reading("SAE search", "a feature tells it apart", bool(top["low"] > top["null"]),
                  _decodable(case.subject), float(top["auroc"]), f"{len(above)} features beat the "
                  "search's null", time.perf_counter() - start)
    if case.subject.control == "none" and case.subject.recipe.pinned:
        row = sae.decoder_row(int(top["feature"])).double().cpu().numpy()
        yield Reading("SAE search", "lies in the planted subspace", True, None,
                      norm_share(row, case.planted))
        yield Reading("SAE search", "features found", True, None, float(len(above)))


def _interchange(case: Case) -> Iterator[Reading]:
    """A subspace fitted at the planted site: does its swap move the answers on other words?"""
    start, o, recipe = time.perf_counter(), case.opposed, case.subject.recipe
    found = fit_alignment(
        case.model, SwapPairs(o.base, o.source, tuple(on for on, _ in o.answers), o.groups),
        recipe.point, rank=1, steps=100, seed=case.subject.seed,
    )
    null = max(found.random_subspace.high, found.random_weights.high)
    said = found.accuracy.low > null and found.accuracy.value > DAS_MARK
    yield Reading("interchange", "moves the target", said, _used(case.subject),
                  found.accuracy.value, f"nulls up to {null:.2f}", time.perf_counter() - start)
    if said and recipe.pinned:
        inside = (case.planted.T @ found.subspace).square().sum() / found.subspace.shape[1]
        yield Reading("interchange", "lies in the planted subspace", True, None, float(inside))


def _used(subject: Subject) -> bool | None:
    """Whether the target's answer depends on the variable at the planted site."""
    if subject.dose < 100:
        return None
    if subject.control != "none":
        return False
    return subject.recipe.pinned and subject.recipe.rungs[subject.concept] >= CAUSAL


def _attribution(case: Case) -> Iterator[Reading]:
    """Gradients of the answer: is the planted cell named, and what share lies in the subspace?"""
    start, o, recipe = time.perf_counter(), case.opposed, case.subject.recipe
    found = attribute(case.model, o.base, o.source, o.answers, groups=o.groups,
                      null_source=_same_value(case))
    named = {(c.point, c.token) for c in found.named(SITE_MARK)}
    share = found.share(recipe.point).value
    where = ", ".join(f"{p.split('.')[1]}@{t}" for p, t in sorted(named))
    yield Reading("attribution", "names the planted site", (recipe.point, -1) in named,
                  _used(case.subject), share, where, time.perf_counter() - start)


def _same_value(case: Case) -> tuple[Text, ...]:
    """For every base another turn with the same value of the variable, all else equal."""
    from virtuelens.organisms.language import messages

    rng, language = Random(f"opposed {case.subject.seed}"), case.language
    texts = []
    for _ in case.opposed.base:
        rest = rng.random()
        language.variable.draw(rng, False, unseen=True)
        language.variable.draw(rng, True, unseen=True)
        same = language.variable.draw(Random(rest), False, unseen=True)
        texts.append(Text(messages=messages(language.opposed(Random(rest), same))))
    return tuple(texts)


def _whole(s: Subject) -> bool:
    return s.control == "none" and s.concept not in NOT_IN_THE_TEXT


INSTRUMENTS: tuple[Instrument, ...] = (
    Instrument("ladder", "the audit's evidence ladder, and its steering test by itself",
               lambda s: s.control != "labels drawn", _ladder),
    *(
        Instrument(f"probe {m}", f"a sweep with the probe family {m} alone, p <= 0.05",
                   lambda s: s.control in {"none", "labels drawn"} and s.dose == 100, _probe(m))
        for m in METHODS
    ),
    Instrument("interchange", "a one-dimensional subspace fitted at the planted site (DAS)",
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
