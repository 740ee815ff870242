"""Dose-response where the truth is known: a direction that writes the answer, and others."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.steering.conftest import MIDDLE, PROMPTS, choices, direction
from virtuelens.errors import SteeringError
from virtuelens.models import HookedModel
from virtuelens.steering.behaviour import Question, encode_items
from virtuelens.steering.dose import (
    Candidate,
    Response,
    choose_candidate,
    dose_response,
    random_directions,
    respond,
)
from virtuelens.steering.edits import Add
from virtuelens.steering.side_effects import KL_BUDGET, largest_dose, read_neutral, side_effect
from virtuelens.values.directions import Direction
from virtuelens.values.texts import Text

LAST = "blocks.2.hook_resid_post"
OPTIONS = ("y", "n")


@pytest.fixture(scope="module")
def questions(llama: HookedModel) -> list[Question]:
    """The forced choice between two tokens."""
    return encode_items(llama, choices(OPTIONS))


def writes_the_answer(model: HookedModel) -> Direction:
    """The direction that the head reads as first choice against second, at the last block."""
    questions = encode_items(model, choices(OPTIONS))
    (yes,), (no,) = questions[0].choice_ids
    head = model.hf.get_output_embeddings().weight.detach()
    norm = model.hf.model.norm.weight.detach()
    return direction(model, (head[yes] - head[no]) * norm, point=LAST)


def test_the_answers_own_direction_beats_random_ones(
    llama: HookedModel, questions: list[Question]
) -> None:
    """Slope positive with its interval, monotone, above 20 random directions; and the null ran."""
    neutral = read_neutral(llama, PROMPTS)
    there = Candidate(writes_the_answer(llama), "from_last_prompt")
    found = dose_response(llama, {"choice": questions}, "choice", neutral, there,
                          dose=2.0, n_doses=5, n_random=20)
    response = found.responses["choice"]
    slope = response.slope(n_draws=200)
    assert len(found.random) == 20
    assert slope.low > np.quantile(found.random_slopes, 0.99) > 0
    assert response.monotonicity() == pytest.approx(1.0)
    assert response.effect(n_draws=200).value > 0
    assert [e.kl_p95 for e in found.side_effects][2] == 0


def test_a_random_direction_does_not_beat_random_ones(
    llama: HookedModel, questions: list[Question]
) -> None:
    """The same procedure on a direction that means nothing: inside its own null."""
    neutral = read_neutral(llama, PROMPTS)
    above = 0
    for seed in range(5):
        vector = torch.randn(llama.info.d_model, generator=torch.Generator().manual_seed(90 + seed))
        there = Candidate(direction(llama, vector, point=LAST), "from_last_prompt")
        found = dose_response(llama, {"choice": questions}, "choice", neutral, there,
                              dose=2.0, n_doses=3, n_random=20)
        slope = found.responses["choice"].slope(n_draws=200)
        above += slope.low > np.quantile(found.random_slopes, 0.99)
    assert above == 0


def test_dose_zero_is_the_plain_model_and_doses_are_standard_deviations(
    llama: HookedModel, questions: list[Question]
) -> None:
    """Twice the scale at half the dose is the same edit."""
    d = writes_the_answer(llama)
    double = Direction(d.vector, 2 * d.scale, d.center, d.point, d.position, d.concept, d.method,
                       d.fingerprint)
    a = respond(llama, questions, Candidate(d, "all"), [0.0, 1.0])
    b = respond(llama, questions, Candidate(double, "all"), [0.0, 0.5])
    assert a.scores == pytest.approx(b.scores, abs=1e-5)
    assert not np.allclose(a.scores[0], a.scores[1])


def test_the_place_that_moves_most_is_chosen(
    llama: HookedModel, questions: list[Question]
) -> None:
    """Among candidates the one that writes the answer comes first, each with its dose."""
    neutral = read_neutral(llama, PROMPTS)
    candidates = [Candidate(direction(llama, point=MIDDLE), "all"),
                  Candidate(writes_the_answer(llama), "from_last_prompt")]
    tried = choose_candidate(llama, questions, neutral, candidates, cap=4.0)
    assert len(tried) == 2
    assert tried[0].candidate is candidates[1]
    assert all(0 <= t.dose <= 4.0 for t in tried)


def test_a_place_without_a_dose_is_no_place_to_steer(
    llama: HookedModel, questions: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes last, though its classes lie furthest apart and the other moves the wrong way."""
    from virtuelens.steering import dose

    neutral = read_neutral(llama, PROMPTS)
    there = Candidate(writes_the_answer(llama), "from_last_prompt")
    against = replace(there, direction=replace(there.direction, vector=-there.direction.vector),
                      gap=1.0)
    far = replace(there, gap=9.0)
    monkeypatch.setattr(dose, "working_dose",
                        lambda model, neutral, c, cap: 2.0 if c is against else 0.0)
    first, last = choose_candidate(llama, questions, neutral, [far, against], cap=4.0)
    assert (first.candidate, last.candidate) == (against, far)


def test_no_dose_goes_beyond_where_the_classes_lie(
    llama: HookedModel, questions: list[Question]
) -> None:
    """The gap between the class means bounds the dose, however little the edit disturbs."""
    neutral = read_neutral(llama, PROMPTS)
    free = Candidate(direction(llama, point=MIDDLE), "all")
    (loose,) = choose_candidate(llama, questions, neutral, [free], cap=4.0)
    (tight,) = choose_candidate(llama, questions, neutral, [replace(free, gap=0.01)], cap=4.0)
    assert tight.dose == pytest.approx(0.01)
    assert loose.dose > 0.01


def test_slopes_are_least_squares_per_item() -> None:
    """Against numpy, item by item; the mean of them is the slope of the mean."""
    rng = np.random.default_rng(0)
    doses = np.linspace(-3, 3, 9)
    scores = rng.normal(size=(9, 12)) + np.outer(doses, rng.normal(1, 0.5, size=12))
    r = Response(doses, scores, tuple(f"g{i % 4}" for i in range(12)))
    expected = np.polyfit(doses, scores, 1)[0]
    assert r.item_slopes == pytest.approx(expected)
    assert r.slope(n_draws=100).value == pytest.approx(expected.mean())
    assert r.rates == pytest.approx((scores > 0).mean(axis=1))


@pytest.mark.parametrize(("means", "low", "high"), [
    ([1, 1, 1, 1, 1], 0.0, 0.0),
    ([-2, -1, 0, 1, 2], 1.0, 1.0),
    ([-9, -9, 0, 9, 9], 1.0, 1.0),
    ([-9, -11, 0, 11, 9], 0.95, 1.0),
    ([2, 1, 0, -1, -2], 0.0, 0.0),
    ([0, 5, 0, -5, 0], 0.0, 0.3),
])
def test_monotone_means_never_falling(means: list[float], low: float, high: float) -> None:
    """Flat, straight, a step, a step with some overshoot, falling, a wave."""
    scores = np.repeat(np.array(means, dtype=float)[:, None], 3, axis=1)
    r = Response(np.linspace(-1, 1, 5), scores, ("a", "b", "c"))
    assert low - 1e-9 <= r.monotonicity() <= high + 1e-9


def test_random_directions_are_units_and_repeat_with_the_seed() -> None:
    """Norm-matched by construction: the candidate's own scale multiplies them."""
    a, b = random_directions(64, 20, seed=1), random_directions(64, 20, seed=1)
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert all(math.isclose(float(x.norm()), 1, abs_tol=1e-5) for x in a)
    assert max(abs(float(x @ y)) for i, x in enumerate(a) for y in a[:i]) < 0.6


@pytest.mark.parametrize(("kl", "low", "high"), [
    (lambda d: 0.0, 4.0, 4.0),
    (lambda d: 0.25 * d * d, 1.7, 2.0),
    (lambda d: 25 * d * d, 0.15, 0.2),
    (lambda d: 0.0 if d < 1.3 else 40.0, 0.6, 1.3),
    (lambda d: 1e9, 0.0, 0.0),
])
def test_the_largest_dose_stays_in_budget_and_uses_it(kl, low: float, high: float) -> None:
    """Flat, quadratic, steep, a cliff, and hopeless."""
    dose = largest_dose(kl, cap=4.0)
    assert low <= dose <= high
    assert dose == 0 or kl(dose) <= KL_BUDGET


def test_side_effects_are_zero_without_an_edit_and_grow_with_it(llama: HookedModel) -> None:
    """KL of the model from itself is 0; of a larger dose it is larger."""
    neutral = read_neutral(llama, PROMPTS)
    there = Candidate(direction(llama), "all")
    none, small, large = (
        side_effect(llama, neutral, [there.edit(d)] if d else []) for d in (0.0, 0.5, 4.0)
    )
    assert none.kl_p95 == pytest.approx(0, abs=1e-6)
    assert none.kl_p95 < small.kl_p95 < large.kl_p95
    assert small.n == sum(len(llama.encode(p).ids) for p in PROMPTS)


def test_neutral_texts_beyond_the_context_are_left_out_and_counted(llama: HookedModel) -> None:
    """Never cut; with none left there is nothing to measure on."""
    long = Text(raw="small bird " * 200)
    assert read_neutral(llama, [long, *PROMPTS]).left_out == 1
    with pytest.raises(SteeringError, match="None of 2 neutral texts"):
        read_neutral(llama, [long, long])


def test_a_selection_without_tokens_has_no_effect(llama: HookedModel) -> None:
    """A prompt has no response yet: an edit of `response` alone moves nothing."""
    questions = encode_items(llama, choices(OPTIONS))
    r = respond(llama, questions, Candidate(direction(llama), "response"), [-4.0, 0.0, 4.0])
    assert np.ptp(r.scores, axis=0) == pytest.approx(0, abs=1e-6)


def test_predictions_that_are_no_numbers_are_beyond_every_budget(llama: HookedModel) -> None:
    """Of either sign: the comparison with a budget must not let a NaN through."""
    neutral = read_neutral(llama, PROMPTS)
    broken = Add(MIDDLE, torch.full((llama.info.d_model,), math.inf))
    found = side_effect(llama, neutral, [broken])
    assert found.kl_p95 == found.kl_mean == found.perplexity == math.inf
