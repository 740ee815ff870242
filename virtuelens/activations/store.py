"""Activations on disk: ragged, in shards, with their provenance; refused where it does not match.

    <store>/manifest.json               model, texts, points, positions, dtype, versions, shards
            index.parquet               the rows, as in `Activations.index`, and where they lie
            shards/00000.safetensors    one tensor "<point>/<position>" a site, [rows d_model]

A shard is written aside and renamed, so it is whole or absent; the manifest says `complete` last.
The same harvest into the same folder goes on after the last whole shard and ends with the same
bytes, so nothing here depends on the time of day.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from virtuelens import storage
from virtuelens.activations import shuffle
from virtuelens.activations.activations import INDEX_COLUMNS, Activations, spans
from virtuelens.errors import HookPointError, PositionError, StoreError
from virtuelens.values.models import ModelInfo

SCHEMA = 1
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

_MANIFEST, _INDEX = "manifest.json", "index.parquet"
_NOT_IDENTITY = {"model.name"}
"""The same weights may be called by another name."""
_ONLY_UNFINISHED = ("made_by.", "model.device")
"""Differences that matter only where shards of two harvests would be mixed."""


@dataclass(frozen=True, eq=False)
class Store:
    """A finished store that was opened; sizes are checked then, contents when first read."""

    path: Path
    manifest: Mapping[str, Any] = field(repr=False)
    index: pd.DataFrame = field(repr=False)
    _checked: set[int] = field(default_factory=set, repr=False)

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
        rows = self.index[self.index["position"] == position].sort_values(["shard", "row"])
        n = int(rows["end"].max())
        out = torch.empty(n, self.info.d_model, dtype=DTYPES[self.manifest["dtype"]])
        for shard, mine in rows.groupby("shard", sort=True):
            places = spans(mine["start"].to_numpy(), mine["end"].to_numpy())
            out[places] = shuffle.rows(self.shard(int(str(shard))), f"{point}/{position}")
        return out

    def batches(
        self,
        point: str,
        *,
        rows: int,
        seed: int,
        position: str = "tokens",
        buffer_rows: int = 1 << 16,
    ) -> Iterator[Float[Tensor, "rows d_model"]]:
        """Every row of one site once, in an order shuffled by the seed; the last batch is smaller.

        buffer_rows: rows held in memory. Blocks of consecutive rows are drawn from the whole
            store to fill it, and shuffled there.

        Raises: HookPointError, PositionError: not in this store. StoreError: a damaged shard.
        """
        if point not in self.points:
            raise HookPointError(f"{self.path} holds no {point!r}, but {', '.join(self.points)}.")
        if position not in self.positions:
            raise PositionError(
                f"{self.path} holds no {position!r}, but {', '.join(self.positions)}: "
                f"harvest it with positions={position!r}."
            )
        sizes = self.index[self.index["position"] == position].groupby("shard")
        n_rows = {int(str(s)): int((t["end"] - t["start"]).sum()) for s, t in sizes}
        return shuffle.batches(
            n_rows, self.shard, f"{point}/{position}", rows=rows, buffer_rows=buffer_rows,
            generator=torch.Generator().manual_seed(seed),
        )  # fmt: skip

    def shard(self, number: int) -> Path:
        """Path of a shard whose content was checked (once for each opened store).

        Raises: StoreError: it is not what the manifest says.
        """
        entry = self.manifest["shards"][number]
        if number not in self._checked:
            _check_file(self.path, entry, content=True)
            self._checked.add(number)
        return self.path / str(entry["file"])

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
    manifest = storage.read_json(path / _MANIFEST, schema=SCHEMA)
    if manifest.get("kind") != "activations":
        raise StoreError(f"{path} is no store of activations: make one with virtuelens harvest.")
    if expect:
        _refuse(path, differences(manifest, expect))
    if not manifest["complete"]:
        raise StoreError(
            f"{path} is an unfinished harvest: run the same harvest into it again, it will go on."
        )
    for entry in (manifest["index"], *manifest["shards"]):
        _check_file(path, entry, content=entry is manifest["index"])
    return Store(path, manifest, storage.read_table(path / _INDEX))


@dataclass(frozen=True)
class Unfinished:
    """A store that is being written."""

    path: Path
    manifest: dict[str, Any]
    n_shards: int
    entries: dict[int, dict[str, Any]] = field(default_factory=dict)

    def has(self, number: int) -> bool:
        """Is that shard whole, and of this harvest? One that is not will be written anew."""
        path = self.path / _shard_name(number)
        if not path.is_file():
            return False
        try:
            about = storage.read_tensors(path)[1]
        except StoreError:
            return False
        if about != self._about(number):
            return False
        self.entries[number] = _entry(self.path, _shard_name(number))
        return True

    def add(self, number: int, rows: Mapping[tuple[str, str], Tensor]) -> None:
        """Write a shard, whole or not at all."""
        dtype = DTYPES[self.manifest["dtype"]]
        tensors = {f"{point}/{position}": t.to(dtype) for (point, position), t in rows.items()}
        name = _shard_name(number)
        storage.write_tensors(self.path / name, tensors, self._about(number))
        self.entries[number] = _entry(self.path, name)

    def finish(self) -> None:
        """Say in the manifest that all is there."""
        assert len(self.entries) == self.n_shards
        for left in (self.path / "shards").glob(".*.part"):  # of a harvest that was killed
            left.unlink(missing_ok=True)
        shards = [self.entries[i] for i in range(self.n_shards)]
        storage.write_json(
            self.path / _MANIFEST, self.manifest | {"shards": shards, "complete": True}
        )

    def _about(self, number: int) -> dict[str, Any]:
        keys = ("model", "texts", "points", "positions", "dtype", "made_by")
        flat = _flat({k: self.manifest[k] for k in keys})
        identity = {k: v for k, v in flat.items() if k not in _NOT_IDENTITY}
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
    if (path / _MANIFEST).is_file():
        found = storage.read_json(path / _MANIFEST, schema=SCHEMA)
        unlike = differences(found, asked)
        if found.get("complete"):
            unlike = {k: v for k, v in unlike.items() if not k.startswith(_ONLY_UNFINISHED)}
        _refuse(path, unlike)
        if found.get("complete"):
            return None
    elif path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise StoreError(f"{path} is not empty and no store: choose another folder.")
    counts = {
        "examples": int(index["example_id"].size / len(about["positions"])),
        "rows": {p: int(index[index["position"] == p]["end"].max()) for p in about["positions"]},
    }
    located = _locate(index, texts)
    storage.write_table(path / _INDEX, located)
    manifest = {
        "schema": SCHEMA, "kind": "activations", **asked, "counts": counts,
        "index": _entry(path, _INDEX), "shards": [], "complete": False,
    }  # fmt: skip
    storage.write_json(path / _MANIFEST, manifest)
    return Unfinished(path, manifest, len(texts))


def differences(found: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, str]:
    """What of `asked` a manifest says otherwise: dotted key -> the two values in words."""
    there = _flat(found)
    return {
        key: f"{key} is {_short(there.get(key))} there, {_short(value)} was asked for"
        for key, value in _flat(asked).items()
        if key not in _NOT_IDENTITY and there.get(key) != value
    }


def _refuse(path: Path, unlike: Mapping[str, str]) -> None:
    if unlike:
        raise StoreError(
            f"{path} holds other activations than asked for: {'; '.join(unlike.values())}. "
            "Choose another folder, or ask for what it holds."
        )


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


def _flat(value: Mapping[str, Any], under: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, one in value.items():
        if isinstance(one, Mapping):
            out |= _flat(one, f"{under}{key}.")
        else:
            out[under + key] = list(one) if isinstance(one, tuple) else one
    return out


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"


def _entry(store: Path, name: str) -> dict[str, Any]:
    path = store / name
    return {"file": name, "bytes": path.stat().st_size, "sha256": storage.sha256_file(path)}


def _check_file(store: Path, entry: Mapping[str, Any], *, content: bool) -> None:
    path = store / str(entry["file"])
    size = -1
    with contextlib.suppress(OSError):
        size = path.stat().st_size
    if size != entry["bytes"]:
        what = "is missing" if size < 0 else f"has {size} bytes, its manifest says {entry['bytes']}"
        raise StoreError(f"{path} {what}: the store is damaged, harvest it anew.")
    if content and storage.sha256_file(path) != entry["sha256"]:
        raise StoreError(
            f"{path} is not what was written (its SHA-256 differs): the store is damaged, "
            "harvest it anew."
        )


def _shard_name(number: int) -> str:
    return f"shards/{number:05d}.safetensors"


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("virtuelens", "torch", "transformers", "safetensors")}
