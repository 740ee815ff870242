"""The gradient at one cell: how much of its effect lies in a subspace, or along directions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from virtuelens import stats
from virtuelens.attribution.attribute import BATCH_TOKENS
from virtuelens.attribution.effects import groups_of
from virtuelens.attribution.pairs import Answers, encode_pairs
from virtuelens.attribution.steps import Way, run_steps
from virtuelens.errors import AttributionError
from virtuelens.exchange.swap import orthonormal
from virtuelens.values.estimates import Estimate
from virtuelens.values.texts import Text

if TYPE_CHECKING:
    from virtuelens.models import HookedModel

N_RANDOM = 200
"""Random subspaces that one is compared with."""


@dataclass(frozen=True, eq=False)
class Gradients:
    """What moves the metric at one cell, pair by pair.

    token: counted from the last prompt token, which is -1.
    gradient: of the metric at each step, in logits per unit of activation.
    moved: what the activation moves in each step; the source's minus the base's in all.
    """

    point: str
    token: int
    gradient: Float[Tensor, "pair step d_model"]
    moved: Float[Tensor, "pair step d_model"]
    groups: tuple[str, ...]

    def within(
        self, subspace: Float[Tensor, "d_model rank"], *, n_random: int = N_RANDOM, seed: int = 0
    ) -> Estimate:
        """Share of the cell's estimated effect that lies in the subspace; means over pairs.

        gradient · P · moved over gradient · moved, summed over steps; P projects on the span of
        the columns. Below 0 or above 1 where parts of the effect cancel.
        Null: the largest size among `n_random` random subspaces of equal rank.

        Raises: AttributionError: the cell has no effect at all. SteeringError: unusable subspace.
        """
        d_model = self.gradient.shape[-1]
        space = orthonormal(subspace, d_model=d_model)
        whole = (self.gradient * self.moved).sum((1, 2)).double().numpy()
        if not np.any(whole):
            raise AttributionError(
                f"The estimated effect at {self.point}, token {self.token} is 0 in every pair: "
                "there is nothing to share out. Choose a cell that `attribute` names."
            )

        def parts(q: Tensor) -> np.ndarray:
            return ((self.gradient @ q) * (self.moved @ q)).sum((1, 2)).double().numpy()

        generator = torch.Generator().manual_seed(seed)
        random = [
            parts(torch.linalg.qr(torch.randn(space.shape, generator=generator))[0]).sum()
            for _ in range(n_random)
        ]
        ours = parts(space)
        return stats.bootstrap(
            lambda rows: float(ours[rows].sum() / whole[rows].sum()), self.groups, seed=seed,
            null=max((abs(float(r / whole.sum())) for r in random), default=None),
        )


def read_gradients(
    model: "HookedModel",
    base: Sequence[Text],
    source: Sequence[Text],
    answers: Answers,
    *,
    point: str,
    token: int = -1,
    groups: Sequence[str] | None = None,
    method: str = "path",
    n_steps: int = 5,
    batch_tokens: int = BATCH_TOKENS,
) -> Gradients:
    """Gradient of the metric and movement of the activation at one cell; arguments as `attribute`.

    token: counted from the last prompt token, which is -1; every text must reach it.

    Raises: AttributionError: no such token, or as `attribute`. HookPointError, TextTooLongError.
    """
    pairs = encode_pairs(model, base, source, answers)
    units, way = groups_of(groups, len(pairs.base)), Way(method, n_steps)
    if not -min(pairs.lengths) <= token < 0:
        raise AttributionError(
            f"token is {token}: tokens are counted from the last prompt token, and the shortest "
            f"text has -{min(pairs.lengths)} to -1."
        )
    shape = (2, len(pairs.base), n_steps, model.info.d_model)
    gradient, moved = torch.zeros(shape)
    for step in run_steps(model, pairs, [point], way, batch_tokens=batch_tokens):
        gradient[list(step.rows), step.number] = step.gradient[point][:, token].cpu()
        moved[list(step.rows), step.number] = step.moved[point][:, token].cpu()
    return Gradients(point, token, gradient, moved, units)


def attribute_features(
    gradients: Gradients,
    directions: Float[Tensor, "feature d_model"],
    coefficients: Float[Tensor, "pair coefficient"],
) -> Float[Tensor, "pair feature"]:
    """Estimated effect of each direction's coefficient: mean gradient along it times its change.

    Logits, pair by pair.

    directions: what one unit of a coefficient adds to the activation, such as an SAE's `W_dec`.
    coefficients: source minus base, such as the difference of its `feature_acts`.
    Where directions times coefficients add up to the source's activation minus the base's, the
    effects of a pair add up to that of the cell under `method="mean_gradient"`.

    Raises: AttributionError: shapes that do not go together.
    Source: Marks et al. 2024, arXiv:2403.19647.
    """
    n_pairs, _, d_model = gradients.gradient.shape
    if directions.ndim != 2 or directions.shape[1] != d_model:
        raise AttributionError(
            f"Directions have shape [feature d_model] with d_model {d_model}, these have "
            f"{list(directions.shape)}."
        )
    if tuple(coefficients.shape) != (n_pairs, len(directions)):
        raise AttributionError(
            f"Coefficients have shape [pair feature], here [{n_pairs}, {len(directions)}], these "
            f"have {list(coefficients.shape)}."
        )
    return (gradients.gradient.mean(1) @ directions.float().cpu().T) * coefficients.float().cpu()
