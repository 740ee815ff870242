"""What is given to the GPU's kernel, with a kernel of a few lines in its place."""

from typing import Any

import pytest
import torch

from tests.models.test_packed import _ids
from virtuelens.models import varlen
from virtuelens.models.packed import pack


def kernel(q: Any, k: Any, v: Any, own: Any, seen: Any, most_own: int, most_seen: int, *,
           scale: float | None = None, window_size: tuple[int, int] = (-1, -1)) -> Any:
    """As torch documents it: queries are the last of their keys."""
    assert own.dtype == seen.dtype == torch.int32
    assert most_own == own.diff().max()
    assert most_seen == seen.diff().max()
    out = torch.empty_like(q)
    for a, b, c, d in zip(own[:-1], own[1:], seen[:-1], seen[1:], strict=True):
        i = torch.arange(d - c - (b - a), d - c)[:, None]
        j = torch.arange(d - c)[None]
        mask = (j <= i + window_size[1])
        if window_size[0] >= 0:
            mask &= j >= i - window_size[0]
        out[a:b] = torch.nn.functional.scaled_dot_product_attention(
            *(x.transpose(0, 1)[None] for x in (q[a:b], k[c:d], v[c:d])), attn_mask=mask,
            scale=scale)[0].transpose(0, 1)
    return out


@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_each_segment_sees_what_it_goes_on_from(
    monkeypatch: pytest.MonkeyPatch, window: int | None, kv_heads: int
) -> None:
    """As if every text ran alone, whole."""
    names = frozenset({"scale", "window_size"})
    monkeypatch.setattr(varlen, "_kernel", lambda: (kernel, names))
    row = pack([(_ids(0, 6), None), (_ids(1, 3), 0), (_ids(2, 9), None), (_ids(3, 1), 1)])
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, h, 19, 8, generator=g) for h in (4, kv_heads, kv_heads))
    layout = varlen.lay_out(row.segments, torch.device("cpu"))
    found = varlen.attend(layout, q, k, v, scale=0.5, window=window)[0].transpose(0, 1)
    for whole, own in ((range(6), 6), (range(9), 3), (range(9, 18), 9),
                       ([*range(9), 18], 1)):
        at = list(whole)
        i = torch.arange(len(at))[:, None]
        mask = i >= i.T
        if window is not None:
            mask &= i - window < i.T
        mine = [x[0, :, at].repeat_interleave(4 // x.shape[1], 0)[None] for x in (q, k, v)]
        alone = torch.nn.functional.scaled_dot_product_attention(*mine, attn_mask=mask, scale=0.5)
        torch.testing.assert_close(found[:, at[-own:]], alone[0, :, -own:])


def test_no_window_where_torch_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a model is then padded."""
    monkeypatch.setattr(varlen, "_kernel", lambda: (kernel, frozenset({"scale"})))
    row = pack([(_ids(0, 6), None)])
    x = torch.randn(1, 2, 6, 8)
    with pytest.raises(ValueError, match="windows"):
        varlen.attend(varlen.lay_out(row.segments, torch.device("cpu")), x, x, x, scale=None,
                      window=3)


def test_only_for_half_precision_on_a_gpu(llama: Any) -> None:
    """Elsewhere it is not asked for."""
    assert not varlen.serves(llama.hf)
