"""All that was measured of one steer, as one value: what tables and checks are made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import expit

from virtuelens.steering.behaviour import Question
from virtuelens.steering.dose import DoseResponse, Response

Array = np.ndarray


@dataclass(frozen=True)
class Watched:
    """A behaviour that is scored: its kind (as in the pack), whose it is, and its items."""

    kind: str
    of: str
    questions: Sequence[Question]


@dataclass(frozen=True)
class Found:
    """Responses of every behaviour to a steer and to its stand-ins.

    watched: the behaviours, the target first. swapped: the target's responses to fits to swapped
    labels. nulls: what the effect of 95 % of random directions stays below, without sign.
    swapped_scales: activation units that one unit of dose is along each of those fits.
    """

    response: DoseResponse
    watched: Mapping[str, Watched]
    swapped: tuple[Response, ...]
    nulls: Mapping[str, float]
    swapped_scales: tuple[float, ...] = ()

    @property
    def target(self) -> Response:
        """The target behaviour's response."""
        return self.response.responses[self.response.target]

    def of_kind(self, *kinds: str) -> dict[str, Response]:
        """Behaviours of these kinds with their responses."""
        return {name: self.response.responses[name] for name, w in self.watched.items()
                if w.kind in kinds}


def at_zero(response: Response) -> int:
    """Which of the doses is none."""
    return int(np.argmin(np.abs(response.doses)))


def probabilities(scores: Float[Array, "*k n"]) -> Float[Array, "*k n"]:
    """Of the target choice, against the best other."""
    return np.asarray(expit(scores))


def upper(effects: Sequence[float]) -> float:
    """What 95 % of the effects stay below, without sign."""
    return float(np.quantile(np.abs(effects), 0.95))
