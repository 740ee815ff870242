"""Trials of one or several steers in one model, as a folder.

    trials.json  doses.parquet  matrix.parquet  items.parquet  prompts.parquet  trials.html
    parts/<concept>.<digest>/   one finished trial each: an interrupted run keeps what it did
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from virtuelens import storage
from virtuelens.concepts.pack import Concept, list_concepts, load_concept, load_neutral
from virtuelens.errors import PackError, StoreError
from virtuelens.trials.config import TrialConfig
from virtuelens.trials.rows import TABLES
from virtuelens.trials.trial import Trial, try_steer

if TYPE_CHECKING:
    import pandas as pd

    from virtuelens.models import HookedModel
    from virtuelens.probing.probes import Probe
    from virtuelens.sparse_coding import Sae

SCHEMA = 1
FILE = "trials.json"


@dataclass(frozen=True)
class TrialRun:
    """A folder of trials, opened; `about` is trials.json."""

    path: Path
    about: dict[str, Any]

    @property
    def trials(self) -> tuple[dict[str, Any], ...]:
        """Per steer: `concept`, `place`, `checks`, `not_tested`, `seconds`."""
        return tuple(self.about["trials"])

    def table(self, name: str) -> "pd.DataFrame":
        """One of `TABLES`."""
        return storage.read_table(self.path / f"{name}.parquet")


def run_trials(
    model: "HookedModel",
    concepts: Sequence[str],
    out: Path,
    *,
    probe: "Probe | None" = None,
    sae: "Sae | None" = None,
    config: TrialConfig | None = None,
    progress: Callable[[str, str, int, int], None] = lambda concept, stage, done, total: None,
) -> TrialRun:
    """Try the steers of these concepts (names or folders) and write the folder.

    All packs with a target behaviour in the model's dialect are watched for side effects.
    probe: steer along this instead; then one concept is named, whose behaviours it is to move.
    sae: whose feature that probe is.
    progress: called with concept, stage, how many trials are finished of how many.

    Raises: PackError, SteeringError, TextTooLongError: before or while measuring; finished trials
    are kept. StoreError: `out` holds something else.
    """
    config, out, dialect = config or TrialConfig(), Path(out), model.info.dialect
    tried = [load_concept(name, dialect=dialect) for name in concepts]
    if not tried:
        raise PackError("Name at least one concept to steer along.")
    names = [c.name for c in tried]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise PackError(f"The concept {twice!r} is named twice: name each once.")
    watched = _watched(tried, dialect)
    about: dict[str, Any] = {
        "schema": SCHEMA, "model": model.info.to_json(), "config": config.to_json(),
        "steers": {c.name: {"version": c.version, "hash": c.hash} for c in tried},
        "watched": {c.name: c.hash for c in watched},
        "probe": None if probe is None else _of_probe(probe),
    }
    _claim(out, about)
    neutral, folders = load_neutral(dialect), []
    for done, concept in enumerate(tried):
        identity = json.dumps([about["model"], about["config"], about["probe"], concept.hash,
                               about["watched"]], sort_keys=True)
        folder = out / "parts" / f"{concept.name}.{storage.sha256_text(identity)[:12]}"
        if not (folder / "trial.json").is_file():
            _save(folder, try_steer(
                model, concept, others=watched, neutral=neutral, probe=probe, sae=sae,
                config=config,
                progress=lambda stage, name=concept.name, done=done: progress(  # type: ignore[misc]
                    name, stage, done, len(tried)),
            ))
        folders.append(folder)
    return _combined(out, about, folders)


def open_trials(path: Path) -> TrialRun:
    """The trials in a folder.

    Raises: StoreError: none there, not finished, or of another schema.
    """
    run = TrialRun(Path(path), storage.read_json(Path(path) / FILE, schema=SCHEMA))
    if "trials" not in run.about:
        raise StoreError(f"The trials in {path} are not finished: the command that began them "
                         "goes on with them.")
    return run


def _watched(tried: Sequence[Concept], dialect: str) -> list[Concept]:
    """Every pack with a target behaviour in the dialect, those on trial among them."""
    found = {c.name: c for c in tried}
    for summary in list_concepts():
        if dialect in summary.dialects and summary.name not in found:
            concept = load_concept(summary.name, dialect=dialect)
            if any(b.kind == "target" for b in concept.behaviours):
                found[concept.name] = concept
    return sorted(found.values(), key=lambda c: c.name)


def _of_probe(probe: "Probe") -> dict[str, Any]:
    d = probe.direction
    digest = storage.sha256_text(repr(d.vector.tolist()))[:16]
    return {"concept": d.concept, "point": d.point, "method": d.method, "vector": digest,
            "position": d.position, "scale": d.scale}


def _claim(out: Path, about: dict[str, Any]) -> None:
    if (out / FILE).is_file():
        before = storage.read_json(out / FILE, schema=SCHEMA)
        for key in ("model", "config", "steers", "watched", "probe"):
            if before.get(key) != about[key]:
                raise StoreError(f"{out} holds other trials (their {key} differs): choose another "
                                 "--out.")
        about["started"] = before["started"]
        return
    if out.is_dir() and any(out.iterdir()):
        raise StoreError(f"{out} is not empty and holds no trials: choose another --out.")
    about["started"] = datetime.now(UTC).isoformat(timespec="seconds")
    storage.write_json(out / FILE, about)


def _save(folder: Path, trial: Trial) -> None:
    for name, table in trial.tables.items():
        storage.write_table(folder / f"{name}.parquet", table)
    storage.write_json(folder / "trial.json", {
        "schema": SCHEMA, "concept": trial.concept, "place": dict(trial.place),
        "checks": [c.to_json() for c in trial.checks], "not_tested": list(trial.not_tested),
        "seconds": trial.seconds,
    })


def _combined(out: Path, about: dict[str, Any], folders: Sequence[Path]) -> TrialRun:
    import pandas as pd

    for name in TABLES:
        tables = [storage.read_table(f / f"{name}.parquet") for f in folders]
        storage.write_table(out / f"{name}.parquet",
                            pd.concat([t for t in tables if len(t)] or tables[:1],
                                      ignore_index=True))
    trials = [storage.read_json(f / "trial.json", schema=SCHEMA) for f in folders]
    storage.write_json(out / FILE, about | {"trials": trials})
    return open_trials(out)
