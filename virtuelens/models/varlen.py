"""Attention of a packed row on a GPU: one call of flash attention over segments of any length.

Keys and values of what a segment goes on from are put before its own, so that each segment's
queries are the last of its keys: the kernel's causal mask is aligned at the end.

Source: Dao 2023, arXiv:2307.08691; PyTorch's `torch.nn.attention.varlen`, half precision only.
"""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from virtuelens.models.run import to_device


class Stretch(Protocol):
    """Tokens `start` to `end` of a row, and those that they go on from."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def before(self) -> "Stretch | None": ...


@dataclass(frozen=True)
class Layout:
    """A row's segments as the kernel takes them.

    own, seen: where each segment's queries begin, and the keys that they may see; and the end.
    rows: of the row, the token of each key; None where every segment sees its own tokens alone.
    """

    own: Int[Tensor, " segments1"]
    seen: Int[Tensor, " segments1"]
    rows: Int[Tensor, " keys"] | None
    most_own: int
    most_seen: int


def lay_out(segments: "tuple[Stretch, ...]", device: torch.device) -> Layout:
    """The layout of these segments, which cover a row in order."""
    own = [s.end - s.start for s in segments]
    places = [_sees(s) for s in segments]
    seen = [len(p) for p in places]
    shared = any(s.before is not None for s in segments)

    def there(x: Any, dtype: torch.dtype) -> Tensor:
        return to_device(torch.from_numpy(np.asarray(x)).to(dtype), device)

    return Layout(
        there(np.cumsum([0, *own]), torch.int32), there(np.cumsum([0, *seen]), torch.int32),
        there(np.concatenate(places), torch.int64) if shared else None, max(own), max(seen),
    )  # fmt: skip


def attend(
    layout: Layout,
    query: Float[Tensor, "1 heads n d_head"],
    key: Float[Tensor, "1 kv_heads n d_head"],
    value: Float[Tensor, "1 kv_heads n d_head"],
    *,
    scale: float | None,
    window: int | None,
) -> Float[Tensor, "1 n heads d_head"]:
    """Causal attention within each segment and what it goes on from.

    window: how many tokens each sees, itself counted; None: all.
    """
    kernel, names = _kernel()
    heads = query.shape[1] // key.shape[1]
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))  # [n heads d_head]
    if layout.rows is not None:
        k, v = k.index_select(0, layout.rows), v.index_select(0, layout.rows)
    if "enable_gqa" not in names and heads > 1:
        k, v = k.repeat_interleave(heads, 1), v.repeat_interleave(heads, 1)
    # torch 2.10 has `is_causal` and no window
    how = {"enable_gqa": heads > 1, "scale": scale, "is_causal": True,
           "window_size": (-1 if window is None else window - 1, 0)}
    if window is not None and "window_size" not in names:
        raise ValueError("this torch has no sliding windows over texts of any length")
    out: Tensor = kernel(
        q.contiguous(), k.contiguous(), v.contiguous(), layout.own, layout.seen, layout.most_own,
        layout.most_seen, **{name: x for name, x in how.items() if name in names})
    return out[None]


def serves(hf: Any) -> bool:
    """Whether the kernel is there for this model's device and precision."""
    if hf.device.type != "cuda" or hf.dtype not in {torch.bfloat16, torch.float16}:
        return False
    try:
        _kernel()
    except (ImportError, AttributeError):  # before torch 2.10
        return False
    return True


@lru_cache(maxsize=1)
def _kernel() -> tuple[Callable[..., Tensor], frozenset[str]]:
    """It, and the names of its parameters, which differ between versions."""
    kernel = importlib.import_module("torch.nn.attention.varlen").varlen_attn
    return kernel, frozenset(inspect.signature(kernel).parameters)


def _sees(segment: "Stretch | None") -> Int[np.ndarray, " keys"]:
    parts = []
    while segment is not None:
        parts.append(np.arange(segment.start, segment.end))
        segment = segment.before
    return np.concatenate(parts[::-1])
