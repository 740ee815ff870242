"""All instruments on all subjects: each reading kept as it finishes, the record at the end.

    out/proofs/NAME-SEED.json whether it passes its proof; who does not is left out
    out/calibration.parquet   one row a reading
    out/calibration.json      the record that audit reports quote (written with the pages)
    out/subjects/NAME/        audits, SAEs and readings of one subject

Stopped at any moment, the same command goes on; a reading is taken again where weights, pack or
settings have changed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from virtuelens import storage
from virtuelens.audits.config import AuditConfig
from virtuelens.calibration.case import Case
from virtuelens.calibration.instruments import INSTRUMENTS, Instrument, case_evidence, said_by
from virtuelens.calibration.rates import record
from virtuelens.calibration.subjects import Subject, find_subjects
from virtuelens.calibration.thresholds import at, choose
from virtuelens.calibration.truth import judge, true_rungs
from virtuelens.errors import OrganismError
from virtuelens.organisms.verify import verify_organism

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
MEASURED = 2
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
    config: AuditConfig | None = None,
    progress: Progress = lambda subject, instrument, done, total: None,
) -> dict[str, Any]:
    """The record of every instrument on every organism of a nursery (`organism train --all`).

    nursery: a folder of trained `NAME-SEED`; None: the shipped organisms, one seed.
    seeds: only seeds below this number; instruments: only these rows of the table.
    progress: called with subject, instrument, how many readings are taken and how many there are.

    Raises: OrganismError: no organisms there, or an unknown instrument. Errors of measuring pass
        through; what was read before is kept.
    """
    known = [i.name for i in INSTRUMENTS]
    for name in instruments:
        if name not in known:
            raise OrganismError(f"Unknown instrument {name!r}: choose from {', '.join(known)}.")
    config = config or AuditConfig()
    chosen = [i for i in INSTRUMENTS if not instruments or i.name in instruments]
    subjects, unproven = _proven(find_subjects(nursery, seeds=seeds), out, progress)
    jobs = [(s, i) for s in subjects for i in chosen if i.suits(s)]
    rows: list[dict[str, Any]] = []
    cases: dict[str, Case] = {}
    for done, (subject, instrument) in enumerate(jobs):
        progress(subject.name, instrument.name, done, len(jobs))
        if subject.name not in cases:
            # one subject at a time is held in memory
            cases = {subject.name: Case(subject, out / "subjects" / subject.name,
                                        config)}
        rows += list(_read(cases[subject.name], instrument))
        if done + 1 == len(jobs) or done % 20 == 19:
            write_readings(out, rows)
    write_readings(out, rows)
    cases_of = {s.name: Case(s, out / "subjects" / s.name, config) for s, i in jobs
                if i.name == "ladder"}
    found = summarise(readings_of(out), list(cases_of.values()), config)
    return found | {"unproven": unproven}


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
    """The readings of a calibration that were written so far."""
    return storage.read_table(out / "calibration.parquet")


def summarise(
    readings: "pd.DataFrame", ladders: Sequence[Case], config: AuditConfig
) -> dict[str, Any]:
    """Choose thresholds on the even seeds, judge ladder and steering by them, make the record.

    Where one half has no seeds, the thresholds given are used and all seeds are reported.
    """
    import pandas as pd

    import virtuelens

    evidence = [(c.subject, case_evidence(c)) for c in ladders]
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


def _read(case: Case, instrument: Instrument) -> Iterator[dict[str, Any]]:
    """The kept readings, or new ones, each with what is true."""
    path = case.folder / f"{instrument.name.replace(' ', '-')}.json"
    identity = _identity(case)
    kept = storage.read_json(path, schema=SCHEMA) if path.is_file() else {}
    if kept.get("identity") != identity:
        kept = {"schema": SCHEMA, "identity": identity,
                "readings": [r.to_json() for r in instrument.read(case)]}
        storage.write_json(path, kept)
    yield from (judged(case.subject, r) for r in kept["readings"])


def _identity(case: Case) -> str:
    settings = sorted((k, v) for k, v in asdict(case.config).items() if k != "thresholds")
    weights = storage.sha256_file(case.subject.folder / "model.safetensors")
    return storage.sha256_text(
        repr((MEASURED, weights, case.concept.hash, settings)))[:16]
