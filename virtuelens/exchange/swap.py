"""The edit of an interchange intervention: a row's values at one token become another input's."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from virtuelens.errors import SteeringError
from virtuelens.models.run import Seen


@dataclass(frozen=True)
class Swap:
    """`x + P (source - x)` at one token of each row, P the projector on the subspace.

    source: `[batch d_model]`, activations of the other inputs there.
    subspace: orthonormal columns; None swaps the whole activation.
    at: which token of each row's own text (0 is the first); None: the last prompt token.

    Source: interchange intervention, Geiger et al. 2021, arXiv:2106.02997; of a subspace,
    Geiger et al. 2023, arXiv:2303.02536.
    """

    point: str
    source: Float[Tensor, "batch d_model"]
    subspace: Float[Tensor, "d_model rank"] | None = None
    at: Int[Tensor, " batch"] | None = None

    def __call__(
        self, acts: Float[Tensor, "batch pos d_model"], seen: Seen
    ) -> Float[Tensor, "batch pos d_model"]:
        """The activations with the subspace's values taken from `source`."""
        change = self.source.to(acts)[:, None] - acts
        if self.subspace is not None:
            space = self.subspace.to(acts)
            change = change @ space @ space.T
        place = seen.prompt_length - 1 if self.at is None else self.at.to(seen.index.device)
        there = (seen.real & (seen.index == place[:, None])).to(acts.device)  # [batch pos]
        return torch.where(there[..., None], acts + change, acts)


def orthonormal(
    subspace: Float[Tensor, "d_model rank"], *, d_model: int
) -> Float[Tensor, "d_model rank"]:
    """Orthonormal columns of the same span.

    Raises: SteeringError: another width, not finite, or columns that depend on each other.
    """
    if subspace.ndim != 2 or len(subspace) != d_model or not 0 < subspace.shape[1] <= d_model:
        raise SteeringError(
            f"A subspace has shape [d_model rank] with d_model {d_model}, this one has "
            f"{list(subspace.shape)}."
        )
    if not torch.isfinite(subspace).all():
        raise SteeringError("The subspace holds NaN or infinity.")
    q, r = torch.linalg.qr(subspace.detach().double())
    scale = r.diagonal().abs()
    if float(scale.min()) <= 1e-6 * float(scale.max()):
        raise SteeringError(
            f"The {subspace.shape[1]} columns of the subspace span fewer dimensions: leave out "
            "those that depend on others."
        )
    return q.float()
