"""Estimate the effect of every cell from few runs: gradient times difference of activations."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from virtuelens.attribution.effects import Attribution, groups_of
from virtuelens.attribution.pairs import Answers, Pairs, encode_pairs
from virtuelens.attribution.steps import Way, run_steps
from virtuelens.values.texts import Text

if TYPE_CHECKING:
    from virtuelens.models import HookedModel

BATCH_TOKENS = 4096


def attribute(
    model: "HookedModel",
    base: Sequence[Text],
    source: Sequence[Text],
    answers: Answers,
    *,
    points: Sequence[str] | None = None,
    null_source: Sequence[Text] | None = None,
    groups: Sequence[str] | None = None,
    method: str = "path",
    n_steps: int = 5,
    batch_tokens: int = BATCH_TOKENS,
) -> Attribution:
    """Estimated effect of taking the source's activation, for every pair, hook point and token.

    base, source: texts that differ in one cause; both of a pair have equally many tokens.
    answers: what is said if the source's cause holds, and what the base says: token ids, or text,
        of which the first token counts. The metric is the difference of their logits.
    points: hook points; by default the end of every block.
    null_source: other sources for the same bases that do not differ in the cause.
    groups: pairs that share something are one unit of the bootstrap; by default each is its own.
    method: row of `steps.METHODS`; `mean_gradient` with one step is plain attribution patching.
    n_steps: steps from the base's embeddings to the source's; a run with gradients each.
    batch_tokens: padded tokens of a batch; lower it where memory is short.

    It is an estimate: what moves the metric when all tokens go over to the source together. Compare
    the cells it names with `exact`; the two part where cells stand in for each other.

    Raises: AttributionError: texts, answers or groups that do not go together, or an unknown
    method. HookPointError. TextTooLongError.
    Source: attribution patching, Nanda 2023 and Syed et al. 2023, arXiv:2310.10348; `path`, layer
    conductance, Dhamdhere et al. 2018, arXiv:1805.12233.
    """
    chosen = chosen_points(model, points)
    pairs = encode_pairs(model, base, source, answers)
    units = groups_of(groups, len(pairs.base))

    way = Way(method, n_steps)

    def estimate(of: Pairs) -> tuple[Tensor, Tensor, Tensor]:
        effects, metrics = empty(of, len(chosen))
        for step in run_steps(model, of, chosen, way, batch_tokens=batch_tokens):
            rows, width = list(step.rows), step.real.shape[1]
            metrics[:, rows] = torch.stack([step.base, step.source]).cpu()
            here = torch.stack([(step.gradient[p] * step.moved[p]).sum(-1) for p in chosen], dim=1)
            here = here.masked_fill(~step.real[:, None], torch.nan).cpu()  # [batch point pos]
            if step.number:
                here += effects[rows, :, -width:]
            effects[rows, :, -width:] = here
        return effects, metrics[0], metrics[1]

    effects, at_base, at_source = estimate(pairs)
    null = None
    if null_source is not None:
        null = estimate(encode_pairs(model, base, null_source, answers))[0]
    return Attribution(chosen, effects, at_base, at_source, null, units)


def chosen_points(model: "HookedModel", points: Sequence[str] | None) -> tuple[str, ...]:
    """The points given, each once; by default the end of every block."""
    if points is None:
        points = [p for p in model.hook_points() if p.endswith("hook_resid_post")]
    return tuple(dict.fromkeys(points))


def empty(pairs: Pairs, n_points: int) -> tuple[Tensor, Tensor]:
    """Effects, NaN everywhere, and metrics of base and source, for `pairs` to be filled in."""
    n = len(pairs.base)
    return torch.full((n, n_points, max(pairs.lengths)), torch.nan), torch.zeros(2, n)
