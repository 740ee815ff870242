"""All instruments on all subjects: each reading kept as it finishes, the record at the end.

    out/proofs/NAME-SEED.json whether it passes its proof; who does not is left out
    out/calibration.parquet   one row a reading
    out/calibration.json      the record that audit reports quote (written with the pages)
    out/subjects/NAME/        audits, SAEs and readings of one subject

Stopped at any moment, the same command goes on; a reading is taken again where weights, pack or
settings have changed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from virtuelens import storage
from virtuelens.audits.config import AuditConfig
from virtuelens.audits.ladder import Evidence
from virtuelens.audits.parts import evidence_of
from virtuelens.calibration.case import Case
from virtuelens.calibration.instruments import INSTRUMENTS, Instrument, case_part, said_by
from virtuelens.calibration.kept import Keeping, Kept, pooled, read_kept, write_kept
from virtuelens.calibration.rates import record
from virtuelens.calibration.subjects import Subject, find_subjects
from virtuelens.calibration.thresholds import at, choose
from virtuelens.calibration.truth import judge, true_rungs
from virtuelens.errors import OrganismError
from virtuelens.organisms.verify import verify_organism

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
MEASURED = 3
"""How readings are taken: raised where that changes, so that those kept are taken again."""
N_PROOF = 256
"""Items an obligation of the proof that every organism must pass before anything is read."""

Progress = Callable[[str, str, int, int], None]


def calibrate(
    nursery: Path | None,
    out: Path,
    *,
    seeds: int | None = None,
    instruments: Sequence[str] = (),
    kept: Sequence[Path] = (),
    keep: Path | None = None,
    measure: bool = True,
    config: AuditConfig | None = None,
    progress: Progress = lambda subject, instrument, done, total: None,
) -> dict[str, Any]:
    """The record of every instrument on every organism of a nursery (`organism train --all`).

    nursery: a folder of trained `NAME-SEED`; None: the shipped organisms, one seed.
    seeds: only seeds below this number; instruments: only these rows of the table.
    kept: files of readings taken before, counted besides; a subject measured here is not counted
        twice. keep: write those taken here to such a file.
    measure: False to take no reading, and count only those of `kept`.
    progress: called with subject, instrument, how many readings are taken and how many there are.

    Raises: OrganismError: no organisms there, an unknown instrument, or kept readings that were
        taken otherwise. Errors of measuring pass through; what was read before is kept.
    """
    known = [i.name for i in INSTRUMENTS]
    for name in instruments:
        if name not in known:
            raise OrganismError(f"Unknown instrument {name!r}: choose from {', '.join(known)}.")
    config = config or AuditConfig()
    chosen = [i for i in INSTRUMENTS if not instruments or i.name in instruments]
    before = [read_kept(path, taken=_taken(config)) for path in kept]
    if not measure and not before:
        raise OrganismError("Nothing is measured, and no file of readings was given (--with): name "
                            "one.")
    here = (_measure(find_subjects(nursery, seeds=seeds), chosen, out, config, progress)
            if measure else Keeping(()))
    if keep is not None:
        write_kept(keep, here, taken=_taken(config))
    every = pooled([here, *before])
    readings = write_readings(out, [
        judged(k.subject, r) for k in every.subjects for rs in k.readings.values() for r in rs])
    evidence = [(k.subject, evidence_of({"evidence": k.evidence}))
                for k in every.subjects if k.evidence is not None]
    found = summarise(readings, evidence, config)
    return found | {"unproven": sorted(every.unproven)}


def _measure(
    subjects: Sequence[Subject],
    instruments: Sequence[Instrument],
    out: Path,
    config: AuditConfig,
    progress: Progress,
) -> Keeping:
    """Read every subject whose organism passes its proof; what `out` holds is taken as it is."""
    subjects, unproven = _proven(subjects, out, progress)
    jobs = [(s, i) for s in subjects for i in instruments if i.suits(s)]
    found: dict[str, Kept] = {}
    case: Case | None = None
    for done, (subject, instrument) in enumerate(jobs):
        progress(subject.name, instrument.name, done, len(jobs))
        if case is None or case.subject != subject:
            # one subject at a time is held in memory
            case = Case(subject, out / "subjects" / subject.name, config)
        said = {instrument.name: _read(case, instrument)}
        so_far = found.get(subject.name)
        evidence = case_part(case)["evidence"] if instrument.name == "ladder" else None
        found[subject.name] = Kept(subject, case.concept.hash, evidence, said) if (
            so_far is None) else replace(so_far, readings={**so_far.readings, **said},
                                         evidence=so_far.evidence or evidence)
    return Keeping(tuple(found.values()), tuple(unproven))


def _proven(
    subjects: Sequence[Subject], out: Path, progress: Progress
) -> tuple[list[Subject], list[str]]:
    """The subjects whose organism passes its proof, and the names of the others: no standards.

    Raises: OrganismError: none passes.
    """
    folders = {s.folder: f"{s.organism}-{s.seed}" for s in subjects}
    passed = {}
    for done, (folder, name) in enumerate(folders.items()):
        progress(name, "proof", done, len(folders))
        path = out / "proofs" / f"{name}.json"
        weights = storage.sha256_file(folder / "model.safetensors")
        kept = storage.read_json(path, schema=SCHEMA) if path.is_file() else {}
        if kept.get("weights") != weights:
            proof = verify_organism(str(folder), n=N_PROOF)
            kept = {"schema": SCHEMA, "weights": weights, "passed": proof.passed,
                    "failed": [asdict(r) for r in proof.rows if not r.passed]}
            storage.write_json(path, kept)
        passed[folder] = bool(kept["passed"])
    good = [s for s in subjects if passed[s.folder]]
    if not good:
        raise OrganismError("No organism here passes its proof: train longer, or other seeds.")
    return good, sorted(name for folder, name in folders.items() if not passed[folder])


def readings_of(out: Path) -> "pd.DataFrame":
    """The readings of a calibration that was finished."""
    return storage.read_table(out / "calibration.parquet")


def summarise(
    readings: "pd.DataFrame", evidence: Sequence[tuple[Subject, Evidence]], config: AuditConfig
) -> dict[str, Any]:
    """Choose thresholds on the even seeds, judge ladder and steering by them, make the record.

    Where one half has no seeds, the thresholds given are used and all seeds are reported.
    """
    import pandas as pd

    import virtuelens

    seeds = sorted({s.seed for s, _ in evidence})
    even, odd = [s for s in seeds if s % 2 == 0], [s for s in seeds if s % 2]
    split = bool(even and odd)
    known = [(e, rungs) for s, e in evidence
             if s.seed in even and (rungs := true_rungs(s)) is not None]
    choice = choose(known if split else [], config.thresholds)
    rows = []
    for subject, e in evidence:
        moved = at(e, choice.thresholds, config.thresholds)
        rows += [judged(subject, r.to_json()) for r in said_by(moved, choice.thresholds)]
    anew = readings["instrument"].isin(["ladder", "steering"])
    took = readings[anew].groupby("instrument")["seconds"].median()
    table = pd.DataFrame(rows)
    if len(table):
        table["seconds"] = table["instrument"].map(took)
        table["true"] = table["true"].astype("boolean")
    return record(
        pd.concat([table, readings[~anew]], ignore_index=True),
        thresholds=asdict(choice.thresholds), chosen_on=even if split else [],
        reported_on=odd if split else seeds,
        choice={"right": choice.right, "shipped_right": choice.shipped_right, "n": choice.n,
                "tied": choice.tied, "shipped": asdict(config.thresholds)},
        version=virtuelens.__version__,
    )


def judged(subject: Subject, reading: Mapping[str, Any]) -> dict[str, Any]:
    """A row of calibration.parquet: whose reading it is, and whether what was said holds."""
    said, true = judge(subject, reading["claim"], reading["said"], reading["value"])
    rungs = true_rungs(subject)
    return {
        "organism": subject.organism, "seed": subject.seed, "concept": subject.concept,
        "control": subject.control, "dose": subject.dose, "d_model": subject.d_model,
        "true_low": None if rungs is None else rungs[0],
        "true_high": None if rungs is None else rungs[1],
        **reading, "said": said, "true": true,
    }


def write_readings(out: Path, rows: Sequence[dict[str, Any]]) -> "pd.DataFrame":
    """calibration.parquet, whole."""
    import pandas as pd

    table = pd.DataFrame(list(rows))
    # None, True and False side by side: Parquet has a nullable truth value
    table["true"] = table["true"].astype("boolean")
    storage.write_table(out / "calibration.parquet", table)
    return table


def _read(case: Case, instrument: Instrument) -> list[dict[str, Any]]:
    """The readings that `out` holds, or new ones."""
    path = case.folder / f"{instrument.name.replace(' ', '-')}.json"
    identity = _identity(case)
    kept = storage.read_json(path, schema=SCHEMA) if path.is_file() else {}
    if kept.get("identity") != identity:
        kept = {"schema": SCHEMA, "identity": identity,
                "readings": [r.to_json() for r in instrument.read(case)]}
        storage.write_json(path, kept)
    readings: list[dict[str, Any]] = kept["readings"]
    return readings


def _taken(config: AuditConfig) -> dict[str, Any]:
    """How readings are taken: those of another way are not counted with them."""
    settings = sorted((k, v) for k, v in asdict(config).items() if k != "thresholds")
    return {"measured": MEASURED, "settings": storage.sha256_text(repr(settings))[:16]}


def _identity(case: Case) -> str:
    settings = sorted((k, v) for k, v in asdict(case.config).items() if k != "thresholds")
    weights = storage.sha256_file(case.subject.folder / "model.safetensors")
    return storage.sha256_text(
        repr((MEASURED, weights, case.concept.hash, settings)))[:16]
