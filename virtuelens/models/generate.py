"""Text from a model under edits: prefill, then one token at a time through the KV cache.

Rows are padded on the left, so that all continue at the same place. Greedy decoding without edits
gives what transformers' own `generate(do_sample=False)` gives for a plain model; penalties and
filters of a checkpoint's generation_config.json are not applied, only its end tokens.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from virtuelens.errors import ModelLoadError, TextTooLongError
from virtuelens.models.chat import Encoded
from virtuelens.models.matmul import fast_matmul
from virtuelens.models.points import Place
from virtuelens.models.run import Batch, Edit, Seen, accepted, hooks, pad

ROWS_AT_ONCE = 32


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen and when to stop."""

    max_new_tokens: int
    temperature: float = 0.0
    seed: int = 0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Generation:
    """What one prompt was continued with.

    text: without special tokens, cut before the first stop string.
    ids: the tokens as generated, the end token or stop string included.
    reads: per point `[pos d_model]` over the tokens the model took in: the prompt, then every
        generated token but the last.
    """

    text: str
    ids: tuple[int, ...]
    prompt_ids: tuple[int, ...]
    reads: Mapping[str, Float[Tensor, "pos d_model"]] = field(default_factory=dict)


@dataclass
class _Row:
    """One continuation while it grows."""

    prompt: Encoded
    generator: torch.Generator
    ids: list[int] = field(default_factory=list)
    done: bool = False


@torch.no_grad()
def generate(
    hf: Any,
    tokenizer: Any,
    places: Mapping[str, Place],
    prompts: Sequence[Encoded],
    *,
    how: Sampling,
    edits: Sequence[Edit],
    read: Sequence[str],
    n_ctx: int,
) -> list[Generation]:
    """One `Generation` per prompt, in the order given.

    Raises: TextTooLongError: a prompt and `max_new_tokens` together exceed the context.
    """
    if how.max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is {how.max_new_tokens}, expected at least 1")
    for prompt in prompts:
        if len(prompt.ids) + how.max_new_tokens > n_ctx:
            raise TextTooLongError(
                f"A prompt of {len(prompt.ids)} tokens and {how.max_new_tokens} new ones exceed "
                f"this model's context of {n_ctx}: ask for at most "
                f"{max(0, n_ctx - len(prompt.ids))} new tokens, or shorten the prompt."
            )
    found: list[Generation] = []
    for start in range(0, len(prompts), ROWS_AT_ONCE):
        rows = [
            _Row(p, torch.Generator().manual_seed(how.seed * 1_000_003 + start + i))
            for i, p in enumerate(prompts[start : start + ROWS_AT_ONCE])
        ]
        batch = pad([row.prompt for row in rows], side="left", device=hf.device)
        steps = list(_steps(hf, tokenizer, places, batch, rows, how=how, edits=edits, read=read))
        for i, row in enumerate(rows):
            text = _cut(_text(tokenizer, row), how.stop)
            reads = {p: _row_reads([s[p] for s in steps], batch, i, row) for p in read}
            found.append(Generation(text, tuple(row.ids), row.prompt.ids, reads))
    return found


def _steps(
    hf: Any,
    tokenizer: Any,
    places: Mapping[str, Place],
    batch: Batch,
    rows: list[_Row],
    *,
    how: Sampling,
    edits: Sequence[Edit],
    read: Sequence[str],
) -> Iterator[dict[str, Tensor]]:
    """Grow the rows until all are done; yields what was read at each forward pass."""
    ends = _end_ids(hf, tokenizer)
    tokens, real, seen, cache = batch.tokens, batch.real, batch.seen, None
    length = real.sum(-1, keepdim=True)  # [batch 1]
    for _ in range(how.max_new_tokens):
        acts: dict[str, Tensor] = {}
        optional = accepted(hf.forward, position_ids=seen.index, logits_to_keep=1)
        on = hooks(hf, places, seen, read=read, edits=edits, into=acts)
        with torch.inference_mode(), fast_matmul(hf), on:
            out = hf(
                input_ids=tokens, attention_mask=real.long(), past_key_values=cache,
                use_cache=True, return_dict=True, **optional,
            )  # fmt: skip
        cache = getattr(out, "past_key_values", None)
        if cache is None:
            raise ModelLoadError(
                f"{type(hf).__name__} keeps no key-value cache, so it cannot generate here: "
                "use run, or choose another model."
            )
        yield acts
        tokens = _choose(out.logits[:, -1], rows, how).to(real.device)[:, None]  # [batch 1]
        for row, token in zip(rows, tokens[:, 0].tolist(), strict=True):
            if not row.done:
                row.ids.append(token)
                row.done = token in ends or _stopped(tokenizer, row, how.stop)
        if all(row.done for row in rows):
            return
        real = torch.cat([real, torch.ones_like(real[:, :1])], -1)
        seen = Seen(torch.ones_like(tokens, dtype=torch.bool), length, batch.prompt_length)
        length = length + 1


def _choose(
    logits: Float[Tensor, "batch d_vocab"], rows: Sequence[_Row], how: Sampling
) -> Int[Tensor, " batch"]:
    if how.temperature <= 0:
        return logits.argmax(-1)
    probs = (logits.float() / how.temperature).softmax(-1).cpu()
    drawn = [
        torch.multinomial(p, 1, generator=row.generator)
        for p, row in zip(probs, rows, strict=True)
    ]
    return torch.cat(drawn)


def _end_ids(hf: Any, tokenizer: Any) -> set[int]:
    config = getattr(hf, "generation_config", None)
    ends = getattr(config, "eos_token_id", None)
    if ends is None:
        ends = tokenizer.eos_token_id
    if ends is None:
        return set()
    return {ends} if isinstance(ends, int) else set(ends)


def _text(tokenizer: Any, row: _Row) -> str:
    """The continuation as it follows the prompt: its own leading space included.

    Decoded on its own it would lose that space, so the prompt's last tokens lead the way.
    """
    lead = list(row.prompt.ids[-4:])
    before, whole = (
        str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
        for ids in (lead, lead + row.ids)
    )
    return whole.removeprefix(before)


def _stopped(tokenizer: Any, row: _Row, stop: Sequence[str]) -> bool:
    return bool(stop) and any(s in _text(tokenizer, row) for s in stop)


def _cut(text: str, stop: Sequence[str]) -> str:
    return text[: min((at for s in stop if (at := text.find(s)) >= 0), default=len(text))]


def _row_reads(
    steps: list[Float[Tensor, "batch _ d_model"]], batch: Batch, i: int, row: _Row
) -> Float[Tensor, "pos d_model"]:
    prompt = steps[0][i][batch.real[i]]
    later = [step[i] for step in steps[1 : len(row.ids)]]
    return torch.cat([prompt, *later])
