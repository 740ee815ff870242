"""Dose-response: how behaviour follows an addition along a direction, and along random ones.

1. On one half of the items, choose where to steer among candidate sites: largest change of rate
   within the KL budget, and within what the model itself does. From one class's mean to the
   other's is as far as the concept ever moves an activation along the direction; beyond that lie
   states the model never visits, and what they do says little about what it uses.
2. On the other half, score every dose; the slope is the mean over items of each item's own slope
   (so its interval is a bootstrap over items, and items that move the wrong way are counted).
3. Do the same for norm-matched random directions at the same place: the slope must beat them.

Protocol: Pres et al. 2024, arXiv:2410.17245; per-item slopes, Tan et al. 2024, arXiv:2407.12404.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from virtuelens import stats
from virtuelens.steering.behaviour import Question, score_each
from virtuelens.steering.edits import Add
from virtuelens.steering.side_effects import Neutral, SideEffect, largest_dose, side_effect
from virtuelens.steering.where import AFTER_THE_PROMPT
from virtuelens.values.directions import Direction
from virtuelens.values.estimates import Estimate

if TYPE_CHECKING:
    from virtuelens.models import HookedModel

Array = np.ndarray


@dataclass(frozen=True)
class Candidate:
    """A place to steer: a direction and which tokens it is added to.

    gap: how far apart the classes lie along it, standard deviations; no larger dose is tried.
    """

    direction: Direction
    where: str
    gap: float = float("inf")

    def edit(self, dose: float) -> Add:
        """Addition of `dose` standard deviations of the projection."""
        return Add(
            self.direction.point, self.direction.vector * (dose * self.direction.scale), self.where
        )


@dataclass(frozen=True)
class Response:
    """Scores of one behaviour's items at each dose.

    scores: `[n_doses n_items]`, nats in favour of the target choice.
    """

    doses: Float[Array, " k"]
    scores: Float[Array, "k n"]
    groups: tuple[str, ...]

    @property
    def item_slopes(self) -> Float[Array, " n"]:
        """Least-squares slope of each item's score, nats per standard deviation."""
        d = self.doses - self.doses.mean()
        return np.asarray(d @ self.scores / (d @ d))

    @property
    def rates(self) -> Float[Array, " k"]:
        """Share of items on which the target choice wins, per dose."""
        return np.asarray((self.scores > 0).mean(axis=1))

    @property
    def item_effects(self) -> Float[Array, " n"]:
        """Change of the target's probability (of the two) from the lowest to the highest dose."""
        p = 1 / (1 + np.exp(-np.clip(self.scores, -40, 40)))
        return np.asarray(p[-1] - p[0])

    def slope(self, *, seed: int = 0, n_draws: int = 1000) -> Estimate:
        """Mean item slope with a cluster bootstrap over item groups."""
        return stats.mean(self.item_slopes, self.groups, seed=seed, n_draws=n_draws, null=0.0)

    def effect(self, *, seed: int = 0, n_draws: int = 1000) -> Estimate:
        """Mean item effect with a cluster bootstrap over item groups."""
        return stats.mean(self.item_effects, self.groups, seed=seed, n_draws=n_draws, null=0.0)

    def monotonicity(self) -> float:
        """Share of the variance of the mean score that a never falling curve explains (R²).

        1 where the score never falls with the dose, 0 where it only falls or never changes. A rank
        correlation would punish what every saturating response shows, a little overshoot once all
        answers have turned. Source: isotonic regression (scikit-learn).
        """
        from sklearn.isotonic import IsotonicRegression

        means = self.scores.mean(axis=1)
        spread = float(((means - means.mean()) ** 2).sum())
        if np.ptp(means) == 0:
            return 0.0
        fitted = IsotonicRegression(increasing=True).fit_transform(self.doses, means)
        return max(0.0, 1 - float(((means - fitted) ** 2).sum()) / spread)


def respond(
    model: "HookedModel",
    questions: Sequence[Question],
    candidate: Candidate,
    doses: Sequence[float],
) -> Response:
    """Scores of the items at each dose of the candidate."""
    return respond_each(model, questions, [candidate], doses)[0]


def respond_each(
    model: "HookedModel",
    questions: Sequence[Question],
    candidates: Sequence[Candidate],
    doses: Sequence[float],
    *,
    progress: Callable[[], None] = lambda: None,
) -> list[Response]:
    """The same of several candidates; what their edits leave alone is run once for all of them."""
    edits = [[c.edit(dose)] if dose else [] for c in candidates for dose in doses]
    scores = score_each(
        model, questions, edits, spare_prompt=all(c.where in AFTER_THE_PROMPT for c in candidates),
        progress=progress,
    ).reshape(len(candidates), len(doses), len(questions))
    groups = tuple(q.item.group for q in questions)
    return [Response(np.asarray(doses, dtype=np.float64), one, groups) for one in scores]


def working_dose(
    model: "HookedModel", neutral: Neutral, candidate: Candidate, *, cap: float
) -> float:
    """Largest dose whose side effect stays in budget for both signs."""

    def worse_sign(dose: float) -> float:
        return max(
            side_effect(model, neutral, [candidate.edit(sign * dose)]).kl_p95 for sign in (1, -1)
        )

    return largest_dose(worse_sign, cap=cap)


@dataclass(frozen=True)
class Choice:
    """What step 1 tried and took: per candidate its dose and its change of rate and score."""

    candidate: Candidate
    dose: float
    rate_change: float
    score_change: float


def choose_candidate(
    model: "HookedModel",
    questions: Sequence[Question],
    neutral: Neutral,
    candidates: Sequence[Candidate],
    *,
    cap: float,
    progress: Callable[[], None] = lambda: None,
) -> tuple[Choice, ...]:
    """The candidates, best first, by change of rate within the KL budget.

    Where the target does not move anywhere, the place is the one where the classes lie furthest
    apart: there companions and neighbours have most to follow. Places where no dose stays within
    the budget come last.
    """
    tried = []
    for candidate in candidates:
        dose = working_dose(model, neutral, candidate, cap=min(cap, candidate.gap))
        if dose > 0:
            r = respond(model, questions, candidate, [-dose, dose])
            rates, means = r.rates, r.scores.mean(axis=1)
            tried.append(
                Choice(candidate, dose, float(rates[1] - rates[0]), float(means[1] - means[0]))
            )
        else:
            tried.append(Choice(candidate, 0.0, 0.0, 0.0))
        progress()
    return tuple(sorted(tried, key=lambda c: (
        c.dose == 0, -round(c.rate_change, 2), -round(c.candidate.gap, 1), -c.score_change)))


@dataclass(frozen=True)
class DoseResponse:
    """Step 2 and 3: the chosen candidate's responses, and those of random directions.

    responses: behaviour name -> response of the concept's direction.
    random: responses of the target behaviour to norm-matched random directions.
    side_effects: one per dose.
    """

    candidate: Candidate
    target: str
    responses: Mapping[str, Response]
    random: tuple[Response, ...]
    side_effects: tuple[SideEffect, ...]

    @property
    def random_slopes(self) -> Float[Array, " r"]:
        """Absolute slopes of the random directions (a direction and its opposite are one draw)."""
        return np.array([abs(float(r.item_slopes.mean())) for r in self.random])


def dose_response(
    model: "HookedModel",
    behaviours: Mapping[str, Sequence[Question]],
    target: str,
    neutral: Neutral,
    candidate: Candidate,
    *,
    dose: float,
    n_doses: int = 9,
    n_random: int = 20,
    seed: int = 0,
    progress: Callable[[], None] = lambda: None,
) -> DoseResponse:
    """Every behaviour under the candidate, and the target behaviour under random directions."""
    doses = [float(d) for d in np.linspace(-dose, dose, n_doses)]
    responses = {}
    for name, questions in behaviours.items():
        responses[name] = respond(model, questions, candidate, doses)
        progress()
    stand_ins = [
        replace(candidate, direction=replace(candidate.direction, vector=vector, method="random"))
        for vector in random_directions(len(candidate.direction.vector), n_random, seed=seed)
    ]
    random = respond_each(model, behaviours[target], stand_ins, doses, progress=progress)
    effects = tuple(side_effect(model, neutral, [candidate.edit(d)]) for d in doses)
    return DoseResponse(candidate, target, responses, tuple(random), effects)


def random_directions(d_model: int, n: int, *, seed: int) -> list[Float[Tensor, " d_model"]]:
    """Unit vectors, uniform on the sphere."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(n, d_model, generator=generator)
    return list(vectors / vectors.norm(dim=1, keepdim=True))
