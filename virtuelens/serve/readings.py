"""What directions and monitors read while a text is generated: one number a token taken in."""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from virtuelens.errors import NotFiniteError
from virtuelens.probing.monitor import Watch
from virtuelens.values.directions import Direction


@dataclass
class Reading:
    """What one direction reads, token after token.

    threshold: projection that reads as 0.
    n_prompt: tokens before the response.
    watch: a monitor with an alarm, where the server was given one; it sees the response alone.
    scores: standard deviations past the threshold, over the prompt's tokens and every new token
        but the last. Under edits they are of what the model computes with them.
    """

    name: str
    direction: Direction
    threshold: float
    n_prompt: int
    watch: Watch | None = None
    scores: list[float] = field(default_factory=list)
    alarms: list[bool] = field(default_factory=list)

    def take(self, acts: Float[Tensor, "pos d_model"]) -> None:
        """Read the next tokens.

        Raises: NotFiniteError: there is no number to read.
        """
        if self.watch is not None:
            spoken = acts[max(0, self.n_prompt - len(self.scores)) :]
            self.alarms += [self.watch.see(act) for act in spoken]
        along = self.direction.project(acts.float().cpu())  # [pos]
        scores = (along - self.threshold) / self.direction.scale
        if not torch.isfinite(scores).all():
            raise NotFiniteError(f"NaN or infinity at {self.direction.point} under this steer: "
                                 "lower its strength.")
        self.scores += scores.tolist()

    def report(self, *, per_token: bool) -> dict[str, Any]:
        """The readings as an answer says them.

        response_mean, response_max: over the response's tokens that were taken in (n of them);
        null where there are none.
        """
        response = self.scores[self.n_prompt :]
        told: dict[str, Any] = {
            "concept": self.direction.concept, "point": self.direction.point,
            "unit": "standard deviations past the threshold",
            "prompt_last": self.scores[self.n_prompt - 1],
            "response_mean": sum(response) / len(response) if response else None,
            "response_max": max(response, default=None),
            "n": len(response),
        }
        if self.watch is not None:
            told |= {"alarm": any(self.alarms), "tokens_on": sum(self.alarms)}
        return told | {"tokens": list(self.scores)} if per_token else told
