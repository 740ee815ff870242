"""Fitting a subspace by its swaps: what is refused, what repeats; its power is in tests/claims."""

from dataclasses import replace

import pytest
import torch

from virtuelens.errors import ProbeError
from virtuelens.models import HookedModel
from virtuelens.probing.das import SwapPairs, fit_alignment
from virtuelens.values.texts import Text

LAST = "blocks.2.hook_resid_post"


def pairs(model: HookedModel, n: int = 24) -> SwapPairs:
    """Swapping the state after the last block must give the source's own answer."""
    base = tuple(Text(raw=f"bird {i} sings") for i in range(n))
    source = tuple(Text(raw=f"tree {i} never") for i in range(n))
    said = [g.ids[0] for g in model.generate(source, max_new_tokens=1)]
    return SwapPairs(base, source, tuple(said), tuple(f"g{i % 6}" for i in range(n)))


def test_all_dimensions_after_the_last_block_carry_the_answer(llama: HookedModel) -> None:
    """With full rank the swap is the whole state: every held-out answer is the source's."""
    found = fit_alignment(llama, pairs(llama), LAST, rank=32, steps=1)
    assert found.accuracy.value == 1.0
    assert found.random_subspace.value == 1.0  # any basis of everything does
    assert found.whole.value == 1.0
    assert 0 < found.accuracy.n < 24


def test_a_seed_repeats_and_the_columns_are_orthonormal(llama: HookedModel) -> None:
    """The same fit twice; gradients never reach the model's weights."""
    a, b = (fit_alignment(llama, pairs(llama), LAST, rank=2, steps=5, seed=3) for _ in range(2))
    assert torch.equal(a.subspace, b.subspace)
    torch.testing.assert_close(a.subspace.T @ a.subspace, torch.eye(2), atol=1e-5, rtol=1e-5)
    assert all(p.grad is None for p in llama.hf.parameters())


def test_fitting_helps(llama: HookedModel) -> None:
    """More of the answers follow after fitting than with random dimensions."""
    found = fit_alignment(llama, pairs(llama, 60), LAST, rank=4, steps=80)
    assert found.accuracy.value > found.random_subspace.value
    assert found.accuracy.null == max(found.random_subspace.value, found.random_weights.value)


def test_progress_counts_both_fits(llama: HookedModel) -> None:
    """The model's and the random copy's."""
    told: list[tuple[int, int]] = []
    fit_alignment(llama, pairs(llama), LAST, steps=3,
                  progress=lambda done, total: told.append((done, total)))
    assert told == [(i, 6) for i in range(1, 7)]


def test_what_cannot_be_fitted_is_said(llama: HookedModel) -> None:
    """An impossible rank, unequal lists."""
    with pytest.raises(ProbeError, match="1 to d_model"):
        fit_alignment(llama, pairs(llama), LAST, rank=0)
    with pytest.raises(ProbeError, match="as many"):
        SwapPairs((Text(raw="a"),), (), ("b",), ("g",))
    nothing = replace(pairs(llama), answers=("",) * 24)
    with pytest.raises(ProbeError, match="no token"):
        fit_alignment(llama, nothing, LAST, steps=1)
