"""Edits of activations at a hook point: the table EDITS, one frozen class a row.

The contract of every row (tests/contracts/test_edits.py runs it): a neutral dose is a bitwise
no-op; the closed form holds exactly on plain tensors; tokens outside `where` are untouched;
directions need not have norm 1.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from virtuelens.errors import ModelMismatchError, SteeringError
from virtuelens.models.run import Seen
from virtuelens.steering.where import selection
from virtuelens.values.directions import Direction

Encoder = Callable[[Float[Tensor, "batch pos d_model"]], Float[Tensor, "batch pos"]]


@dataclass(frozen=True)
class Add:
    """`x + vector` at the selected tokens.

    vector: `[d_model]`, or `[batch d_model]` for a dose of its own per row.

    Source: activation addition, Turner et al. 2023, arXiv:2308.10248.
    """

    point: str
    vector: Float[Tensor, "*batch d_model"]
    where: str = "all"

    def __call__(
        self, acts: Float[Tensor, "batch pos d_model"], seen: Seen
    ) -> Float[Tensor, "batch pos d_model"]:
        """The activations with the vector added."""
        vector = _like(self.vector, acts)
        if not vector.any():
            return acts  # adding zero would still turn -0.0 into 0.0
        if vector.ndim == 2:
            vector = vector[:, None, :]
        return _put(acts + vector, acts, selection(self.where, seen))


@dataclass(frozen=True)
class Clamp:
    """The projection on `direction` set to `value`; everything orthogonal to it stays.

    value: in activation units along the unit direction (a `Direction`'s `center` is ordinary).
    """

    point: str
    direction: Float[Tensor, " d_model"]
    value: float
    where: str = "all"

    def __call__(
        self, acts: Float[Tensor, "batch pos d_model"], seen: Seen
    ) -> Float[Tensor, "batch pos d_model"]:
        """The activations with their projection replaced."""
        v = _unit_like(self.direction, acts)
        shift = self.value - acts @ v  # [batch pos]
        return _put(acts + shift[..., None] * v, acts, selection(self.where, seen))


@dataclass(frozen=True)
class Ablate:
    """The direction projected out: `x - (x.v) v`.

    Source: Arditi et al. 2024, arXiv:2406.11717.
    """

    point: str
    direction: Float[Tensor, " d_model"]
    where: str = "all"

    def __call__(
        self, acts: Float[Tensor, "batch pos d_model"], seen: Seen
    ) -> Float[Tensor, "batch pos d_model"]:
        """The activations without their component along the direction."""
        v = _unit_like(self.direction, acts)
        return _put(acts - (acts @ v)[..., None] * v, acts, selection(self.where, seen))


@dataclass(frozen=True)
class ClampFeature:
    """An SAE feature set to `value` with the reconstruction error preserved: `x + (a' - a) W_dec`.

    encode: gives the feature's activation for activations `x` (from `sparse_coding`).
    decoder: the feature's row of `W_dec`, `[d_model]`.
    The rest of `x`, including all that the SAE does not explain, stays as it is.
    """

    point: str
    encode: Encoder
    decoder: Float[Tensor, " d_model"]
    value: float
    where: str = "all"

    def __call__(
        self, acts: Float[Tensor, "batch pos d_model"], seen: Seen
    ) -> Float[Tensor, "batch pos d_model"]:
        """The activations with the feature's contribution moved from its activation to `value`."""
        shift = self.value - self.encode(acts)  # [batch pos]
        edited = acts + shift[..., None].to(acts.dtype) * _like(self.decoder, acts)
        return _put(edited, acts, selection(self.where, seen) & (shift != 0))


EDITS: dict[str, type] = {
    "add": Add, "clamp": Clamp, "ablate": Ablate, "clamp_feature": ClampFeature
}


def add(direction: Direction, *, strength: float, where: str = "all") -> Add:
    """An addition of `strength` standard deviations of the direction's projection."""
    return Add(direction.point, direction.vector * (strength * direction.scale), where)


def check_direction(direction: Direction, *, fingerprint: str, d_model: int) -> None:
    """Refuse a direction that was found on other weights.

    Raises: ModelMismatchError: other weights; SteeringError: other width.
    """
    if direction.fingerprint != fingerprint:
        raise ModelMismatchError(
            f"The direction {direction.concept!r} was found on weights "
            f"{direction.fingerprint[:12]}, this model has {fingerprint[:12]}: find it on this "
            "model instead."
        )
    if len(direction.vector) != d_model:
        raise SteeringError(
            f"The direction has {len(direction.vector)} dimensions, the model has {d_model}."
        )


def _like(vector: Tensor, acts: Tensor) -> Tensor:
    return vector.to(device=acts.device, dtype=acts.dtype)


def _unit_like(vector: Tensor, acts: Tensor) -> Tensor:
    v = vector.to(device=acts.device, dtype=torch.float32)
    unit: Tensor = (v / v.norm()).to(acts.dtype)
    return unit


def _put(edited: Tensor, acts: Tensor, chosen: Tensor) -> Tensor:
    return torch.where(chosen[..., None], edited, acts)
