"""Which tokens an edit touches: one table, in coordinates of the row's own text.

`Seen.index` counts a row's real tokens from 0 and goes on through the KV cache, so a selection
means the same tokens in `run`, in cached generation, and whatever the padding side.
"""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Bool
from torch import Tensor

from virtuelens.errors import SteeringError
from virtuelens.models.run import Seen

Select = Callable[[Seen], Bool[Tensor, "batch pos"]]


@dataclass(frozen=True)
class Where:
    """A row of the table."""

    name: str
    about: str
    select: Select


def _prompt_end(seen: Seen) -> Tensor:
    return seen.prompt_length[:, None] - 1


WHERE: dict[str, Where] = {
    w.name: w
    for w in (
        Where("all", "every token, the prompt included", lambda seen: seen.real),
        Where(
            "prompt",
            "the tokens before the response",
            lambda seen: seen.real & (seen.index <= _prompt_end(seen)),
        ),
        Where(
            "last_prompt",
            "the last token before the response",
            lambda seen: seen.real & (seen.index == _prompt_end(seen)),
        ),
        Where(
            "from_last_prompt",
            "the last token before the response and all of the response",
            lambda seen: seen.real & (seen.index >= _prompt_end(seen)),
        ),
        Where(
            "response",
            "the tokens of the response",
            lambda seen: seen.real & (seen.index > _prompt_end(seen)),
        ),
    )
}


AFTER_THE_PROMPT = frozenset({"last_prompt", "from_last_prompt", "response"})
"""Rows that touch no token before the prompt's last."""


def selection(name: str, seen: Seen) -> Bool[Tensor, "batch pos"]:
    """Mask of the tokens that the row `name` of the table selects.

    Raises: SteeringError: no such row.
    """
    if name not in WHERE:
        raise SteeringError(f"Unknown token selection {name!r}: choose from {', '.join(WHERE)}.")
    return WHERE[name].select(seen)
