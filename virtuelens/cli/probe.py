"""virtuelens probe: fit a probe on a store, judge it on groups it never saw, save it."""

from pathlib import Path
from typing import Annotated

import typer

from virtuelens.cli.console import Json, note, out, print_json


def command(
    store: Annotated[Path, typer.Argument(help="A store made by virtuelens harvest.")],
    method: Annotated[str, typer.Option(help="diff_means, logistic or lda.")] = "diff_means",
    to: Annotated[Path | None, typer.Option(
        "--out", help="Save the probe here (.safetensors).")] = None,
    permutations: Annotated[int, typer.Option(min=0, help="Draws of the label null.")] = 200,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Sweep the sites of a store with one method; report held-out AUROC and its null."""
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
