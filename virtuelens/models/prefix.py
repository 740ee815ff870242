"""Tokens that many rows begin with, run once: their keys and values, for the rows that go on.

Causality makes it exact: what a token computes depends on the tokens before it alone. Which
architectures keep their past in keys and values is found out by trying (`resumes`), not by name.
"""

import contextlib
import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True)
class Prefix:
    """The past of token rows, as the layers that ran keep it.

    real: False on padding, which may stand anywhere.
    """

    cache: Any
    real: Bool[Tensor, "batch pos"]

    @property
    def length(self) -> Int[Tensor, " batch"]:
        """Tokens of each row, padding not counted."""
        return self.real.sum(-1)

    def rows(self, which: Int[Tensor, " n"]) -> "Prefix":
        """The pasts of those rows, in that order; a row may be taken many times."""
        cache = fresh(self.cache)
        cache.batch_select_indices(which.cpu())  # layers may lie on several devices
        return Prefix(cache, self.real[which.to(self.real.device)])


def fresh(cache: Any) -> Any:
    """A cache that can be written to while this one stays as it is (tensors are shared)."""
    new = copy.copy(cache)
    new.layers = [copy.copy(layer) for layer in cache.layers]
    return new


def empty_cache(hf: Any) -> Any:
    """A cache with nothing in it, of the kinds of layers that the model has."""
    from transformers import DynamicCache

    return DynamicCache(config=hf.config)


@torch.no_grad()
def resumes(hf: Any, places: Mapping[str, Any], point: str) -> bool:
    """Whether going on from a kept prefix gives what running the whole gives, up to this point.

    Tried with two rows of different lengths, in the model's own precision.
    """
    from virtuelens.models.chat import Encoded
    from virtuelens.models.run import pad, run

    d_vocab = int(hf.get_input_embeddings().num_embeddings)
    rows = [tuple((7 * i * i + 3 * i + 1) % d_vocab for i in range(n)) for n in (9, 7)]
    whole = [Encoded(ids, len(ids), ()) for ids in rows]
    cut = (5, 4)
    heads = [Encoded(r[:c], len(r), ()) for r, c in zip(rows, cut, strict=True)]
    tails = [Encoded(r[c:], len(r), ()) for r, c in zip(rows, cut, strict=True)]

    def padded(part: list[Encoded], side: Any) -> Any:
        return pad(part, side=side, device=hf.device)

    # whatever a foreign architecture raises here, it means no
    with contextlib.suppress(Exception):
        first = run(hf, places, padded(heads, "left"), read=[point], keep=True)
        if first.prefix is None:
            return False
        later = run(hf, places, padded(tails, "right"), read=[point], after=first.prefix)
        plain = run(hf, places, padded(whole, "right"), read=[point])
        for i, (row, c) in enumerate(zip(rows, cut, strict=True)):
            expected = plain.acts[point][i, c : len(row)].float()
            found = later.acts[point][i, : len(row) - c].float()
            tol = 1e-4 if hf.dtype in {torch.float32, torch.float64} else 3e-2
            if not (found - expected).norm() <= tol * expected.norm():
                return False
        return True
    return False
