"""virtuelens organism: the models with known truth."""

from pathlib import Path
from typing import Annotated

import typer

from virtuelens.cli.console import err, note, out, print_json, program

app = typer.Typer(help="Organisms: small models whose inner truth is known.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]


@app.command("list")
def list_(json: Json = False) -> None:
    """List the organisms that are at hand."""
    from rich.table import Table
    from rich.text import Text

    from virtuelens.organisms import list_organisms

    found = list_organisms()
    if json:
        print_json([{"name": o.name, "dialect": o.dialect, "about": o.about} for o in found])
        return
    table = Table("name", "dialect", "what is planted")
    for o in found:
        table.add_row(Text(o.name), o.dialect, Text(o.about))
    out.print(table)


@app.command()
def verify(name: str, n: int = 1024, seed: int = 0, json: Json = False) -> None:
    """Prove by interchange intervention what is planted; exit 1 where the proof fails."""
    from rich.table import Table
    from rich.text import Text

    from virtuelens.organisms import verify_organism

    proof = verify_organism(name, n=n, seed=seed)
    if json:
        print_json({
            "organism": name, "passed": proof.passed,
            "rows": [{"name": r.name, "value": r.value, "low": r.low, "high": r.high, "n": r.n,
                      "mark": r.mark, "passed": r.passed} for r in proof.rows],
        })
        raise typer.Exit(0 if proof.passed else 1)
    table = Table("what", "value [95 %]", "n", "pass mark", "")
    for r in proof.rows:
        table.add_row(Text(r.name), f"{r.value:.3f} \\[{r.low:.3f}, {r.high:.3f}]", str(r.n),
                      Text(r.mark), "passed" if r.passed else "[bold red]FAILED[/]")
    out.print(table)
    raise typer.Exit(0 if proof.passed else 1)


@app.command()
def train(
    name: str,
    to: Annotated[Path, typer.Option("--out", help="Directory for the trained model.")],
    seed: int = 0,
) -> None:
    """Train an organism from its recipe (minutes on two cores)."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from virtuelens.organisms import train_organism

    with Progress(TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn(),
                  console=err) as bar:
        task = bar.add_task(f"training {name}", total=None)

        def show(stage: str, done: int, total: int) -> None:
            bar.update(task, description=f"{name}: {stage}", completed=done, total=total)

        train_organism(name, to, seed=seed, progress=show)
    note(f"Trained {name} into {to}. Prove it: {program()} organism verify {to}")
