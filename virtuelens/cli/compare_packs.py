"""virtuelens compare-packs: train on one pack, test on the others, and see who agrees with whom."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from virtuelens.cli.console import Json, note, out, print_json

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table


def command(
    model: Annotated[str, typer.Argument(
        help="Hugging Face id, local directory, or organism:NAME.")],
    packs: Annotated[str, typer.Option(help="Names or folders of packs, comma separated; public "
        "sets come in with concepts import.")],
    to: Annotated[Path | None, typer.Option(
        "--out", help="Folder to write (default runs/<time>-<model>-packs).")] = None,
    methods: Annotated[str, typer.Option(
        help="Probe families to choose from, comma separated.")] = "diff_means",
    positions: Annotated[str, typer.Option(help="Reading positions, comma separated; by default "
        "those that all packs name.")] = "",
    permutations: Annotated[int, typer.Option(min=20, help="Draws of the null.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of splits and draws.")] = 0,
    json: Json = False,
) -> None:
    """Generalisation matrix and agreement of the probes of several packs, with packs.html."""
    from virtuelens.audits.audit import new_folder
    from virtuelens.audits.packs import study_packs
    from virtuelens.concepts.pack import load_concept
    from virtuelens.models import load_model
    from virtuelens.reports.packs import write_packs
    from virtuelens.reports.words import interval

    loaded = load_model(model)
    concepts = [load_concept(name, dialect=loaded.info.dialect) for name in _listed(packs)]
    study = study_packs(
        loaded, concepts, to or new_folder(f"{loaded.info.name}-packs"),
        methods=_listed(methods), positions=_listed(positions), n_permutations=permutations,
        seed=seed, progress=lambda stage: note(f"  {stage}"),
    )
    page = write_packs(study)
    matrix, summary = study.table("generalisation"), study.table("summary")
    if json:
        print_json({"matrix": _plain(matrix), "summary": _plain(summary), "page": str(page)})
        return
    out.print(_table(matrix, loaded.info.name))
    for kind, words in (("elsewhere", "Trained elsewhere"), ("own", "Trained on the same pack")):
        row = summary[summary["kind"] == kind].iloc[0]
        out.print(f"{words}: {escape(interval(row))}, mean of {int(row['n'])} cells, "
                  f"p = {row['p']:.2g}")
    note(f"Figures: {page}")


def _table(matrix: "pd.DataFrame", model: str) -> "Table":
    from rich.table import Table

    from virtuelens.reports.words import interval, plain_concept

    names = list(dict.fromkeys(matrix["train"]))
    table = Table(title=f"AUROC in {escape(model)}: trained on (row), tested on (column)", box=None,
                  title_justify="left", padding=(0, 2, 0, 0))
    for name in ("", *names):
        table.add_column(escape(plain_concept(name)))
    for name in names:
        mine = matrix[matrix["train"] == name]
        cells = (plain_concept(name), *(interval(c) for _, c in mine.iterrows()))
        table.add_row(*map(escape, cells))  # `[no interval]` is no markup
    return table


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _plain(table: "pd.DataFrame") -> list[dict[str, object]]:
    import json

    rows: list[dict[str, object]] = json.loads(table.to_json(orient="records"))
    return rows
