"""Number 3 of an audit: does the model *use* the concept? Steer, and watch behaviour.

The direction is the difference of means at each candidate layer: the family that steers best in
published comparisons (AxBench, arXiv:2501.17148). Items are split by group: one part chooses where
to steer, the other is scored.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from virtuelens import stats
from virtuelens.audits.config import AuditConfig
from virtuelens.audits.ladder import Causal
from virtuelens.concepts.splits import fit_test_groups, group_folds
from virtuelens.errors import ProbeError
from virtuelens.probing.data import Examples, Site
from virtuelens.probing.methods import METHODS
from virtuelens.probing.probes import probe_at
from virtuelens.steering.behaviour import Question, encode_items
from virtuelens.steering.dose import (
    Candidate,
    Choice,
    DoseResponse,
    Response,
    choose_candidate,
    dose_response,
)
from virtuelens.steering.side_effects import read_neutral
from virtuelens.values.estimates import Estimate
from virtuelens.values.texts import Text

if TYPE_CHECKING:
    from virtuelens.concepts.pack import Behaviour, Concept
    from virtuelens.models import HookedModel

STEER_METHOD = "diff_means"
SMALLEST_GAP = 0.01
"""Standard deviations; where the classes do not lie apart, so little that nothing can move."""


@dataclass(frozen=True)
class Writing:
    """What steering along the concept did.

    kinds: behaviour -> target, companion, neighbour or neutral.
    tried: every candidate place with its dose and its effect on the choosing items.
    neutral_left_out: neutral texts longer than the model's context.
    """

    response: DoseResponse
    kinds: Mapping[str, str]
    tried: tuple[Choice, ...]
    neutral_left_out: int = 0

    def causal(self, *, config: AuditConfig) -> Causal:
        """The numbers of rung 4."""
        target = self.response.responses[self.response.target]
        effects = self.response.side_effects
        rates = target.rates
        return Causal(
            slope=target.slope(seed=config.seed, n_draws=config.n_bootstrap),
            random_p99=float(np.quantile(self.response.random_slopes, 0.99)),
            n_random=len(self.response.random),
            monotonicity=target.monotonicity(),
            rate_change=float(rates[-1] - rates[0]),
            kl_at_dose=max(effects[0].kl_p95, effects[-1].kl_p95),
            dose=float(target.doses[-1]),
            gap=self.response.candidate.gap,
        )

    def specific(self, *, config: AuditConfig) -> dict[str, Estimate]:
        """The numbers of rung 5: effect on the target minus absolute effect on each neighbour.

        Their null is what must remain where a neighbour moves as much as it may.
        """
        target = self.response.responses[self.response.target]
        return {
            name: effect_difference(target, r, config)
            for name, r in self.response.responses.items()
            if self.kinds[name] == "neighbour"
        }


def write_concept(
    model: "HookedModel",
    concept: "Concept",
    fit: Examples,
    neighbours: Mapping[str, "Behaviour"],
    neutral_texts: Sequence[Text],
    *,
    config: AuditConfig,
    progress: Callable[[str], None] = lambda stage: None,
) -> Writing | None:
    """Dose-response of the concept's behaviours; None where the pack has no target behaviour.

    fit: the fitting examples of the main set with their activations.
    neighbours: target behaviours of *other* concepts in the same dialect, by display name.
    """
    target = next((b for b in concept.behaviours if b.kind == "target"), None)
    if target is None:
        return None
    progress("where to steer")
    places = candidates(model, concept, fit, config)
    if not places:
        return None
    neutral = read_neutral(model, neutral_texts)
    choosing, scored = halves(encode_items(model, target.items), config)
    tried = choose_candidate(model, choosing, neutral, places, cap=config.dose_cap)
    chosen = tried[0]

    progress("dose-response and random directions")
    behaviours: dict[str, Sequence[Question]] = {target.name: scored}
    kinds = {target.name: "target"}
    for b in concept.behaviours:
        if b.name != target.name:
            behaviours[b.name] = encode_items(model, b.items[: config.max_items])
            kinds[b.name] = b.kind
    for name, b in neighbours.items():
        behaviours[name] = encode_items(model, b.items[: config.max_items])
        kinds[name] = "neighbour"
    response = dose_response(
        model, behaviours, target.name, neutral, chosen.candidate, dose=chosen.dose,
        n_doses=config.n_doses, n_random=config.n_random_directions, seed=config.seed,
    )
    return Writing(response, kinds, tried, neutral.left_out)


def steering_rows(writing: Writing, *, config: AuditConfig) -> list[dict[str, object]]:
    """Rows of steering.parquet: score and rate per behaviour, direction and dose."""
    rows: list[dict[str, object]] = []
    there = writing.response.candidate

    def add(name: str, direction: str, response: Response, intervals: bool) -> None:
        for k, dose in enumerate(response.doses):
            scores = response.scores[k]
            if intervals:
                e = stats.mean((scores > 0).astype(np.float64), response.groups,
                               n_draws=config.n_bootstrap, seed=config.seed)
                low, high = e.low, e.high
            else:
                low = high = float("nan")
            effect = writing.response.side_effects[k] if intervals else None
            rows.append({
                "behaviour": name, "kind": writing.kinds[name], "direction": direction,
                "point": there.direction.point, "where": there.where, "dose": float(dose),
                "coefficient": float(dose) * there.direction.scale,
                "score": float(scores.mean()), "rate": float((scores > 0).mean()),
                "low": low, "high": high, "n": len(scores),
                "kl_mean": effect.kl_mean if effect else None,
                "kl_p95": effect.kl_p95 if effect else None,
            })

    for name, response in writing.response.responses.items():
        add(name, "concept", response, intervals=True)
    for i, response in enumerate(writing.response.random):
        add(writing.response.target, f"random_{i:02d}", response, intervals=False)
    return rows


def candidates(
    model: "HookedModel", concept: "Concept", fit: Examples, config: AuditConfig
) -> list[Candidate]:
    """Difference of means at each layer and position, with the token selections that suit it.

    The last block is left out: what stands there is the answer itself (an addition moves logits
    and nothing else), so steering it would show for any two answers that they differ.
    """
    layers = sorted({s.layer for s in fit.matrices if s.layer >= 0})
    layers = layers[:-1] or layers
    if len(layers) > config.max_steer_layers:
        picks = np.linspace(0, len(layers) - 1, config.max_steer_layers).round().astype(int)
        layers = [layers[i] for i in picks]
    out = []
    for site in fit.matrices:
        if site.layer not in layers:
            continue
        try:
            probe = probe_at(
                fit, site, STEER_METHOD, concept=concept.name, fingerprint=model.info.fingerprint
            )
        except ProbeError:
            continue  # both classes look alike there: nothing to steer with
        selections = ["all"] if "mean" in site.position else ["from_last_prompt", "all"]
        gap = max(held_out_gap(fit, site, config.seed) / probe.direction.scale, SMALLEST_GAP)
        out += [Candidate(probe.direction, where, gap) for where in selections]
    return out


def held_out_gap(fit: Examples, site: Site, seed: int) -> float:
    """Distance of the class means along the difference of means of *other* groups.

    In activation units; below 0 where the direction turns round. On the examples it is fitted on,
    noise alone keeps the means apart.
    """
    X, along = fit.matrices[site], np.zeros(len(fit.labels))
    for held in group_folds(fit.groups, 5, seed=seed):
        inside = np.array([g not in held for g in fit.groups])
        w = METHODS[STEER_METHOD].fit(X[inside], fit.labels[None, inside])[0]
        along[~inside] = X[~inside] @ (w / (np.linalg.norm(w) or 1.0))
    return float(along[fit.labels == 1].mean() - along[fit.labels == 0].mean())


def halves(
    questions: list[Question], config: AuditConfig
) -> tuple[list[Question], list[Question]]:
    """Items to choose on and items to score, no group on both sides; at most `max_items` each."""
    groups = [q.item.group for q in questions]
    choose, _ = fit_test_groups(groups, test_share=0.5, seed=config.seed)
    first = [q for q, g in zip(questions, groups, strict=True) if g in choose]
    second = [q for q, g in zip(questions, groups, strict=True) if g not in choose]
    return first[: config.max_items], second[: config.max_items]


def effect_difference(target: Response, neighbour: Response, config: AuditConfig) -> Estimate:
    """Mean effect on the target minus absolute mean effect on the neighbour, both resampled."""
    ours, theirs = target.item_effects, neighbour.item_effects
    value = float(ours.mean() - abs(theirs.mean()))
    asked = (1 - config.thresholds.neighbour_share) * abs(float(ours.mean()))
    draws = [
        float(ours[a].mean() - abs(theirs[b].mean()))
        for a, b in zip(
            stats.samples(target.groups, n_draws=config.n_bootstrap, seed=config.seed),
            stats.samples(neighbour.groups, n_draws=config.n_bootstrap, seed=config.seed + 1),
            strict=True,
        )
    ]
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(value, float(low), float(high), len(ours) + len(theirs), asked)

