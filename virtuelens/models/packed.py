"""Texts of any lengths end to end in one row: nothing is padded, shared beginnings run once.

1. All layers but attention treat tokens one by one, so they are given one long row.
2. Attention is computed segment by segment: each token sees its own segment up to itself, and
   before that the segment which its own goes on from (`Segment.before`). On a GPU that is one call
   for all segments (`varlen`).

transformers calls attention by the name in a model's configuration; for the length of a run that
name is ours. Which architectures this is right for is found out by trying (`packs`), not by name.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from virtuelens.models import varlen
from virtuelens.models.matmul import fast_matmul
from virtuelens.models.points import Place
from virtuelens.models.run import (
    AllRead,
    Seen,
    Take,
    accepted,
    base_model,
    check_all_read,
    hooks,
    to_device,
)

NAME = "virtuelens_packed"
"""Our attention, as transformers finds it."""


@dataclass(frozen=True)
class Segment:
    """Tokens `start` to `end` of a packed row.

    before: the segment whose tokens these go on from, as if they stood right after it.
    """

    start: int
    end: int
    before: "Segment | None" = None

    @property
    def past(self) -> int:
        """Tokens before the first one of this segment."""
        return 0 if self.before is None else self.before.past + self.before.end - self.before.start


@dataclass(frozen=True)
class Packed:
    """A row of tokens and its segments, which cover it in order."""

    tokens: Int[Tensor, " n"]
    segments: tuple[Segment, ...]


def pack(parts: Sequence[tuple[Sequence[int], int | None]]) -> Packed:
    """The row of these token lists.

    parts: token ids, and which part (by number, an earlier one) they go on from, if any.
    """
    segments: list[Segment] = []
    ids: list[int] = []
    for part, before in parts:
        segments.append(Segment(len(ids), len(ids) + len(part),
                                None if before is None else segments[before]))
        ids += part
    return Packed(torch.tensor(ids, dtype=torch.long), tuple(segments))


@torch.no_grad()
def run_packed(
    hf: Any, places: Mapping[str, Place], row: Packed, *, read: Sequence[str], take: Take
) -> dict[str, Tensor]:
    """What `take` keeps of the activations `[1 n d_model]` at each point of `read`.

    The base model runs up to the last point read. Only for models of which `packs` is true.

    Raises: HookPointError: a point the model does not have.
    """
    device = hf.get_input_embeddings().weight.device
    acts: dict[str, Tensor] = {}
    index = torch.cat([torch.arange(s.past, s.past + s.end - s.start) for s in row.segments])
    inputs = {"input_ids": to_device(row.tokens[None], device),
              "position_ids": to_device(index[None], device)}
    seen = Seen(torch.ones_like(index, dtype=torch.bool)[None], index[None],
                torch.zeros(1, dtype=torch.long))
    on = hooks(hf, places, seen, read=read, edits=(), into=acts, stop_after=len(set(read)),
               take=take)
    with torch.inference_mode(), fast_matmul(hf), _attending(hf, row), on, \
            contextlib.suppress(AllRead):
        base_model(hf)(**inputs, use_cache=False, return_dict=True)
    check_all_read(read, acts)
    return acts


@torch.no_grad()
def packs(hf: Any, places: Mapping[str, Place], point: str) -> bool:
    """Whether a packed row gives what padded rows give, up to this point.

    On a GPU only where one call serves all segments: many small attentions are slower there than
    a padded one. Tried with texts of unequal length and two that go on from the same beginning, in
    the model's own precision.
    """
    from virtuelens.models.chat import Encoded
    from virtuelens.models.run import pad, run

    config = hf.config.get_text_config()
    if (not (hf.device.type == "cpu" or varlen.serves(hf)) or config._attn_implementation != "sdpa"
            or getattr(config, "attention_chunk_size", None) is not None
            or not accepted(base_model(hf).forward, position_ids=None)):
        return False
    d_vocab = int(hf.get_input_embeddings().num_embeddings)
    a = tuple((7 * i * i + 3 * i + 1) % d_vocab for i in range(19))
    b = tuple((5 * i * i + i + 4) % d_vocab for i in range(7))
    c = (*a[:11], *b)
    parts = [(a[:11], None), (a[11:], 0), (b, None), (b, 0)]
    # whatever a foreign architecture raises here, it means no
    with contextlib.suppress(Exception):
        found = run_packed(hf, places, pack(parts), read=[point],
                           take=lambda _, acts: acts[0].clone())[point].float()
        rows = pad([Encoded(ids, len(ids), ()) for ids in (a, b, c)], side="right",
                   device=hf.device)
        plain = run(hf, places, rows, read=[point]).acts[point].float()
        expected = torch.cat([plain[0, :19], plain[1, :7], plain[2, 11:18]])
        tol = 1e-4 if hf.dtype in {torch.float32, torch.float64} else 3e-2
        return bool((found - expected).norm() <= tol * expected.norm())
    return False


_ROW: ContextVar[tuple[Packed, dict[Any, Any]]] = ContextVar("_ROW")
"""The row that runs, and masks (or, on a GPU, layouts) made for it."""


@contextlib.contextmanager
def _attending(hf: Any, row: Packed) -> Iterator[None]:
    """Let the model's attention be ours, for this row; the configuration is as before after it."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    # a name without a mask function of its own: transformers then makes no mask
    ALL_ATTENTION_FUNCTIONS.register(NAME, _attend)
    config = hf.config
    before = config._attn_implementation
    token = _ROW.set((row, {}))
    try:
        config._attn_implementation = NAME
        yield
    finally:
        config._attn_implementation = before
        _ROW.reset(token)


def _attend(
    module: nn.Module,
    query: Float[Tensor, "1 heads n d_head"],
    key: Float[Tensor, "1 kv_heads n d_head"],
    value: Float[Tensor, "1 kv_heads n d_head"],
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Float[Tensor, "1 n heads d_head"], None]:
    """Attention within each segment and what it goes on from; called by transformers."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if attention_mask is not None:
        raise ValueError("this architecture makes a mask of its own")
    row, masks = _ROW.get()
    window = kwargs.get("sliding_window")
    if query.is_cuda:
        if kwargs.get("softcap") is not None or kwargs.get("s_aux") is not None:
            raise ValueError("flash attention here has neither caps nor sinks")
        if query.device not in masks:
            masks[query.device] = varlen.lay_out(row.segments, query.device)
        return varlen.attend(masks[query.device], query, key, value,
                             scale=kwargs.get("scaling"), window=window), None
    kwargs["is_causal"] = True
    out = query.new_empty(1, query.shape[2], query.shape[1], value.shape[3])
    for s in row.segments:
        at = slice(s.start, s.end)
        k, v = key[:, :, at], value[:, :, at]
        before = s.before
        while before is not None:
            earlier = slice(before.start, before.end)
            k = torch.cat([key[:, :, earlier], k], 2)
            v = torch.cat([value[:, :, earlier], v], 2)
            before = before.before
        size = (s.end - s.start, s.past, window)
        if size not in masks:
            masks[size] = _mask(*size)
        out[:, at], _ = sdpa_attention_forward(
            module, query[:, :, at], k, v, masks[size], **kwargs)
    return out, None


def _mask(n: int, past: int, window: int | None) -> Bool[Tensor, "1 1 n m"] | None:
    """Which of `past + n` tokens each of the last `n` sees; None: the plain causal triangle."""
    windowed = window is not None and past + n > window
    if not past and not windowed:
        return None
    i, j = torch.arange(past, past + n)[:, None], torch.arange(past + n)[None]
    seen = j <= i
    if windowed:
        assert window is not None
        seen &= j > i - window
    return seen[None, None]
