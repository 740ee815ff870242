"""All commands in one Typer app, and the one place where errors become a line and an exit code.

Exit codes: 0 done, 1 a check or proof failed, 2 something the user can mend, 130 interrupted.
"""

import os
import sys

import typer

from virtuelens.cli import (
    audit,
    calibrate,
    compare_packs,
    concepts,
    dashboard,
    evidence,
    harvest,
    model,
    organism,
    probe,
    report,
    sae,
    serve,
    steer,
    steer_evaluate,
    steer_pack,
    store,
)
from virtuelens.cli.console import fail
from virtuelens.cli.interrupt import watch
from virtuelens.errors import VirtueLensError

app = typer.Typer(
    name="virtuelens",
    help="Find, show and steer virtue and welfare features in language models, "
    "every number with its control.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("audit")(audit.command)
app.command("calibrate")(calibrate.command)
app.command("compare-packs")(compare_packs.command)
app.command("model")(model.command)
app.command("harvest")(harvest.command)
app.command("probe")(probe.command)
app.command("serve")(serve.command)
app.command("report")(report.command)
app.command("evidence")(evidence.command)
app.command("dashboard")(dashboard.command)
app.add_typer(concepts.app, name="concepts")
app.add_typer(organism.app, name="organism")
app.add_typer(sae.app, name="sae")
steer.app.command("evaluate")(steer_evaluate.evaluate)
steer.app.command("pack")(steer_pack.make)
steer.app.command("show")(steer_pack.show)
app.add_typer(steer.app, name="steer")
app.add_typer(store.app, name="store")


def _version(asked: bool) -> None:
    if asked:
        from virtuelens import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and stop."
    ),
    device: str = typer.Option(
        "", help="Where models run, before the command: cpu, cuda, cuda:1 (else VIRTUELENS_DEVICE; "
        "by default the first GPU)."
    ),
    dtype: str = typer.Option(
        "", help="What models compute in, before the command: float32, bfloat16, float16, fast "
        "(else VIRTUELENS_DTYPE)."
    ),
) -> None:
    """Find, show and steer virtue and welfare features in language models."""
    del version  # its callback has printed it and left
    for variable, value in (("VIRTUELENS_DEVICE", device), ("VIRTUELENS_DTYPE", dtype)):
        if value:
            os.environ[variable] = value


def main() -> None:
    """Run the command line; a user's error is one line on standard error and exit code 2."""
    watch()
    try:
        app()
    except VirtueLensError as error:
        fail(str(error))
        sys.exit(2)
    except BrokenPipeError:  # the reader of our output has gone (| head)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        fail("Interrupted.")
        sys.exit(130)
