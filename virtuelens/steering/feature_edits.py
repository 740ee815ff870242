"""Edits of SAE features, the reconstruction error kept: `x + (a' - a) W_dec`.

Only the features that are edited are computed. What the SAE does not explain stays as it is, and a
token whose features already are where they should be keeps its bits (in one published effect 98.8 %
was the round trip through the SAE, not the edit).
"""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from virtuelens.models.run import Seen
from virtuelens.steering.masks import like, put
from virtuelens.steering.where import selection

Encoder = Callable[[Float[Tensor, "batch pos d_model"]], Float[Tensor, "batch pos k"]]


@dataclass(frozen=True)
class ClampFeatures:
    """SAE features set to `values`, all at once; 0 switches a feature off.

    encode: gives the features' activations for activations `x` (`sparse_coding.features_encoder`).
    decoder: their rows of `W_dec`.
    """

    point: str
    encode: Encoder
    decoder: Float[Tensor, "k d_model"]
    values: Float[Tensor, " k"]
    where: str = "all"

    def __call__(
        self, acts: Float[Tensor, "batch pos d_model"], seen: Seen
    ) -> Float[Tensor, "batch pos d_model"]:
        """The activations with the features' contributions moved to `values`."""
        found = self.encode(acts)  # [batch pos k]
        return _move(acts, like(self.values, found) - found, self.decoder, self.where, seen)


@dataclass(frozen=True)
class ScaleFeatures:
    """SAE features multiplied by `factors`, all at once; 1 changes nothing, 0 switches off.

    encode, decoder: as for `ClampFeatures`.
    """

    point: str
    encode: Encoder
    decoder: Float[Tensor, "k d_model"]
    factors: Float[Tensor, " k"]
    where: str = "all"

    def __call__(
        self, acts: Float[Tensor, "batch pos d_model"], seen: Seen
    ) -> Float[Tensor, "batch pos d_model"]:
        """The activations with the features' contributions multiplied."""
        found = self.encode(acts)  # [batch pos k]
        return _move(acts, (like(self.factors, found) - 1) * found, self.decoder, self.where, seen)


def _move(
    acts: Tensor, shift: Float[Tensor, "batch pos k"], decoder: Tensor, where: str, seen: Seen
) -> Tensor:
    edited = acts + like(shift, acts) @ like(decoder, acts)
    return put(edited, acts, selection(where, seen) & (shift != 0).any(-1).to(seen.real.device))
