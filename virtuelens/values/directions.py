"""A direction in a model's activation space: what probes find, steers push, monitors watch."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Direction:
    """A unit vector at one hook point of one model.

    vector: `[d_model]`, norm 1, in the raw activation space (never a standardised one).
    scale: standard deviation of the projection over the examples it was found on, in
        activation units; a steering strength of 1 moves the projection by one `scale`.
    center: mean projection over those examples.
    point: TransformerLens hook point, e.g. `blocks.2.hook_resid_post`.
    position: row of the positions table it was read at.
    fingerprint: of the model's weights; using it on another model is refused.
    """

    vector: Float[Tensor, " d_model"]
    scale: float
    center: float
    point: str
    position: str
    concept: str
    method: str
    fingerprint: str

    def __post_init__(self) -> None:
        if self.vector.ndim != 1:
            raise ValueError(f"a direction is 1-D, this one has shape {tuple(self.vector.shape)}")
        norm = float(self.vector.norm())
        if not abs(norm - 1) < 1e-3:
            raise ValueError(f"a direction has norm 1, this one has norm {norm:.4g}")

    def project(self, acts: Float[Tensor, "... d_model"]) -> Float[Tensor, "..."]:
        """Coordinate along the direction, in activation units."""
        along: Tensor = acts.to(self.vector.dtype) @ self.vector
        return along

    def negated(self) -> "Direction":
        """The same line pointing the other way."""
        return Direction(
            -self.vector, self.scale, -self.center, self.point, self.position,
            self.concept, self.method, self.fingerprint,
        )


def unit(vector: Float[Tensor, " d_model"]) -> Float[Tensor, " d_model"]:
    """`vector` scaled to norm 1 (fp32).

    Raises: ValueError: the vector is zero or not finite, so it has no direction.
    """
    v = vector.detach().to(torch.float32)
    norm = v.norm()
    if not torch.isfinite(norm) or float(norm) == 0:
        raise ValueError("the vector is zero or not finite: it has no direction")
    return v / norm
