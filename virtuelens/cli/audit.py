"""virtuelens audit: the main job."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from virtuelens.cli.console import err, fail, note, out, print_json, program
from virtuelens.cli.interrupt import look

if TYPE_CHECKING:
    from virtuelens.audits.audit import Step
    from virtuelens.audits.run import Run


def command(
    model: Annotated[str, typer.Argument(
        help="Hugging Face id, local directory, or organism:NAME.")],
    twin: Annotated[str | None, typer.Option(
        help="A second model that goes through the same steps, side by side.")] = None,
    concepts: Annotated[str | None, typer.Option(
        help="Packs, separated by commas; by default all with data in the model's dialect.",
    )] = None,
    to: Annotated[Path | None, typer.Option("--out", help="Run directory to write (or to go on "
        "in, where it holds the same audit unfinished). Default: runs/<time>-<model>.")] = None,
    quick: Annotated[bool, typer.Option(
        help="Fewer permutations, doses and items: a first look with wider intervals.")] = False,
    seed: Annotated[int, typer.Option(
        min=0, help="Seed of splits, permutations and directions.")] = 0,
    json: Annotated[bool, typer.Option(
        "--json", help="Print report.json on standard output, and nothing else there.")] = False,
) -> None:
    """Audit a model: how far is each concept earned, from absent to specific?

    Exit code 2 where a concept could not be measured; the others are in the report.
    """
    from dataclasses import replace

    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    note(f"Auditing {model}" + (f" beside its twin {twin}" if twin else "") + " …")
    start = time.perf_counter()
    from virtuelens.audits.audit import audit, new_folder
    from virtuelens.audits.config import AuditConfig
    from virtuelens.audits.config import quick as quick_config
    from virtuelens.reports.html import write_report

    config = replace(quick_config() if quick else AuditConfig(), seed=seed)
    names = [c.strip() for c in concepts.split(",") if c.strip()] if concepts else None
    path = to or new_folder(model)
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(bar_width=24),
        TextColumn("{task.completed}/{task.total}"), TimeElapsedColumn(),
        console=err, disable=not err.is_terminal,
    ) as bar:
        task = bar.add_task("loading", total=None)
        last: list[str] = []

        def show(step: "Step") -> None:
            look()
            line = f"{step.model}: {step.concept}: {step.stage}" if step.concept else step.stage
            bar.update(task, description=line, completed=step.done, total=step.total)
            # without a terminal the bar cannot be seen: say each concept once
            key = f"{step.model}: {step.concept}"
            if not err.is_terminal and step.concept and key not in last:
                last[:] = [key]
                note(f"  [{step.done + 1}/{step.total}] {key}")

        try:
            run = audit(model, concepts=names, twin=twin, out=path, config=config, progress=show)
        except KeyboardInterrupt:
            bar.stop()
            note(f"Interrupted. What is finished is kept in {path}. To go on, run the same "
                 f"command with: --out {path}")
            sys.exit(130)
    page = write_report(run.path)
    if json:
        from virtuelens import storage

        print_json(storage.read_json(run.path / "report.json"))
    else:
        print_table(run)
    note(f"Done in {time.perf_counter() - start:.0f} s.")
    note(f"Report:    {page}  (open it in a browser; it needs no network)")
    note(f"Dashboard: {program()} dashboard {run.path.parent}")
    if run.not_audited:
        for left in run.not_audited:
            fail(f"{left['concept']} in {left['model']} was not audited: {left['reason']}")
        raise typer.Exit(2)


def print_table(run: "Run") -> None:
    """The verdict table, model and twin one below the other, and why each climb stopped."""
    from itertools import groupby

    from rich import box
    from rich.table import Table
    from rich.text import Text

    from virtuelens.reports.calibrated import calibrated_rungs
    from virtuelens.reports.summary import table_rows

    table = Table(title="How far each claim is earned", title_justify="left", box=box.SIMPLE_HEAD,
                  padding=(0, 1, 0, 0))
    table.add_column("concept\n  model", overflow="fold")
    table.add_column("highest rung\n(of 5)", no_wrap=True)
    table.add_column("AUROC [95 %]\nshuffled labels", justify="right", no_wrap=True)
    table.add_column("slope, nats/σ [95 %]\nrandom, 99 %", justify="right", no_wrap=True)
    findings = {"findings": list(run.findings)}
    for concept, rows in groupby(table_rows(findings), key=lambda row: row.concept):
        table.add_row(Text(concept, style="bold"))
        for row in rows:
            table.add_row(
                Text(f"  {row.model}"), Text(f"{row.rung}\n{row.ladder}"),
                Text(f"{row.auroc}\n{row.auroc_null}"), Text(f"{row.slope}\n{row.slope_null}"),
            )
    out.print(table)
    for f in run.findings:
        out.print(Text.assemble(
            (f"{f['concept']} in {f['model']}: ", "bold"),
            f"rung {f['rung']} ({f['rung_name']}). Not higher: {f['stopped_because']}.",
        ))
    for line in calibrated_rungs(run.findings):
        out.print(Text(line, style="dim"))
