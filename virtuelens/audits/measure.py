"""Measure one concept in one model: read it, steer along it, look for it among SAE features."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from virtuelens.audits.config import AuditConfig
from virtuelens.audits.ladder import Evidence
from virtuelens.audits.parts import Measured
from virtuelens.audits.quality import quality_rows
from virtuelens.audits.reading import (
    Reading,
    evidence_rows,
    read_concept,
    score_rows,
    transfer_null,
)
from virtuelens.audits.writing import Writing, steering_rows, write_concept
from virtuelens.probing.baselines import BASELINES
from virtuelens.probing.probes import probe_at
from virtuelens.values.estimates import Estimate
from virtuelens.values.texts import Split, Text

if TYPE_CHECKING:
    from virtuelens.audits.features import Features
    from virtuelens.concepts.pack import Behaviour, Concept
    from virtuelens.models import HookedModel

Progress = Callable[[str], None]

ALWAYS_UNTESTED = (
    "hook points other than the residual stream after each block",
    "non-linear probes",
    "open-ended answers judged by a person or a model (only forced choices were scored)",
    "edits other than additions, and steering at several layers at once",
)


def measure(
    model: "HookedModel",
    concept: "Concept",
    *,
    name: str,
    neighbours: Mapping[str, "Behaviour"],
    neutral: Sequence[Text],
    find_features: "Callable[..., Features | None]",
    config: AuditConfig,
    progress: Progress = lambda stage: None,
) -> Measured:
    """All numbers of one concept, with their controls.

    name: how the run calls the model.
    neighbours: target behaviours of other concepts in the same dialect.
    """
    import pandas as pd

    seconds: dict[str, float] = {}
    with _timed(seconds, "reading"):
        reading = read_concept(model, concept, config=config, progress=progress)
    with _timed(seconds, "quality"):
        progress("probabilities, thresholds, control task")
        quality = quality_rows(model, concept, reading, neutral, config=config)
    with _timed(seconds, "steering"):
        writing = write_concept(
            model, concept, reading.found.fit, neighbours, neutral,
            config=config, progress=progress,
        )
    with _timed(seconds, "features"):
        progress("SAE features")
        features = find_features(model, concept, reading.found, config=config)
    with _timed(seconds, "generations"):
        progress("generations")
        generations = _generations(model, concept, writing, config) if writing else []

    chosen = reading.found.selected
    label = {"model": name, "concept": concept.name}
    nulls = [{"kind": "permutation_max", "value": float(v)} for v in reading.found.null_max]
    if writing:
        nulls += [{"kind": "random_direction_slope", "value": float(v)}
                  for v in writing.response.random_slopes]
    tables: dict[str, list[dict[str, Any]]] = {
        "evidence": [{"dialect": concept.dialect} | r
                     for r in [*evidence_rows(reading, config=config), *quality.rows]],
        "scores": score_rows(reading),
        "nulls": nulls,
        "steering": steering_rows(writing, config=config) if writing else [],
        "features": features.rows if features else [],
    }
    there = writing.response.candidate if writing else None
    return Measured(
        model=name,
        concept=concept.name,
        dialect=concept.dialect,
        evidence=_evidence(reading, writing, config),
        p=reading.found.p,
        surface=_surface(reading, config),
        layer=chosen.site.layer,
        point=chosen.site.point,
        position=chosen.site.position,
        method=chosen.method,
        steered_at=(
            f"{there.direction.point} ({there.direction.position}), tokens: {there.where}"
            if there else ""
        ),
        not_tested=(*_not_tested(concept, writing, features, config), *quality.missing),
        tables={t: pd.DataFrame([label | r for r in rows]) for t, rows in tables.items()},
        generations=tuple(label | g for g in generations),
        probe=quality.ready or probe_at(
            reading.found.fit, chosen.site, chosen.method, concept=concept.name,
            fingerprint=model.info.fingerprint, seed=config.seed,
        ),
        seconds=seconds,
    )


def _evidence(reading: Reading, writing: Writing | None, config: AuditConfig) -> Evidence:
    beyond = transfer = transfer_beyond = None
    if "shifted" in reading.splits:
        beyond = {r: reading.beyond("shifted", r, config=config) for r in reading.rivals}
    if "transfer" in reading.splits:
        e = reading.auroc("transfer", "probe", config=config)
        null = transfer_null(reading, "transfer", config=config)
        transfer = Estimate(e.value, e.low, e.high, e.n, null)
        transfer_beyond = reading.beyond("transfer", "bag_of_words", config=config)
    return Evidence(
        auroc=reading.found.test,
        q=reading.found.p,
        beyond=beyond,
        transfer=transfer,
        transfer_beyond=transfer_beyond,
        causal=writing.causal(config=config) if writing else None,
        specific=writing.specific(config=config) if writing else {},
    )


def _surface(reading: Reading, config: AuditConfig) -> Estimate:
    """The strongest of the surface classifiers on the held-out groups."""
    surface = [reading.auroc("test", s, config=config) for s in BASELINES]
    return max(surface, key=lambda e: e.value)


def _not_tested(
    concept: "Concept", writing: Writing | None, features: "Features | None", config: AuditConfig
) -> tuple[str, ...]:
    out = []
    formats: dict[Split, str] = {"shifted": "a shifted format", "transfer": "a second format"}
    for split, what in formats.items():
        if not concept.in_split(split):
            out.append(f"{what}: the pack has no {split} set in the dialect {concept.dialect}")
    if writing is None:
        out.append(f"use of the concept: no target behaviour in the dialect {concept.dialect}")
    elif writing.neutral_left_out:
        out.append(
            f"side effects on {writing.neutral_left_out} neutral texts longer than the context"
        )
    if features is None:
        out.append("SAE features: no SAE trained on this model is at hand")
    if config.n_random_directions < 20:
        out.append(f"only {config.n_random_directions} random directions (20 are asked for)")
    return (*out, *ALWAYS_UNTESTED)


def _generations(
    model: "HookedModel", concept: "Concept", writing: Writing, config: AuditConfig
) -> list[dict[str, Any]]:
    """Greedy continuations of a few target items at the lowest, zero and highest dose."""
    target = next(b for b in concept.behaviours if b.name == writing.response.target)
    step = max(1, len(target.items) // max(1, config.n_generations))
    items = target.items[::step][: config.n_generations]
    if not items:
        return []
    top = float(writing.response.responses[target.name].doses[-1])
    rows = []
    for dose in dict.fromkeys((-top, 0.0, top)):
        edits = [writing.response.candidate.edit(dose)] if dose else []
        texts = model.generate([i.prompt for i in items], max_new_tokens=12, edits=edits)
        rows += [
            {"dose": dose, "prompt": item.prompt.words, "text": g.text}
            for item, g in zip(items, texts, strict=True)
        ]
    return rows


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[stage] = round(time.perf_counter() - start, 2)
