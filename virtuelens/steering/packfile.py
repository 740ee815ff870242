"""Steering packs on disk: a TOML that a person may edit, and its tensors beside it.

The TOML carries the SHA-256 of the tensors and the fingerprint of the model, so neither can be
exchanged unnoticed. The format: docs/serve.md.
"""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from virtuelens import storage
from virtuelens.errors import SteeringError, StoreError
from virtuelens.steering.pack import OFF, Dose, SteeringPack, check_pack
from virtuelens.values.directions import Direction

if TYPE_CHECKING:
    from virtuelens.models import HookedModel

SCHEMA = 1
KIND = "steering pack"


def save_pack(pack: SteeringPack, path: Path) -> Path:
    """Write the pair of files; returns the TOML's path.

    path: ends in .toml; the tensors go beside it, under the same name.

    Raises: SteeringError: another ending, or another file would be overwritten. DiskError: it could
    not be written.
    """
    check_path(path)
    tensors = path.with_suffix(".safetensors")
    about = {"schema": SCHEMA, "kind": KIND, "fingerprint": pack.fingerprint}
    storage.write_tensors(tensors, {n: d.vector for n, d in pack.directions.items()}, about)
    storage.write_text(path, _toml(pack, tensors.name, storage.sha256_file(tensors)))
    return path


def check_path(path: Path) -> None:
    """Raise unless a pack can be written under that name.

    Raises: SteeringError: another ending, or the tensors would take the place of another file (a
    probe of the same name, say).
    """
    if path.suffix != ".toml":
        raise SteeringError(f"{path} does not end in .toml: a steering pack is a TOML file with "
                            "its tensors beside it.")
    tensors = path.with_suffix(".safetensors")
    if tensors.exists() and not _is_ours(tensors):
        raise SteeringError(f"{tensors} is there and holds no steering pack's tensors: it would be "
                            "overwritten. Name the pack otherwise.")


def _is_ours(tensors: Path) -> bool:
    try:
        return storage.read_tensors(tensors)[1].get("kind") == KIND
    except StoreError:
        return False


def load_pack(path: Path, model: "HookedModel") -> SteeringPack:
    """Read a pair of files for this model.

    Raises: StoreError: missing, malformed, or its tensors are not those it was written with.
    ModelMismatchError: it was made for another model. SteeringError, HookPointError: a preset
    that cannot be applied.
    """
    pack = read_pack(path)
    check_pack(pack, model)
    return pack


def read_pack(path: Path) -> SteeringPack:
    """Read a pair of files, whatever model it is for.

    Raises: StoreError: missing, malformed, or its tensors are not those it was written with.
    """
    try:
        content = path.read_bytes()
        told = _File.model_validate(tomllib.loads(content.decode()))
    except OSError as error:
        raise StoreError(f"The steering pack {path} cannot be read ({error.strerror}).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"{path} is not valid TOML ({error}).") from error
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"])
        raise StoreError(f"{path} is not a steering pack of schema {SCHEMA}: {at}: "
                         f"{first['msg']}.") from error
    beside = path.parent / told.tensors
    if Path(told.tensors).name != told.tensors or beside.is_symlink():
        raise StoreError(f"{path} names the tensors {told.tensors!r}: expected a file beside it.")
    tensors, _ = storage.read_tensors(beside)
    if storage.sha256_file(beside) != told.tensors_sha256:
        raise StoreError(f"{beside} is not the file that {path} was written with: its SHA-256 "
                         "differs. Make the pack anew.")
    directions = {}
    for name, row in told.directions.items():
        if name not in tensors:
            raise StoreError(f"{beside} holds no vector {name!r}, which {path} describes.")
        fields = row.model_dump(exclude={"threshold"})
        try:
            directions[name] = Direction(tensors[name], fingerprint=told.fingerprint, **fields)
        except ValueError as error:
            raise StoreError(f"The vector {name!r} in {beside} is none: {error}.") from error
    presets = {n: tuple(Dose(**d.model_dump()) for d in ds) for n, ds in told.presets.items()}
    thresholds = {n: d.threshold for n, d in told.directions.items() if d.threshold is not None}
    return SteeringPack(
        told.name, told.about, told.model, told.fingerprint, directions, {OFF: (), **presets},
        thresholds, told.provenance, hashlib.sha256(content).hexdigest(),
    )


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class _DirectionTable(_Strict):
    point: str
    position: str
    concept: str
    method: str
    scale: float = Field(gt=0)
    center: float
    threshold: float | None = None


class _DoseTable(_Strict):
    direction: str
    kind: str = "add"
    strength: float = 0.0
    unit: str = "sigma"
    where: str = "all"
    point: str | None = None


class _File(_Strict):
    schema_: Literal[1] = Field(alias="schema")
    name: str
    about: str
    model: str
    fingerprint: str
    tensors: str
    tensors_sha256: str
    provenance: dict[str, str | int | float] = {}
    directions: dict[str, _DirectionTable]
    presets: dict[str, list[_DoseTable]] = {}


def _toml(pack: SteeringPack, tensors: str, digest: str) -> str:
    head: dict[str, object] = {
        "schema": SCHEMA, "name": pack.name, "about": pack.about, "model": pack.model,
        "fingerprint": pack.fingerprint, "tensors": tensors, "tensors_sha256": digest,
    }
    parts = [_table(head), "[provenance]\n" + _table(pack.provenance)]
    for name, d in pack.directions.items():
        row: dict[str, object] = {k: getattr(d, k) for k in
                                  ("point", "position", "concept", "method", "scale", "center")}
        if name in pack.thresholds:
            row["threshold"] = pack.thresholds[name]
        parts.append(f"[directions.{_literal(name)}]\n{_table(row)}")
    for name, doses in pack.presets.items():
        parts += [f"[[presets.{_literal(name)}]]\n{_table(asdict(dose))}" for dose in doses]
    return "\n".join(parts)


def _table(values: Mapping[str, object]) -> str:
    lines = (f"{k if k.isidentifier() and k.isascii() else _literal(k)} = {_literal(v)}\n"
             for k, v in values.items() if v is not None)
    return "".join(lines)


def _literal(value: object) -> str:
    """A TOML literal: its basic strings are JSON's, but for the delete character."""
    if isinstance(value, float):
        return repr(float(value))  # numpy's own would not be a number in TOML
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
