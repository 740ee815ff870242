"""A store of activations that is finished: opened, checked, read.

    <store>/manifest.json               model, texts, points, positions, dtype, versions, shards
            index.parquet               the rows, as in `Activations.index`, and where they lie
            shards/00000.safetensors    one tensor "<point>/<position>" a site, [rows d_model]

Rows are ragged, nothing is padded; those of a shard are shuffled (`shards`). A store that does not
match what is asked of it is refused with the lines that differ.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from virtuelens import storage
from virtuelens.activations import shards, shuffle
from virtuelens.activations.activations import INDEX_COLUMNS, Activations, spans
from virtuelens.activations.manifest import (
    DTYPES,
    INDEX,
    check_file,
    differences,
    read_manifest,
    refuse,
)
from virtuelens.errors import HookPointError, PositionError, StoreError
from virtuelens.values.models import ModelInfo

OPEN_FILES = 256
"""Mapped tensors of shards that are kept; processes may often open no more than 1,024 files."""


@dataclass(frozen=True, eq=False)
class Store:
    """A finished store that was opened; sizes are checked then, contents when first read."""

    path: Path
    manifest: Mapping[str, Any] = field(repr=False)
    index: pd.DataFrame = field(repr=False)
    _checked: set[int] = field(default_factory=set, repr=False)
    _maps: dict[tuple[int, str], Tensor] = field(default_factory=dict, repr=False)

    @property
    def info(self) -> ModelInfo:
        """The model that was read."""
        return ModelInfo(**self.manifest["model"])

    @property
    def points(self) -> tuple[str, ...]:
        """The hook points that were read."""
        return tuple(self.manifest["points"])

    @property
    def positions(self) -> tuple[str, ...]:
        """The positions that were read."""
        return tuple(self.manifest["positions"])

    def load(self) -> Activations:
        """The activations, each matrix read from disk when it is asked for."""
        return Activations(
            info=self.info, index=self.index[list(INDEX_COLUMNS)], points=self.points,
            positions=self.positions, concept=self.manifest["texts"].get("name", ""),
            manifest=self.manifest, _read=self.read,
        )  # fmt: skip

    def read(self, point: str, position: str) -> Float[Tensor, "n_rows d_model"]:
        """All rows of one site in the order of the texts, in the store's dtype.

        Raises: StoreError: a shard is damaged.
        """
        index = self.index[self.index["position"] == position].sort_values(["shard", "row"])
        n = int(index["end"].max())
        out = torch.empty(n, self.info.d_model, dtype=DTYPES[self.manifest["dtype"]])
        for shard, mine in index.groupby("shard", sort=True):
            places = spans(mine["start"].to_numpy(), mine["end"].to_numpy())
            order = self._mapped(int(str(shard)), shards.order_name(position))
            rows = self._mapped(int(str(shard)), f"{point}/{position}")
            out.index_copy_(0, places[order], rows)
        return out

    def batches(
        self,
        point: str,
        *,
        rows: int,
        seed: int,
        position: str = "tokens",
        mixed_rows: int = 1 << 18,
        reuse: bool = False,
    ) -> Iterator[Float[Tensor, "rows d_model"]]:
        """Every row of one site once, in an order shuffled by the seed; the last batch is smaller.

        Rows of a shard stand in one random order for good. A batch is made of stretches of several
        shards (at least eight stretches, of 512 rows at most), cut and mixed anew by every seed.

        mixed_rows: rows of the shards that are mixed with each other, at least; grouped anew by
            every seed. More reads from more places of a disk at once.
        reuse: write each batch where the one before stood, which is faster: a batch is right until
            the next one is asked for.

        Raises: HookPointError, PositionError: not in this store. StoreError: a damaged shard.
        """
        if point not in self.points:
            raise HookPointError(f"{self.path} holds no {point!r}, but {', '.join(self.points)}.")
        if position not in self.positions:
            raise PositionError(
                f"{self.path} holds no {position!r}, but {', '.join(self.positions)}: "
                f"harvest it with positions={position!r}."
            )
        mine = self.index[self.index["position"] == position]
        sizes = np.bincount(mine["shard"], weights=mine["end"] - mine["start"]).astype(int)
        n_rows = {number: n for number, n in enumerate(sizes.tolist()) if n}
        name = f"{point}/{position}"
        return shuffle.batches(
            n_rows, lambda shard: self._mapped(shard, name), rows=rows, mixed_rows=mixed_rows,
            generator=torch.Generator().manual_seed(seed), reuse=reuse,
        )  # fmt: skip

    def shard(self, number: int) -> Path:
        """Path of a shard whose content was checked (once for each opened store).

        Raises: StoreError: it is not what the manifest says.
        """
        described = self.manifest["shards"][number]
        if number not in self._checked:
            check_file(self.path, described, content=True)
            self._checked.add(number)
        return self.path / str(described["file"])

    def _mapped(self, number: int, name: str) -> Tensor:
        # kept: its pages need not be found again; not all of them: each is an open file
        if (number, name) not in self._maps:
            while len(self._maps) >= OPEN_FILES:
                del self._maps[next(iter(self._maps))]
            self._maps[number, name] = shards.mapped(self.shard(number), name)
        return self._maps[number, name]

    def verify(self) -> None:
        """Check the content of every shard now.

        Raises: StoreError: naming the first that is damaged.
        """
        for number in range(len(self.manifest["shards"])):
            self.shard(number)


def open_store(path: Path | str, *, expect: Mapping[str, Any] | None = None) -> Store:
    """The store in that folder.

    expect: what its manifest must say, as far as given, e.g. `{"model": {"fingerprint": ...}}`.

    Raises: StoreError: no store, unfinished, damaged, of another schema, or not as expected (the
    message has the lines that differ).
    """
    path = Path(path)
    manifest = read_manifest(path)
    if expect:
        refuse(path, differences(manifest, expect))
    if not manifest["complete"]:
        raise StoreError(
            f"{path} is an unfinished harvest: run the same harvest into it again, it will go on."
        )
    for described in (manifest["index"], *manifest["shards"]):
        check_file(path, described, content=described is manifest["index"])
    return Store(path, manifest, storage.read_table(path / INDEX))
