"""Readings kept as one file: taken on one machine, counted on another.

    {"schema": 1, "measured": ..., "settings": ...}                     how they were taken
    {"organism": ..., "seed": ..., "unproven": true}                    left out: fails its proof
    {"organism": ..., "seed": ..., "concept": ..., "control": ..., "d_model": ..., "pack": ...,
     "evidence": {...}, "readings": {instrument: [...]}}                one subject

`evidence` is what the ladder had, so that its thresholds can be chosen anew over all subjects.
"""

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from virtuelens import storage
from virtuelens.calibration.subjects import Subject, counted_as
from virtuelens.errors import OrganismError
from virtuelens.organisms.recipe import load_recipe

SCHEMA = 1


@dataclass(frozen=True)
class Kept:
    """What was read of one subject.

    pack: hash of the concept pack (of the drawn one, for `agreeing only`).
    evidence: as `audits.parts` writes it; None where the ladder was not read.
    readings: instrument -> its readings, as `Reading.to_json` gives them.
    """

    subject: Subject
    pack: str
    evidence: Mapping[str, Any] | None
    readings: Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class Keeping:
    """A file of readings: subjects, and the organisms `NAME-SEED` that fail their proof."""

    subjects: tuple[Kept, ...]
    unproven: tuple[str, ...] = field(default=())


def write_kept(path: Path, keeping: Keeping, *, taken: Mapping[str, Any]) -> None:
    """Write the file; `taken` says how readings were taken, and must agree when they are read.

    Raises: DiskError.
    """
    lines: list[dict[str, Any]] = [{"schema": SCHEMA, **taken}]
    for name in keeping.unproven:
        organism, _, seed = name.rpartition("-")
        lines.append({"organism": organism, "seed": int(seed), "unproven": True})
    for k in keeping.subjects:
        s = k.subject
        lines.append({"organism": s.organism, "seed": s.seed, "concept": s.concept,
                      "control": s.control, "d_model": s.d_model, "pack": k.pack,
                      "evidence": k.evidence, "readings": k.readings})
    storage.write_text(path, "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines))


def read_kept(path: Path, *, taken: Mapping[str, Any]) -> Keeping:
    """The readings of a file that `write_kept` made.

    Raises: OrganismError: no such file, not such a file, or its readings were taken otherwise.
    """
    if not path.is_file():
        raise OrganismError(f"No file of readings {path}: calibrate --keep FILE writes one.")
    try:
        head, *lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        schema = head.pop("schema")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OrganismError(f"{path} is no file of readings ({error}).") from error
    if schema != SCHEMA or head != dict(taken):
        unlike = sorted(k for k in {*head, *taken} if head.get(k) != taken.get(k)) or ["schema"]
        raise OrganismError(
            f"The readings in {path} were taken otherwise ({', '.join(unlike)} differ): take them "
            "again with this version, or leave them out."
        )
    try:
        return Keeping(
            tuple(_kept(line) for line in lines if "unproven" not in line),
            tuple(f"{e['organism']}-{e['seed']}" for e in lines if "unproven" in e),
        )
    except (KeyError, TypeError) as error:
        raise OrganismError(f"{path} is no file of readings ({error}).") from error


def pooled(keepings: Iterable[Keeping]) -> Keeping:
    """Several as one; of readings that say the same (`counted_as`), the first is taken."""
    subjects: dict[Hashable, Kept] = {}
    unproven: dict[str, None] = {}
    for keeping in keepings:
        for kept in keeping.subjects:
            subjects.setdefault(counted_as(kept.subject), kept)
        unproven |= dict.fromkeys(keeping.unproven)
    return Keeping(tuple(subjects.values()), tuple(unproven))


def _kept(line: Mapping[str, Any]) -> Kept:
    subject = Subject(line["organism"], int(line["seed"]), Path(), load_recipe(line["organism"]),
                      line["concept"], line["control"], int(line["d_model"]))
    return Kept(subject, line["pack"], line["evidence"], line["readings"])
