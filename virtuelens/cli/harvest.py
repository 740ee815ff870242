"""virtuelens harvest: read activations of a pack into a store."""

from pathlib import Path
from typing import Annotated

import typer

from virtuelens.cli.console import Json, err, note, print_json


def command(
    model: Annotated[str, typer.Argument(
        help="Hugging Face id, local directory, or organism:NAME.")],
    pack: Annotated[str, typer.Argument(help="Name or folder of a concept pack.")],
    to: Annotated[Path, typer.Option("--out", help="Folder of the store; an unfinished harvest "
        "of the same thing goes on there.")],
    points: Annotated[str, typer.Option(
        help="Hook points, separated by commas; `resid_post` is every layer's.")] = "resid_post",
    positions: Annotated[str, typer.Option(
        help="Rows of the positions table, separated by commas; by default the pack's.")] = "",
    json: Json = False,
) -> None:
    """Run a pack's texts through a model and store what was asked for."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from virtuelens.activations.harvest import harvest
    from virtuelens.concepts.pack import load_concept
    from virtuelens.models import load_model

    loaded = load_model(model)
    concept = load_concept(pack, dialect=loaded.info.dialect)
    where = positions.split(",") if positions else list(concept.positions)
    at: str | list[str] = points.split(",") if "," in points else points
    with Progress(TextColumn("harvest"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
                  TimeElapsedColumn(), console=err) as bar:
        task = bar.add_task("harvest", total=None)
        try:
            acts = harvest(
                loaded, concept, points=at, positions=where, out=to,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
        except KeyboardInterrupt:
            bar.stop()
            note(f"Interrupted. Whole shards are kept in {to}; the same command goes on.")
            raise typer.Exit(130) from None
    if json:
        print_json({"store": str(to), "rows": len(acts.index), "points": list(acts.points)})
        return
    note(f"Stored {len(acts.index)} rows of {len(acts.points)} hook points in {to}")
