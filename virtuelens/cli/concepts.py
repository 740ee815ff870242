"""virtuelens concepts: list, show, check and make concept packs."""

from pathlib import Path
from typing import Annotated

import typer

from virtuelens.cli.console import Json, note, out, print_json

app = typer.Typer(help="Concept packs: list, show, check, new.", no_args_is_help=True)
Dialect = Annotated[str, typer.Option(help="Which dialect of the pack.")]


@app.command("list")
def list_(json: Json = False) -> None:
    """List the packs that can be found."""
    from rich.table import Table
    from rich.text import Text

    from virtuelens.concepts.pack import list_concepts

    packs = list_concepts()
    if json:
        print_json([{"name": p.name, "version": p.version, "title": p.title,
                     "dialects": list(p.dialects), "path": str(p.path)} for p in packs])
        return
    table = Table("name", "version", "title", "dialects")
    for p in packs:
        table.add_row(Text(p.name), Text(p.version), Text(p.title), Text(", ".join(p.dialects)))
    out.print(table)


@app.command()
def show(name: str, dialect: Dialect = "english", n: int = 3, json: Json = False) -> None:
    """Show what a pack holds: definition, what it is not, sizes, a few pairs."""
    from rich.text import Text

    from virtuelens.concepts.pack import load_concept

    c = load_concept(name, dialect=dialect)
    sizes = {s: len(c.in_split(s)) // 2 for s in ("main", "shifted", "transfer")}  # type: ignore[arg-type]
    if json:
        print_json({
            "name": c.name, "version": c.version, "title": c.title, "definition": c.definition,
            "is_not": list(c.is_not), "theory": c.theory, "confounds": list(c.confounds),
            "dialect": c.dialect, "positions": list(c.positions), "pairs": sizes,
            "behaviours": {b.name: {"kind": b.kind, "of": b.of, "items": len(b.items)}
                           for b in c.behaviours},
            "hash": c.hash,
        })
        return
    out.print(Text(f"{c.title}  ({c.name} {c.version}, dialect {c.dialect})"), style="bold")
    out.print(Text(c.definition))
    for line in c.is_not:
        out.print(Text(f"  not: {line}"))
    for line in c.confounds:
        out.print(Text(f"  confound: {line}"))
    out.print("pairs: " + ", ".join(f"{k} {v}" for k, v in sizes.items()))
    for b in c.behaviours:
        out.print(Text(f"behaviour {b.name} ({b.kind}, {len(b.items)} items): {b.of}"))
    for e in c.in_split("main")[: 2 * n]:
        out.print(Text(f"  [{e.label}] {e.id} ({e.group}): {e.text.words!r}"))


@app.command()
def check(name: str, dialect: Dialect = "english", json: Json = False) -> None:
    """Check a pack: duplicates, leakage of the label by words, length or groups."""
    from rich.table import Table
    from rich.text import Text

    from virtuelens.concepts.check import check_concept
    from virtuelens.concepts.pack import load_concept

    rows = check_concept(load_concept(name, dialect=dialect))
    passed = all(r.passed for r in rows)
    if json:
        print_json([{"check": r.name, "value": r.value, "limit": r.limit, "passed": r.passed,
                     "advice": r.advice} for r in rows])
        raise typer.Exit(0 if passed else 1)
    table = Table("check", "value", "limit", "", "advice")
    for r in rows:
        table.add_row(Text(r.name), Text(str(r.value)), Text(str(r.limit)),
                      "passed" if r.passed else "[bold red]look[/]", Text(r.advice))
    out.print(table)
    raise typer.Exit(0 if passed else 1)


@app.command()
def new(
    name: str, folder: Annotated[Path, typer.Option(help="Where to put it.")] = Path(),
    json: Json = False,
) -> None:
    """Make a small valid pack to start from."""
    from virtuelens.concepts.new import new_concept

    path = new_concept(name, folder)
    if json:
        print_json({"folder": str(path)})
        return
    note(f"Made {path}. Edit it, then: virtuelens concepts check {path}")
