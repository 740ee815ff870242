"""virtuelens dashboard: the Streamlit app over a folder of runs, on this machine only."""

import os
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from virtuelens.cli.console import note
from virtuelens.errors import StoreError


def command(
    runs: Annotated[Path, typer.Argument(help="Folder that holds the runs.")] = Path("runs"),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 8501,
) -> None:
    """Open the dashboard on 127.0.0.1 over the runs of a folder."""
    from virtuelens.reports.dashboard import streamlit_command

    if not runs.is_dir():
        raise StoreError(
            f"{runs} is not a folder: name the folder that holds your runs, or make one first "
            "with: virtuelens audit organism:sycophant"
        )
    note(f"Dashboard over {runs} at http://127.0.0.1:{port}  (Ctrl-C stops it)")
    env = os.environ | {"VIRTUELENS_RUNS": str(runs.resolve())}
    raise typer.Exit(subprocess.call(streamlit_command(runs, port), env=env))
