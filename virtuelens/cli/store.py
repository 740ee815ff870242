"""virtuelens store: look after stores of activations."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from virtuelens.cli.console import Json, note, out, print_json
from virtuelens.cli.harvest import go_on

app = typer.Typer(help="Check and repair stores of activations.", no_args_is_help=True)


@app.command("check")
def check(
    store: Annotated[Path, typer.Argument(help="Folder of a store.")],
    repair: Annotated[bool, typer.Option(
        "--repair", help="Make again just what is damaged or missing.")] = False,
    json: Json = False,
) -> None:
    """Compare every file with the checksum in the manifest; exit code 1 where one differs."""
    from virtuelens.activations.manifest import read_manifest
    from virtuelens.activations.writing import damage

    kept = read_manifest(store)
    damaged = damage(store, kept)
    wrong = damaged if kept["complete"] else [*damaged, f"{store} is unfinished"]
    files = 1 + len(kept["shards"])
    if wrong and repair:
        for line in wrong:
            note(line)
        go_on(store, accept=[])
        now = read_manifest(store)
        left = damage(store, now)
        if json:
            print_json({"store": str(store), "damaged": wrong, "repaired": not left})
        elif not left:
            done = f"Repaired: {len(damaged)} of {files} files were made again" if damaged else (
                "Finished")
            out.print(f"{done}; all {1 + len(now['shards'])} are whole.")
        for line in left:
            note(line)
        raise typer.Exit(1 if left else 0)
    if json:
        print_json({"store": str(store), "files": files, "damaged": wrong})
    else:
        for line in wrong:
            out.print(escape(line), soft_wrap=True)
        again = f"virtuelens store check {escape(str(store))} --repair"
        found = f"{len(damaged)} of {files} files are damaged; they are made again with: {again}"
        said = found if damaged else f"It is finished with: {again}"
        out.print(said if wrong else f"All {files} files are whole.", soft_wrap=True)
    if wrong:
        raise typer.Exit(1)
