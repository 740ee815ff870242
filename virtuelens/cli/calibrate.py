"""virtuelens calibrate: how often each instrument is right, on organisms whose truth is proven."""

from pathlib import Path
from typing import Annotated

import typer

from virtuelens.cli.console import Json, err, note, out, print_json, program
from virtuelens.cli.interrupt import look


def command(
    to: Annotated[Path, typer.Option("--out", help="Folder for readings and pages; the same "
        "command goes on where it was stopped.")] = Path("runs/calibration"),
    nursery: Annotated[Path | None, typer.Option(help="Folder of trained organisms NAME-SEED "
        "(organism train --all --seeds N); by default the shipped ones, one seed.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Only seeds below N.")] = None,
    instruments: Annotated[str, typer.Option(help="Only these, comma separated.")] = "",
    with_: Annotated[list[Path] | None, typer.Option("--with", help="Count the readings of this "
        "file, or of every .jsonl in this folder, too (may be given several times).")] = None,
    only_kept: Annotated[bool, typer.Option("--only-kept", help="Measure nothing: count the "
        "readings of --with alone (seconds).")] = False,
    keep: Annotated[Path | None, typer.Option(help="Write the readings taken here to this file, "
        "for --with elsewhere.")] = None,
    publish: Annotated[Path | None, typer.Option(help="Also write calibration.md and "
        "calibration.json into this folder (the project's own is docs).")] = None,
    json: Json = False,
) -> None:
    """Measure true and false positives of every instrument on the organisms (minutes a seed)."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )
    from rich.table import Table
    from rich.text import Text

    from virtuelens.calibration.calibrate import calibrate
    from virtuelens.reports.calibration import write_calibration
    from virtuelens.storage import write_bytes

    chosen = [i.strip() for i in instruments.split(",") if i.strip()]
    kept = [f for p in with_ or [] for f in (sorted(p.glob("*.jsonl")) if p.is_dir() else [p])]
    with Progress(TextColumn("{task.description}", markup=False), BarColumn(),
                  MofNCompleteColumn(), TimeElapsedColumn(), console=err,
                  disable=not err.is_terminal) as bar:
        task = bar.add_task("loading", total=None)
        said: list[str] = []

        def show(subject: str, instrument: str, done: int, total: int) -> None:
            look()
            bar.update(task, description=f"{subject}: {instrument}", completed=done, total=total)
            if not err.is_terminal and subject not in said:
                said.append(subject)
                note(f"  [{done}/{total}] {subject}")

        try:
            record = calibrate(nursery, to, seeds=seeds, instruments=chosen,
                               kept=kept, keep=keep, measure=not only_kept, progress=show)
        except KeyboardInterrupt:
            bar.stop()
            note(f"Interrupted. Readings taken so far are kept in {to}; the same command goes on.")
            raise typer.Exit(130) from None
    written = write_calibration(record, to)
    if publish is not None:
        for path in written:
            if path.suffix in {".md", ".json"}:
                write_bytes(publish / path.name, path.read_bytes())
    if json:
        print_json(record)
        return
    table = Table("instrument", "claim", "right where it holds", "made where it does not")
    for instrument, claims in record["instruments"].items():
        for claim, rate in claims.items():
            table.add_row(Text(instrument), Text(claim), _share(rate["right"]),
                          _share(rate["false_positive"]))
    out.print(table)
    note(f"Seeds {record['seeds']}; ladder and steering reported on {record['reported_on']}.")
    note("Written: " + ", ".join(str(p) for p in written) + f". See also: {program()} organism "
         "verify NAME.")


def _share(rate: dict[str, float] | None) -> str:
    if rate is None:
        return "–"
    hits = round(rate["value"] * rate["n"])
    return f"{hits} of {rate['n']} \\[{rate['low']:.2f}, {rate['high']:.2f}]"
