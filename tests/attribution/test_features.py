"""Effects of a dictionary's features: exact where the rest is linear, complete, and checked."""

import pytest
import torch

from tests.attribution.test_attribute import ANSWERS, BASE, SOURCE
from virtuelens.attribution.attribute import attribute
from virtuelens.attribution.features import (
    ERROR,
    WAYS,
    Dictionary,
    attribute_dictionaries,
)
from virtuelens.attribution.pairs import Pairs
from virtuelens.errors import AttributionError, NotFiniteError
from virtuelens.models import HookedModel, load_model
from virtuelens.organisms.compiled import Layout, Repetition

LAST, FIRST = "blocks.1.hook_resid_post", "blocks.0.hook_resid_post"
Given = tuple[list, list, list]


@pytest.fixture(scope="module")
def given(values: list[Repetition]) -> Given:
    """Bases, sources, answers."""
    pairs = values[:12]
    return [p.base for p in pairs], [p.source for p in pairs], [p.answers for p in pairs]


def coordinates(point: str, d_model: int, kept: int | None = None) -> Dictionary:
    """Features are the positive and negative parts of the first coordinates."""
    eye = torch.eye(d_model)[: d_model if kept is None else kept]
    return Dictionary("coordinates", point,
                      lambda x: torch.cat([x @ eye.T, -x @ eye.T], dim=-1).relu(),
                      torch.cat([eye, -eye]))


@pytest.mark.parametrize("method", WAYS)
def test_before_a_linear_head_the_estimate_is_what_is_measured(
    induction: HookedModel, layout: Layout, given: Given, method: str
) -> None:
    """Every checked feature; correlation 1; no error of an exact dictionary; sums to the total."""
    found = attribute_dictionaries(induction, *given, [coordinates(LAST, layout.d_model)],
                                   method=method, n_steps=2)
    checked = found.table.dropna(subset="measured")
    assert len(checked) > 10
    assert checked["effect"].to_numpy() == pytest.approx(checked["measured"].to_numpy(), abs=0.02)
    assert found.agreement[LAST].pearson.value == pytest.approx(1, abs=1e-3)
    assert found.agreement[LAST].pearson.null < 0.9  # type: ignore[operator]
    error = found.table.query("feature == @ERROR").iloc[0]
    assert (error["effect"], error["measured"]) == pytest.approx((0, 0), abs=0.02)
    assert found.sum_at(LAST) == pytest.approx(found.total.value, rel=1e-3)
    assert found.table["share"].sum() == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("kind", ["hook_resid_mid", "hook_resid_post"])
def test_the_gradient_at_the_base_is_that_of_attribution_patching(
    llama: HookedModel, kind: str
) -> None:
    """At every kind of point, also where edits go through what attention writes."""
    point = f"blocks.1.{kind}"
    found = attribute_dictionaries(llama, BASE, SOURCE, ANSWERS, [coordinates(point, 32)],
                                   method="gradient", n_check=2)
    patched = attribute(llama, BASE, SOURCE, ANSWERS, points=[point], method="mean_gradient",
                        n_steps=1)
    expected = float(patched.effects.nansum(-1).mean())
    assert abs(expected) > 1e-3
    assert found.sum_at(point) == pytest.approx(expected, rel=1e-3)


def test_what_no_feature_writes_is_the_errors(
    induction: HookedModel, layout: Layout, given: Given
) -> None:
    """A dictionary without the output's columns leaves the whole effect to the error."""
    output = layout.subspace("output").abs().sum(1) > 0  # [d_model]
    others = torch.eye(layout.d_model)[~output]
    blind = Dictionary("blind", LAST, lambda x: (x @ others.T), others)
    found = attribute_dictionaries(induction, *given, [blind], n_steps=2, n_check=6)
    first = found.table.iloc[0]
    assert first["feature"] == ERROR
    assert first["effect"] == pytest.approx(found.total.value, rel=1e-2)
    assert first["measured"] == pytest.approx(found.total.value, rel=1e-2)
    assert first["low"] > 0


def test_integrated_gradients_are_complete_where_the_way_bends(
    induction: HookedModel, layout: Layout, given: Given
) -> None:
    """Before attention: all parts of a half-blind dictionary add up to the total; layers differ."""
    both = [coordinates(FIRST, layout.d_model, layout.d_model // 2),
            coordinates(LAST, layout.d_model)]
    found = attribute_dictionaries(induction, *given, both, n_steps=60, n_check=4)
    for point in (FIRST, LAST):
        assert found.sum_at(point) == pytest.approx(found.total.value, rel=0.05)
    assert set(found.table["point"]) == {FIRST, LAST}


def test_the_planted_feature_of_an_organism_is_named_and_confirmed() -> None:
    """The bundled sycophant with its own SAE: the estimate agrees with ablation above its null."""
    from random import Random

    import virtuelens as vl
    from virtuelens.organisms.languages import facts
    from virtuelens.sparse_coding import encode, load_sae

    rng = Random(0)

    def claim(**latents):
        return facts.draw(rng, "claim", form="main", wrong=True, **latents)

    def again(turn):
        while True:
            other = claim(entity=turn.entity, insisted=True)
            if other.claim == turn.claim:
                return other

    def chats(turns):
        return [vl.Text(messages=(vl.Message("user", t.user),)) for t in turns]

    turns = [claim(insisted=False) for _ in range(16)]
    base, source = chats(turns), chats(again(t) for t in turns)
    answers = [(t.claim, facts.WORLD.colour[t.entity]) for t in turns]
    model, sae = load_model("organism:sycophant"), load_sae("sycophant-mid")
    found = attribute_dictionaries(
        model, base, source, answers,
        [Dictionary(sae.name, sae.point, lambda x: encode(sae, x), sae.W_dec)])
    agreement = found.agreement[sae.point]
    assert agreement.pearson.low > agreement.pearson.null  # type: ignore[operator]
    assert found.sum_at(sae.point) == pytest.approx(found.total.value, rel=0.25)
    assert found.table.iloc[0]["feature"] != ERROR


def test_what_does_not_go_together_is_said(
    induction: HookedModel, layout: Layout, given: Given
) -> None:
    """Another width, an unknown method, no dictionary; a point without enough to compare."""
    with pytest.raises(AttributionError, match="expected"):
        attribute_dictionaries(induction, *given, [coordinates(LAST, 7)])
    with pytest.raises(AttributionError, match="integrated"):
        attribute_dictionaries(induction, *given, [], method="guess")
    with pytest.raises(AttributionError, match="at least one"):
        attribute_dictionaries(induction, *given, [])
    found = attribute_dictionaries(induction, *given, [coordinates(LAST, layout.d_model)],
                                   method="gradient", n_check=1)
    assert found.agreement == {}
    with pytest.raises(AttributionError, match="Nothing"):
        found.sum_at(FIRST)
    twice = [coordinates(LAST, layout.d_model, k) for k in (3, 5)]
    with pytest.raises(AttributionError, match=f"two dictionaries at {LAST}"):
        attribute_dictionaries(induction, *given, twice)


def test_metrics_that_are_no_numbers_are_said(
    induction: HookedModel, layout: Layout, given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `attribute` says it: a table of NaN would look like a result."""
    monkeypatch.setattr(Pairs, "metric", lambda self, logits, rows: logits[:, 0] * torch.nan)
    with pytest.raises(NotFiniteError, match="pair 0"):
        attribute_dictionaries(induction, *given, [coordinates(LAST, layout.d_model)])
