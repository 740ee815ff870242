"""Steer a model inside a `with` block."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from virtuelens.steering.edits import add, check_direction
from virtuelens.values.directions import Direction

if TYPE_CHECKING:
    from virtuelens.models import HookedModel


@contextmanager
def steer(
    model: "HookedModel", direction: Direction, *, strength: float, where: str = "all"
) -> Iterator["HookedModel"]:
    """Run the body with `direction` added to the activations at its hook point.

    strength: standard deviations of the direction's projection (0 changes nothing).
    where: row of the table WHERE; by default every token, the prompt included.
    The edit is removed on every exit.

    Raises: ModelMismatchError: the direction was found on another model or revision.
    Source: activation addition, Turner et al. 2023, arXiv:2308.10248.
    """
    check_direction(direction, fingerprint=model.info.fingerprint, d_model=model.info.d_model)
    with model.editing([add(direction, strength=strength, where=where)]):
        yield model
