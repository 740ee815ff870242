"""The table of reading positions: which tokens of a text one row of activations stands for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from virtuelens.activations.spans import SPANS
from virtuelens.errors import PositionError
from virtuelens.models.chat import Encoded


@dataclass(frozen=True)
class Position:
    """A row of the table.

    pick: indices of the chosen tokens, ascending; raises PositionError where a text has none.
    pooled: their mean is one row per text; else each of them is a row.
    own_words: the chosen tokens must be the text's own. In a chat without a response the last
        token is the template's, so such a text is refused.
    """

    name: str
    about: str
    pick: Callable[[Encoded], Sequence[int]]
    pooled: bool = True
    own_words: bool = False


def _last_prompt(encoded: Encoded) -> Sequence[int]:
    return _span("last_prompt", encoded)


def _last(encoded: Encoded) -> Sequence[int]:
    return (len(encoded.ids) - 1,)


def _prompt_mean(encoded: Encoded) -> Sequence[int]:
    # the first token takes up attention that goes nowhere; its norm would drown the others
    # (Xiao et al. 2023, arXiv:2309.17453; Sun et al. 2024, arXiv:2402.17762)
    prompt = _span("prompt", encoded)
    return prompt[1:] or prompt


def _response_mean(encoded: Encoded) -> Sequence[int]:
    if encoded.prompt_length == len(encoded.ids):
        raise PositionError(
            "The text has no response, so response_mean has nothing to read: end it with an "
            "assistant's turn, or read last_prompt or prompt_mean."
        )
    return _span("response", encoded)


def _tokens(encoded: Encoded) -> Sequence[int]:
    return _span("all", encoded)


def _span(name: str, encoded: Encoded) -> Sequence[int]:
    return SPANS[name].places(encoded.prompt_length, len(encoded.ids))


POSITIONS: dict[str, Position] = {
    p.name: p
    for p in (
        Position("last_prompt", "last token before the response begins", _last_prompt),
        Position("last", "last token of the text itself", _last, own_words=True),
        Position("prompt_mean", "mean over the prompt, its first token left out", _prompt_mean),
        Position("response_mean", "mean over the response", _response_mean),
        Position("tokens", "every token, each as a row of its own", _tokens, pooled=False),
    )
}


def check_position(row: Position) -> None:
    """The contract of a row of the table, for rows of third parties too.

    1. Indices are ascending, each once, and within the text.
    2. They depend on the lengths of prompt and response only, never on what the tokens are.
    3. A text may be refused only with a PositionError, and one with a response never is.
    4. What stands before the text (a longer prompt) moves the choice from a response along.

    Raises: AssertionError: naming what does not hold.
    """
    for prompt, response in ((1, 0), (1, 1), (4, 0), (4, 1), (3, 6), (9, 2)):
        text = _made(prompt, response)
        try:
            chosen = list(row.pick(text))
        except PositionError as error:
            _demand(row, not response, f"refuses a text that has a response ({error})")
            continue
        n = prompt + response
        _demand(row, bool(chosen), f"chooses nothing in a text of {prompt}+{response} tokens")
        _demand(row, chosen == sorted(set(chosen)), f"not ascending, each once: {chosen}")
        _demand(row, chosen[0] >= 0 and chosen[-1] < n, f"outside a text of {n} tokens: {chosen}")
        other = list(row.pick(_made(prompt, response, first_id=500)))
        _demand(row, other == chosen, "depends on what the tokens are")
        if chosen[0] >= prompt:
            longer = list(row.pick(_made(prompt + 3, response)))
            moved = [i + 3 for i in chosen]
            _demand(row, longer == moved, f"3 more tokens of prompt moved {chosen} to {longer}")


def _made(prompt: int, response: int, first_id: int = 0) -> Encoded:
    ids = tuple(range(first_id, first_id + prompt + response))
    return Encoded(ids, prompt, tuple(f"t{i}" for i in ids))


def _demand(row: Position, holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(f"position {row.name!r}: {otherwise}")
