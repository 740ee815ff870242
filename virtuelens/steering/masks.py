"""What every edit does with tensors: like another one in kind, and put in place by a mask."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def like(vector: Float[Tensor, "*shape"], acts: Float[Tensor, "*batch d_model"]) -> Tensor:
    """The vector on the activations' device and in their precision."""
    return vector.to(device=acts.device, dtype=acts.dtype)


def put(
    edited: Float[Tensor, "batch pos d_model"],
    acts: Float[Tensor, "batch pos d_model"],
    chosen: Bool[Tensor, "batch pos"],
) -> Float[Tensor, "batch pos d_model"]:
    """`edited` at the chosen tokens, the very bits of `acts` at all others."""
    return torch.where(chosen.to(acts.device)[..., None], edited, acts)
