"""Which tokens an edit touches: one table, in coordinates of the row's own text.

`Seen.index` counts a row's real tokens from 0 and goes on through the KV cache, so a selection
means the same tokens in `run`, in cached generation, and whatever the padding side. The stretches
are those that harvest reads (`activations.spans`); to these come the turns of a chat.

A selection is the name of a row, a part of it as Python slices (`response[:10]`, `prompt[-3:]`,
`all[5:9]`), or several joined by + (`system+response`).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from virtuelens.activations.spans import SPANS, Span
from virtuelens.errors import SteeringError
from virtuelens.models.chat import spoken_by
from virtuelens.models.run import Seen

Select = Callable[[Seen], Bool[Tensor, "batch pos"]]
_PART = re.compile(r"(\w+)(?:\[((?:-?\d{1,9})?):((?:-?\d{1,9})?)\])?")


@dataclass(frozen=True)
class Where:
    """A row of the table.

    span: the stretch of the text, where the row is one; only such a row can be sliced.
    """

    name: str
    about: str
    select: Select
    span: Span | None = None


def _within(span: Span, cut: slice) -> Select:
    """The tokens of a stretch, or of a slice of it."""

    def edge(at: int | None, start: Tensor, stop: Tensor | None, default: Tensor) -> Tensor:
        if at is None:
            return default
        if at >= 0:
            return start + at
        assert stop is not None, "checked when the selection was parsed"
        return torch.maximum(start, stop + at)

    def select(seen: Seen) -> Bool[Tensor, "batch pos"]:
        prompt_length = seen.prompt_length[:, None]
        first = span.start(prompt_length)
        end = None if span.stop is None else span.stop(prompt_length)
        mask = seen.real & (seen.index >= edge(cut.start, first, end, first))
        if cut.stop is not None:
            mask = mask & (seen.index < edge(cut.stop, first, end, first))
        return mask if end is None else mask & (seen.index < end)

    return select


def _said_by(role: str) -> Select:
    def select(seen: Seen) -> Bool[Tensor, "batch pos"]:
        rows = []
        spoken = seen.spoken or (None,) * len(seen.index)
        lengths = seen.prompt_length.tolist()
        for index, spans, length in zip(seen.index, spoken, lengths, strict=True):
            if spans is None:
                raise SteeringError(
                    f"Whose words are whose is unknown in a row, so tokens of role {role!r} cannot "
                    "be selected: give a chat (messages) instead of raw text, or choose one of "
                    f"{', '.join(SPANS)}."
                )
            rows.append(spoken_by(role, spans, index, length))
        return seen.real & torch.stack(rows)

    return select


WHERE: dict[str, Where] = {
    w.name: w
    for w in (
        *(Where(s.name, s.about, _within(s, slice(None)), s) for s in SPANS.values()),
        Where("system", "what the system turn says, without the template", _said_by("system")),
        Where("user", "what the user says, without the template", _said_by("user")),
        Where("assistant", "what the assistant says, earlier turns and response",
              _said_by("assistant")),
    )
}  # fmt: skip


AFTER_THE_PROMPT = frozenset({"last_prompt", "from_last_prompt", "response"})
"""Rows that touch no token before the prompt's last."""


def selection(name: str, seen: Seen) -> Bool[Tensor, "batch pos"]:
    """Mask of the tokens that `name` selects: a row of the table, a slice of one, or a sum of them.

    Raises: SteeringError: no such row, a slice that means nothing, or roles that are unknown.
    """
    first, *more = (select(seen) for select in parse(name))
    for mask in more:
        first = first | mask
    return first


def parse(name: str) -> tuple[Select, ...]:
    """What `selection` joins; call it to check a selection before anything runs.

    Raises: SteeringError: no such row, or a slice that means nothing.
    """
    return tuple(_parse_one(part.strip()) for part in name.split("+"))


def _parse_one(part: str) -> Select:
    found = _PART.fullmatch(part)
    if found is None or found[1] not in WHERE:
        raise SteeringError(
            f"Unknown token selection {part!r}: choose from {', '.join(WHERE)}, a slice of one "
            "(response[:10], prompt[-3:]), or several joined by +."
        )
    row = WHERE[found[1]]
    if found[2] is None:
        return row.select
    cut = slice(*(int(number) if number else None for number in found.group(2, 3)))
    negative = min(cut.start or 0, cut.stop or 0) < 0
    if row.span is None or (negative and row.span.stop is None):
        raise SteeringError(
            f"{part!r} means nothing: "
            + ("turns of a chat cannot be sliced." if row.span is None else
               f"{row.name} has no end to count back from while text is generated.")
        )
    return _within(row.span, cut)
