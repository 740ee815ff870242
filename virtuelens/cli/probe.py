"""virtuelens probe: fit a probe on a store, judge it on groups it never saw, save it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from virtuelens.cli.console import Json, note, out, print_json

if TYPE_CHECKING:
    from virtuelens.activations.activations import Activations
    from virtuelens.probing.comparison import Compared, Comparison, Features


def command(
    store: Annotated[Path, typer.Argument(help="A store made by virtuelens harvest, or a "
        "series of them (harvest --revisions).")],
    method: Annotated[str, typer.Option(
        help="diff_means, mass_mean, logistic, logistic_cv, lda, pca_diff, ccs, ensemble; no "
             "directions: mlp, attention, max (both need tokens), k_sparse (needs an SAE); or all, "
             "side by side.")
    ] = "diff_means",
    sae: Annotated[str, typer.Option(help="SAE that k_sparse reads; by default one at hand that "
        "was trained on this model.")] = "",
    to: Annotated[Path | None, typer.Option(
        "--out", help="Save the probe here (.safetensors).")] = None,
    permutations: Annotated[int, typer.Option(min=0, help="Draws of the label null.")] = 200,
    splits: Annotated[int, typer.Option(
        min=1, help="Splits by group that it is fitted and judged on, for the spread (not over "
        "a series).")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Seed of splits and draws.")] = 0,
    json: Json = False,
) -> None:
    """Look for a concept in a store with one method or all; held-out AUROC beside its null.

    The last figures are the mean over repeated splits and where 95 % of them lie.

    Over a series: the same at every checkpoint, with training.html and training.parquet in its
    folder.
    """
    from virtuelens.activations.series import is_series

    if sae and method not in {"k_sparse", "all"}:
        raise typer.BadParameter(f"--sae is read by k_sparse, not by {method}")
    if is_series(store):
        if to is not None:
            raise typer.BadParameter("--out saves the probe of one store: give SERIES/CHECKPOINT")
        _over_training(store, method, permutations, seed, json=json)
        return
    if to is not None and method == "all":
        raise typer.BadParameter("--out saves one probe: name its --method")
    from virtuelens.activations.store import open_store
    from virtuelens.probing.comparison import FAMILIES, compare

    acts = open_store(store).load()
    features = _features(acts, method, sae)
    several = method == "all"
    found = compare(
        acts, FAMILIES if several else [method], features=features, n_splits=splits,
        n_permutations=permutations, seed=seed,
        progress=lambda family: note(f"{family} ...") if several else None,
    )
    if several:
        _show_all(found, acts.concept, splits, json=json)
        return
    row = found.rows[0]
    _show(row, json=json)
    if to is not None:
        _save(row, acts, features, to, seed)
        note(f"Saved {to}")


def _features(acts: "Activations", method: str, sae: str) -> "Features | None":
    """What k_sparse reads; with all methods its absence is said in the table instead."""
    from virtuelens.audits.features import sae_of
    from virtuelens.audits.stored import stored_features
    from virtuelens.errors import HookPointError, PositionError

    if method == "k_sparse" or (method == "all" and sae):
        return stored_features(acts, sae or None)
    if method != "all" or sae_of(acts.info.fingerprint) is None:
        return None
    try:
        return stored_features(acts)
    except (HookPointError, PositionError):
        return None  # an SAE is at hand, but this store does not hold what it reads


def _show(row: "Compared", *, json: bool) -> None:
    from virtuelens.probing.methods import METHODS

    if json:
        print_json(row.to_json())
        return
    e, s = row.test, row.over_splits
    drawn = "shuffled sweeps" if row.family in METHODS else "shuffled labels"
    null = ("no null was drawn" if e.null is None else
            f"95 % of {drawn} stay below {e.null:.3f} (p = {row.p:.3g})")
    out.print(escape(
        f"{row.family} at {row.site.point}, {row.site.position}: held-out AUROC {e.value:.3f} "
        f"[{e.low:.3f}, {e.high:.3f}], n = {e.n}; {null}; "
        f"over {s.n} splits {s.value:.3f} [{s.low:.3f}, {s.high:.3f}]"
    ))


def _show_all(found: "Comparison", concept: str, splits: int, *, json: bool) -> None:
    from rich.table import Table

    from virtuelens.reports.words import interval, number

    if json:
        print_json({"concept": concept, "methods": [r.to_json() for r in found.rows],
                    "left_out": dict(found.left_out)})
        return
    shown = Table(title=f"{escape(concept)}, groups kept aside", box=None, title_justify="left",
                  padding=(0, 1, 0, 0))
    for column in ("method", "layer, position", "AUROC [95 %]", "null", "p", f"{splits} splits"):
        shown.add_column(column, no_wrap=True)
    for r in found.rows:
        e, s = r.test, r.over_splits
        shown.add_row(*map(escape, (
            r.family, f"{r.site.layer} {r.site.position}",
            interval(e.to_json()), number(e.null), f"{r.p:.2g}", interval(s.to_json()),
        )))
    out.print(shown)
    for family, why in found.left_out.items():
        note(f"{family} left out: {why}")


def _save(
    row: "Compared", acts: "Activations", features: "Features | None", to: Path, seed: int
) -> None:
    """Fit the family at its site on the fitting groups and save it."""
    from virtuelens.probing.bags import TOKENS, at_site, tokens_of
    from virtuelens.probing.methods import METHODS
    from virtuelens.probing.probes import examples_of, probe_at, save_probe
    from virtuelens.probing.scorers.scorer import fit_scorer, save_scorer
    from virtuelens.probing.sweep import split_fit_test
    from virtuelens.probing.uncertainty import split

    main = acts.where(acts.index["split"] == "main")
    fingerprint = acts.info.fingerprint
    if row.family in METHODS:
        fit, _ = split_fit_test(examples_of(main), seed=seed)
        save_probe(probe_at(fit, row.site, row.family, concept=acts.concept,
                            fingerprint=fingerprint, seed=seed), to)
        return
    if row.family == "k_sparse" and features is not None:
        given = features.examples
    elif row.site.position == TOKENS:
        given = tokens_of(main, row.site.point)
    else:
        given = at_site(examples_of(main), row.site)
    scorer = fit_scorer(
        split(given, seed=seed)[0], family=row.family, point=row.site.point,
        position=row.site.position, concept=acts.concept, fingerprint=fingerprint,
        sae=features.sae if features is not None and row.family == "k_sparse" else "", seed=seed,
    )
    save_scorer(scorer, to)


def _over_training(path: Path, method: str, permutations: int, seed: int, *, json: bool) -> None:
    from json import loads

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
        told = chosen[["checkpoint", "point", "position", "value", "low", "high", "n", "null", "p",
                       "cosine"]]
        print_json(loads(told.to_json(orient="records", double_precision=15)))  # NaN is no JSON
        return
    shown = Table(title=escape(f"{concept} over training, {method}"), box=None,
                  title_justify="left", padding=(0, 2, 0, 0))
    for column in ("checkpoint", "best site", "AUROC [95 %]", "shuffled", "p"):
        shown.add_column(column, no_wrap=column != "best site")
    for _, r in chosen.iterrows():
        shown.add_row(*map(escape, (r["checkpoint"], f"{r['point']}, {r['position']}", interval(r),
                                    number(r["null"]), f"{r['p']:.2g}")))
    out.print(shown)
    note(f"Figures: {page}")
