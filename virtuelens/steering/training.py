"""A penalty that holds a direction's projection in a band while a model is trained.

`Hold` has the shape of an edit, so it goes where edits go, but it changes no activation: it hands
the gradient of its penalty to whoever runs backward through them. A penalty on a probe teaches a
model to hide from that probe as readily as to change; judge the result with another one, fitted
anew on the trained model.

Source: projections as a training signal, Chen et al. 2025 (persona vectors), arXiv:2507.21509.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from virtuelens.errors import SteeringError
from virtuelens.models.run import Seen
from virtuelens.steering.where import selection
from virtuelens.values.directions import Direction


@dataclass(frozen=True)
class Hold:
    """Keep the projection within `low` to `high`: outside, `weight` times the squared excess.

    low, high: standard deviations of the projection from the direction's center.
    weight: of the mean over the selected tokens, beside a loss in nats a token.

    Raises: SteeringError: a band that is empty.
    """

    direction: Direction
    low: float
    high: float
    weight: float = 1.0
    where: str = "all"

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise SteeringError(f"No projection lies between {self.low:g} and {self.high:g}: low "
                                "must not be larger than high.")

    @property
    def point(self) -> str:
        """The hook point that is held."""
        return self.direction.point

    def penalty(
        self, acts: Float[Tensor, "batch pos d_model"], seen: Seen
    ) -> Float[Tensor, ""]:
        """The penalty of these activations; differentiable. 0 where no token is selected."""
        d = self.direction
        vector = d.vector.to(device=acts.device, dtype=torch.float32)
        with torch.autocast(acts.device.type, enabled=False):  # it would multiply in bfloat16
            along = (acts.float() @ vector - d.center) / (d.scale or 1.0)  # [batch pos]
        excess = (along - self.high).relu() + (self.low - along).relu()
        chosen = selection(self.where, seen).to(acts.device)
        total: Tensor = (excess.square() * chosen).sum() / chosen.sum().clamp(min=1)
        return self.weight * total

    def __call__(
        self, acts: Float[Tensor, "batch pos d_model"], seen: Seen
    ) -> Float[Tensor, "batch pos d_model"]:
        """The same activations; a backward pass through them adds the penalty's gradient."""
        if not (torch.is_grad_enabled() and acts.requires_grad):
            return acts
        held: Tensor = _Beside.apply(acts, self.penalty(acts, seen))  # type: ignore[no-untyped-call]
        return held


class _Beside(torch.autograd.Function):
    """Its first input as it is; backward, the second has the gradient of an addend of the loss."""

    @staticmethod
    def forward(ctx: Any, acts: Tensor, penalty: Tensor) -> Tensor:  # noqa: ARG004
        return acts.view_as(acts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]  # noqa: ARG004
        return grad, torch.ones((), dtype=torch.float32, device=grad.device)
