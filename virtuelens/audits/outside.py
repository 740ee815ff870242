"""Behavioural evidence from outside: what another harness measured of a run's model.

Each source (a log) is one file in the run's folder `outside/`, named by the source's digest, so
that the same log is never counted twice and a run put together anew does not lose it. It stands
beside what virtuelens measured and moves no rung: other items, other scoring, no random directions.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from virtuelens import storage
from virtuelens.audits.run import Run
from virtuelens.errors import ModelMismatchError, StoreError
from virtuelens.values.estimates import Estimate

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
FOLDER = "outside"


@dataclass(frozen=True)
class Outside:
    """One number that another harness measured.

    model: as virtuelens names it. weights: their fingerprint; "" where the harness does not tell.
    metric: what the number is, e.g. `rate`. unit: its unit in words.
    estimate: interval from a cluster bootstrap over the items' groups; null: what chance gives,
        None where nothing says so.
    edits: what was added or clamped while it was measured, one line each; none: the plain model.
    source, digest: name and SHA-256 of the log.
    """

    model: str
    weights: str
    harness: str
    task: str
    concept: str
    behaviour: str
    kind: str
    scorer: str
    metric: str
    unit: str
    estimate: Estimate
    edits: tuple[str, ...]
    where: str
    source: str
    digest: str
    created: str


def add_outside(run: Run, rows: Sequence[Outside]) -> int:
    """Keep the rows with the run; the number that was new.

    Raises: ModelMismatchError: they are of another model than the run's (or its twin).
    StoreError: no rows, or of several sources at once.
    """
    if len({r.digest for r in rows}) != 1:
        raise StoreError(f"{len(rows)} rows of outside evidence from "
                         f"{len({r.digest for r in rows})} sources: expected rows of one source.")
    for row in rows:
        _check(run, row)
    path = run.path / FOLDER / f"{rows[0].digest[:16]}.json"
    if path.is_file():
        return 0
    storage.write_json(path, {"schema": SCHEMA, "rows": [asdict(r) for r in rows]})
    return len(rows)


def outside_rows(run: Run) -> list[Outside]:
    """All rows kept with a run, source by source, in the order in which they were measured.

    Raises: StoreError: a file is damaged.
    """
    found: list[Outside] = []
    for path in sorted((run.path / FOLDER).glob("*.json")):
        try:
            found += [_row(value) for value in storage.read_json(path, schema=SCHEMA)["rows"]]
        except (KeyError, TypeError) as error:
            raise StoreError(f"{path} is damaged ({error}): add its log again.") from error
    return sorted(found, key=lambda r: (r.created, r.source))


def outside_table(run: Run) -> "pd.DataFrame":
    """The rows as a table: the fields of `Outside`, the estimate spread out."""
    import pandas as pd

    names = [f.name for f in fields(Outside) if f.name != "estimate"]
    rows = [{n: getattr(r, n) for n in names} | r.estimate.to_json() for r in outside_rows(run)]
    return pd.DataFrame(rows, columns=[*names, *(f.name for f in fields(Estimate))])


def _check(run: Run, row: Outside) -> None:
    known = [m for m in (run.about["model"], run.about.get("twin")) if m]
    by = "fingerprint" if row.weights else "name"
    if (row.weights or row.model) not in {m[by] for m in known}:
        raise ModelMismatchError(
            f"{row.source} was measured on {row.model}"
            f"{f' (weights {row.weights[:12]})' if row.weights else ''}, the run {run.path} is of "
            f"{' and '.join(m['name'] for m in known)}: add it to a run of that model."
        )


def _row(value: dict[str, Any]) -> Outside:
    return Outside(**value | {"estimate": Estimate(**value["estimate"]),
                              "edits": tuple(value["edits"])})
