"""Edits of activations at a hook point: the table EDITS, one frozen class a row.

The contract of every row (tests/contracts/test_edits.py runs it): a neutral dose and an empty
selection are bitwise no-ops; the closed form holds exactly on plain tensors; tokens outside `where`
are untouched; a row of a batch is edited as it is alone; directions need not have norm 1.
Edits are values: several in a list act one after the other, `conditions` wraps them.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from virtuelens.errors import ModelMismatchError, SteeringError
from virtuelens.exchange.swap import Swap
from virtuelens.models.run import Seen
from virtuelens.steering.feature_edits import ClampFeatures, ScaleFeatures
from virtuelens.steering.masks import like, put
from virtuelens.steering.where import selection
from virtuelens.values.directions import Direction


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
        vector = like(self.vector, acts)
        if not vector.any():
            return acts  # adding zero would still turn -0.0 into 0.0
        if vector.ndim == 2:
            vector = vector[:, None, :]
        return put(acts + vector, acts, selection(self.where, seen))


@dataclass(frozen=True)
class Clamp:
    """The projection on `direction` set to `value`; everything orthogonal to it stays.

    direction: one, or several as rows; then all projections take their values at once, by the
        smallest change that does so (one after the other, a clamp would undo part of the last).
    value: in activation units along the unit direction (a `Direction`'s `center` is ordinary); one
        for each direction.
    """

    point: str
    direction: Float[Tensor, "*k d_model"]
    value: float | Float[Tensor, " k"]
    where: str = "all"
    _units: Tensor = field(init=False, repr=False, compare=False)
    _inverse: Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        units = _unit_rows(self.direction)
        # what moves each projection by one and leaves the others where they are
        inverse = torch.linalg.pinv(units.double()).T.to(units) if len(units) > 1 else units
        object.__setattr__(self, "_units", units)
        object.__setattr__(self, "_inverse", inverse)

    def __call__(
        self, acts: Float[Tensor, "batch pos d_model"], seen: Seen
    ) -> Float[Tensor, "batch pos d_model"]:
        """The activations with their projections replaced."""
        values = like(torch.as_tensor(self.value), acts)
        shift = values - acts @ like(self._units, acts).T  # [batch pos k]
        edited = acts + shift @ like(self._inverse, acts)
        return put(edited, acts, selection(self.where, seen).to(acts.device) & (shift != 0).any(-1))


@dataclass(frozen=True)
class Cap:
    """The projection on `direction` kept at or below `limit`; tokens below keep their bits.

    limit: in activation units along the unit direction; a high percentile of ordinary text
        (`ordinary_limit`) leaves ordinary tokens alone. `Floor` is the same from below.

    Source: activation capping, Lu et al. 2026, arXiv:2601.10387.
    """

    point: str
    direction: Float[Tensor, " d_model"]
    limit: float
    where: str = "all"

    def __call__(
        self, acts: Float[Tensor, "batch pos d_model"], seen: Seen
    ) -> Float[Tensor, "batch pos d_model"]:
        """The activations with what lies beyond the limit taken off."""
        v = like(_unit_rows(self.direction)[0], acts)
        beyond = (acts @ v - self.limit).clamp(min=0)  # [batch pos]
        edited = acts - beyond[..., None] * v
        return put(edited, acts, selection(self.where, seen).to(acts.device) & (beyond > 0))


@dataclass(frozen=True)
class Floor:
    """The projection on `direction` kept at or above `limit`; tokens above keep their bits."""

    point: str
    direction: Float[Tensor, " d_model"]
    limit: float
    where: str = "all"

    def __call__(
        self, acts: Float[Tensor, "batch pos d_model"], seen: Seen
    ) -> Float[Tensor, "batch pos d_model"]:
        """The activations with what is missing to the limit added."""
        v = like(_unit_rows(self.direction)[0], acts)
        missing = (self.limit - acts @ v).clamp(min=0)  # [batch pos]
        edited = acts + missing[..., None] * v
        return put(edited, acts, selection(self.where, seen).to(acts.device) & (missing > 0))


@dataclass(frozen=True)
class Ablate:
    """The direction projected out: `x - (x.v) v`; several as rows, the whole span of them.

    Source: Arditi et al. 2024, arXiv:2406.11717.
    """

    point: str
    direction: Float[Tensor, "*k d_model"]
    where: str = "all"
    _basis: Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_basis", span(self.direction))

    def __call__(
        self, acts: Float[Tensor, "batch pos d_model"], seen: Seen
    ) -> Float[Tensor, "batch pos d_model"]:
        """The activations without their component in the span."""
        basis = like(self._basis, acts)
        return put(acts - (acts @ basis.T) @ basis, acts, selection(self.where, seen))


EDITS: dict[str, type] = {
    "add": Add,
    "clamp": Clamp,
    "cap": Cap,
    "floor": Floor,
    "ablate": Ablate,
    "clamp_features": ClampFeatures,
    "scale_features": ScaleFeatures,
    "swap": Swap,
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


def span(directions: Float[Tensor, "*k d_model"]) -> Float[Tensor, "rank d_model"]:
    """Orthonormal rows that span the directions; those that depend on others add nothing.

    Raises: SteeringError: not finite, or all zero.
    """
    units = _unit_rows(directions)
    if len(units) == 1:
        return units
    _, sizes, rows = torch.linalg.svd(units.double(), full_matrices=False)
    return rows[sizes > 1e-6 * sizes.max()].to(torch.float32)


def _unit_rows(directions: Float[Tensor, "*k d_model"]) -> Float[Tensor, "k d_model"]:
    rows = directions.to(torch.float32)
    rows = rows[None] if rows.ndim == 1 else rows
    norms = rows.norm(dim=-1, keepdim=True)
    if rows.ndim != 2 or not torch.isfinite(norms).all() or not (norms > 0).all():
        raise SteeringError(
            f"Directions of shape {list(directions.shape)} cannot be used: give one of [d_model] "
            "or several as rows, finite and none of them zero."
        )
    return rows / norms

