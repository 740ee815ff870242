"""virtuelens probe: fit a probe on a store, judge it on groups it never saw, save it."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from virtuelens.cli.console import Json, note, out, print_json


def command(
    store: Annotated[Path, typer.Argument(help="A store made by virtuelens harvest, or a "
        "series of them (harvest --revisions).")],
    method: Annotated[str, typer.Option(help="diff_means, logistic or lda.")] = "diff_means",
    to: Annotated[Path | None, typer.Option(
        "--out", help="Save the probe here (.safetensors).")] = None,
    permutations: Annotated[int, typer.Option(min=0, help="Draws of the label null.")] = 200,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Sweep the sites of a store with one method; report held-out AUROC and its null.

    Over a series: the same at every checkpoint, with training.html and training.parquet in its
    folder.
    """
    from virtuelens.activations.series import is_series

    if is_series(store):
        if to is not None:
            raise typer.BadParameter("--out saves the probe of one store: give SERIES/CHECKPOINT")
        _over_training(store, method, permutations, seed, json=json)
        return
    from virtuelens.activations.store import open_store
    from virtuelens.probing.probes import examples_of, probe_at, save_probe
    from virtuelens.probing.sweep import sweep

    acts = open_store(store).load()
    found = sweep(examples_of(acts.where(acts.index["split"] == "main")), methods=[method],
                  n_permutations=permutations, seed=seed)
    site, e = found.selected.site, found.test
    if json:
        print_json({"point": site.point, "position": site.position, "method": method,
                    "auroc": e.to_json(), "p": found.p})
    else:
        null = f"{e.null:.3f}" if e.null is not None else "not drawn"
        out.print(
            f"{method} at {site.point}, {site.position}: held-out AUROC {e.value:.3f} "
            f"\\[{e.low:.3f}, {e.high:.3f}], n = {e.n}; 95 % of shuffled sweeps stay below "
            f"{null} (p = {found.p:.3g})"
        )
    if to is not None:
        probe = probe_at(found.fit, site, method, concept=acts.concept,
                         fingerprint=acts.info.fingerprint)
        save_probe(probe, to)
        note(f"Saved {to}")


def _over_training(path: Path, method: str, permutations: int, seed: int, *, json: bool) -> None:
    from rich.progress import track
    from rich.table import Table

    from virtuelens import storage
    from virtuelens.activations.series import open_series
    from virtuelens.cli.console import err
    from virtuelens.probing.over_training import over_training
    from virtuelens.reports.over_training import write_training
    from virtuelens.reports.words import interval, number

    series = open_series(path)
    concept = str(series.store(series.labels[0]).load().concept)
    checkpoints = track(series, "probing", total=len(series.labels), console=err)
    table = over_training(checkpoints, method=method, n_permutations=permutations, seed=seed)
    storage.write_table(path / "training.parquet", table)
    page = write_training(table, path / "training.html", concept=concept, method=method)
    chosen = table[table["selected"]]
    if json:
        print_json([{k: r[k] for k in ("checkpoint", "point", "position", "value", "low", "high",
                                       "n", "null", "p", "cosine")}
                    for r in chosen.to_dict("records")])
        return
    shown = Table(title=f"{concept} over training, {method}", box=None, title_justify="left",
                  padding=(0, 2, 0, 0))
    for column in ("checkpoint", "best site", "AUROC [95 %]", "shuffled", "p"):
        shown.add_column(column, no_wrap=column != "best site")
    for _, r in chosen.iterrows():
        shown.add_row(*map(escape, (r["checkpoint"], f"{r['point']}, {r['position']}", interval(r),
                                    number(r["null"]), f"{r['p']:.2g}")))
    out.print(shown)
    note(f"Figures: {page}")
