"""virtuelens sae: list, load, train and search sparse autoencoders."""

from pathlib import Path
from typing import Annotated

import typer

from virtuelens.cli.console import Json, err, note, out, print_json

app = typer.Typer(help="Sparse autoencoders: list, load, train, search.", no_args_is_help=True)


@app.command("list")
def list_(json: Json = False) -> None:
    """List the SAEs and recipes that are at hand."""
    from virtuelens import catalog
    from virtuelens.sparse_coding import list_recipes

    saes, recipes = catalog.names("saes", "cfg.json"), list_recipes()
    if json:
        print_json({"saes": saes, "recipes": recipes})
        return
    out.print("trained: " + (", ".join(saes) or "none"))
    out.print("recipes: " + (", ".join(recipes) or "none"))


@app.command("load")
def load(name: str, json: Json = False) -> None:
    """Load an SAE from disk (or SAELens' registry) and say what it is."""
    from virtuelens.sparse_coding import load_sae

    sae = load_sae(name)
    about = {
        "name": sae.name, "architecture": sae.architecture, "point": sae.point, "d_in": sae.d_in,
        "d_sae": sae.d_sae, "fingerprint": sae.fingerprint,
    }
    if json:
        print_json(about)
        return
    for key, value in about.items():
        out.print(f"{key}: {value}", markup=False)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A TOML recipe, or the name of a shipped one.")],
    to: Annotated[Path, typer.Option("--out", help="Folder for the SAE.")],
    json: Json = False,
) -> None:
    """Harvest, train with SAELens, and evaluate on texts that training did not see."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from virtuelens.sparse_coding import load_recipe, make_sae

    with Progress(TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn(),
                  console=err) as bar:
        task = bar.add_task("loading", total=None)

        def show(stage: str, done: int, total: int) -> None:
            bar.update(task, description=stage, completed=done, total=total)

        found = make_sae(load_recipe(recipe), to, progress=show)
    if json:
        print_json(found.to_json())
        return
    recovered = found.ce_loss_recovered_mean
    note(
        f"Trained {to}: L0 {found.l0.value:.1f}, explained variance "
        f"{found.explained_variance.value:.3f}, cross-entropy recovered (mean ablation) "
        f"{f'{recovered.value:.3f}' if recovered else 'undefined'}, dead features "
        f"{found.dead_features} of {found.d_sae}. All figures: {to / 'evaluation.json'}"
    )


@app.command("search")
def search(
    model: Annotated[str, typer.Argument(help="The model the SAE was trained on.")],
    sae: Annotated[str, typer.Argument(help="Name or directory of the SAE.")],
    concept: Annotated[str, typer.Argument(help="Name or folder of a concept pack.")],
    position: Annotated[str, typer.Option(help="Row of the positions table; by default the "
        "pack's first.")] = "",
    n: int = 10,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Rank all features by held-out AUROC for a concept, against the null of the search."""
    import numpy as np
    from rich.table import Table

    from virtuelens.concepts.pack import load_concept
    from virtuelens.models import load_model
    from virtuelens.sparse_coding import feature_matrix, load_sae, rank_features

    loaded, loaded_sae = load_model(model), load_sae(sae)
    pack = load_concept(concept, dialect=loaded.info.dialect)
    examples = pack.in_split("main")
    acts = feature_matrix(loaded, loaded_sae, [e.text for e in examples],
                          position=position or pack.positions[0])
    ranking = rank_features(
        acts.numpy(), np.array([e.label for e in examples]),
        groups=[e.group for e in examples], pairs=[e.pair for e in examples], n_top=n, seed=seed,
    )
    rows = ranking.table.head(n).to_dict("records")
    if json:
        print_json(rows)
        return
    table = Table("feature", "AUROC [95 %]", "null (max, 95 %)", "p", "density")
    for r in rows:
        table.add_row(
            f"{r['feature']} ({'+' if r['sign'] > 0 else '-'})",
            f"{r['auroc']:.3f} \\[{r['low']:.3f}, {r['high']:.3f}]", f"{r['null']:.3f}",
            f"{r['p']:.3g}", f"{r['density']:.3f}",
        )
    out.print(table)
