"""Every feature of an SAE searched for a concept in one pass over activations, exactly.

As `rank` (same split, null and table), but features are encoded block by block and kept only as
their nonzero entries (`entries`), so that tens of thousands of features on hundreds of thousands
of tokens need little more than the time of encoding them, and bounded memory.

Rows may be tokens: labels, groups and pairs belong to examples, and the null swaps the sides of
whole examples, never single tokens. Intervals resample groups.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from virtuelens import stats
from virtuelens.errors import NotFiniteError, SaeError
from virtuelens.sparse_coding.entries import BUDGET, auroc_entries, encode_blocks
from virtuelens.sparse_coding.rank import (
    Oriented,
    Ranking,
    check_both_classes,
    fitting_rows,
    oriented,
    ranking,
)
from virtuelens.sparse_coding.sae import Sae

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Search:
    """A ranking, with what is needed to go on from it.

    columns: activations of the top features in every row, best first, as in `ranking.table`.
    labels, groups, fit: of every row; fit is True in the fitting groups.
    """

    ranking: Ranking
    columns: Float[Array, "n top"]
    labels: Int[Array, " n"]
    groups: tuple[str, ...]
    fit: Bool[Array, " n"]

    @property
    def top(self) -> tuple[int, ...]:
        """The features of `columns`."""
        return tuple(int(f) for f in self.ranking.table["feature"][: self.columns.shape[1]])


def search_features(
    sae: Sae,
    acts: Float[Tensor, "n d_in"],
    labels: Int[Array, " examples"],
    *,
    groups: Sequence[str],
    pairs: Sequence[str],
    owner: Int[Array, " rows"] | None = None,
    n_top: int = 10,
    n_permutations: int = 200,
    n_bootstrap: int = 500,
    seed: int = 0,
    budget: int = BUDGET,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Search:
    """Exact held-out AUROC of every feature for a concept, with the null of the whole search.

    acts: activations at the SAE's point, of one token a row. owner: the example of each row; by
        default row i is example i.
    labels, groups, pairs: of each example, as in `rank_features`.
    budget: bytes that ranking a block of features may take.
    progress: called with features done and features in all.

    Raises: SaeError: activations of another width, or owners that are no examples, one class only
    on a side of the split, or no feature that varies. NotFiniteError: NaN or infinity in `acts`.
    """
    labels = np.asarray(labels)
    owner = np.arange(len(acts)) if owner is None else np.asarray(owner)
    _check(acts, labels, owner)
    row_labels = labels[owner]
    row_groups = tuple(groups[i] for i in owner.tolist())
    fit = fitting_rows(groups, labels, seed)[owner]
    check_both_classes(row_labels, fit)  # an example may have no row
    swapped = stats.permuted_labels(labels, pairs, n_draws=n_permutations, seed=seed)
    labelings = np.concatenate([labels[None], swapped])
    found: list[Oriented] = []
    live: list[Array] = []
    density: list[Array] = []
    best: list[tuple[float, int, Array]] = []  # AUROC on the fitting groups, feature, column
    for block in encode_blocks(sae, acts, budget=budget):
        fitted = auroc_entries(block, owner, fit, labelings)
        tested = auroc_entries(block, owner, ~fit, labelings)
        mine = np.flatnonzero(fitted.varies)
        found.append(oriented(fitted.values[:, mine], tested.values[:, mine]))
        live.append(mine + block.first)
        counts = np.bincount(block.features, minlength=block.width)
        density.append(counts[mine] / len(acts))
        on_fit = found[-1].on_fit
        for i in np.argsort(-on_fit, kind="stable")[:n_top]:
            if len(best) < n_top or on_fit[i] > best[-1][0]:
                feature = int(mine[i]) + block.first
                best.append((float(on_fit[i]), feature, block.column(feature, len(acts))))
                best.sort(key=lambda b: (-b[0], b[1]))
                del best[n_top:]
        progress(block.first + block.width, sae.d_sae)
    made = ranking(
        found, np.concatenate(live), np.concatenate(density), {f: c for _, f, c in best},
        labels=row_labels, groups=row_groups, fit=fit, n_features=sae.d_sae,
        n_bootstrap=n_bootstrap, seed=seed,
    )
    columns = np.stack([c for _, _, c in best], axis=1) if best else np.zeros((len(acts), 0))
    return Search(made, columns, row_labels, row_groups, fit)


def _check(acts: Float[Tensor, "n d_in"], labels: Array, owner: Array) -> None:
    if len(owner) != len(acts):
        raise SaeError(f"{len(acts)} rows of activations for {len(owner)} owners: give one a row.")
    if len(owner) and not 0 <= owner.min() <= owner.max() < len(labels):
        raise SaeError(
            f"Owners are {owner.min()} to {owner.max()}, the {len(labels)} examples are 0 to "
            f"{len(labels) - 1}: number the example that each row belongs to."
        )
    # smallest and largest are NaN or infinite if any value is; no copy of the rows is made
    if len(acts) and not bool(torch.stack(torch.aminmax(acts)).isfinite().all()):
        raise NotFiniteError(
            "NaN or infinity in the activations: load the model in float32, or check its weights."
        )
