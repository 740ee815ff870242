"""Every edit passes one contract on plain tensors; tests/steering runs them in models."""

import pytest
import torch

from tests.models.edits import Change
from tests.steering.rows import MAKE, encoder
from virtuelens.errors import SteeringError
from virtuelens.models.chat import Spoken
from virtuelens.models.run import Seen
from virtuelens.steering.conditions import SCHEDULES, Scheduled, When, factor_of
from virtuelens.steering.edits import (
    EDITS,
    Ablate,
    Add,
    Cap,
    Clamp,
    Floor,
)
from virtuelens.steering.feature_edits import ClampFeatures, ScaleFeatures
from virtuelens.steering.where import WHERE, selection

POINT = "blocks.0.hook_resid_post"
V = torch.tensor([3.0, 0.0, 4.0, 0.0])  # norm 5: edits must not assume unit vectors
BOTH = torch.stack([V, torch.tensor([1.0, 1.0, 0.0, 0.0])])  # not orthogonal
SLICES = ["response[:1]", "prompt[-1:]", "all[1:3]", "system+response"]


def acts() -> torch.Tensor:
    """Two rows, the first left-padded by two, with a negative zero that must survive."""
    x = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    x[1, 1, 2] = -0.0
    return x


def seen() -> Seen:
    """Row 0 has two padding tokens on the left; prompts are two and three tokens long."""
    real = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]).bool()
    index = torch.tensor([[0, 0, 0, 1, 2], [0, 1, 2, 3, 4]])
    said = ((Spoken("system", 0, 1), Spoken("user", 1, 2)),
            (Spoken("system", 0, 1), Spoken("user", 1, 3)))
    return Seen(real, index, torch.tensor([2, 3]), said)


def bits(x: torch.Tensor) -> torch.Tensor:
    """What is compared when not one bit may differ."""
    return x.contiguous().view(torch.int32)


def make(name: str, where: str = "all", n: int = 2) -> object:
    """The row's edit for a batch of that many rows."""
    return MAKE[name](POINT, BOTH, where, n)


def chosen(name: str, where: str) -> torch.Tensor:
    """The tokens it may touch: a swap has a place of its own, the last prompt token."""
    return selection("last_prompt" if name == "swap" else where, seen())


def test_every_row_of_the_table_is_under_contract() -> None:
    """A new edit must be added to tests/steering/rows.py."""
    assert set(MAKE) == set(EDITS)


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("where", [*WHERE, *SLICES])
def test_only_selected_tokens_change(name: str, where: str) -> None:
    """Tokens outside the selection keep their bits; padding always does."""
    x = acts()
    out = make(name, where)(x, seen())  # type: ignore[operator]
    kept = ~chosen(name, where)
    assert torch.equal(bits(out[kept]), bits(x[kept]))
    whole = make(name)(x, seen())  # type: ignore[operator]
    assert torch.equal(out[~kept], whole[~kept])


@pytest.mark.parametrize("name", EDITS)
def test_the_edit_does_something(name: str) -> None:
    """Else the other tests would say nothing."""
    assert not torch.equal(make(name)(acts(), seen()), acts())  # type: ignore[operator]


@pytest.mark.parametrize("name", EDITS)
def test_input_is_never_changed_in_place(name: str) -> None:
    """The activations passed in stay as they were."""
    x = acts()
    before = x.clone()
    make(name)(x, seen())  # type: ignore[operator]
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", EDITS)
def test_a_row_alone_is_edited_as_in_a_batch(name: str) -> None:
    """Batch neighbours do not matter."""
    x, s = acts(), seen()
    whole = make(name)(x, s)  # type: ignore[operator]
    row = Seen(s.real[1:], s.index[1:], s.prompt_length[1:], s.spoken[1:])
    assert torch.allclose(make(name, n=1)(x[1:], row)[0], whole[1])  # type: ignore[operator]


@pytest.mark.parametrize("name", EDITS)
def test_no_dose_and_an_empty_selection_are_bitwise_nothing(name: str) -> None:
    """A schedule at 0, and a condition that never holds: the same bits, negative zeros included."""
    x, s = acts(), seen()
    edit = make(name)
    for nothing in (Scheduled(edit, "constant:0"), When(edit, V, 1e9)):  # type: ignore[arg-type]
        assert torch.equal(bits(nothing(x, s)), bits(x))
    none = Seen(s.real, s.index, torch.full_like(s.prompt_length, 9), s.spoken)  # no response
    if name != "swap":  # its place, the last prompt token, is not in this row either
        assert torch.equal(bits(make(name, "response")(x, none)), bits(x))  # type: ignore[operator]
    else:
        assert torch.equal(bits(edit(x, none)), bits(x))  # type: ignore[operator]


@pytest.mark.parametrize("name", EDITS)
def test_wrapped_at_full_dose_is_the_edit_itself(name: str) -> None:
    """A schedule at 1 and a condition that always holds give the edit's own values."""
    x, s = acts(), seen()
    edit = make(name)
    expected = edit(x, s)  # type: ignore[operator]
    for whole in (Scheduled(edit, "constant"), When(edit, V, -1e9)):  # type: ignore[arg-type]
        assert torch.equal(whole(x, s), expected)


@pytest.mark.parametrize("name", EDITS)
def test_a_condition_is_judged_token_by_token(name: str) -> None:
    """Exactly the tokens whose projection is above the threshold get what they would get."""
    x, s = acts(), seen()
    edit = make(name)
    out = When(edit, V, 0.3)(x, s)  # type: ignore[arg-type]
    holds = x @ V / 5 > 0.3
    assert 0 < int(holds.sum()) < holds.numel()
    assert torch.equal(out[holds], edit(x, s)[holds])  # type: ignore[operator]
    assert torch.equal(bits(out[~holds]), bits(x[~holds]))


def test_a_condition_may_look_elsewhere() -> None:
    """It is then judged by the activations of that point, which it says it looks at."""
    x = acts()
    there = torch.zeros_like(x)
    there[1, 2:] = V
    edit = When(Add("blocks.1.hook_resid_post", V), V, 1.0, POINT)
    assert edit.looks_at == (POINT,)
    assert When(Scheduled(edit, "ramp:3"), V, 0.0).looks_at == (POINT,)
    s = seen()
    out = edit(x, Seen(s.real, s.index, s.prompt_length, s.spoken, {POINT: there}))
    assert torch.equal(out[1, 2:], x[1, 2:] + V)
    assert torch.equal(bits(out[0]), bits(x[0]))


@pytest.mark.parametrize(("schedule", "expected"), [
    ("constant:2", [2, 2, 2, 2]), ("ramp:2", [0, 0.5, 1, 1]), ("decay:1", [1, 0.5, 0.25, 0.125]),
    ("first:1", [1, 1, 0, 0]), ("after:1", [0, 0, 1, 1]),
])
def test_schedules_in_closed_form(schedule: str, expected: list[float]) -> None:
    """At the prompt's end and one, two, three tokens later."""
    t = torch.arange(4).float()
    assert factor_of(schedule)(t).tolist() == pytest.approx(expected)


def test_every_schedule_is_tested_and_a_wrong_one_is_refused() -> None:
    """Names and numbers."""
    tested = {"constant", "ramp", "decay", "first", "after"}
    assert set(SCHEDULES) == tested
    for wrong in ("slow", "ramp:x", "ramp:0", "decay:-1"):
        with pytest.raises(SteeringError, match="is no schedule"):
            factor_of(wrong)


def test_a_scheduled_addition_is_that_share_of_the_vector() -> None:
    """Row 1 has a prompt of three tokens: ramp 0, 0, 0, 1/2, 1."""
    x = torch.zeros(2, 5, 4)
    out = Scheduled(Add(POINT, V), "ramp:2")(x, seen())
    assert torch.allclose(out[1], torch.tensor([0, 0, 0, 0.5, 1])[:, None] * V)


def test_add_zero_is_bitwise_nothing() -> None:
    """A zero dose returns the same bits, negative zeros included."""
    x = acts()
    assert torch.equal(bits(Add(POINT, V * 0)(x, seen())), bits(x))


def test_add_takes_a_dose_of_its_own_per_row() -> None:
    """A `[batch d_model]` vector moves each row by its own."""
    x = torch.zeros(2, 5, 4)
    out = Add(POINT, torch.stack([V, 2 * V]))(x, seen())
    assert torch.equal(out[0, 2], V)
    assert torch.equal(out[1, 0], 2 * V)


def test_clamp_sets_the_projection_and_keeps_the_rest() -> None:
    """After a clamp the projection is the value; a second clamp changes nothing more."""
    x, s = acts(), seen()
    once = Clamp(POINT, V, 1.5)(x, s)
    v = V / V.norm()
    assert torch.allclose((once @ v)[s.real], torch.tensor(1.5))
    rest = lambda a: a - (a @ v)[..., None] * v  # noqa: E731
    assert torch.allclose(rest(once), rest(x), atol=1e-6)
    assert torch.allclose(Clamp(POINT, V, 1.5)(once, s), once, atol=1e-6)


def test_several_directions_are_clamped_at_once() -> None:
    """All projections take their values, although the directions are not orthogonal."""
    x, s = acts(), seen()
    values = torch.tensor([1.5, -1.0])
    out = Clamp(POINT, BOTH, values)(x, s)
    units = BOTH / BOTH.norm(dim=-1, keepdim=True)
    assert torch.allclose((out @ units.T)[s.real], values.expand(8, -1), atol=1e-5)
    change = (out - x)[s.real]
    assert torch.linalg.matrix_rank(torch.cat([units, change]), atol=1e-5) == 2  # nothing else


@pytest.mark.parametrize(("bound", "sign"), [(Cap, 1), (Floor, -1)])
def test_bounds_move_only_what_lies_beyond(bound: type, sign: int) -> None:
    """Beyond the limit the projection is the limit; at or within it not one bit differs."""
    x, s = acts(), seen()
    out = bound(POINT, V, 0.2)(x, s)
    v = V / V.norm()
    beyond = (sign * (x @ v - 0.2) > 0) & s.real
    assert 0 < int(beyond.sum()) < int(s.real.sum())
    assert torch.allclose((out @ v)[beyond], torch.tensor(0.2), atol=1e-6)
    assert torch.equal(bits(out[~beyond]), bits(x[~beyond]))


def test_ablate_leaves_no_projection_for_a_vector_that_is_not_unit() -> None:
    """|x.v| is zero after ablation although v has norm 5 (neuronpedia's bug)."""
    out = Ablate(POINT, V)(acts(), seen())
    assert (out @ V)[seen().real].abs().max() < 1e-5


def test_ablating_a_span_leaves_none_of_its_directions() -> None:
    """Two directions and their sum: rank 2, and both projections are gone."""
    three = torch.cat([BOTH, BOTH.sum(0, keepdim=True)])
    out = Ablate(POINT, three)(acts(), seen())
    assert (out @ three.T)[seen().real].abs().max() < 1e-5
    assert torch.allclose(out, Ablate(POINT, BOTH)(acts(), seen()), atol=1e-5)
    kept = torch.tensor([0.0, 0.0, 0.0, 1.0])  # orthogonal to both
    assert torch.allclose((out @ kept), acts() @ kept, atol=1e-6)


@pytest.mark.parametrize("wrong", [V * 0, torch.full((4,), float("nan")), torch.ones(1, 2, 4)])
def test_a_direction_without_a_direction_is_refused(wrong: torch.Tensor) -> None:
    """Zero, not finite, or of another rank."""
    with pytest.raises(Exception, match=r"cannot be used|did not match|annotation"):
        Ablate(POINT, wrong)(acts(), seen())


def test_clamped_features_are_the_delta_formula_and_keep_the_error() -> None:
    """x + (a' - a) W_dec; features already at their values are left alone, bit for bit."""
    x, s = acts(), seen()
    encode, decoder, values = encoder(BOTH), BOTH.flip(1), torch.tensor([2.0, 0.0])
    out = ClampFeatures(POINT, encode, decoder, values)(x, s)
    expected = x + (values - encode(x)) @ decoder
    assert torch.allclose(out[s.real], expected[s.real], atol=1e-6)
    same = ClampFeatures(POINT, encode, decoder, encode(x)[1, 0])(x, s)
    assert torch.equal(bits(same[1, 0]), bits(x[1, 0]))


def test_scaled_features_are_the_delta_formula() -> None:
    """x + (f - 1) a W_dec; a factor of 1, and a feature that is off, change nothing."""
    x, s = acts(), seen()
    encode, decoder = encoder(BOTH), BOTH.flip(1)
    out = ScaleFeatures(POINT, encode, decoder, torch.tensor([3.0, 0.0]))(x, s)
    expected = x + (torch.tensor([2.0, -1.0]) * encode(x)) @ decoder
    assert torch.allclose(out[s.real], expected[s.real], atol=1e-6)
    same = ScaleFeatures(POINT, encode, decoder, torch.ones(2))(x, s)
    assert torch.equal(bits(same), bits(x))
    off = (encode(x) == 0).all(-1)
    assert off.any()
    assert torch.equal(bits(out[off]), bits(x[off]))


@pytest.mark.parametrize(("where", "expected"), [
    ("response[:1]", [[2], [3]]), ("prompt[-1:]", [[1], [2]]), ("prompt[-9:]", [[0, 1], [0, 1, 2]]),
    ("prompt[1:]", [[1], [1, 2]]), ("prompt[:-1]", [[0], [0, 1]]), ("all[1:3]", [[1, 2], [1, 2]]),
    ("system", [[0], [0]]), ("user", [[1], [1, 2]]), ("assistant", [[2], [3, 4]]),
    ("system+response", [[0, 2], [0, 3, 4]]),
])
def test_selections_in_places_of_the_text(where: str, expected: list[list[int]]) -> None:
    """Slices mean what Python means, within the row; roles are the words of their turns."""
    s = seen()
    mask = selection(where, s)
    assert [s.index[i][mask[i]].tolist() for i in range(2)] == expected


@pytest.mark.parametrize(("where", "told"), [
    ("everywhere", "from_last_prompt"), ("response[-2:]", "no end to count back from"),
    ("user[:2]", "cannot be sliced"), ("prompt[1]", "a slice of one"),
])
def test_a_wrong_selection_says_what_there_is(where: str, told: str) -> None:
    """Names, slices without an end, turns."""
    with pytest.raises(SteeringError, match=told):
        Add(POINT, V, where=where)(acts(), seen())


def test_roles_of_raw_text_are_refused() -> None:
    """Nobody is known to speak there."""
    s = seen()
    with pytest.raises(SteeringError, match="give a chat"):
        selection("user", Seen(s.real, s.index, s.prompt_length, (None, None)))


@pytest.mark.parametrize("name", ["clamp", "cap", "floor", "ablate"])
def test_layers_may_be_on_another_device_than_the_tokens(name: str) -> None:
    """As where a model is spread over several."""
    elsewhere = acts().to("meta")
    assert make(name)(elsewhere, seen()).device == elsewhere.device


def test_a_wrapped_edit_may_write_to_what_it_is_given() -> None:
    """The condition and the schedule hold all the same."""
    in_place = Change(POINT, lambda acts, seen: acts.add_(V))
    for wrap in (lambda e: When(e, V, 0.5), lambda e: Scheduled(e, "ramp:2")):
        found, expected = (wrap(e)(acts(), seen()) for e in (in_place, Add(POINT, V)))
        assert torch.equal(found[seen().real], expected[seen().real])
