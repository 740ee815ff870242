"""The stretches of a text that have names: one table, for what is read and for what is edited.

A stretch depends on one number of a text, how many tokens stand before its response, and counts
from the text's first token. So it means the same tokens in a harvest, in a run with padding on
either side, and in generation through a cache.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Edge = Callable[[Any], Any]
"""Number of prompt tokens (an int, or a tensor of one per row) -> a place in the text."""


@dataclass(frozen=True)
class Span:
    """A row of the table: the places from `start` to before `stop`; to the text's end if None."""

    name: str
    about: str
    start: Edge
    stop: Edge | None

    def places(self, prompt_length: int, length: int) -> range:
        """The places in a text of `length` tokens."""
        stop = length if self.stop is None else min(length, self.stop(prompt_length))
        return range(self.start(prompt_length), stop)


SPANS: dict[str, Span] = {
    s.name: s
    for s in (
        Span("all", "every token, the prompt included", lambda n: n * 0, None),
        Span("prompt", "the tokens before the response", lambda n: n * 0, lambda n: n),
        Span("last_prompt", "the last token before the response", lambda n: n - 1, lambda n: n),
        Span(
            "from_last_prompt", "the last token before the response and all of the response",
            lambda n: n - 1, None,
        ),
        Span("response", "the tokens of the response", lambda n: n, None),
    )
}  # fmt: skip
