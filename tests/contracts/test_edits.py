"""Every edit passes one contract on plain tensors; tests/steering runs them in models."""

from collections.abc import Callable

import pytest
import torch

from virtuelens.errors import SteeringError
from virtuelens.models.run import Seen
from virtuelens.steering.edits import EDITS, Ablate, Add, Clamp, ClampFeature
from virtuelens.steering.where import WHERE, selection

POINT = "blocks.0.hook_resid_post"
V = torch.tensor([3.0, 0.0, 4.0, 0.0])  # norm 5: edits must not assume unit vectors
DECODER = torch.tensor([0.0, 2.0, 0.0, 1.0])


def encode(x: torch.Tensor) -> torch.Tensor:
    """A rectified feature, as an SAE has."""
    return (x @ torch.tensor([1.0, 1.0, 0.0, 0.0]) - 0.5).relu()


def acts() -> torch.Tensor:
    """Two rows, the first left-padded by two, with a negative zero that must survive."""
    x = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    x[1, 1, 2] = -0.0
    return x


def seen() -> Seen:
    """Row 0 has two padding tokens on the left; prompts are two and three tokens long."""
    real = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]).bool()
    index = torch.tensor([[0, 0, 0, 1, 2], [0, 1, 2, 3, 4]])
    return Seen(real, index, torch.tensor([2, 3]))


MAKE: dict[str, Callable[[str], object]] = {
    "add": lambda where: Add(POINT, V, where),
    "clamp": lambda where: Clamp(POINT, V, 1.5, where),
    "ablate": lambda where: Ablate(POINT, V, where),
    "clamp_feature": lambda where: ClampFeature(POINT, encode, DECODER, 2.0, where),
}


def test_every_row_of_the_table_is_under_contract() -> None:
    """A new edit must be added here."""
    assert set(MAKE) == set(EDITS)


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("where", WHERE)
def test_only_selected_tokens_change(name: str, where: str) -> None:
    """Tokens outside the selection keep their bits; padding always does."""
    x = acts()
    out = MAKE[name](where)(x, seen())  # type: ignore[operator]
    kept = ~selection(where, seen())
    assert torch.equal(out[kept].view(torch.int32), x[kept].view(torch.int32))
    assert not torch.equal(out, x)


@pytest.mark.parametrize("name", EDITS)
def test_input_is_never_changed_in_place(name: str) -> None:
    """The activations passed in stay as they were."""
    x = acts()
    before = x.clone()
    MAKE[name]("all")(x, seen())  # type: ignore[operator]
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", EDITS)
def test_a_row_alone_is_edited_as_in_a_batch(name: str) -> None:
    """Batch neighbours do not matter."""
    x, s = acts(), seen()
    whole = MAKE[name]("all")(x, s)  # type: ignore[operator]
    row = Seen(s.real[1:], s.index[1:], s.prompt_length[1:])
    assert torch.allclose(MAKE[name]("all")(x[1:], row)[0], whole[1])  # type: ignore[operator]


def test_add_zero_is_bitwise_nothing() -> None:
    """A zero dose returns the same bits, negative zeros included."""
    x = acts()
    out = Add(POINT, V * 0)(x, seen())
    assert torch.equal(out.view(torch.int32), x.view(torch.int32))


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


def test_ablate_leaves_no_projection_for_a_vector_that_is_not_unit() -> None:
    """|x.v| is zero after ablation although v has norm 5 (neuronpedia's bug)."""
    out = Ablate(POINT, V)(acts(), seen())
    assert (out @ V)[seen().real].abs().max() < 1e-5


def test_clamp_feature_is_the_delta_formula_and_keeps_the_error() -> None:
    """x + (a' - a) W_dec; a feature already at the value is left alone, bit for bit."""
    x, s = acts(), seen()
    out = ClampFeature(POINT, encode, DECODER, 2.0)(x, s)
    expected = x + (2.0 - encode(x))[..., None] * DECODER
    assert torch.allclose(out[s.real], expected[s.real])
    a = encode(x)[1, 0].item()
    same = ClampFeature(POINT, encode, DECODER, a)(x, s)
    assert torch.equal(same[1, 0], x[1, 0])


def test_unknown_selection_names_the_table() -> None:
    """A wrong `where` says which there are."""
    with pytest.raises(SteeringError, match="from_last_prompt"):
        Add(POINT, V, where="everywhere")(acts(), seen())
