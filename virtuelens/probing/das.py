"""Distributed alignment search: find the subspace whose swap makes answers follow the source.

1. Split the pairs by group; one part is fitted on, the other is reported.
2. Maximise the log-probability of the counterfactual answer over orthonormal columns at one site,
   everything else frozen.
3. Report the held-out accuracy beside a random subspace of equal rank, beside the same fit on
   random weights, and beside the swap of the whole activation: a subspace that moves answers which
   the whole leaves alone is an illusion, made of a direction that varies and one that acts
   (Makelov et al. 2023, arXiv:2311.17030).

Only linear subspaces are fitted: unrestricted maps reach perfect accuracy on random networks
(arXiv:2507.08802). Source: Geiger et al. 2023, arXiv:2303.02536.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from virtuelens import stats
from virtuelens.concepts.splits import fit_test_groups
from virtuelens.errors import ProbeError
from virtuelens.exchange.interchange import interchange, read_site
from virtuelens.exchange.swap import Swap
from virtuelens.values.estimates import Estimate
from virtuelens.values.texts import Text

if TYPE_CHECKING:
    from virtuelens.models import HookedModel
    from virtuelens.models.chat import Encoded

N_RANDOM = 5
"""Random subspaces that the fitted one is compared with."""


@dataclass(frozen=True)
class SwapPairs:
    """Base and source texts with the answer that the declared cause gives after the swap.

    answers: what is said next then: a token id, or text, of which the first token counts.
    groups: the unit that fitting and reporting do not share (a word combination, a template).

    Raises: ProbeError: lists of unequal length.
    """

    base: tuple[Text, ...]
    source: tuple[Text, ...]
    answers: tuple[str | int, ...]
    groups: tuple[str, ...]

    def __post_init__(self) -> None:
        sizes = {len(x) for x in (self.base, self.source, self.answers, self.groups)}
        if len(sizes) > 1 or not self.base:
            raise ProbeError("SwapPairs need as many base as source texts, answers and groups.")

    def of(self, groups: set[str]) -> "SwapPairs":
        """The pairs of some groups."""
        rows = [i for i, g in enumerate(self.groups) if g in groups]
        return SwapPairs(
            tuple(self.base[i] for i in rows), tuple(self.source[i] for i in rows),
            tuple(self.answers[i] for i in rows), tuple(self.groups[i] for i in rows),
        )


@dataclass(frozen=True)
class Alignment:
    """A fitted subspace with its held-out accuracy and what that must beat.

    subspace: orthonormal columns at the hook point `site`, last prompt token.
    accuracy: share of held-out answers that are the counterfactual ones under the swap; its null
        is the larger of the two below.
    random_subspace: the same for random subspaces of equal rank (mean of `N_RANDOM`).
    random_weights: the same for a subspace fitted as long on a random-weight copy.
    whole: the same for the whole activation at that place. Where it stays far below `accuracy`,
        the subspace shows no cause.
    """

    subspace: Float[Tensor, "d_model rank"]
    site: str
    accuracy: Estimate
    random_subspace: Estimate
    random_weights: Estimate
    whole: Estimate


def fit_alignment(
    model: "HookedModel",
    pairs: SwapPairs,
    site: str,
    *,
    rank: int = 1,
    steps: int = 150,
    batch: int = 64,
    learning_rate: float = 0.02,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Alignment:
    """The subspace of `rank` dimensions whose swap moves answers most, with both nulls.

    site: hook point; the last prompt token is swapped.
    progress: called with steps done and steps in all (both fits counted).

    Raises: ProbeError: fewer than two groups, an impossible rank, or an empty answer.
    HookPointError, TextTooLongError.
    """
    if not 0 < rank <= model.info.d_model:
        raise ProbeError(f"rank is {rank}: choose 1 to d_model, which is {model.info.d_model}.")
    fit_groups, test_groups = fit_test_groups(pairs.groups, seed=seed)
    fit, test = pairs.of(set(fit_groups)), pairs.of(set(test_groups))
    copy = model.random_copy(seed)
    how = {"rank": rank, "steps": steps, "batch": batch, "seed": seed}

    def found(m: "HookedModel", done: int) -> Tensor:
        return _fit(m, fit, site=site, learning_rate=learning_rate, **how,
                    progress=lambda step: progress(done + step, 2 * steps))

    subspace = found(model, 0)
    ids = _answer_ids(model, test)

    def accuracy(m: "HookedModel", space: Tensor | None) -> Estimate:
        return interchange(m, test.base, test.source, site, space).accuracy(ids)

    random = [accuracy(model, r) for r in _random(model.info.d_model, rank, seed=seed)]
    hits = round(sum(e.value for e in random) * len(ids))
    random_subspace = stats.share(hits, len(ids) * len(random))
    random_weights = accuracy(copy, found(copy, steps))
    ours = accuracy(model, subspace)
    null = max(random_subspace.value, random_weights.value)
    return Alignment(
        subspace, site, Estimate(ours.value, ours.low, ours.high, ours.n, null),
        random_subspace, random_weights, accuracy(model, None),
    )


def _fit(
    model: "HookedModel", pairs: SwapPairs, *, site: str, rank: int, steps: int, batch: int,
    learning_rate: float, seed: int, progress: Callable[[int], None],
) -> Float[Tensor, "d_model rank"]:
    generator = torch.Generator().manual_seed(seed)
    device = model.hf.device
    there = read_site(model, pairs.source, site)
    encoded: list[Encoded] = [model.encode(text) for text in pairs.base]
    expected = torch.tensor(_answer_ids(model, pairs), device=device)
    free = torch.randn(model.info.d_model, rank, generator=generator).to(device).requires_grad_()
    optimiser = torch.optim.Adam([free], lr=learning_rate * model.info.d_model**0.5)
    for step in range(steps):
        rows = torch.randperm(len(encoded), generator=generator)[:batch]
        given = model.batch([encoded[i] for i in rows.tolist()], side="left")
        space = torch.linalg.qr(free)[0]  # [d_model rank]
        swap = Swap(site, there[rows], space)
        logits = model.logits_with_grad(given, edits=[swap])[:, -1]
        loss = F.cross_entropy(logits.float(), expected[rows])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        progress(step + 1)
    return torch.linalg.qr(free.detach())[0].cpu()


def _answer_ids(model: "HookedModel", pairs: SwapPairs) -> list[int]:
    """First token of each answer as it follows its own prompt.

    Raises: ProbeError: an answer that adds no token.
    """
    ids = []
    for text, answer in zip(pairs.base, pairs.answers, strict=True):
        if isinstance(answer, int):
            ids.append(answer)
            continue
        e = model.encode(text.answered(answer))
        if len(e.ids) == e.prompt_length:
            raise ProbeError(f"The answer {answer!r} adds no token to its prompt: give a word.")
        ids.append(e.ids[e.prompt_length])
    return ids


def _random(d_model: int, rank: int, *, seed: int) -> list[Float[Tensor, "d_model rank"]]:
    generator = torch.Generator().manual_seed(seed + 1)
    return [torch.linalg.qr(torch.randn(d_model, rank, generator=generator))[0]
            for _ in range(N_RANDOM)]
