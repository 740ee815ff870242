"""Text from a model under edits: prefill, then one token at a time through the KV cache.

Rows are padded on the left, so that all continue at the same place. Greedy decoding without edits
gives what transformers' own `generate(do_sample=False)` gives for a plain model; penalties and
filters of a checkpoint's generation_config.json are not applied, only its end tokens.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from virtuelens.errors import ModelLoadError, NotFiniteError, TextTooLongError
from virtuelens.models.chat import Encoded
from virtuelens.models.matmul import fast_matmul
from virtuelens.models.points import Place
from virtuelens.models.run import Batch, Edit, Seen, accepted, hooks, pad

ROWS_AT_ONCE = 32
COLDEST = 1e-30
"""Temperature below which logits over it are no numbers any more: what is asked for is greedy."""
_UNFINISHED = "\ufffd"  # what a tokenizer shows for a character of which bytes are missing
_MOST_UNFINISHED = 3  # bytes of a character that still lacks one


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen and when to stop.

    top_k: only the k likeliest tokens; 0: all. top_p: only the fewest likeliest that have that
        much probability together. Both after the temperature, which 0 makes greedy.
    """

    max_new_tokens: int
    temperature: float = 0.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    top_k: int = 0
    top_p: float = 1.0


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


@dataclass(frozen=True)
class Taken:
    """A token that the model took in while generating, told before the next one is chosen.

    row: place of its prompt among the prompts. id: the token. of_prompt: the prompt's last token,
        told once before anything is generated.
    reads: point -> `[d_model]` there, after the edits.
    """

    row: int
    id: int
    of_prompt: bool
    reads: Mapping[str, Float[Tensor, " d_model"]]


Each = Callable[[Taken], object]
"""Called with every token taken in; a true answer ends that row with the next token."""


@dataclass
class _Row:
    """One continuation while it grows."""

    prompt: Encoded
    generator: torch.Generator
    ids: list[int] = field(default_factory=list)
    last: bool = False
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
    each: Each | None = None,
) -> list[Generation]:
    """One `Generation` per prompt, in the order given.

    each: told of every token as it is taken in (see `Taken`).

    Raises: TextTooLongError: a prompt and `max_new_tokens` together exceed the context.
    NotFiniteError: the logits are not numbers.
    """
    _check(prompts, how, n_ctx)
    found: list[Generation] = []
    for start in range(0, len(prompts), ROWS_AT_ONCE):
        rows = _rows(prompts, start, how)
        batch = pad([row.prompt for row in rows], side="left", device=hf.device)
        steps = []
        for acts in _steps(hf, tokenizer, places, batch, rows, how=how, edits=edits, read=read):
            steps.append(acts)
            if each is not None:
                _tell(each, rows, acts, first=start)
        for i, row in enumerate(rows):
            text = cut(new_text(tokenizer, row.prompt, row.ids), how.stop)
            reads = {p: _row_reads([s[p] for s in steps], batch, i, row) for p in read}
            found.append(Generation(text, tuple(row.ids), row.prompt.ids, reads))
    return found


class Piece(NamedTuple):
    """News of one row: the place of its prompt, and what comes next of its text."""

    row: int
    text: str


@torch.no_grad()
def stream(
    hf: Any,
    tokenizer: Any,
    places: Mapping[str, Place],
    prompts: Sequence[Encoded],
    *,
    how: Sampling,
    edits: Sequence[Edit],
    n_ctx: int,
) -> Iterator[Piece]:
    """The same texts piece by piece, as they come; all pieces of a row give its `Generation.text`.

    Half a character, and what may yet become a stop string, is held back. Nothing is left on the
    model between pieces, so it may be used, and the rest be given up, at any time.

    Raises: as `generate`.
    """
    _check(prompts, how, n_ctx)
    for start in range(0, len(prompts), ROWS_AT_ONCE):
        rows = _rows(prompts, start, how)
        batch = pad([row.prompt for row in rows], side="left", device=hf.device)
        said = [""] * len(rows)
        ended = [False] * len(rows)
        growing = _steps(hf, tokenizer, places, batch, rows, how=how, edits=edits, read=())
        while not all(ended):
            over = next(growing, None) is None
            for i, row in enumerate(rows):
                if ended[i]:
                    continue
                ended[i] = over or row.done
                text = cut(new_text(tokenizer, row.prompt, row.ids), how.stop)
                if not ended[i]:
                    text = text[: settled(text, how.stop, _earlier(tokenizer, row))]
                if len(text) > len(said[i]):
                    yield Piece(start + i, text[len(said[i]) :])
                    said[i] = text


def settled(text: str, stop: Sequence[str], earlier: Callable[[int], str]) -> int:
    """How much of a growing text no further token can change.

    earlier: the text as it was so many tokens ago.
    """
    sure = len(text.rstrip(_UNFINISHED))
    # tokenizers with one token a byte show no character of a row of them that ends within one, so
    # all of the row is in doubt: but no longer than a character can be unfinished
    if len(text) - sure > _MOST_UNFINISHED and all(
        earlier(n).endswith(_UNFINISHED) for n in range(1, _MOST_UNFINISHED + 1)
    ):
        sure = len(text) - _MOST_UNFINISHED
    for s in stop:
        held = (n for n in range(min(len(s) - 1, sure), 0, -1) if text[:sure].endswith(s[:n]))
        sure -= next(held, 0)
    return sure


def _earlier(tokenizer: Any, row: _Row) -> Callable[[int], str]:
    return lambda n: new_text(tokenizer, row.prompt, row.ids[:-n])


def _rows(prompts: Sequence[Encoded], start: int, how: Sampling) -> list[_Row]:
    return [
        _Row(p, torch.Generator().manual_seed((how.seed * 1_000_003 + start + i) % 2**64))
        for i, p in enumerate(prompts[start : start + ROWS_AT_ONCE])
    ]


def _check(prompts: Sequence[Encoded], how: Sampling, n_ctx: int) -> None:
    if how.max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is {how.max_new_tokens}, expected at least 1")
    if "" in how.stop:
        raise ValueError("a stop string is empty: every text holds it, so nothing would be said")
    if how.top_k < 0 or not 0 < how.top_p <= 1:
        raise ValueError(f"top_k is {how.top_k} and top_p {how.top_p}: expected at least 0, and "
                         "more than 0 up to 1")
    for prompt in prompts:
        if len(prompt.ids) + how.max_new_tokens > n_ctx:
            raise TextTooLongError(
                f"A prompt of {len(prompt.ids)} tokens and {how.max_new_tokens} new ones exceed "
                f"this model's context of {n_ctx}: ask for at most "
                f"{max(0, n_ctx - len(prompt.ids))} new tokens, or shorten the prompt."
            )


def _tell(
    each: Each, rows: Sequence[_Row], acts: Mapping[str, Tensor], *, first: int
) -> None:
    """Tell `each` of the token that every unfinished row has just taken in."""
    # padding is on the left; one call for all rows, since this stands between two tokens
    newest = {point: act[:, -1].unbind() for point, act in acts.items()}
    for i, row in enumerate(rows):
        if row.done:
            continue
        token = row.ids[-1] if row.ids else row.prompt.ids[-1]
        reads = {point: each_row[i] for point, each_row in newest.items()}
        if each(Taken(first + i, token, not row.ids, reads)):
            row.last = True


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
    ends = end_ids(hf, tokenizer)
    tokens, real, seen, cache = batch.tokens, batch.real, batch.seen, None
    length = real.sum(-1, keepdim=True)  # [batch 1]
    # without padding neither mask nor positions are given, and attention takes its fast path
    full = bool(real.all())
    for _ in range(how.max_new_tokens):
        acts: dict[str, Tensor] = {}
        given: dict[str, Any] = {"logits_to_keep": 1}
        if not full:
            given |= {"attention_mask": real.long(), "position_ids": seen.index}
        on = hooks(hf, places, seen, read=read, edits=edits, into=acts)
        with torch.inference_mode(), fast_matmul(hf), on:
            out = hf(
                input_ids=tokens, past_key_values=cache, use_cache=True, return_dict=True,
                **accepted(hf.forward, **given),
            )  # fmt: skip
        cache = getattr(out, "past_key_values", None)
        if cache is None:
            raise ModelLoadError(
                f"{type(hf).__name__} keeps no key-value cache, so it cannot generate here: "
                "use run, or choose another model."
            )
        yield acts
        going = [i for i, row in enumerate(rows) if not row.done]
        chosen = choose(out.logits[going, -1], [rows[i].generator for i in going], how)
        for i, token in zip(going, chosen, strict=True):
            row = rows[i]
            row.ids.append(token)
            row.done = row.last or token in ends or _stopped(tokenizer, row, how.stop)
        if all(row.done for row in rows):
            return
        tokens = torch.tensor([row.ids[-1:] for row in rows], device=real.device)  # [batch 1]
        real = torch.cat([real, torch.ones_like(real[:, :1])], -1)
        seen = Seen(
            torch.ones_like(tokens, dtype=torch.bool), length, batch.prompt_length, batch.spoken
        )
        length = length + 1


def choose(
    logits: Float[Tensor, "batch d_vocab"], generators: Sequence[torch.Generator], how: Sampling
) -> list[int]:
    """The next token of each row; what is drawn comes from the row's own generator.

    Raises: NotFiniteError: a row's likeliest token has no number.
    """
    if not torch.isfinite(logits.amax(-1)).all():
        raise NotFiniteError("The model's logits are not numbers: lower the strength of its edits, "
                             "or, if it has none, load it with dtype='float32'.")
    if how.temperature < COLDEST:
        return [int(i) for i in logits.argmax(-1)]
    probs = _likeliest((logits.float() / how.temperature).softmax(-1), how).cpu()
    return [int(torch.multinomial(p, 1, generator=g))
            for p, g in zip(probs, generators, strict=True)]


def _likeliest(
    probs: Float[Tensor, "batch d_vocab"], how: Sampling
) -> Float[Tensor, "batch d_vocab"]:
    """Probabilities with those of unlikely tokens set to 0, as top_k and top_p say.

    Source: nucleus sampling, Holtzman et al. 2020, arXiv:1904.09751.
    """
    if not 0 < how.top_k < probs.shape[-1] and how.top_p >= 1:
        return probs
    ranked, order = torch.sort(probs, dim=-1, descending=True, stable=True)
    if how.top_k:
        ranked[:, how.top_k :] = 0
        ranked = ranked / ranked.sum(-1, keepdim=True)
    before = ranked.cumsum(-1) - ranked  # of the likelier ones
    kept = ranked * (before < how.top_p)
    return torch.zeros_like(probs).scatter(-1, order, kept)


def end_ids(hf: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens that end a continuation: the checkpoint's, else the tokenizer's."""
    config = getattr(hf, "generation_config", None)
    ends = getattr(config, "eos_token_id", None)
    if ends is None:
        ends = tokenizer.eos_token_id
    if ends is None:
        return frozenset()
    return frozenset([ends] if isinstance(ends, int) else ends)


def new_text(tokenizer: Any, prompt: Encoded, ids: Sequence[int]) -> str:
    """The continuation as it follows the prompt: its own leading space included.

    Decoded on its own it would lose that space, so the prompt's last tokens lead the way.
    """
    lead = list(prompt.ids[-4:])
    before, whole = (
        str(tokenizer.decode(part, skip_special_tokens=True, clean_up_tokenization_spaces=False))
        for part in (lead, [*lead, *ids])
    )
    # not `removeprefix`: half a character after it can spoil the last character of the prompt
    return whole[len(before) :]


def _stopped(tokenizer: Any, row: _Row, stop: Sequence[str]) -> bool:
    if not stop:
        return False
    text = new_text(tokenizer, row.prompt, row.ids)
    return any(s in text for s in stop)


def cut(text: str, stop: Sequence[str]) -> str:
    """The text up to the first stop string in it."""
    return text[: min((at for s in stop if (at := text.find(s)) >= 0), default=len(text))]


def _row_reads(
    steps: list[Float[Tensor, "batch _ d_model"]], batch: Batch, i: int, row: _Row
) -> Float[Tensor, "pos d_model"]:
    prompt = steps[0][i][batch.real[i]]
    later = [step[i] for step in steps[1 : len(row.ids)]]
    return torch.cat([prompt, *later])
