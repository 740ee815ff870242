"""Runs with gradients on the way from base to source, and the table of ways to add them up.

The base is run with its token embeddings moved part of the way to the source's, in n steps. At each
step and point, the gradient of the metric times a movement of the activation is an effect; all
points have theirs from the same run.

- `path`: the gradient in the middle of each step, times how far the activation really moves in it.
  Over all tokens of a layer the effects add up to the total, up to the size of the steps.
- `mean_gradient`: gradients from the start of each step, times an n-th of the whole difference.
  With one step it is attribution patching. It takes the activation to move evenly; where it turns
  at a threshold (a softmax, a norm), most of the effect is missed.

A gradient at a point is that of a zero added there, so reading one changes no value.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from virtuelens.activations.plan import plan_batches
from virtuelens.attribution.pairs import Pairs
from virtuelens.errors import AttributionError
from virtuelens.models.run import Batch, Edit, Seen

if TYPE_CHECKING:
    from virtuelens.models import HookedModel

EMBED = "hook_embed"


@dataclass(frozen=True)
class Method:
    """A row of the table.

    at: how much of the way is gone where the gradient of step k of n is taken.
    follows: activations are read at the end of each step; else taken to move evenly.
    """

    name: str
    about: str
    source: str
    at: Callable[[int, int], float]
    follows: bool


METHODS: dict[str, Method] = {
    m.name: m
    for m in (
        Method("path", "gradients along the way, activations followed (layer conductance)",
               "arXiv:1805.12233, arXiv:1807.09946", lambda k, n: (k + 0.5) / n, follows=True),
        Method("mean_gradient", "attribution patching, its gradient averaged along the way",
               "arXiv:2310.10348, arXiv:2403.17806", lambda k, n: k / n, follows=False),
    )
}


@dataclass(frozen=True)
class Way:
    """From base to source: a row of `METHODS` and how many steps.

    Raises: AttributionError: unknown method, or no step.
    """

    method: str = "path"
    n_steps: int = 5

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise AttributionError(
                f"Unknown attribution method {self.method!r}: choose from {', '.join(METHODS)}."
            )
        if self.n_steps < 1:
            raise AttributionError(f"n_steps is {self.n_steps}: expected at least 1.")


class Step(NamedTuple):
    """One step of a batch of pairs, padded on the left: the last column is the last prompt token.

    rows: which pairs. number: which step, from 0. real: False on padding.
    base, source: metrics of the two whole runs.
    gradient, moved: at each point, `[batch pos d_model]`; 0 on padding. `moved` adds up over the
        steps to the source's activation minus the base's.
    """

    rows: tuple[int, ...]
    number: int
    real: Tensor
    base: Tensor
    source: Tensor
    gradient: Mapping[str, Tensor]
    moved: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Added:
    """Adds a tensor to the activations; the gradient towards a zero is the activation's."""

    point: str
    what: Float[Tensor, "batch pos d_model"]

    def __call__(
        self, acts: Float[Tensor, "batch pos d_model"], seen: Seen  # noqa: ARG002 (an Edit)
    ) -> Float[Tensor, "batch pos d_model"]:
        """The sum."""
        return acts + self.what.to(acts.dtype)


@dataclass(frozen=True, eq=False)
class _Blend:
    """Moves the token embeddings by `share` of the way to other ones."""

    toward: Float[Tensor, "batch pos d_model"]
    share: float
    point: str = EMBED

    def __call__(
        self, acts: Float[Tensor, "batch pos d_model"], seen: Seen  # noqa: ARG002 (an Edit)
    ) -> Float[Tensor, "batch pos d_model"]:
        return acts + self.share * (self.toward - acts)


def run_steps(
    model: "HookedModel", pairs: Pairs, points: Sequence[str], way: Way, *, batch_tokens: int
) -> Iterator[Step]:
    """Every step of every pair once, in batches of texts of like length.

    Raises: HookPointError: unknown point.
    """
    method, n = METHODS[way.method], way.n_steps
    for rows in plan_batches(pairs.lengths, batch_tokens=batch_tokens):
        base = model.batch([pairs.base[i] for i in rows], side="left")
        source = model.batch([pairs.source[i] for i in rows], side="left")
        read = list(dict.fromkeys([*points, EMBED]))
        here = model.run(base, read=read, logits=True)
        there = model.run(source, read=read, logits=True)
        assert here.logits is not None
        assert there.logits is not None
        metrics = [pairs.metric(logits[:, -1], rows) for logits in (here.logits, there.logits)]
        toward, real = there.acts[EMBED], base.real[..., None]
        before: Mapping[str, Tensor] = here.acts
        for k in range(n):
            after = there.acts
            if method.follows and k + 1 < n:
                after = model.run(base, read=points, edits=[_Blend(toward, (k + 1) / n)]).acts
            if method.follows:
                moved = {p: (after[p].float() - before[p].float()) * real for p in points}
            else:
                moved = {p: (there.acts[p].float() - here.acts[p].float()) * real / n
                         for p in points}
            blend = _Blend(toward, method.at(k, n))
            gradient = _gradient(model, pairs, rows, base=base, points=points, blend=blend)
            yield Step(rows, k, base.real, metrics[0], metrics[1], gradient, moved)
            before = after


def _gradient(
    model: "HookedModel", pairs: Pairs, rows: Sequence[int], *, base: Batch,
    points: Sequence[str], blend: _Blend,
) -> dict[str, Tensor]:
    """The metric's gradient at each point, with the embeddings moved."""
    zeros = [
        torch.zeros(*base.tokens.shape, model.info.d_model, dtype=blend.toward.dtype,
                    device=blend.toward.device, requires_grad=True)
        for _ in points
    ]
    edits: list[Edit] = [blend] if blend.share else []
    edits += [Added(writer(p), zero) for p, zero in zip(points, zeros, strict=True)]
    metric = pairs.metric(model.logits_with_grad(base, edits=edits)[:, -1], rows)
    found = torch.autograd.grad(metric.sum(), zeros)
    return {p: gradient.float() for p, gradient in zip(points, found, strict=True)}


def writer(point: str) -> str:
    """Where a tensor is added so that it has a gradient though it is 0.

    An edit of `resid_mid` reaches it as the change that it makes, and no change has no gradient:
    what attention writes to it is edited in its place.
    """
    return point.replace("hook_resid_mid", "hook_attn_out")
