"""A concept over training: the same sweep at every checkpoint, and when its direction settles."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from virtuelens.errors import ProbeError
from virtuelens.probing.data import Site
from virtuelens.probing.probes import examples_of
from virtuelens.probing.sweep import Sweep, fit_weights, sweep

if TYPE_CHECKING:
    import pandas as pd

    from virtuelens.activations.activations import Activations


def over_training(
    checkpoints: "Iterable[tuple[str, Activations]]",
    *,
    method: str = "diff_means",
    n_permutations: int = 200,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> "pd.DataFrame":
    """One row a checkpoint and site, in the order of training; the splits are the same throughout.

    checkpoints: label and labelled activations of each (`vl.open_series(path)`).

    Columns: `checkpoint`, `point`, `position`; `cv_value|low|high`, cross-validated AUROC there;
    `selected`, whether the sweep chose it; on that row also `value|low|high|n|null|p`, the AUROC
    on groups kept aside and the null of the whole sweep; `cosine`, of the direction fitted there
    with the one that the last checkpoint has there (for two random directions about
    `1/sqrt(d_model)`, in column `random_cosine`: the 95 % quantile of its size, normal
    approximation).

    Raises: ProbeError: no checkpoint, an unknown method, one class only, or too few groups.
    """
    import pandas as pd

    rows, weights = [], {}
    for label, acts in checkpoints:
        main = acts.where(acts.index["split"] == "main")
        found = sweep(examples_of(main), methods=[method], n_permutations=n_permutations,
                      n_bootstrap=n_bootstrap, seed=seed)
        for cell in found.cells:
            weights[label, cell.site] = fit_weights(found.fit, cell.site, method,
                                                    strength=cell.strength)
            rows.append(_row(label, cell.site, found))
    if not rows:
        raise ProbeError("No checkpoint was given: make a series with harvest --revisions.")
    last = rows[-1]["checkpoint"]
    for row in rows:
        site = Site(row["point"], row["position"])
        mine, final = weights[row["checkpoint"], site], weights[last, site]
        size = float(np.linalg.norm(mine) * np.linalg.norm(final))
        row["cosine"] = float(mine @ final) / size if size > 0 else float("nan")
        row["random_cosine"] = 1.96 / float(np.sqrt(len(mine)))
    return pd.DataFrame(rows)


def _row(label: str, site: Site, found: Sweep) -> dict[str, Any]:
    cell = next(c for c in found.cells if c.site == site)
    selected = cell == found.selected
    row: dict[str, Any] = {
        "checkpoint": label, "point": site.point, "position": site.position, "selected": selected,
        "cv_value": cell.cv.value, "cv_low": cell.cv.low, "cv_high": cell.cv.high,
    }
    if selected:
        e = found.test
        row |= {"value": e.value, "low": e.low, "high": e.high, "n": e.n, "null": e.null,
                "p": found.p}
    return row
