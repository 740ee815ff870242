"""One steer on trial: everything it moves, beside everything it must be compared with.

1. Where and how far: on one half of the target items, the place and dose that change most within
   the budgets of KL and perplexity on neutral text (a probe that is given keeps its place).
2. Dose-response of the target on the other half; of random directions of the same length, and of
   the same fit to swapped labels, at the same place.
3. Off target: the same doses on the concept's other behaviours and on the target behaviours of all
   other concepts, each beside what random directions do to it.
4. Prompts: the same items under a system prompt and under answered examples, pushed both ways; item
   by item, how far each is ahead of the steer, and what each does to neutral questions.
5. Verdicts on all this: `checks`.

Sources: Pres et al. 2024, arXiv:2410.17245 (likelihoods, baselines); Tan et al. 2024,
arXiv:2407.12404 (per-sample steerability); AxBench, arXiv:2501.17148 (prompts as what to beat).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from virtuelens import stats
from virtuelens.activations.harvest import harvest
from virtuelens.audits.writing import candidates, halves
from virtuelens.errors import SteeringError
from virtuelens.probing.data import Examples, Site
from virtuelens.probing.methods import METHODS
from virtuelens.probing.probes import examples_of
from virtuelens.probing.sweep import split_fit_test
from virtuelens.steering.behaviour import Question, encode_items
from virtuelens.steering.dose import (
    Candidate,
    DoseResponse,
    choose_candidate,
    dose_response,
    random_directions,
    respond_each,
)
from virtuelens.steering.side_effects import KL_BUDGET, Neutral, read_neutral, side_effect
from virtuelens.trials.checks import Check, checks
from virtuelens.trials.config import TrialConfig
from virtuelens.trials.feature import round_trip
from virtuelens.trials.found import Found, Watched, upper
from virtuelens.trials.prompts import Framing, shots_that_fit, system_framings
from virtuelens.trials.rows import dose_rows, item_rows, matrix_rows, prompt_rows, table
from virtuelens.values.directions import unit
from virtuelens.values.texts import Text

if TYPE_CHECKING:
    import pandas as pd

    from virtuelens.concepts.pack import Behaviour, Concept
    from virtuelens.models import HookedModel
    from virtuelens.probing.probes import Probe
    from virtuelens.sparse_coding import Sae

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Trial:
    """What one steer did.

    place: hook point, tokens, method and doses of the steer; what it was fitted on.
    """

    concept: str
    place: Mapping[str, Any]
    checks: tuple[Check, ...]
    tables: Mapping[str, "pd.DataFrame"]
    not_tested: tuple[str, ...]
    seconds: float


def try_steer(
    model: "HookedModel",
    concept: "Concept",
    *,
    others: Sequence["Concept"] = (),
    neutral: Sequence[Text],
    probe: "Probe | None" = None,
    sae: "Sae | None" = None,
    config: TrialConfig | None = None,
    progress: Progress = lambda stage: None,
) -> Trial:
    """The trial of the concept's direction, or of a probe that is given, in one model.

    others: concepts whose target behaviours the steer should leave alone.
    neutral: texts on which side effects are measured.
    sae: whose feature the probe is (`feature_probe`): its round trip is measured besides.

    Raises: SteeringError: the pack has no target behaviour, there is no place to steer, or no dose
    stays within budget. TextTooLongError: an item does not fit the context.
    """
    config, start = config or TrialConfig(), time.perf_counter()
    target = next((b for b in concept.behaviours if b.kind == "target"), None)
    if target is None:
        raise SteeringError(f"{concept.name} has no target behaviour in the dialect "
                            f"{concept.dialect!r}: there is nothing that a steer should move.")
    progress("where and how far")
    fit = _fitted_on(model, concept, probe, config)
    choosing, scored = halves(encode_items(model, target.items), config.of_audit)
    texts = read_neutral(model, neutral)
    places = (
        candidates(model, concept, fit, config.of_audit) if probe is None
        else [Candidate(probe.direction, where) for where in ("from_last_prompt", "all")]
    )
    there, dose = _place(model, places, choosing, texts, config)

    progress("dose-response")
    watched = {target.name: Watched("target", concept.name, scored),
               **_watched(model, concept, target, others, config)}
    response = dose_response(
        model, {name: w.questions for name, w in watched.items()}, target.name, texts, there,
        dose=dose, n_doses=config.n_doses, n_random=config.n_random, seed=config.seed,
    )
    progress("swapped labels")
    fits = _swapped(fit, there, config)
    doses = response.responses[target.name].doses.tolist()
    swapped = respond_each(model, scored, fits, doses) if fits else []
    progress("random directions off target")
    found = Found(response, watched, tuple(swapped), _nulls(model, watched, response, config),
                  tuple(c.direction.scale for c in fits))

    progress("prompts")
    framings, not_tested = _framings(model, concept, choosing, scored, config)
    if not swapped:
        not_tested.append("the same fit to swapped labels: the probe was read at a place that the "
                          "pack does not name")
    asked, refused = prompt_rows(model, found, framings, config)
    d = there.direction
    return Trial(
        concept.name,
        {"point": d.point, "position": d.position, "method": d.method, "where": there.where,
         "dose": dose, "raw": dose * d.scale, "gap": there.gap if np.isfinite(there.gap) else None,
         "kl_p95": max(e.kl_p95 for e in response.side_effects),
         "perplexity": max(e.perplexity for e in response.side_effects),
         "n_fit": len(fit.labels) if probe is None else probe.n, "target": target.name,
         "of": target.of,
         "round_trip": None if sae is None else asdict(round_trip(model, sae, texts))},
        checks(found, asked, config),
        {name: table(name, rows, concept.name) for name, rows in (
            ("doses", dose_rows(found, config)), ("matrix", matrix_rows(found, config)),
            ("items", item_rows(found)), ("prompts", asked))},
        (*not_tested, *refused), round(time.perf_counter() - start, 2),
    )


def _fitted_on(
    model: "HookedModel", concept: "Concept", probe: "Probe | None", config: TrialConfig
) -> Examples:
    """The pack's fitting groups, read where steering could happen."""
    points: Any = "resid_post" if probe is None else [probe.direction.point]
    acts = harvest(model, concept.in_split("main"), points=points, positions=concept.positions)
    return split_fit_test(examples_of(acts), seed=config.seed)[0]


def _place(
    model: "HookedModel", places: Sequence[Candidate], choosing: list[Question], neutral: Neutral,
    config: TrialConfig,
) -> tuple[Candidate, float]:
    """The place and its working range: the largest dose within both budgets, for both signs."""
    if not places:
        raise SteeringError("The two sides of the pairs have the same activations in "
                            f"{model.info.name} at every place: there is no direction to steer.")
    # where nothing moves the target, a place at which no dose is within budget may come first
    for tried in choose_candidate(model, choosing, neutral, places, cap=config.dose_cap):
        there = tried.candidate
        dose = within_perplexity(model, neutral, there, tried.dose, most=config.perplexity)
        if dose > 0:
            return there, dose
    raise SteeringError(
        f"No dose along {places[0].direction.concept} in {model.info.name} stays within the "
        f"budget on neutral text (KL {KL_BUDGET:g} nat at the 95th percentile, perplexity × "
        f"{config.perplexity:g})."
    )


def within_perplexity(
    model: "HookedModel", neutral: Neutral, candidate: Candidate, dose: float, *, most: float
) -> float:
    """The dose, made smaller until perplexity on neutral text is at most `most` for both signs.

    most: a multiple of the unedited model's. 0.0 where even a twentieth of the dose is too much.
    """
    for _ in range(12):
        if dose == 0 or max(
            side_effect(model, neutral, [candidate.edit(s * dose)]).perplexity for s in (1, -1)
        ) <= most:
            return dose
        dose *= 0.75
    return 0.0


def _watched(
    model: "HookedModel", concept: "Concept", target: "Behaviour", others: Sequence["Concept"],
    config: TrialConfig,
) -> dict[str, Watched]:
    """The concept's other behaviours, and the target behaviours of other concepts."""
    own = [(b.name, b.kind, concept.name, b) for b in concept.behaviours if b is not target]
    theirs = [(f"{o.name}: {b.name}", "neighbour", o.name, b) for o in others
              if o.name != concept.name for b in o.behaviours if b.kind == "target"]
    return {name: Watched(kind, of, encode_items(model, b.items[: config.max_items]))
            for name, kind, of, b in own + theirs}


def _swapped(fit: Examples, there: Candidate, config: TrialConfig) -> list[Candidate]:
    """The steer as it would be had the sides of pairs been swapped at random.

    Each is fitted as the steer was and added in the same multiple of the difference of class means,
    which is shorter here: made as long as the steer, what is left of the concept in a draw would be
    blown up until it is the concept again.
    """
    site = Site(there.direction.point, there.direction.position)
    if site not in fit.matrices:
        return []
    X, labels = fit.matrices[site], stats.permuted_labels(
        fit.labels, fit.pairs, n_draws=config.n_shuffled, seed=config.seed)
    every = np.concatenate([fit.labels[None], labels])
    lengths = np.linalg.norm(METHODS["diff_means"].fit(X, every), axis=1)
    method = METHODS.get(there.direction.method, METHODS["diff_means"])
    return [
        replace(there, direction=replace(
            there.direction, vector=unit(torch.from_numpy(w)), method="swapped labels",
            scale=there.direction.scale * float(length / lengths[0])))
        for w, length in zip(method.weights(X, labels, fit.pairs), lengths[1:], strict=True)
        if np.linalg.norm(w) > 0
    ]


def _nulls(
    model: "HookedModel", watched: Mapping[str, Watched], response: DoseResponse,
    config: TrialConfig,
) -> dict[str, float]:
    """What 95 % of random directions stay below on each behaviour."""
    there, (low, *_, high) = response.candidate, response.responses[response.target].doses.tolist()
    stand_ins = [
        replace(there, direction=replace(there.direction, vector=v, method="random"))
        for v in random_directions(len(there.direction.vector), config.n_random, seed=config.seed)
    ]
    return {
        name: upper([r.item_effects.mean() for r in (
            response.random if name == response.target
            else respond_each(model, w.questions, stand_ins, [low, high]))])
        for name, w in watched.items()
    }


def _framings(
    model: "HookedModel", concept: "Concept", choosing: Sequence[Question],
    scored: Sequence[Question], config: TrialConfig,
) -> tuple[list[Framing], list[str]]:
    """The prompts to compare with, and why others cannot be given."""
    framings, missing = [], []
    if concept.prompts is None:
        missing.append(f"a system prompt: the pack has none in the dialect {concept.dialect} "
                       f"([dialects.{concept.dialect}.prompts])")
    else:
        asked = [q.item.prompt for q in scored]
        chat = next((p for p in asked if p.raw is None), asked[0])
        framings += system_framings(model, concept.prompts, chat)
    shots = shots_that_fit(model, [q.item for q in choosing], [q.item for q in scored],
                           n_shots=config.n_shots, seed=config.seed)
    if not shots:
        missing.append("a few-shot prompt: not even one answered example of the items' kinds (chat "
                       "or raw text) fits")
    return framings + shots, missing
