"""What another harness measured of a run's model, as the report shows it."""

from dataclasses import dataclass

from virtuelens.audits.outside import outside_rows
from virtuelens.audits.run import Run
from virtuelens.reports.words import interval, number


@dataclass(frozen=True)
class Told:
    """One line of the table; `edits` is what stood while it was measured."""

    model: str
    task: str
    edits: str
    metric: str
    value: str
    unit: str
    n: int
    chance: str
    source: str


def outside(run: Run) -> list[Told]:
    """The numbers of logs that were added to the run; none where there are no logs.

    Raises: StoreError: a file of them is damaged.
    """
    return [
        Told(r.model, r.task, ", ".join(r.edits) or "none", f"{r.scorer}: {r.metric}",
             interval(r.estimate.to_json(), signed=r.unit == "nats"), r.unit, r.estimate.n,
             "–" if r.estimate.null is None else number(r.estimate.null), r.source)
        for r in outside_rows(run)
    ]
