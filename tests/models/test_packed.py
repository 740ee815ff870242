"""Texts end to end in one row give what each alone gives, in every architecture."""

from random import Random

import pytest
import torch

from virtuelens.errors import HookPointError
from virtuelens.models import HookedModel, packed
from virtuelens.models.chat import Encoded
from virtuelens.models.packed import pack


def _ids(seed: int, n: int) -> tuple[int, ...]:
    rng = Random(seed)
    return tuple(rng.randrange(300) for _ in range(n))


def _whole(acts: torch.Tensor) -> torch.Tensor:
    return acts[0].clone()


def test_each_text_is_as_it_is_alone(model: HookedModel) -> None:
    """Lengths around the sliding windows; a beginning that three go on from, one in two steps."""
    if model.hf.config._attn_implementation != "sdpa":
        assert not model.packs
        return
    assert model.packs
    head, a, b, more, lone = _ids(0, 12), _ids(1, 9), _ids(2, 1), _ids(3, 5), _ids(4, 17)
    row = pack([(head, None), (a, 0), (lone, None), (b, 0), (more, 3)])
    points = [p for p in model.hook_points() if p.endswith("resid_post")]
    found = model.run_packed(row, read=points, take=lambda _, acts: _whole(acts))
    for ids, start, own in (
        (head, 0, 12), ((*head, *a), 12, 9), (lone, 21, 17), ((*head, *b), 38, 1),
        ((*head, *b, *more), 39, 5),
    ):
        alone = model.run(model.batch([Encoded(ids, len(ids), ())]), read=points)
        for point in points:
            torch.testing.assert_close(found[point][start : start + own],
                                       alone.acts[point][0, -own:], atol=1e-5, rtol=1e-5)


def test_the_model_is_left_as_it_was(llama: HookedModel) -> None:
    """Attention and hooks are the model's own again, also after an error."""
    row = pack([(_ids(0, 5), None), (_ids(1, 3), 0)])
    before = llama.hf.config._attn_implementation
    hooked = sum(len(m._forward_hooks) for m in llama.hf.modules())

    def fails(point: str, acts: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no room")

    with pytest.raises(RuntimeError, match="no room"):
        llama.run_packed(row, read=["blocks.0.hook_resid_post"], take=fails)
    with pytest.raises(HookPointError, match="not in this model"):
        llama.run_packed(row, read=["blocks.9.hook_resid_post"], take=fails)
    assert llama.hf.config._attn_implementation == before
    assert sum(len(m._forward_hooks) for m in llama.hf.modules()) == hooked


def test_what_does_not_fit_is_not_offered(
    llama: HookedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a packed row gives other numbers, an error, or another attention is chosen: padded."""
    last = list(llama.places)[-1]
    assert packed.packs(llama.hf, llama.places, last)
    with monkeypatch.context() as m:
        m.setattr(packed, "_mask", lambda n, past, window: torch.ones(1, 1, n, past + n) > 0)
        assert not packed.packs(llama.hf, llama.places, last)
    with monkeypatch.context() as m:
        m.setattr(llama.hf.config, "_attn_implementation_internal", "eager")
        assert not packed.packs(llama.hf, llama.places, last)
    with monkeypatch.context() as m:
        m.setattr(packed, "_attend", None)
        assert not packed.packs(llama.hf, llama.places, last)
