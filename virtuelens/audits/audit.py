"""The main job: audit a model, concept by concept, and say how far each claim is earned.

1. Load the model (and its twin, which goes through exactly the same steps).
2. Take every concept that has data in the model's dialect; say which do not.
3. Measure each concept (`measure`), and keep it as a finished part before going on.
4. Put the parts together: tables, the false-discovery rate over concepts, the ladder, report.json.

Stopped at any moment, the run directory holds the finished parts; the same command with the same
folder goes on from there.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from virtuelens import storage
from virtuelens.audits.config import AuditConfig
from virtuelens.audits.features import find_features
from virtuelens.audits.measure import measure
from virtuelens.audits.parts import combine, findings, load_part, part_key, save_part
from virtuelens.audits.run import SCHEMA, Run, open_run
from virtuelens.concepts.pack import Concept, list_concepts, load_concept, load_neutral
from virtuelens.errors import (
    ModelLoadError,
    NotFiniteError,
    PackError,
    PositionError,
    ProbeError,
    SteeringError,
    StoreError,
    TextError,
    TextTooLongError,
    VirtueLensError,
)
from virtuelens.models import HookedModel, load_model

if TYPE_CHECKING:
    from virtuelens.concepts.pack import Behaviour


@dataclass(frozen=True)
class Step:
    """Where an audit is: for progress displays."""

    model: str
    concept: str
    stage: str
    done: int
    total: int


Progress = Callable[[Step], None]

UNMEASURABLE = (ProbeError, SteeringError, TextError, TextTooLongError, PositionError,
                NotFiniteError)
"""What may be wrong with one concept in one model and say nothing about the others."""


def audit(
    model: str | HookedModel,
    *,
    concepts: Sequence[str] | None = None,
    twin: str | HookedModel | None = None,
    out: Path | str | None = None,
    config: AuditConfig | None = None,
    progress: Progress = lambda step: None,
) -> Run:
    """Audit a model and write a run directory.

    model, twin: a Hugging Face id, a local directory, `organism:NAME`, or a loaded model.
    concepts: names or folders of packs; by default every one with data in the dialect, but
        rival accounts and parts of another concept (`beside` in concept.toml).
    out: the run directory (default `runs/<time>-<model>`). If it holds an unfinished run of the
        same model, packs and settings, finished concepts are taken from it.

    A concept that cannot be measured is left out, with the reason in `not_audited` of run.json and
    report.json; where none can, the first reason is raised.

    Raises: ModelLoadError, PackError: before measuring. StoreError: `out` holds a run of something
        else. Errors of the disk pass through; what was finished is kept.
    """
    config = config or AuditConfig()
    loaded = [_load(model)] + ([_load(twin)] if twin is not None else [])
    if len({m.info.name for m in loaded}) < len(loaded):
        raise ModelLoadError(f"Model and twin are both {loaded[0].info.name}: a run tells models "
                             "apart by name, so give a twin of another name.")
    jobs = [(m, concept) for m in loaded for concept in _concepts(m, concepts)]
    run_path = Path(out) if out is not None else new_folder(loaded[0].info.name)
    about = _about(loaded, jobs, config)
    _claim(run_path, about)

    folders: list[Path] = []
    unmeasured: list[VirtueLensError] = []
    for done, (m, concept) in enumerate(jobs):
        name = m.info.name

        def on_stage(stage: str, name: str = name, concept: Concept = concept,
                     done: int = done) -> None:
            progress(Step(name, concept.name, stage, done, len(jobs)))

        identity = {
            "weights": m.info.fingerprint, "pack": concept.hash, "config": config.to_json(),
            "with": sorted(c.hash for other, c in jobs if other is m),
        }
        folder = run_path / "parts" / part_key(name, concept.name, identity=identity)
        if load_part(folder) is None:
            try:
                measured = measure(
                    m, concept, name=name, neighbours=_neighbours(concept, jobs, m),
                    neutral=load_neutral(concept.dialect), find_features=find_features,
                    config=config, progress=on_stage,
                )
            except UNMEASURABLE as error:
                unmeasured.append(error)
                about["not_audited"].append({"model": name, "concept": concept.name,
                                             "reason": str(error)})
            else:
                save_part(folder, measured)
        if load_part(folder) is not None:
            folders.append(folder)
        if folders:
            _write(run_path, about, folders, config, complete=done + 1 == len(jobs))
    if not folders:
        raise unmeasured[0]
    progress(Step(loaded[0].info.name, "", "done", len(jobs), len(jobs)))
    return open_run(run_path)


def _load(model: str | HookedModel) -> HookedModel:
    return load_model(model) if isinstance(model, str) else model


def _concepts(model: HookedModel, asked: Sequence[str] | None) -> list[Concept]:
    """The packs to use: those asked for, or every one that speaks the model's dialect.

    Rival accounts and parts of a concept are used by name only.
    """
    dialect = model.info.dialect
    if asked is not None:
        found = [load_concept(name, dialect=dialect) for name in asked]
        if not found or len({c.name for c in found}) < len(found):
            raise PackError(f"Packs to audit: {', '.join(c.name for c in found) or 'none'}. Give "
                            "at least one, each once.")
        return found
    usable = [c.name for c in list_concepts() if dialect in c.dialects and not c.beside]
    if not usable:
        raise PackError(
            f"No concept pack has pairs in the dialect {dialect!r} of {model.info.name}: add "
            "some to a pack (see: virtuelens concepts new), or name packs with --concepts."
        )
    return [load_concept(name, dialect=dialect) for name in usable]


def _neighbours(
    concept: Concept, jobs: Sequence[tuple[HookedModel, Concept]], model: HookedModel
) -> "dict[str, Behaviour]":
    """Target behaviours of the other concepts of the same audit: a steer should leave them be."""
    return {
        f"{other.name}: {b.name}": b
        for m, other in jobs
        if m is model and other.name != concept.name
        for b in other.behaviours
        if b.kind == "target"
    }


def new_folder(model: str) -> Path:
    """`runs/<time>-<model>`; nothing is made yet."""
    safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in model).strip("-.")
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return Path("runs") / f"{stamp}-{safe[-60:]}"


def _about(
    loaded: Sequence[HookedModel], jobs: Sequence[tuple[HookedModel, Concept]], config: AuditConfig
) -> dict[str, Any]:
    import virtuelens

    return {
        "schema": SCHEMA,
        "virtuelens": virtuelens.__version__,
        "versions": _versions(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": loaded[0].info.to_json(),
        "twin": loaded[1].info.to_json() if len(loaded) > 1 else None,
        "concepts": {c.name: {"version": c.version, "dialect": c.dialect, "hash": c.hash}
                     for _, c in jobs},
        "config": config.to_json(),
        "timings": {},
        "not_audited": [],
        "complete": False,
    }


def _claim(path: Path, about: dict[str, Any]) -> None:
    """Take a fresh folder, or go on in one that holds the same audit unfinished.

    Raises: StoreError: it holds something else.
    """
    marker = path / "run.json"
    if marker.is_file():
        before = storage.read_json(marker, schema=SCHEMA)
        for key in ("model", "twin", "concepts", "config"):
            if before.get(key) != about[key]:
                raise StoreError(
                    f"{path} holds another audit (its {key} differs): choose another --out."
                )
        about["started"] = before.get("started", about["started"])
    elif path.is_dir() and any(path.iterdir()):
        raise StoreError(f"{path} is not empty and not a run directory: choose another --out.")
    storage.write_json(marker, about)


def _write(
    path: Path, about: dict[str, Any], folders: Sequence[Path], config: AuditConfig, *,
    complete: bool,
) -> None:
    """The run's files from the parts finished so far; `run.json` says whether that is all."""
    start = time.perf_counter()
    parts = [part for folder in folders if (part := load_part(folder)) is not None]
    combine(path, folders)
    storage.write_json(path / "report.json", {
        "schema": SCHEMA, "run": str(path), "model": about["model"], "twin": about["twin"],
        "findings": findings(parts, config.thresholds), "not_audited": about["not_audited"],
    })
    about["timings"] = {f"{p['model']} {p['concept']} {stage}": s
                        for p in parts for stage, s in p["seconds"].items()}
    about["timings"]["tables"] = round(time.perf_counter() - start, 2)
    storage.write_json(path / "run.json", about | {"complete": complete})


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    names = ("torch", "transformers", "transformer-lens", "sae-lens", "scikit-learn", "numpy")
    return {name: version(name) for name in names}
