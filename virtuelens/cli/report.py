"""virtuelens report: write report.html of a run again."""

from pathlib import Path
from typing import Annotated

import typer

from virtuelens import storage
from virtuelens.cli.audit import print_table
from virtuelens.cli.console import Json, note, print_json


def command(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    json: Json = False,
) -> None:
    """Print the verdict table of a run and write its report.html anew."""
    from virtuelens.audits.run import open_run
    from virtuelens.reports.html import write_report

    opened = open_run(run)
    if json:
        print_json(storage.read_json(opened.path / "report.json"))
    else:
        print_table(opened)
    note(f"Report: {write_report(run)}")
