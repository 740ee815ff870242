"""virtuelens organism: the models with known truth."""

from pathlib import Path
from typing import Annotated

import typer

from virtuelens.cli.console import Json, err, note, out, print_json, program
from virtuelens.cli.interrupt import look

app = typer.Typer(help="Organisms: small models whose inner truth is known.", no_args_is_help=True)


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
def show(name: str, json: Json = False) -> None:
    """Print an organism's card: its process, its latent variables, and what it does not model."""
    from virtuelens import catalog
    from virtuelens.errors import OrganismError

    folder = catalog.find("organisms", name.removeprefix("organism:"), "card.md")
    if folder is None:
        known = ", ".join(catalog.names("organisms", "card.md")) or "none"
        raise OrganismError(f"No card of an organism {name!r}: there are {known}.")
    if json:
        from dataclasses import asdict

        from virtuelens.organisms.recipe import FILE, read_recipe

        print_json({"recipe": asdict(read_recipe(folder / FILE)), "folder": str(folder),
                    "card": (folder / "card.md").read_text(encoding="utf-8")})
        return
    out.print((folder / "card.md").read_text(encoding="utf-8"), markup=False, soft_wrap=True)


@app.command()
def train(
    to: Annotated[Path, typer.Option("--out", help="Directory for the trained model; with --all "
        "or --seeds, a folder that gets one NAME-SEED each.")],
    name: Annotated[str, typer.Argument(help="An organism; left out with --all.")] = "",
    seed: int = 0,
    every: Annotated[bool, typer.Option("--all", help="Every organism that has a recipe.")] = False,
    seeds: Annotated[int, typer.Option(min=0, help="Train seeds 0 to N-1, one after the other; "
        "the same command goes on where it was stopped.")] = 0,
    doses: Annotated[bool, typer.Option("--doses", help="With --all: NAME@25 and NAME@50 too, "
        "with part of the planted effect.")] = False,
    reduced: Annotated[bool, typer.Option("--reduced", help="A smaller size that trains in "
        "seconds; verify says whether it passes its proof.")] = False,
    json: Json = False,
) -> None:
    """Train organisms from their recipes (minutes each on two cores)."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from virtuelens import catalog
    from virtuelens.errors import OrganismError
    from virtuelens.organisms import train_organism
    from virtuelens.organisms.nursery import train_nursery
    from virtuelens.organisms.recipe import FILE, dose_series

    if bool(name) == every:
        raise OrganismError("Name one organism, or give --all (and no name).")
    many = every or seeds > 0
    with Progress(TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn(),
                  console=err, disable=not err.is_terminal) as bar:
        task = bar.add_task("loading", total=None)
        said: list[str] = []

        def one(stage: str, done: int, total: int) -> None:
            look()
            bar.update(task, description=f"{name}: {stage}", completed=done, total=total)

        def several(shown: str, done: int, total: int, stage: str, step: int, steps: int) -> None:
            look()
            bar.update(task, description=f"[{done + 1}/{total}] {shown}: {stage}", completed=step,
                       total=steps)
            if not err.is_terminal and shown not in said:
                said.append(shown)
                note(f"  [{done + 1}/{total}] {shown}")

        try:
            if many:
                names = catalog.names("organisms", FILE) if every else [name]
                names += dose_series() if doses and every else []
                made = train_nursery(names, to, seeds=max(seeds, 1), small=reduced,
                                     progress=several)
            else:
                made = [train_organism(name, to, seed=seed, small=reduced, progress=one)]
        except KeyboardInterrupt:
            bar.stop()
            note(f"Interrupted. Finished organisms are kept in {to}; the same command goes on."
                 if many else "Interrupted. Nothing was written.")
            raise typer.Exit(130) from None
    if json:
        print_json([str(folder) for folder in made])
    elif many:
        note(f"Trained into {to}. Prove each: {program()} organism verify {to}/NAME-SEED")
    else:
        note(f"Trained {name} into {to}. Prove it: {program()} organism verify {to}")
