"""An audit's evidence carries probabilities, a threshold, a control task and power, with rows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from virtuelens.audits.config import AuditConfig
from virtuelens.audits.quality import neutral_scores, quality_rows
from virtuelens.audits.reading import Reading, read_concept
from virtuelens.concepts.pack import Concept, load_concept, load_neutral
from virtuelens.errors import StoreError
from virtuelens.models import HookedModel, load_model
from virtuelens.probing.calibrated import load_ready, save_ready
from virtuelens.probing.probes import load_probe, probe_at, save_probe
from virtuelens.values.texts import Message, Text

CONFIG = AuditConfig(methods=("diff_means",), n_permutations=20, n_bootstrap=60,
                     n_random_weights=1)


@pytest.fixture(scope="module")
def read() -> tuple[HookedModel, Concept, Reading]:
    """The grounded organism on the concept that was planted in it."""
    model = load_model("organism:grounded")
    concept = load_concept("valence", dialect="days")
    return model, concept, read_concept(model, concept, config=CONFIG)


def test_the_planted_concept_passes_everything(
    read: tuple[HookedModel, Concept, Reading], tmp_path: Path
) -> None:
    """Probabilities better than the base rate, found at the threshold, few pairs needed; and what
    an audit keeps says the same when it is read back."""
    model, concept, reading = read
    rows, missing, ready = quality_rows(model, concept, reading, load_neutral("days"),
                                        config=CONFIG)
    by = {(r["split"], r["source"], r["metric"]): r for r in rows}
    brier = by["test", "probe", "brier"]
    assert brier["high"] < brier["null"] / 2
    assert by["test", "probe", "tpr_at_fpr"]["null"] == 0.01
    assert by["neutral", "probe", "fpr"]["n"] == len(load_neutral("days"))
    at_hand = by["test", "probe", "pairs_needed"]
    assert at_hand["n"] == len(set(reading.found.held_out.pairs))
    assert at_hand["value"] < at_hand["n"]
    assert {r["source"] for r in rows if r["metric"] == "pairs_needed"} == {
        "probe", *reading.rivals}
    bins = [r for r in rows if r["metric"] == "reliability"]
    assert [b["null"] for b in bins] == sorted(b["null"] for b in bins)
    assert bins[0]["value"] < 0.2
    assert bins[-1]["value"] > 0.8
    assert any("could" in m and "neutral" in m for m in missing)

    assert ready is not None
    save_ready(ready, tmp_path / "p.safetensors")
    back = load_ready(tmp_path / "p.safetensors", fingerprint=model.info.fingerprint)
    held = reading.found.held_out
    X = torch.from_numpy(held.matrices[reading.found.selected.site]).float()
    said = back.probability(X)
    assert np.allclose(said, ready.probability(X))
    assert float(((said - held.labels) ** 2).mean()) == pytest.approx(brier["value"], abs=1e-6)
    ordinary = neutral_scores(model, back.probe, load_neutral("days"))
    assert (ordinary > back.threshold).mean() <= 0.01
    assert load_probe(tmp_path / "p.safetensors").threshold == back.probe.threshold
    save_probe(back.probe, tmp_path / "alone.safetensors")
    with pytest.raises(StoreError, match="without its probabilities"):
        load_ready(tmp_path / "alone.safetensors")


def test_what_cannot_be_measured_is_named(read: tuple[HookedModel, Concept, Reading]) -> None:
    """No neutral text, and no word that recurs: said, and the other rows are there."""
    model, concept, reading = read
    words = {e.id: replace(e, text=Text(raw=f"{e.text.words} w{i}"))
             for i, e in enumerate(concept.examples)}
    strange = replace(concept, examples=tuple(words.values()))
    rows, missing, _ = quality_rows(model, strange, reading, [], config=CONFIG)
    assert any(m.startswith("false positives on ordinary text: 0 of 0") for m in missing)
    assert any(m.startswith("a control task: Only 0 types") for m in missing)
    assert not {r["metric"] for r in rows} & {"fpr", "tpr_at_fpr", "selectivity"}
    assert {"brier", "ece", "pairs_needed"} <= {r["metric"] for r in rows}


def test_neutral_texts_are_read_where_the_probe_reads(
    read: tuple[HookedModel, Concept, Reading],
) -> None:
    """Texts without that place, or too long, are left out."""
    model, _, reading = read
    found = reading.found
    probe = probe_at(found.fit, found.selected.site, "diff_means", concept="valence",
                     fingerprint=model.info.fingerprint)
    texts = load_neutral("days")
    assert len(neutral_scores(model, probe, texts)) == len(texts)
    elsewhere = replace(probe, direction=replace(probe.direction, position="response_mean"))
    raw = [t for t in texts if t.response is None]
    answered = Text(messages=(Message("user", "what"), Message("assistant", "this")))
    assert len(neutral_scores(model, elsewhere, [*raw, answered])) == 1
    assert len(neutral_scores(model, probe, [])) == 0
