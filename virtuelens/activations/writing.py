"""Write a store shard by shard, so that a harvest killed at any instant can go on.

A shard is written aside and renamed: it is whole or absent. The manifest says `complete` last. The
same harvest into the same folder goes on after the last whole shard and ends with the same bytes,
so nothing here depends on the time of day.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from virtuelens import storage
from virtuelens.activations.manifest import (
    DTYPES,
    INDEX,
    MANIFEST,
    NOT_IDENTITY,
    SCHEMA,
    differences,
    entry,
    flat,
    refuse,
    shard_name,
)
from virtuelens.errors import StoreError

_ONLY_UNFINISHED = ("made_by.", "model.device")
"""Differences that matter only where shards of two harvests would be mixed."""


@dataclass(frozen=True)
class Unfinished:
    """A store that is being written."""

    path: Path
    manifest: dict[str, Any]
    n_shards: int
    entries: dict[int, dict[str, Any]] = field(default_factory=dict)

    def has(self, number: int) -> bool:
        """Is that shard whole, and of this harvest? One that is not will be written anew."""
        path = self.path / shard_name(number)
        if not path.is_file():
            return False
        try:
            about = storage.read_tensors(path)[1]
        except StoreError:
            return False
        if about != self._about(number):
            return False
        self.entries[number] = entry(self.path, shard_name(number))
        return True

    def room(self, n_rows: Mapping[str, int]) -> dict[tuple[str, str], Tensor]:
        """A shard's tensors before they are filled; `n_rows` of each position."""
        dtype, d_model = DTYPES[self.manifest["dtype"]], int(self.manifest["model"]["d_model"])
        return {
            (point, position): torch.empty(n, d_model, dtype=dtype)
            for point in self.manifest["points"] for position, n in n_rows.items()
        }

    def add(self, number: int, rows: Mapping[tuple[str, str], Tensor]) -> None:
        """Write a shard, whole or not at all."""
        tensors = {f"{point}/{position}": t for (point, position), t in rows.items()}
        name = shard_name(number)
        storage.write_tensors(self.path / name, tensors, self._about(number))
        self.entries[number] = entry(self.path, name)

    def finish(self) -> None:
        """Say in the manifest that all is there."""
        assert len(self.entries) == self.n_shards
        for left in self.path.glob("**/.*.part"):  # of a harvest that was killed
            left.unlink(missing_ok=True)
        shards = [self.entries[i] for i in range(self.n_shards)]
        storage.write_json(
            self.path / MANIFEST, self.manifest | {"shards": shards, "complete": True}
        )

    def _about(self, number: int) -> dict[str, Any]:
        keys = ("model", "texts", "points", "positions", "dtype", "made_by")
        asked = flat({k: self.manifest[k] for k in keys})
        identity = {k: v for k, v in asked.items() if k not in NOT_IDENTITY}
        digest = storage.sha256_text(json.dumps(identity, sort_keys=True))
        return {"schema": SCHEMA, "kind": "activations", "shard": number, "of": digest}


def begin_store(
    path: Path,
    about: Mapping[str, Any],
    *,
    made_by: Mapping[str, Any],
    index: pd.DataFrame,
    texts: Sequence[Sequence[int]],
) -> Unfinished | None:
    """A store to write to, or None where this harvest is finished already.

    about: model, texts, points, positions, dtype. texts: of each shard, in the order of its rows.

    Raises: StoreError: the folder holds something else.
    """
    made_by = {**made_by, "versions": _versions()}
    asked = {**about, "made_by": made_by}
    if (path / MANIFEST).is_file():
        found = storage.read_json(path / MANIFEST, schema=SCHEMA)
        unlike = differences(found, asked)
        if found.get("complete"):
            unlike = {k: v for k, v in unlike.items() if not k.startswith(_ONLY_UNFINISHED)}
        refuse(path, unlike)
        if found.get("complete"):
            return None
    elif path.exists() and (not path.is_dir() or any(map(_is_foreign, path.iterdir()))):
        raise StoreError(f"{path} is not empty and no store: choose another folder.")
    counts = {
        "examples": int(index["example_id"].size / len(about["positions"])),
        "rows": {p: int(index[index["position"] == p]["end"].max()) for p in about["positions"]},
    }
    located = _locate(index, texts)
    storage.write_table(path / INDEX, located)
    manifest = {
        "schema": SCHEMA, "kind": "activations", **asked, "counts": counts,
        "index": entry(path, INDEX), "shards": [], "complete": False,
    }  # fmt: skip
    storage.write_json(path / MANIFEST, manifest)
    return Unfinished(path, manifest, len(texts))


def _locate(index: pd.DataFrame, texts: Sequence[Sequence[int]]) -> pd.DataFrame:
    """The index with two more columns: the shard, and the first row in the shard's tensors."""
    n = sum(len(t) for t in texts)
    shard, order = [0] * n, [0] * n
    for number, of_shard in enumerate(texts):
        for place, text in enumerate(of_shard):
            shard[text], order[text] = number, place
    tables = []
    for _, rows in index.groupby("position", sort=False):
        located = rows.assign(shard=shard, order=order).sort_values(["shard", "order"])
        size = located["end"] - located["start"]
        first = size.groupby(located["shard"]).cumsum() - size
        tables.append(located.assign(row=first).sort_index().drop(columns="order"))
    return pd.concat(tables)


def _is_foreign(path: Path) -> bool:
    """Not what a harvest leaves that was killed before its manifest was written."""
    return path.name != INDEX and not path.name.endswith(".part")


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("virtuelens", "torch", "transformers", "safetensors")}
