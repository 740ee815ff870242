"""virtuelens report: write report.html of a run again."""

from pathlib import Path
from typing import Annotated

import typer

from virtuelens.cli.audit import print_table
from virtuelens.cli.console import note


def command(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
) -> None:
    """Print the verdict table of a run and write its report.html anew."""
    from virtuelens.audits.run import open_run
    from virtuelens.reports.html import write_report

    print_table(open_run(run))
    note(f"Report: {write_report(run)}")
