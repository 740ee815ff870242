"""virtuelens evidence: take what another harness measured (an Inspect log) into a run."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from virtuelens.cli.console import Json, note, out, print_json, program
from virtuelens.errors import StoreError


def command(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    logs: Annotated[list[Path] | None, typer.Argument(
        help="Inspect logs (.eval or .json) of the run's model; none: show what is there.")] = None,
    json: Json = False,
) -> None:
    """Add Inspect logs to a run as behavioural evidence, and show all that it has."""
    from rich.table import Table
    from rich.text import Text

    from virtuelens.audits.outside import add_outside, outside_rows
    from virtuelens.audits.run import open_run

    opened = open_run(run)
    if logs:
        try:
            from virtuelens.integrations.inspect.logs import read_log
            read = [read_log(path) for path in logs]
        except ModuleNotFoundError as error:
            raise StoreError("Reading Inspect logs needs inspect-ai: pip install "
                             "'virtuelens[evaluate]'.") from error
        for path, numbers in zip(logs, read, strict=True):
            new = add_outside(opened, numbers)
            note(f"{path}: {new} rows added" if new else f"{path}: is there already")
        note(f"To see them in the report: {program()} report {run}")
    rows = outside_rows(opened)
    if json:
        print_json([asdict(row) for row in rows])
        return
    shown = Table("model", "task", "edits", "metric", "value", "95 % interval", "n", "chance")
    for row in rows:
        e = row.estimate
        cells = (row.model, row.task, ", ".join(row.edits) or "none", row.metric, f"{e.value:.3f}",
                 f"{e.low:.3f} to {e.high:.3f}", str(e.n),
                 "" if e.null is None else f"{e.null:.3f}")
        shown.add_row(*(Text(cell) for cell in cells))
    out.print(shown)
