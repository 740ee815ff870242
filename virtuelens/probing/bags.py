"""Examples of several rows each: the tokens of a response, kept apart until a probe pools them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int

from virtuelens.errors import PositionError
from virtuelens.probing.data import Examples, Site

if TYPE_CHECKING:
    from virtuelens.activations.activations import Activations

Array = np.ndarray

TOKENS = "tokens"
"""The row of the positions table that keeps every token."""


@dataclass(frozen=True, eq=False)
class Bags:
    """Rows of many examples end to end; the i-th example owns the next `sizes[i]` of them.

    Raises: ValueError: an empty example, or sizes that do not add up to the rows.
    """

    values: Float[Array, "n_rows d"]
    sizes: Int[Array, " n"]

    def __post_init__(self) -> None:
        if (self.sizes < 1).any() or self.sizes.sum() != len(self.values):
            raise ValueError(
                f"sizes sum to {self.sizes.sum()} (smallest {self.sizes.min(initial=0)}), there "
                f"are {len(self.values)} rows: every example needs at least one"
            )

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def starts(self) -> Int[Array, " n"]:
        """First row of each example."""
        return np.cumsum(self.sizes) - self.sizes

    @property
    def owners(self) -> Int[Array, " n_rows"]:
        """Which example each row belongs to."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    def means(self) -> Float[Array, "n d"]:
        """Mean row of each example."""
        return np.add.reduceat(self.values, self.starts, axis=0) / self.sizes[:, None]

    def where(self, chosen: Bool[Array, " n"]) -> "Bags":
        """The examples where `chosen` is true."""
        return Bags(self.values[np.repeat(chosen, self.sizes)], self.sizes[chosen])


@dataclass(frozen=True, eq=False)
class BagExamples:
    """Labelled examples of one or more rows each, at one site or in one feature space."""

    bags: Bags
    labels: Int[Array, " n"]
    groups: tuple[str, ...]
    pairs: tuple[str, ...]

    def where(self, chosen: Bool[Array, " n"]) -> "BagExamples":
        """The examples where `chosen` is true."""
        index = np.flatnonzero(chosen)
        return BagExamples(
            self.bags.where(chosen), self.labels[index],
            tuple(self.groups[i] for i in index), tuple(self.pairs[i] for i in index),
        )


def one_row_each(
    X: Float[Array, "n d"], labels: Int[Array, " n"], *, groups: Sequence[str],
    pairs: Sequence[str],
) -> BagExamples:
    """Examples of one row each: activations at a position, or pooled SAE features."""
    return BagExamples(Bags(X, np.ones(len(X), dtype=np.int64)), labels, tuple(groups),
                       tuple(pairs))


def at_site(examples: Examples, site: Site) -> BagExamples:
    """The examples of a sweep at one of its sites, one row each."""
    return one_row_each(examples.matrices[site], examples.labels, groups=examples.groups,
                        pairs=examples.pairs)


def tokens_of(activations: "Activations", point: str) -> BagExamples:
    """Every example with the tokens it is judged by: its response's, or, where any has none, all.

    Of a whole text the first token is left out: it takes up attention that goes nowhere, and its
    norm would drown the others (Sun et al. 2024, arXiv:2402.17762).

    Raises: PositionError: tokens were not harvested. HookPointError.
    """
    if TOKENS not in activations.positions:
        raise PositionError(
            "These activations hold no tokens, and a pooled probe reads each of them: harvest "
            "with --positions tokens (beside others)."
        )
    index = activations.index[activations.index["position"] == TOKENS]
    values = activations.matrix(point, TOKENS).numpy()
    starts, ends = (index[c].to_numpy(dtype=np.int64) for c in ("start", "end"))
    prompt = index["n_prompt"].to_numpy(dtype=np.int64)
    answered = bool((prompt < ends - starts).all())
    skipped = prompt if answered else np.minimum(1, ends - starts - 1)
    sizes = ends - starts - skipped
    rows = np.concatenate([np.arange(b, e) for b, e in zip(starts + skipped, ends, strict=True)])
    return BagExamples(
        Bags(values[rows], sizes), index["label"].to_numpy(dtype=np.int64),
        tuple(index["group"]), tuple(index["pair"]),
    )
