"""Features of activations that are already at hand: no model is run."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from virtuelens.errors import ModelMismatchError, SaeError
from virtuelens.sparse_coding.features import POOLS
from virtuelens.sparse_coding.sae import Sae, encode

ROWS_AT_ONCE = 4096


@torch.no_grad()
def features_of_rows(
    sae: Sae,
    acts: Float[Tensor, "n_rows d_in"],
    sizes: Sequence[int],
    *,
    fingerprint: str,
    pool: str = "max",
) -> Float[Tensor, "n d_sae"]:
    """Feature activations of examples that own the next `sizes[i]` rows each (fp32, on the CPU).

    acts: tokens at `sae.point`; never means of tokens, which no SAE was trained on. Several rows
        of an example are pooled after encoding, by a row of POOLS.
    fingerprint: of the model that the rows were read from.

    Raises: ModelMismatchError: the SAE was trained on other weights. SaeError: another width, an
    unknown pool, or sizes that do not add up.
    """
    if sae.fingerprint is not None and sae.fingerprint != fingerprint:
        raise ModelMismatchError(
            f"{sae.name} was trained on weights {sae.fingerprint[:12]}, these activations are of "
            f"{fingerprint[:12]}: train one on their model with virtuelens sae train."
        )
    if pool not in POOLS:
        raise SaeError(f"Unknown pool {pool!r}: choose from {', '.join(POOLS)}.")
    if sum(sizes) != len(acts) or min(sizes, default=0) < 1:
        raise SaeError(
            f"The sizes add up to {sum(sizes)}, there are {len(acts)} rows: every example needs "
            "at least one row."
        )
    out, taken = [], 0
    for rows in _chunks(sizes):
        mine = acts[taken : taken + sum(rows)]
        taken += len(mine)
        encoded = torch.split(encode(sae, mine).float().cpu(), rows)
        out += [POOLS[pool](one) for one in encoded]
    return torch.stack(out)


def _chunks(sizes: Sequence[int]) -> list[list[int]]:
    """Whole examples, some ROWS_AT_ONCE rows together."""
    chunks: list[list[int]] = []
    for size in sizes:
        if not chunks or sum(chunks[-1]) + size > ROWS_AT_ONCE:
            chunks.append([])
        chunks[-1].append(size)
    return chunks
