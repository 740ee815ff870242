"""Selections that mean nothing are refused in words."""

import pytest

from virtuelens.errors import SteeringError
from virtuelens.steering.where import parse


@pytest.mark.parametrize("name", [
    "prompt[-:]", "prompt[:-]", "response[--2:]", f"response[:{10**30}]", "response[1:2", "there",
    "user[:3]", "all[-3:]", "",
])
def test_a_selection_that_means_nothing_is_refused(name: str) -> None:
    """A lone minus, a number beyond all places, half a slice: never a traceback."""
    with pytest.raises(SteeringError, match=r"Unknown token selection|means nothing"):
        parse(name)


@pytest.mark.parametrize("name", ["prompt[-3:]", "prompt[:]", "response[1:]", "all[:2]+user"])
def test_a_selection_that_means_something_is_not(name: str) -> None:
    """Either end may be left out."""
    assert len(parse(name)) == 1 + name.count("+")
