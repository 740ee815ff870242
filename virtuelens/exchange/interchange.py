"""Interchange for everybody: run base texts with a site's values taken from source texts.

If the answers follow the source, the model uses what the subspace holds there. Three things keep a
result honest: pairs in combinations that the subspace was not fitted on, a random subspace of equal
rank, and the same on random weights (`probing.das` measures all three).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from virtuelens import stats
from virtuelens.errors import SteeringError
from virtuelens.exchange.swap import Swap, orthonormal
from virtuelens.values.estimates import Estimate
from virtuelens.values.texts import Text

if TYPE_CHECKING:
    from virtuelens.models import HookedModel

ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class Interchanged:
    """Greedy next tokens of the base texts, without and with the swap."""

    before: Int[Tensor, " n"]
    after: Int[Tensor, " n"]

    def changed(self) -> Estimate:
        """Share of answers that the swap changes at all, with its Wilson interval."""
        return stats.share(int((self.after != self.before).sum()), len(self.after))

    def accuracy(self, expected: Sequence[int]) -> Estimate:
        """Interchange intervention accuracy: share of answers that are `expected` afterwards.

        expected: token ids, what the declared cause says of each pair.
        """
        return stats.share(int((self.after == self._ids(expected)).sum()), len(self.after))

    def moved(self, expected: Sequence[int]) -> Estimate:
        """Share of answers that *become* `expected`: one that was so already has not moved."""
        wanted = self._ids(expected)
        hits = (self.after == wanted) & (self.before != wanted)
        return stats.share(int(hits.sum()), len(self.after))

    def _ids(self, expected: Sequence[int]) -> Tensor:
        if len(expected) != len(self.after):
            raise SteeringError(f"{len(expected)} expected answers for {len(self.after)} pairs.")
        return torch.tensor(list(expected))


@torch.no_grad()
def interchange(
    model: "HookedModel",
    base: Sequence[Text],
    source: Sequence[Text],
    site: str,
    subspace: Float[Tensor, "d_model rank"] | None = None,
    *,
    base_at: Sequence[int] | None = None,
    source_at: Sequence[int] | None = None,
) -> Interchanged:
    """What the model says after each base text when a site's values come from its source text.

    site: hook point.
    subspace: columns that span what is swapped (orthonormalised here); None: everything there.
    base_at, source_at: the token of the site in each text, counted from 0 in its own tokens; by
        default the last prompt token.

    Raises: SteeringError: lists of unequal length, an unusable subspace, or no such token.
    HookPointError: no such point. TextTooLongError.
    """
    if len(base) != len(source) or not base:
        raise SteeringError(
            f"{len(base)} base and {len(source)} source texts: give as many of both, at least one."
        )
    space = None if subspace is None else orthonormal(subspace, d_model=model.info.d_model)
    before, after = [], []
    for start in range(0, len(base), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        there = read_site(
            model, source[rows], site, at=None if source_at is None else source_at[rows]
        )
        encoded = [model.encode(text) for text in base[rows]]
        batch = model.batch(encoded, side="left")
        at = None
        if base_at is not None:
            at = _tokens(base_at[rows], [len(e.ids) for e in encoded])
        before.append(_next_tokens(model.run(batch, logits=True).logits))
        swap = Swap(site, there, space, at)
        after.append(_next_tokens(model.run(batch, edits=[swap], logits=True).logits))
    return Interchanged(torch.cat(before), torch.cat(after))


@torch.no_grad()
def read_site(
    model: "HookedModel", texts: Sequence[Text], site: str, *, at: Sequence[int] | None = None
) -> Float[Tensor, "n d_model"]:
    """Activations of each text at one token: by default its last prompt token.

    Raises: SteeringError: no such token, or not one a text. HookPointError, TextTooLongError.
    """
    encoded = [model.encode(text) for text in texts]
    batch = model.batch(encoded, side="right")
    acts = model.run(batch, read=[site]).acts[site]
    if at is None:
        place = batch.prompt_length - 1
    else:
        place = _tokens(at, [len(e.ids) for e in encoded]).to(acts.device)
    return acts[torch.arange(len(encoded)), place]


def _tokens(at: Sequence[int], lengths: Sequence[int]) -> Int[Tensor, " n"]:
    if len(at) != len(lengths):
        raise SteeringError(f"{len(at)} tokens for {len(lengths)} texts: give one a text.")
    for i, (place, length) in enumerate(zip(at, lengths, strict=True)):
        if not 0 <= place < length:
            raise SteeringError(f"Text {i} has {length} tokens: there is no token {place} in it.")
    return torch.tensor(list(at))


def _next_tokens(logits: Tensor | None) -> Int[Tensor, " n"]:
    """Greedy next token of each left-padded row."""
    assert logits is not None
    return logits[:, -1].argmax(-1).cpu()
