"""The manifest of a store: what it holds and where from, compared before anything is reused."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from virtuelens import storage
from virtuelens.errors import StoreError

SCHEMA = 3
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

MANIFEST, INDEX = "manifest.json", "index.parquet"
NOT_IDENTITY = {"model.name"}
"""The same weights may be called by another name."""
_REPAIR = "Make it whole with: virtuelens store check {store} --repair"


def read_manifest(store: Path) -> dict[str, Any]:
    """What is said of the store in that folder, finished or not.

    Raises: StoreError: a file, no manifest, of another schema, or that of something else.
    """
    if store.is_file():
        raise StoreError(f"{store} is a file: expected the folder of a store.")
    manifest: dict[str, Any] = storage.read_json(store / MANIFEST, schema=SCHEMA)
    if manifest.get("kind") != "activations":
        raise StoreError(f"{store} is no store of activations: make one with virtuelens harvest.")
    return manifest


def differences(found: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, str]:
    """What of `asked` a manifest says otherwise: dotted key -> the two values in words."""
    there = flat(found)
    return {
        key: f"{key} is {_short(there.get(key))} there, {_short(value)} was asked for"
        for key, value in flat(asked).items()
        if key not in NOT_IDENTITY and there.get(key) != value
    }


def refuse(path: Path, unlike: Mapping[str, str]) -> None:
    """Raise if there is any difference.

    Raises: StoreError: with every line that differs.
    """
    if unlike:
        lines = "".join(f"\n  {line}" for line in unlike.values())
        raise StoreError(
            f"{path} holds other activations than asked for:{lines}\n"
            "Choose another folder, or ask for what it holds. A difference that does not matter is "
            f"taken by name, and put on record, with --accept KEY (accept=[...])."
        )


def flat(value: Mapping[str, Any], under: str = "") -> dict[str, Any]:
    """Nested values under dotted keys."""
    out: dict[str, Any] = {}
    for key, one in value.items():
        if isinstance(one, Mapping):
            out |= flat(one, f"{under}{key}.")
        else:
            out[under + key] = list(one) if isinstance(one, tuple) else one
    return out


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"


def entry(store: Path, name: str) -> dict[str, Any]:
    """What the manifest says of one file."""
    path = store / name
    return {"file": name, "bytes": path.stat().st_size, "xxh3": storage.xxh3_file(path)}


def check_file(store: Path, described: Mapping[str, Any], *, content: bool) -> None:
    """Raise unless a file has the size (and the content) that the manifest says.

    Raises: StoreError: missing or damaged.
    """
    path = store / str(described["file"])
    size = -1
    with contextlib.suppress(OSError):
        size = path.stat().st_size
    if size != described["bytes"]:
        says = described["bytes"]
        what = "is missing" if size < 0 else f"has {size} bytes, its manifest says {says}"
        raise StoreError(f"{path} {what}: the store is damaged. {_REPAIR.format(store=store)}")
    if content and storage.xxh3_file(path) != described["xxh3"]:
        raise StoreError(
            f"{path} is not what was written (its checksum differs): the store is damaged. "
            f"{_REPAIR.format(store=store)}"
        )


def shard_name(number: int) -> str:
    """Path of a shard inside its store."""
    return f"shards/{number:05d}.safetensors"
