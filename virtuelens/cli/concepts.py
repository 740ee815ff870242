"""virtuelens concepts: list, show, check, make and import concept packs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from virtuelens.cli.console import Json, note, out, print_json

if TYPE_CHECKING:
    from virtuelens.concepts.importing import Imported

app = typer.Typer(help="Concept packs: list, show, check, new, import.", no_args_is_help=True)
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
                     "dialects": list(p.dialects), "beside": p.beside,
                     "path": str(p.path)} for p in packs])
        return
    table = Table("name", "version", "title", "dialects", "rival or part of")
    for p in packs:
        table.add_row(*map(Text, (p.name, p.version, p.title, ", ".join(p.dialects), p.beside)))
    out.print(table)


@app.command()
def show(name: str, dialect: Dialect = "english", n: int = 3, json: Json = False) -> None:
    """Show what a pack holds: definition, what it is not, sizes, a few pairs."""
    from rich.text import Text

    from virtuelens.concepts.pack import load_concept
    from virtuelens.concepts.reading import SPLITS

    c = load_concept(name, dialect=dialect)
    sizes = {split: c.n_pairs(split) for split in SPLITS}
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
                     "advice": r.advice, "interval": r.interval} for r in rows])
        raise typer.Exit(0 if passed else 1)
    table = Table("check", "value [95 %]", "limit", "", "advice")
    for r in rows:
        interval = "" if r.interval is None else f" [{r.interval[0]:g}, {r.interval[1]:g}]"
        table.add_row(Text(r.name), Text(f"{r.value}{interval}"), Text(str(r.limit)),
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


@app.command("import")
def import_(
    format: Annotated[
        str | None, typer.Argument(help="A format of --list.", show_default=False)
    ] = None,
    files: Annotated[
        list[str] | None,
        typer.Argument(help="One file or more; for datasets a folder or OWNER/NAME.",
                       show_default=False),
    ] = None,
    name: Annotated[str, typer.Option("--as", help="Name of the pack.", show_default=False)] = "",
    folder: Annotated[Path, typer.Option("--out", help="Where NAME is written.")] = Path(),
    definition: Annotated[str, typer.Option(help="What label 1 means, in your words.")] = "",
    licence: Annotated[str, typer.Option(help="Licence of the source.")] = "",
    flip: Annotated[bool, typer.Option("--flip", help="Swap the two labels.")] = False,
    without: Annotated[
        list[str] | None,
        typer.Option(help="Leave out what also stands in this pack or file (repeatable)."),
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="OURS=THEIRS, as in text=review (repeatable).")
    ] = None,
    positive: Annotated[
        list[str] | None, typer.Option(help="A value that means label 1 (repeatable).")
    ] = None,
    negative: Annotated[
        list[str] | None, typer.Option(help="A value that means label 0 (repeatable).")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split of a dataset (else train).")] = None,
    encoding: Annotated[str, typer.Option(help="Encoding of the files.")] = "utf-8",
    seed: Annotated[int, typer.Option(help="Deals groups to main, shifted and behaviour.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a pack.")] = False,
    list_formats: Annotated[bool, typer.Option("--list", help="List the formats.")] = False,
    json: Json = False,
) -> None:
    """Make a pack from a published data set: virtuelens concepts import FORMAT FILE --as NAME.

    What stays on one side of a split (the group) depends on the format and stands in --list: the
    question, topic, category or instruction; single texts stand in blocks of topics. Formats
    without labels give neutral texts.
    """
    from virtuelens.concepts.importing import Asked, Wish, import_pack
    from virtuelens.concepts.importing.columns import named_columns
    from virtuelens.errors import PackError

    if list_formats:
        _list_formats(json)
        return
    if not format or not name:
        raise PackError(
            "Usage: virtuelens concepts import FORMAT FILE --as NAME. Formats: virtuelens concepts "
            "import --list."
        )
    asked = Asked(encoding, named_columns(column or []), tuple(positive or ()),
                  tuple(negative or ()), split)
    note("Reading, then measuring what words alone give away (ten thousand pairs: two minutes) ...")
    done = import_pack(format, files or [], Wish(
        name, folder, definition, licence, flip, tuple(without or ()), overwrite, seed, asked,
    ))  # fmt: skip
    _print_import(done, json)


def _list_formats(json: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from virtuelens.concepts.importing import IMPORTERS

    if json:
        print_json([{"name": r.name, "about": r.about, "grouped_by": r.grouped_by,
                     "labelled": r.labelled, "takes": sorted(r.takes)}
                    for r in IMPORTERS.values()])
        return
    table = Table("format", "what it reads", "groups")
    for r in IMPORTERS.values():
        table.add_row(Text(r.name), Text(r.about), Text(r.grouped_by))
    out.print(table)


def _print_import(done: "Imported", json: bool) -> None:
    """What was written, which label is which, and what words alone give away."""
    from rich.text import Text

    if json:
        print_json(done.as_json())
        return
    for line in done.lines():
        out.print(Text(line), soft_wrap=True)
