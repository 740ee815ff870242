"""All instruments on all subjects: each reading kept as it finishes, rates at the end.

    out/calibration.parquet   one row a reading
    out/calibration.json      the record that audit reports quote
    out/calibration.md        the same for people, with figures' numbers
    out/subjects/NAME/        audits, SAEs and readings of one subject

Stopped at any moment, the same command goes on; a reading is taken again where weights, pack or
settings have changed.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from virtuelens import storage
from virtuelens.audits.config import AuditConfig
from virtuelens.calibration.case import Case
from virtuelens.calibration.instruments import INSTRUMENTS, Instrument
from virtuelens.calibration.subjects import Subject, find_subjects
from virtuelens.errors import OrganismError

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
Progress = Callable[[str, str, int, int], None]


def calibrate(
    nursery: Path,
    out: Path,
    *,
    seeds: int | None = None,
    instruments: Sequence[str] = (),
    config: AuditConfig | None = None,
    progress: Progress = lambda subject, instrument, done, total: None,
) -> "pd.DataFrame":
    """Readings of every instrument on every organism of a nursery (`organism train --all`).

    seeds: only seeds below this number; instruments: only these rows of the table.
    progress: called with subject, instrument, how many readings are taken and how many there are.

    Raises: OrganismError: no organisms there, or an unknown instrument. Errors of measuring pass
        through; what was read before is kept.
    """
    known = [i.name for i in INSTRUMENTS]
    for name in instruments:
        if name not in known:
            raise OrganismError(f"Unknown instrument {name!r}: choose from {', '.join(known)}.")
    chosen = [i for i in INSTRUMENTS if not instruments or i.name in instruments]
    subjects = find_subjects(nursery, seeds=seeds)
    jobs = [(s, i) for s in subjects for i in chosen if i.suits(s)]
    rows: list[dict[str, Any]] = []
    cases: dict[str, Case] = {}
    for done, (subject, instrument) in enumerate(jobs):
        progress(subject.name, instrument.name, done, len(jobs))
        if subject.name not in cases:
            # one subject at a time is held in memory
            cases = {subject.name: Case(subject, out / "subjects" / subject.name,
                                        config or AuditConfig())}
        rows += list(_read(cases[subject.name], instrument))
        if done + 1 == len(jobs) or done % 20 == 19:
            write_readings(out, rows)
    return write_readings(out, rows)


def write_readings(out: Path, rows: Sequence[dict[str, Any]]) -> "pd.DataFrame":
    """calibration.parquet, whole."""
    import pandas as pd

    table = pd.DataFrame(list(rows))
    # None, True and False side by side: Parquet has a nullable truth value
    table["true"] = table["true"].astype("boolean")
    storage.write_table(out / "calibration.parquet", table)
    return table


def _read(case: Case, instrument: Instrument) -> Iterator[dict[str, Any]]:
    """The kept readings, or new ones."""
    subject = case.subject
    path = case.folder / f"{instrument.name.replace(' ', '-')}.json"
    identity = _identity(case)
    if path.is_file():
        kept = storage.read_json(path, schema=SCHEMA)
        if kept["identity"] == identity:
            yield from kept["rows"]
            return
    about = {"organism": subject.organism, "seed": subject.seed, "concept": subject.concept,
             "control": subject.control, "dose": subject.dose, "true_rung": subject.true_rung}
    rows = [about | r.to_json() for r in instrument.read(case)]
    storage.write_json(path, {"schema": SCHEMA, "identity": identity, "rows": rows})
    yield from rows


def _identity(case: Case) -> str:
    weights = (case.subject.folder / "model.safetensors").stat()
    return storage.sha256_text(repr((
        weights.st_size, weights.st_mtime_ns, case.concept.hash, case.subject.true_rung,
        sorted(asdict(case.config).items(), key=lambda kv: kv[0]),
    )))[:16]
