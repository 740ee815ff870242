"""What a probe is fitted on: one matrix per site, with labels, groups and pairs beside it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

Array = np.ndarray


@dataclass(frozen=True, order=True)
class Site:
    """Where activations were read: a hook point and a row of the positions table."""

    point: str
    position: str

    @property
    def layer(self) -> int:
        """Block number; -1 for the embedding."""
        parts = self.point.split(".")
        return int(parts[1]) if parts[0] == "blocks" else -1


@dataclass(frozen=True)
class Examples:
    """Labelled activations of one split; row i of every matrix is the same example.

    matrices: site -> `[n d_model]` float64.
    """

    matrices: Mapping[Site, Float[Array, "n d"]]
    labels: Int[Array, " n"]
    groups: tuple[str, ...]
    pairs: tuple[str, ...]
    ids: tuple[str, ...]

    def rows(self, chosen: Bool[Array, " n"]) -> "Examples":
        """The examples where `chosen` is true."""
        index = np.flatnonzero(chosen)
        return Examples(
            {site: m[index] for site, m in self.matrices.items()},
            self.labels[index],
            tuple(self.groups[i] for i in index),
            tuple(self.pairs[i] for i in index),
            tuple(self.ids[i] for i in index),
        )

    def at(self, sites: tuple[Site, ...]) -> "Examples":
        """The same examples with only these sites' matrices."""
        return Examples(
            {s: self.matrices[s] for s in sites}, self.labels, self.groups, self.pairs, self.ids
        )
