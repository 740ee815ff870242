"""Doses in units that carry over: what they are in activation units, found and checked."""

import math

import pytest
import torch

from tests.steering.conftest import MIDDLE, PROMPTS, direction
from tests.tiny_models import tiny_model, tiny_tokenizer
from virtuelens.errors import SteeringError
from virtuelens.models import HookedModel, hook
from virtuelens.steering.edits import Add, Cap
from virtuelens.steering.side_effects import read_neutral, side_effect
from virtuelens.steering.units import UNITS, dose, iso_kl, ordinary_limit, solve


@pytest.fixture(scope="module")
def sharp() -> HookedModel:
    """A tiny model that is sure of what it says, so that an edit can move it by more than a nat."""
    hf = tiny_model("qwen3")
    hf.model.norm.weight.data.mul_(20)
    return hook(hf, tiny_tokenizer(), name="sharp")


@pytest.mark.parametrize("sign", [1, -1])
def test_one_unit_of_iso_kl_is_one_nat_at_the_95th_percentile(
    sharp: HookedModel, sign: int
) -> None:
    """Measured again from scratch, for either sign; and it does not depend on the given scale."""
    neutral = read_neutral(sharp, PROMPTS)
    d = direction(sharp)
    found = dose(sharp, d, sign, unit="kl", neutral=neutral)
    assert math.copysign(1, found.raw) == sign
    again = side_effect(sharp, neutral, [Add(d.point, found.raw * d.vector)])
    assert again.kl_p95 == pytest.approx(1, rel=0.03)
    other = iso_kl(sharp, neutral, direction(sharp, scale=0.01) if sign == 1
                   else direction(sharp, scale=0.01).negated())
    assert other == pytest.approx(abs(found.raw), rel=0.05)


def test_units_say_the_same_dose(sharp: HookedModel) -> None:
    """Raw and sigma by the direction's scale; twice the iso-KL dose is twice the coefficient."""
    neutral = read_neutral(sharp, PROMPTS)
    d = direction(sharp, scale=2.0)
    assert dose(sharp, d, 3, unit="sigma").raw == 6
    assert dose(sharp, d, 6, unit="raw").sigma == 3
    one, two = (dose(sharp, d, n, unit="kl", neutral=neutral) for n in (1, 2))
    assert two.raw == pytest.approx(2 * one.raw)
    assert one.sigma == pytest.approx(one.raw / 2)
    assert "raw" in str(one)
    assert "σ" in str(one)
    assert dose(sharp, d, 0, unit="kl", neutral=neutral).raw == 0
    assert set(UNITS) == {"sigma", "kl", "raw"}


@pytest.mark.parametrize("start", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize(("kl", "answer"), [
    (lambda d: 0.25 * d * d, 2.0), (lambda d: 3 * d, 1 / 3),
    (lambda d: 4 * d * d / (1 + d * d), 1 / math.sqrt(3)),
    (lambda d: math.expm1(min(d, 50)), math.log(2)), (lambda d: max(0.0, d - 5) ** 2, 6.0),
    (lambda d: d * d if d < 9 else math.inf, 1.0), (lambda d: d * d if d < 9 else math.nan, 1.0),
])
def test_the_search_finds_the_dose_from_far_away(kl, answer: float, start: float) -> None:
    """Quadratic, straight, saturating, steep, flat at first, and beyond all numbers soon."""
    asked = []
    found = solve(lambda d: asked.append(d) or kl(d), target=1.0, start=start)
    assert kl(found) == pytest.approx(1, rel=0.03)
    assert found == pytest.approx(answer, rel=0.05)
    assert len(asked) <= 24


@pytest.mark.parametrize("kl", [lambda d: 0.0, lambda d: min(d, 0.5), lambda d: 9.0 * (d > 2)])
def test_a_target_that_is_never_met_is_said(kl) -> None:
    """No effect, too little, and a jump over it."""
    with pytest.raises(SteeringError, match="in sigma instead"):
        solve(kl, target=1.0, start=1.0)


def test_unknown_units_and_missing_texts_are_refused(sharp: HookedModel) -> None:
    """With what there is, and what is needed."""
    with pytest.raises(SteeringError, match="sigma, kl, raw"):
        dose(sharp, direction(sharp), 1, unit="norm")
    with pytest.raises(SteeringError, match="need neutral texts"):
        dose(sharp, direction(sharp), 1, unit="kl")


def test_a_cap_at_a_percentile_of_ordinary_text_moves_that_share_of_it(
    sharp: HookedModel
) -> None:
    """At the 90th percentile a tenth of the neutral tokens is touched; at the 100th none is."""
    neutral = read_neutral(sharp, PROMPTS)
    d = direction(sharp)
    (batch,) = neutral.batches
    plain = sharp.run(batch, read=[MIDDLE]).acts[MIDDLE][batch.real]
    shares = []
    for percentile in (90, 100):
        cap = Cap(MIDDLE, d.vector, ordinary_limit(sharp, neutral, d, percentile=percentile))
        acts = sharp.run(batch, read=[MIDDLE], edits=[cap]).acts[MIDDLE][batch.real]
        shares.append(float((acts != plain).any(-1).float().mean()))
    assert shares[0] == pytest.approx(0.1, abs=0.02)
    assert shares[1] <= 1 / len(plain)
    with pytest.raises(SteeringError, match="between 0 and 100"):
        ordinary_limit(sharp, neutral, d, percentile=101)
    assert torch.isfinite(plain).all()
