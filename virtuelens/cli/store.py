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
    from virtuelens import storage
    from virtuelens.activations.manifest import MANIFEST, SCHEMA
    from virtuelens.activations.writing import damage

    kept = storage.read_json(store / MANIFEST, schema=SCHEMA)
    wrong = damage(store, kept)
    if not kept["complete"]:
        wrong.append(f"{store} is unfinished")
    files = 1 + len(kept["shards"])
    if wrong and repair:
        for line in wrong:
            note(line)
        go_on(store, accept=[])
        left = damage(store, storage.read_json(store / MANIFEST, schema=SCHEMA))
        if json:
            print_json({"store": str(store), "damaged": wrong, "repaired": not left})
        else:
            out.print(f"Repaired: {len(wrong)} of {files} files were made again, all are whole.")
        return
    if json:
        print_json({"store": str(store), "files": files, "damaged": wrong})
    else:
        for line in wrong:
            out.print(escape(line), soft_wrap=True)
        again = f"virtuelens store check {escape(str(store))} --repair"
        out.print(
            f"{len(wrong)} of {files} files are damaged; they are made again with: {again}"
            if wrong else f"All {files} files are whole.", soft_wrap=True,
        )
    if wrong:
        raise typer.Exit(1)
