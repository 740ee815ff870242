"""The gradient at one cell: whole, in a subspace, along a dictionary."""

import pytest
import torch

from virtuelens.attribution.attribute import attribute
from virtuelens.attribution.gradients import Gradients, attribute_features, read_gradients
from virtuelens.attribution.steps import METHODS
from virtuelens.errors import AttributionError, SteeringError
from virtuelens.models import HookedModel
from virtuelens.organisms.compiled import LOGIT, Layout, Repetition

POINT = "blocks.1.hook_resid_post"
Given = tuple[list, list, list]


@pytest.fixture(scope="module")
def given(values: list[Repetition]) -> Given:
    """Bases, sources, answers."""
    return [p.base for p in values], [p.source for p in values], [p.answers for p in values]


@pytest.fixture(scope="module")
def gradients(induction: HookedModel, given: Given) -> Gradients:
    """After the last block, at the last token."""
    return read_gradients(induction, *given, point=POINT, n_steps=3)


def test_the_gradient_of_a_linear_head_is_its_rows(
    induction: HookedModel, layout: Layout, given: Given, gradients: Gradients
) -> None:
    """First answer's unembedding minus the second's, at every step."""
    ids = induction.tokenizer.get_vocab()
    rows = LOGIT * layout.subspace("output").T  # [d_vocab d_model]
    expected = torch.stack([rows[ids[a]] - rows[ids[b]] for a, b in given[2]])
    for step in range(3):
        there = gradients.gradient[:, step]
        torch.testing.assert_close(there - there.mean(1, keepdim=True),
                                   expected, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_it_adds_up_to_the_attribution_of_the_cell(
    induction: HookedModel, given: Given, method: str
) -> None:
    """Gradient times movement over the steps, before the last block as after it."""
    for point, token in ((POINT, -1), ("blocks.0.hook_resid_post", -6)):
        there = read_gradients(induction, *given, point=point, token=token, method=method)
        whole = attribute(induction, *given, points=[point], method=method)
        torch.testing.assert_close((there.gradient * there.moved).sum((1, 2)),
                                   whole.effects[:, 0, token], atol=1e-4, rtol=1e-4)


def test_the_known_columns_hold_all_of_it(gradients: Gradients, layout: Layout) -> None:
    """Of everything, of the output's columns, and of none of the others; beside the null."""
    assert gradients.within(torch.eye(layout.d_model)).value == pytest.approx(1)
    output = gradients.within(layout.subspace("output"))
    assert output.value == pytest.approx(1, abs=1e-3)
    assert output.null < 0.5 < output.low
    for other in ("token", "position", "previous"):
        assert gradients.within(layout.subspace(other)).value == pytest.approx(0, abs=1e-3)


def test_a_dictionary_shares_out_the_effect(induction: HookedModel, given: Given) -> None:
    """An orthonormal one, by its coefficients: each pair's effects add up to the cell's."""
    there = read_gradients(induction, *given, point=POINT, method="mean_gradient", n_steps=4)
    d_model = there.gradient.shape[-1]
    directions = torch.linalg.qr(
        torch.randn(d_model, d_model, generator=torch.Generator().manual_seed(0)))[0]
    coefficients = there.moved.sum(1) @ directions.T
    found = attribute_features(there, directions, coefficients)
    cell = attribute(induction, *given, points=[POINT], method="mean_gradient", n_steps=4)
    torch.testing.assert_close(found.sum(-1), cell.effects[:, 0, -1], atol=1e-3, rtol=1e-4)


def test_what_cannot_be_shared_out_is_said(
    induction: HookedModel, given: Given, gradients: Gradients
) -> None:
    """Shapes, tokens, a cell without effect, a subspace of another model."""
    n, d_model = len(given[0]), gradients.gradient.shape[-1]
    with pytest.raises(AttributionError, match="d_model 90"):
        attribute_features(gradients, torch.ones(3, 5), torch.ones(n, 3))
    with pytest.raises(AttributionError, match="Coefficients have shape"):
        attribute_features(gradients, torch.ones(3, d_model), torch.ones(n, 4))
    for token in (0, -9):
        with pytest.raises(AttributionError, match="-8 to -1"):
            read_gradients(induction, *given, point=POINT, token=token)
    idle = read_gradients(induction, *given, point=POINT, token=-2)
    with pytest.raises(AttributionError, match="nothing to share out"):
        idle.within(torch.eye(d_model)[:, :2])
    with pytest.raises(SteeringError, match="d_model 90"):
        gradients.within(torch.eye(5))
