"""Edits for tests: the smallest objects that satisfy the protocol."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from virtuelens.models import Seen


@dataclass(frozen=True)
class Change:
    """Whatever `how` makes of the activations."""

    point: str
    how: Callable[[Tensor, Seen], Tensor]

    def __call__(self, acts: Tensor, seen: Seen) -> Tensor:
        return self.how(acts, seen)


def add(point: str, vector: Tensor) -> Change:
    """Add the vector at every token, padding included (the engine must keep it off)."""
    return Change(point, lambda acts, seen: acts + vector)


class BodyError(Exception):
    """Raised on purpose."""


def fail(point: str) -> Change:
    """Raise inside the forward pass."""

    def raise_it(acts: Tensor, seen: Seen) -> Tensor:
        raise BodyError("on purpose")

    return Change(point, raise_it)
