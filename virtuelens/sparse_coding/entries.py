"""Feature activations as their nonzero entries, and exact AUROC from those alone.

Nearly all activations of an SAE are zero, and all zeros of a feature are one tie:

1. A block of features is encoded over all tokens; only nonzero entries are kept.
2. Each entry becomes one 64-bit number: feature, value, example, in this order of bits. One sort
   of numbers puts every feature's entries in order of value.
3. The rank of an entry is its place, moved up by the zeros where it is positive; entries of equal
   value share the mean of their places. Zeros share one rank, which is known from the counts.
4. The rank sum of the positives is that rank for all of them, plus a sparse product of what the
   entries differ from it by with the labels: one product for any number of labellings.

Ranks are halves of whole numbers, so sums are exact and equal those of `stats.auroc_labelings`.
Features that do not compete for a place are encoded block by block, each once (but for a block that
turns out too dense), so that memory is bounded whatever their density; those that do (top-k) have
few entries anyway.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt32
from scipy.sparse import csr_array
from torch import Tensor

from virtuelens.sparse_coding.sae import BlockEncoder, Sae, block_encoder, encode

Array = np.ndarray

BUDGET = 1 << 29
"""Bytes that ranking one block of features may take."""

_WIDTH = 1024  # features of a block, unless they are dense
_CHUNK = 1 << 21  # activations encoded at a time
_ENTRY = 96  # bytes for each entry at the peak: itself, its number, and what is made of them
_LABELLINGS = 64  # taken together in one sparse product


class Entries(NamedTuple):
    """What is not zero among the activations of features `first` to `first + width - 1`.

    features: counted from `first`.
    """

    first: int
    width: int
    rows: Int[Array, " e"]
    features: Int[Array, " e"]
    values: Float[Array, " e"]

    def among(self, rows: Bool[Array, " n"]) -> "Entries":
        """Those of the rows where the mask is True."""
        kept = rows[self.rows]
        return Entries(self.first, self.width, self.rows[kept], self.features[kept],
                       self.values[kept])

    def column(self, feature: int, n: int) -> Float[Array, " n"]:
        """Activations of one of the features in all `n` rows."""
        out = np.zeros(n, dtype=np.float32)
        mine = self.features == feature - self.first
        out[self.rows[mine]] = self.values[mine]
        return out


class Aurocs(NamedTuple):
    """Of every feature of a block, under every labelling; and which of them vary at all."""

    values: Float[Array, "b m"]
    varies: Bool[Array, " m"]


@torch.no_grad()
def encode_blocks(
    sae: Sae, acts: Float[Tensor, "n d_in"], *, budget: int = BUDGET
) -> Iterator[Entries]:
    """Entries of every feature over all rows, block after block of features.

    budget: bytes that ranking a block may take. Blocks are made narrower where features are
        dense; a copy of the rows as the SAE takes them in (fp32) comes on top.

    Raises: SaeError: activations of another width.
    """
    one_block = block_encoder(sae, acts)
    if one_block is None:  # features compete: all must be encoded together, and few are active
        whole = _entries(lambda rows, _: encode(sae, acts[rows]), slice(0, sae.d_sae), len(acts))
        assert whole is not None
        yield whole
        return
    first, width = 0, min(sae.d_sae, _WIDTH)
    while first < sae.d_sae:
        block = slice(first, min(first + width, sae.d_sae))
        most = budget // _ENTRY if width > 1 else None
        found = _entries(one_block, block, len(acts), most=most)
        if found is None:
            width = max(1, width // 4)
            continue
        yield found
        first = block.stop


def _entries(
    encoder: BlockEncoder, block: slice, n: int, *, most: int | None = None
) -> Entries | None:
    """The entries of one block; None as soon as there are more than `most`."""
    parts = [(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32))]
    width, total = block.stop - block.start, 0
    step = max(1, _CHUNK // width)
    for start in range(0, n, step):
        encoded = encoder(slice(start, min(start + step, n)), block)
        active = (encoded != 0).cpu().numpy()  # numpy finds what is True far faster than nonzeros
        chunk = encoded.float().cpu().numpy()
        flat = np.flatnonzero(active)
        total += len(flat)
        if most is not None and total > most:
            return None
        row, feature = np.divmod(flat, width)
        parts.append(((row + start).astype(np.int32), feature.astype(np.int32),
                      chunk.reshape(-1)[flat]))
    rows, features, values = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Entries(block.start, width, rows, features, values)


def auroc_entries(
    entries: Entries, owner: Int[Array, " n"], inside: Bool[Array, " n"],
    labelings: Int[Array, "b examples"],
) -> Aurocs:
    """AUROC of every feature of the block over the rows `inside`, under every labelling.

    owner: the example that each row belongs to, which has the label.

    Raises: ValueError: only one class among those rows.
    """
    sizes = np.bincount(owner[inside], minlength=labelings.shape[1])
    n = int(sizes.sum())
    n_pos = labelings @ sizes.astype(np.float64)  # [b]
    if (n_pos == 0).any() or (n_pos == n).any():
        raise ValueError("AUROC needs both classes: this set holds only one")
    kept = entries.among(inside)
    values = np.empty((len(labelings), entries.width))
    varies = np.empty(entries.width, dtype=bool)
    # feature, value and example must fit into 64 bits
    at_once = 1 << max(0, 32 - max(1, int(labelings.shape[1] - 1).bit_length()))
    for start in range(0, entries.width, at_once):
        width = min(at_once, entries.width - start)
        part = kept
        if width < entries.width:
            mine = (kept.features >= start) & (kept.features < start + width)
            part = Entries(kept.first + start, width, kept.rows[mine],
                           kept.features[mine] - start, kept.values[mine])
        above, zero_rank, varies[start : start + width] = _ranks(
            part, owner, n, labelings.shape[1])
        for low in range(0, len(labelings), _LABELLINGS):
            some = slice(low, low + _LABELLINGS)
            positive = np.ascontiguousarray(labelings[some].T, dtype=np.float64)  # [example b]
            pos = n_pos[some]
            rank_sum = (above @ positive).T + pos[:, None] * zero_rank  # [b m]
            values[some, start : start + width] = (
                rank_sum - (pos * (pos + 1) / 2)[:, None]) / (pos * (n - pos))[:, None]
    return Aurocs(values, varies)


def _ranks(
    entries: Entries, owner: Int[Array, " n"], n: int, n_examples: int
) -> tuple[csr_array, Float[Array, " m"], Bool[Array, " m"]]:
    """What the entries' ranks differ from the rank of a zero by, that rank, and what varies."""
    bits = max(1, int(n_examples - 1).bit_length())
    key = np.sort(
        (entries.features.astype(np.uint64) << np.uint64(32 + bits))
        | (_ordered(entries.values).astype(np.uint64) << np.uint64(bits))
        | owner[entries.rows].astype(np.uint64)
    )
    step = key >> np.uint64(bits)
    feature = (step >> np.uint64(32)).astype(np.int64)
    negative = (step & np.uint64(0xFFFFFFFF)) < np.uint64(0x80000000)
    starts = np.searchsorted(feature, np.arange(entries.width + 1))
    count = np.diff(starts)
    zeros = n - count
    n_negative = np.bincount(feature[negative], minlength=entries.width)
    zero_rank = n_negative + (zeros + 1) / 2
    first = np.flatnonzero(np.r_[True, step[1:] != step[:-1]]) if len(step) else np.zeros(0, int)
    length = np.diff(np.r_[first, len(step)])
    of = feature[first]  # the feature of each run of equal values
    place = first - starts[of] + (length + 1) / 2 + np.where(negative[first], 0, zeros[of])
    above = np.repeat(place - zero_rank[of], length)
    example = (key & np.uint64((1 << bits) - 1)).astype(np.int64)
    levels = np.bincount(of, minlength=entries.width) + (zeros > 0)
    matrix = csr_array((above, example, starts), shape=(entries.width, n_examples))
    return matrix, zero_rank, levels > 1


def _ordered(values: Float[Array, " e"]) -> UInt32[Array, " e"]:
    """Whole numbers (uint32) in the order of the fp32 values."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    sign = bits >> np.uint32(31)
    return bits ^ np.where(sign == 1, np.uint32(0xFFFFFFFF), np.uint32(0x80000000))
