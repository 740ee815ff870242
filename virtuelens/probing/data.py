"""What a probe is fitted on: one matrix per site, with labels, groups and pairs beside it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

Array = np.ndarray

_ROWS = 1024


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


@dataclass(frozen=True, eq=False)
class ReadMatrices(Mapping[Site, Float[Array, "n d"]]):
    """Matrices that are read when they are asked for and not kept: one layer is held at a time.

    read: all rows of a site. index: which of them, in which order; None for all.
    """

    sites: tuple[Site, ...]
    read: Callable[[Site], Float[Array, "m d"]]
    index: Int[Array, " n"] | None = None

    def __getitem__(self, site: Site) -> Float[Array, "n d"]:
        if site not in self.sites:
            raise KeyError(site)
        X = self.read(site)
        if self.index is None:
            return np.asarray(X, dtype=np.float64)
        out = np.empty((len(self.index), X.shape[1]))
        for start in range(0, len(out), _ROWS):  # no copy of all of them in between
            out[start : start + _ROWS] = X[self.index[start : start + _ROWS]]
        return out

    def __contains__(self, site: object) -> bool:  # without reading it
        return site in self.sites

    def __iter__(self) -> Iterator[Site]:
        return iter(self.sites)

    def __len__(self) -> int:
        return len(self.sites)

    def rows(self, index: Int[Array, " k"]) -> "ReadMatrices":
        """The same with only these rows."""
        return ReadMatrices(
            self.sites, self.read, index if self.index is None else self.index[index]
        )


@dataclass(frozen=True)
class Examples:
    """Labelled activations of one split; row i of every matrix is the same example.

    matrices: site -> `[n d_model]` float64; those of a store are read when they are asked for.
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
            self.matrices.rows(index) if isinstance(self.matrices, ReadMatrices)
            else {site: m[index] for site, m in self.matrices.items()},
            self.labels[index],
            tuple(self.groups[i] for i in index),
            tuple(self.pairs[i] for i in index),
            tuple(self.ids[i] for i in index),
        )

    def at(self, sites: tuple[Site, ...]) -> "Examples":
        """The same examples with only these sites' matrices."""
        return Examples(
            replace(self.matrices, sites=sites) if isinstance(self.matrices, ReadMatrices)
            else {s: self.matrices[s] for s in sites},
            self.labels, self.groups, self.pairs, self.ids
        )
