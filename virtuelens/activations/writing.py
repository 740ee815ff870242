"""Write a store shard by shard, so that a harvest killed at any instant can go on.

A shard is written aside and renamed: it is whole or absent; its checksum then goes into a journal.
The manifest says `complete` last. The same harvest into the same folder goes on after the last
whole shard and ends with the same bytes, so nothing here depends on the time of day. One process
at a time writes to a folder.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
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
    SCHEMA,
    check_file,
    differences,
    entry,
    read_manifest,
    refuse,
    shard_name,
)
from virtuelens.activations.shards import order_name, order_of, write_shard
from virtuelens.errors import StoreError

JOURNAL = "progress.jsonl"
_ONLY_UNFINISHED = ("made_by.", "model.device")
"""Differences that matter only where shards of two harvests would be mixed."""
_MAY_CHANGE = ("made_by.versions.", "made_by.matmul", "model.device")
"""Differences of rounding, which may be accepted while a store is being made."""


@dataclass(frozen=True)
class Unfinished:
    """A store that is being written.

    entries: of the shards that are whole, as the journal has them.
    """

    path: Path
    manifest: dict[str, Any]
    n_shards: int
    entries: dict[int, dict[str, Any]] = field(default_factory=dict)

    @property
    def dtype(self) -> torch.dtype:
        """Of what is kept."""
        return DTYPES[self.manifest["dtype"]]

    def has(self, number: int) -> bool:
        """Is that shard there, and what was written? One that is not will be made again."""
        if number not in self.entries:
            return False
        try:
            check_file(self.path, self.entries[number], content=True)
        except StoreError:
            del self.entries[number]
            return False
        return True

    def room(self, n_rows: Mapping[str, int]) -> dict[tuple[str, str], Tensor]:
        """A shard's tensors before they are filled; `n_rows` of each position."""
        d_model = int(self.manifest["model"]["d_model"])
        return {
            (point, position): torch.empty(n, d_model, dtype=self.dtype)
            for point in self.manifest["points"] for position, n in n_rows.items()
        }

    def write(self, number: int, rows: Mapping[tuple[str, str], Tensor]) -> dict[str, Any]:
        """Write a shard, whole or not at all; what the manifest will say of it.

        rows: each where `order_of` the shard has it.
        """
        tensors = {f"{point}/{position}": t for (point, position), t in rows.items()}
        first = min(tensors)
        for (_, position), t in rows.items():
            tensors[order_name(position)] = order_of(number, len(t))
        name = shard_name(number)
        about = {"schema": SCHEMA, "kind": "activations", "shard": number}
        write_shard(self.path / name, tensors, about, first=first)
        return entry(self.path, name)

    def note(self, number: int, described: Mapping[str, Any]) -> None:
        """Put a written shard into the journal: it will not be made again."""
        self.entries[number] = dict(described)
        _write_down(self.path, number, described)

    def finish(self) -> None:
        """Say in the manifest that all is there."""
        assert len(self.entries) == self.n_shards
        # what a kill left behind, our own unfinished files and those of safetensors
        for left in (*self.path.glob("**/.*.part"), *self.path.glob("shards/.tmp*")):
            left.unlink(missing_ok=True)
        shards = [self.entries[i] for i in range(self.n_shards)]
        storage.write_json(
            self.path / MANIFEST, self.manifest | {"shards": shards, "complete": True}
        )
        (self.path / JOURNAL).unlink(missing_ok=True)


def begin_store(
    path: Path,
    about: Mapping[str, Any],
    *,
    made_by: Mapping[str, Any],
    index: pd.DataFrame,
    texts: Sequence[Sequence[int]],
    asked: Mapping[str, str] | None = None,
    accept: Sequence[str] = (),
    repair: bool = False,
) -> Unfinished | None:
    """A store to write to, or None where this harvest is finished already.

    about: model, texts, points, positions, dtype. texts: of each shard, in the order of its rows.
    asked: how model and pack were named, so that the harvest can be gone on with by itself.
    accept: keys that may differ; the differences are put on record in the manifest.
    repair: look at the content of every file of a finished store, and make again what is damaged.

    Raises: StoreError: the folder holds something else.
    """
    wanted = {**about, "made_by": {**made_by, "versions": _versions()}}
    found: dict[str, Any] = {}
    if (path / MANIFEST).is_file():
        found = read_manifest(path)
        unlike = differences(found, wanted)
        done = bool(found.get("complete")) and not (repair and damage(path, found))
        if done:
            unlike = {k: v for k, v in unlike.items() if not k.startswith(_ONLY_UNFINISHED)}
        refuse(path, {k: v for k, v in unlike.items()
                      if k not in accept or not (done or k.startswith(_MAY_CHANGE))})
        if unlike:
            before = found.get("accepted", [])
            new = [{"key": k, "difference": v} for k, v in unlike.items()]
            found["accepted"] = before + [a for a in new if a not in before]
        if done:
            if unlike:
                storage.write_json(path / MANIFEST, found)
            return None
        # what was accepted does not change what the shards so far are
        wanted = {k: found[k] for k in wanted}
    elif path.exists() and (not path.is_dir() or any(map(_is_foreign, path.iterdir()))):
        raise StoreError(f"{path} is not empty and no store: choose another folder.")
    else:
        (path / JOURNAL).unlink(missing_ok=True)
    whole = dict(enumerate(found["shards"])) if found.get("complete") else _journal(path)
    counts = {
        "examples": int(index["example_id"].size / len(about["positions"])),
        "rows": {p: int(index[index["position"] == p]["end"].max()) for p in about["positions"]},
    }
    located = _locate(index, texts)
    storage.write_table(path / INDEX, located)
    manifest = {
        "schema": SCHEMA, "kind": "activations", **wanted, "counts": counts,
        "index": entry(path, INDEX), "shards": [], "complete": False,
    }  # fmt: skip
    more = {"asked": dict(asked or found.get("asked", {})), "accepted": found.get("accepted")}
    manifest |= {key: value for key, value in more.items() if value}
    if found.get("complete"):
        for number, described in whole.items():
            _write_down(path, number, described)
    storage.write_json(path / MANIFEST, manifest)
    return Unfinished(path, manifest, len(texts), {n: d for n, d in whole.items()
                                                   if n < len(texts)})


def damage(path: Path, manifest: Mapping[str, Any]) -> list[str]:
    """What is wrong with the files of a store, in words, one a file; all contents are read."""
    out = []
    for described in (manifest["index"], *manifest["shards"]):
        try:
            check_file(path, described, content=True)
        except StoreError as error:
            out.append(str(error).partition(": the store")[0])
    return out


@contextlib.contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Hold the folder for this process; a process that dies lets go of it.

    Raises: StoreError: another harvest holds it.
    """
    if path.exists() and not path.is_dir():
        raise StoreError(f"{path} is no folder: choose another place.")
    path.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        yield
        return
    folder = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(
                f"Another harvest is writing to {path}: wait for it, or choose another folder."
            ) from error
        yield
    finally:
        os.close(folder)


def _write_down(path: Path, number: int, described: Mapping[str, Any]) -> None:
    line = json.dumps({"shard": number, **described})
    with (path / JOURNAL).open("a", encoding="utf-8") as f:
        f.write(line + "\n")
        f.flush()
        os.fsync(f.fileno())


def _journal(path: Path) -> dict[int, dict[str, Any]]:
    """Shards written so far; a last line that was cut off by a kill does not count."""
    if not (path / JOURNAL).is_file():
        return {}
    out = {}
    for line in (path / JOURNAL).read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(json.JSONDecodeError, KeyError, TypeError):
            described = json.loads(line)
            out[int(described.pop("shard"))] = described
    return out


def _locate(index: pd.DataFrame, texts: Sequence[Sequence[int]]) -> pd.DataFrame:
    """The index with two more columns: the shard, and the first row among those of its texts."""
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
    return path.name not in {INDEX, JOURNAL} and not path.name.endswith(".part")


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("virtuelens", "torch", "transformers", "safetensors")}
