"""Every row of the positions table passes the public contract, which itself can fail."""

import pytest

from virtuelens.activations.positions import POSITIONS, Position, check_position
from virtuelens.errors import PositionError
from virtuelens.models.chat import Encoded

TEXT = Encoded(tuple(range(10)), 6, tuple("abcdefghij"))
"""Six tokens of prompt, four of response."""

CHOSEN = {
    "last_prompt": [5],
    "last": [9],
    "prompt_mean": [1, 2, 3, 4, 5],
    "response_mean": [6, 7, 8, 9],
    "tokens": list(range(10)),
}


@pytest.mark.parametrize("name", POSITIONS)
def test_every_position_keeps_the_contract(name: str) -> None:
    """Ascending indices inside the text, moved along with the response, blind to token ids."""
    check_position(POSITIONS[name])


@pytest.mark.parametrize("name", POSITIONS)
def test_each_position_chooses_what_its_name_says(name: str) -> None:
    """A new row must say here what it chooses."""
    assert list(POSITIONS[name].pick(TEXT)) == CHOSEN[name]


def test_response_mean_refuses_a_text_without_response() -> None:
    """There is nothing to average, and a prompt is not silently taken instead."""
    with pytest.raises(PositionError, match="no response"):
        POSITIONS["response_mean"].pick(Encoded((1, 2, 3), 3, ("a", "b", "c")))


BROKEN = {
    "outside": lambda e: (len(e.ids),),
    "nothing": lambda e: (),
    "twice": lambda e: (0, 0),
    "descending": lambda e: tuple(reversed(range(len(e.ids)))),
    "by content": lambda e: (e.ids[0] % len(e.ids),),
    "absolute": lambda e: (min(4, len(e.ids) - 1),),
}


@pytest.mark.parametrize("how", BROKEN)
def test_the_contract_catches_a_broken_row(how: str) -> None:
    """A row that breaks one of its points is named."""
    with pytest.raises(AssertionError, match="position 'broken'"):
        check_position(Position("broken", how, BROKEN[how]))


def test_the_contract_catches_a_row_that_refuses_responses() -> None:
    """Only a text without response may be refused."""

    def pick(encoded: Encoded) -> tuple[int, ...]:
        raise PositionError("never")

    with pytest.raises(AssertionError, match="refuses a text that has a response"):
        check_position(Position("broken", "refuses", pick))
