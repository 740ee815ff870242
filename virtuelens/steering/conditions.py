"""When and how much of an edit: wrappers around any edit, which are edits themselves.

`When` acts only on tokens at which a probe reads more than a threshold; `Scheduled` lets the dose
change as the response grows. Both leave a token's bits alone where nothing is to be done, nest in
each other, and hold no state: what they know is the token's own place and activations.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from virtuelens.errors import SteeringError
from virtuelens.models.run import Seen
from virtuelens.steering.masks import put
from virtuelens.values.directions import Direction

if TYPE_CHECKING:
    from virtuelens.models.run import Edit

Factor = Callable[[Float[Tensor, "batch pos"]], Float[Tensor, "batch pos"]]
"""Tokens since the prompt's last (0 there and before) -> share of the dose."""


@dataclass(frozen=True)
class Schedule:
    """A row of the table: `make(n)` gives the factor."""

    name: str
    about: str
    make: Callable[[float], Factor]


SCHEDULES: dict[str, Schedule] = {
    s.name: s
    for s in (
        Schedule("constant", "the whole dose, times N", lambda n: lambda t: t * 0 + n),
        Schedule("ramp", "from nothing at the prompt's end to the whole dose N tokens later",
                 lambda n: lambda t: (t / n).clamp(max=1)),
        Schedule("decay", "the whole dose at the prompt's end, half of it every N tokens",
                 lambda n: lambda t: 0.5 ** (t / n)),
        Schedule("first", "the whole dose up to the response's N-th token, then nothing",
                 lambda n: lambda t: (t <= n).to(t)),
        Schedule("after", "nothing up to the response's N-th token, then the whole dose",
                 lambda n: lambda t: (t > n).to(t)),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Scheduled:
    """A share of the edit that follows the token's place: `x + f (edit(x) - x)`.

    schedule: NAME or NAME:N of the table SCHEDULES; what it counts is tokens of the response.
    Where f is 0 the bits stay, where it is 1 they are the edit's own.
    """

    edit: "Edit"
    schedule: str

    @property
    def point(self) -> str:
        """Where it acts: where the edit does."""
        return self.edit.point

    @property
    def looks_at(self) -> tuple[str, ...]:
        """What the edit looks at."""
        return looked_at(self.edit)

    def __call__(
        self, acts: Float[Tensor, "batch pos d_model"], seen: Seen
    ) -> Float[Tensor, "batch pos d_model"]:
        """The activations, moved by the share that is due."""
        since = (seen.index - (seen.prompt_length[:, None] - 1)).clamp(min=0).float()
        factor = factor_of(self.schedule)(since).to(acts.device)  # [batch pos]
        edited = self.edit(acts.clone(), seen)  # it may write to what it is given
        part = acts + factor[..., None].to(acts.dtype) * (edited - acts)
        moved = put(torch.where(factor[..., None] == 1, edited, part), acts, factor != 0)
        return torch.where(edited == acts, acts, moved)  # -0.0 + 0 would be another bit pattern


@dataclass(frozen=True)
class When:
    """The edit at those tokens only at which the projection on `direction` is above `above`.

    direction: a probe's, of any norm; the projection is on the unit vector.
    above: in activation units; `threshold` gives it in standard deviations.
    at: hook point that is judged, at or before the edit's; None: the edit's own, as it finds it.
    Judged token by token, so a batch, its padding and the cache change nothing.

    Source: conditional steering, Lee et al. 2024, arXiv:2409.05907 (there per text).
    """

    edit: "Edit"
    direction: Float[Tensor, " d_model"]
    above: float
    at: str | None = None

    @property
    def point(self) -> str:
        """Where it acts: where the edit does."""
        return self.edit.point

    @property
    def looks_at(self) -> tuple[str, ...]:
        """The point that is judged, where it is another, and what the edit looks at."""
        own = () if self.at in {None, self.point} else (str(self.at),)
        return (*own, *looked_at(self.edit))

    def __call__(
        self, acts: Float[Tensor, "batch pos d_model"], seen: Seen
    ) -> Float[Tensor, "batch pos d_model"]:
        """The activations, edited where the condition holds."""
        judged = acts if self.at in {None, self.point} else seen.elsewhere[str(self.at)]
        v = self.direction.to(device=judged.device, dtype=torch.float32)
        holds = judged.float() @ (v / v.norm()) > self.above  # [batch pos]
        return put(self.edit(acts.clone(), seen), acts, holds)  # it may write to its own


def when(edit: "Edit", direction: Direction, *, sigma: float) -> When:
    """The edit only where a direction's projection is over its mean by `sigma` standard deviations.

    Judged at the direction's own hook point.
    """
    return When(edit, direction.vector, threshold(direction, sigma), direction.point)


def threshold(direction: Direction, sigma: float) -> float:
    """The projection `sigma` standard deviations above its mean, in activation units."""
    return direction.center + sigma * direction.scale


def factor_of(schedule: str) -> Factor:
    """The factor that NAME or NAME:N stands for.

    Raises: SteeringError: no such schedule, or N is not a number above 0.
    """
    name, colon, number = schedule.partition(":")
    try:
        n = float(number) if colon else 1.0
    except ValueError:
        n = float("nan")
    if name not in SCHEDULES or not (n > 0 or (name == "constant" and n == 0)):
        raise SteeringError(
            f"{schedule!r} is no schedule: write NAME:N with a number above 0 and one of "
            f"{', '.join(SCHEDULES)}."
        )
    return SCHEDULES[name].make(n)


def looked_at(edit: "Edit") -> tuple[str, ...]:
    """Hook points whose activations the edit wants to see."""
    return tuple(getattr(edit, "looks_at", ()))
