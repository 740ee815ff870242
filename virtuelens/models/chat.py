"""From a text to tokens: the chat template, the special tokens, and where the response begins.

- A chat is rendered by the tokenizer's own template, up to where the assistant begins to speak;
  the template brings its special tokens, none are added (so no second BOS).
- Without a template, a plain one is used: `user: ...` lines ending in `assistant:`.
- Raw text gets what the tokenizer puts before any text (its BOS, if it uses one), once.
- The response follows directly, with the white space the template puts before it, and without
  the template's closing tokens: the last token is the response's own.
- Prompt and response are tokenised together when the prompt's tokens come out unchanged, else
  separately: then the prompt's tokens are exactly those that generation would start from.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

from virtuelens.errors import TextError, TextTooLongError
from virtuelens.values.texts import Message, Role, Text

PLAIN_TEMPLATE = "{role}: {content}\\n ... assistant:"
"""Stands for the fallback where a template is described or hashed."""

TOGETHER = 128  # texts given to a tokenizer in one call, which spreads them over threads


class Spoken(NamedTuple):
    """A stretch of tokens, `start` to before `stop`, with the words of one turn."""

    role: str
    start: int
    stop: int


@dataclass(frozen=True)
class Encoded:
    """A text as tokens.

    prompt_length: number of tokens before the response; all of them where there is none.
    tokens: what each token shows as; joined they give back the text.
    spoken: who says which tokens of the prompt, without the template's own; None where that is
        unknown (raw text, or a template that rewrites what it is given).
    """

    ids: tuple[int, ...]
    prompt_length: int
    tokens: tuple[str, ...]
    spoken: tuple[Spoken, ...] | None = None


def encode(tokenizer: Any, text: Text, *, n_ctx: int, d_vocab: int) -> Encoded:
    """Tokens of a text, with the boundary between prompt and response exact.

    Raises: TextTooLongError: more tokens than the context holds (nothing is ever cut).
    TextError: empty, or refused by the chat template.
    """
    return next(encode_each(tokenizer, [text], n_ctx=n_ctx, d_vocab=d_vocab))


def encode_each(
    tokenizer: Any, texts: Sequence[Text], *, n_ctx: int, d_vocab: int, words: bool = True
) -> Iterator[Encoded]:
    """`encode` of one text after the other; the tokenizer is given many at a time.

    words: without them `tokens` is empty and `spoken` None, which is all that a harvest needs.

    Raises: as `encode`, when it comes to the text at fault.
    """
    start: list[int] | None = None
    for first in range(0, len(texts), TOGETHER):
        some, rendered, refusal = texts[first : first + TOGETHER], [], None
        for text in some:
            try:
                rendered.append(render(tokenizer, text))
            except TextError as error:
                refusal = error
                break
        strings = dict.fromkeys(prompt for prompt, _ in rendered)
        strings |= dict.fromkeys(prompt + response for prompt, response in rendered if response)
        pieces = dict(zip(strings, _tokenise(tokenizer, list(strings), words=words), strict=True))
        for text, (prompt, response) in zip(some, rendered, strict=False):
            found = _joined(tokenizer, pieces, prompt, response, words=words)
            head: list[int] = []
            if not _has_template(tokenizer, text):
                start = _start(tokenizer) if start is None else start
                head = _head(start, found[0].ids)
            encoded = _encoded(tokenizer, head, *found)
            _check(encoded.ids, prompt, n_ctx=n_ctx, d_vocab=d_vocab)
            if words:
                spoken = _spoken(tokenizer, text, prompt, found[0], shift=len(head))
                encoded = replace(encoded, spoken=spoken)
            yield encoded
        if refusal is not None:
            raise refusal


def _joined(
    tokenizer: Any, pieces: Mapping[str, "_Piece"], prompt: str, response: str, *, words: bool
) -> tuple["_Piece", "_Piece"]:
    """Prompt and response, tokenised together where that leaves the prompt's tokens as they are."""
    first = pieces[prompt]
    if not response:
        return first, _Piece((), ())
    joint, n = pieces[prompt + response], len(first.ids)
    if joint.ids[:n] != first.ids or len(joint.ids) <= n:
        return first, _tokenise(tokenizer, [response], words=words)[0]
    return (_Piece(first.ids, joint.tokens[:n], first.ends),
            _Piece(joint.ids[n:], joint.tokens[n:]))


def _encoded(tokenizer: Any, head: list[int], first: "_Piece", second: "_Piece") -> Encoded:
    shown = first.tokens + second.tokens
    if head and shown:
        shown = (*tokenizer.convert_ids_to_tokens(head), *shown)
    return Encoded((*head, *first.ids, *second.ids), len(head) + len(first.ids), shown)


def _check(ids: tuple[int, ...], prompt: str, *, n_ctx: int, d_vocab: int) -> None:
    if not ids:
        raise TextError("The text is empty: it has no token. Give at least one character.")
    if max(ids) >= d_vocab:
        raise TextError(
            f"Token {max(ids)} is outside the model's vocabulary of {d_vocab}: this tokenizer "
            "belongs to another model."
        )
    if len(ids) > n_ctx:
        raise TextTooLongError(
            f"The text has {len(ids)} tokens, this model's context holds {n_ctx}: "
            f"shorten it by {len(ids) - n_ctx} tokens. It begins: {prompt[:60]!r}"
        )


def render(tokenizer: Any, text: Text) -> tuple[str, str]:
    """(prompt, response) as the characters the model is given; the response may be empty.

    Raises: TextError: the chat template refuses these messages (a system turn, for instance).
    """
    response = text.response or ""
    if text.raw is not None:
        return text.raw, response
    messages = [{"role": m.role, "content": m.content} for m in text.prompt_messages]
    if not tokenizer.chat_template:
        lines = [f"{m['role']}: {m['content']}" for m in messages]
        return "\n".join([*lines, "assistant:"]), f" {response.lstrip()}" if response else ""
    prompt = _apply(tokenizer, messages, begin_answer=True)
    if not response:
        return prompt, ""
    answer = {"role": "assistant", "content": response}
    whole = _apply(tokenizer, [*messages, answer], begin_answer=False)
    return prompt, _gap(whole, prompt, response) + response


def _gap(whole: str, prompt: str, response: str) -> str:
    """The white space that the template puts between the prompt and the answer's first word."""
    at = whole.find(response.strip(), len(prompt)) if whole.startswith(prompt) else -1
    gap = whole[len(prompt) : at] if at >= 0 else ""
    return gap if gap.isspace() and not response[0].isspace() else ""


def _apply(tokenizer: Any, messages: list[dict[str, str]], *, begin_answer: bool) -> str:
    try:
        rendered: str = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=begin_answer
        )
    except Exception as error:  # templates raise whatever their authors chose
        roles = ", ".join(m["role"] for m in messages)
        raise TextError(
            f"The model's chat template refuses messages with roles {roles} ({error}): "
            "use the turns it knows, or give raw text."
        ) from error
    return rendered


@dataclass(frozen=True)
class _Piece:
    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    ends: tuple[int, ...] = ()  # where in the text each token ends


def _tokenise(tokenizer: Any, texts: list[str], *, words: bool) -> list[_Piece]:
    if not texts:
        return []
    found = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=words,
                      return_attention_mask=False, return_token_type_ids=False)
    every = [tuple(ids) for ids in found["input_ids"]]
    if not words:
        return [_Piece(ids, ()) for ids in every]
    return [
        _Piece(ids, _shown(tokenizer, text, ids, offsets), tuple(end for _, end in offsets))
        for text, ids, offsets in zip(texts, every, found["offset_mapping"], strict=True)
    ]


def _spoken(
    tokenizer: Any, text: Text, prompt: str, tokens: _Piece, *, shift: int
) -> tuple[Spoken, ...] | None:
    """Which tokens of the prompt are whose words: those that end within a turn's characters."""
    if text.raw is not None:
        return None
    roles = tuple(m.role for m in text.prompt_messages)
    if not roles:
        return ()
    said, template = [m.content for m in text.prompt_messages], _Template(tokenizer)
    # a template may show the date, and what is kept of it be yesterday's
    found = _fitting(prompt, said, _between(template, roles)) or _fitting(
        prompt, said, _between.__wrapped__(template, roles))
    return None if found is None else _stretches(roles, *found, tokens, shift)


def _fitting(
    prompt: str, said: list[str], between: tuple[str, ...] | None
) -> tuple[list[str], tuple[str, ...]] | None:
    """The turns' words as the prompt has them, and what is between; None where it is another."""
    for words in (said, [s.strip() for s in said]):
        if between is not None and prompt == between[0] + "".join(
            w + b for w, b in zip(words, between[1:], strict=True)
        ):
            return words, between
    return None


def _stretches(
    roles: tuple[Role, ...], words: list[str], between: tuple[str, ...], tokens: _Piece, shift: int
) -> tuple[Spoken, ...]:
    """The tokens of each turn's words."""
    found, at = [], len(between[0])
    for role, w, after in zip(roles, words, between[1:], strict=True):
        start, stop = bisect_right(tokens.ends, at), bisect_left(tokens.ends, at + len(w) + 1)
        found.append(Spoken(role, shift + start, shift + stop))
        at += len(w) + len(after)
    return tuple(found)


class _Template:
    """A tokenizer's template as a key: one rendering of marks per template and order of roles."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Template) and self._source == other._source

    def __hash__(self) -> int:
        return hash(self._source)

    @property
    def _source(self) -> tuple[str, str, str]:
        t = self.tokenizer
        return str(t.chat_template), str(t.bos_token), str(t.eos_token)


@lru_cache(maxsize=256)
def _between(template: _Template, roles: tuple[Role, ...]) -> tuple[str, ...] | None:
    """What the template puts before, between and after the turns; None where it shows them not.

    Found by rendering marks that no template contains in place of what is said.
    """
    marks = [f"\ue000{i}\ue001" for i in range(len(roles))]
    turns = tuple(Message(r, m) for r, m in zip(roles, marks, strict=True))
    try:
        rest = render(template.tokenizer, Text(messages=turns))[0]
    except TextError:
        return None
    found: list[str] = []
    for mark in marks:
        before, seen, rest = rest.partition(mark)
        if not seen:
            return None
        found.append(before)
    return (*found, rest)


def spoken_by(
    role: str, spoken: Sequence[Spoken], index: Any, prompt_length: int
) -> Any:
    """Mask of the places `index` (a tensor) at which that role's words stand.

    Everything from `prompt_length` on is the assistant's.
    """
    mask = (index >= prompt_length) if role == "assistant" else (index < 0)
    for one in spoken:
        if one.role == role:
            mask = mask | ((index >= one.start) & (index < one.stop))
    return mask


def _shown(
    tokenizer: Any, text: str, ids: tuple[int, ...], offsets: list[tuple[int, int]]
) -> tuple[str, ...]:
    """The stretch of text up to each token's end; a token that adds none shows its own name."""
    shown, done = [], 0
    for token_id, (_, end) in zip(ids, offsets, strict=True):
        shown.append(text[done:end] or str(tokenizer.convert_ids_to_tokens(token_id)))
        done = max(done, end)
    return tuple(shown)


def _has_template(tokenizer: Any, text: Text) -> bool:
    return text.raw is None and bool(tokenizer.chat_template)


def _start(tokenizer: Any) -> list[int]:
    """What the tokenizer puts before any text.

    What it may put *after* a text (an end token) is left out: the text goes on.
    """
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    return [] if plain == whole else list(whole[: _start_of(plain, whole)])


def _head(start: list[int], begins: tuple[int, ...]) -> list[int]:
    """That, unless the text already begins with it."""
    return [] if list(begins[: len(start)]) == start else start


def _start_of(part: list[int], whole: list[int]) -> int:
    """Where `part` begins in `whole` (0 where it does not occur)."""
    for start in range(len(whole) - len(part) + 1):
        if whole[start : start + len(part)] == part:
            return start
    return 0
