"""Do SAEs of other seeds find the same features? Decoder rows matched one to one, by cosine.

1. Features that are dead on the held-out texts (as in `evaluate`) are left out: their rows say
   nothing.
2. Rows of two SAEs are matched one to one so that the sum of cosines is largest (Hungarian
   algorithm); with more than `MOST_MATCHED` features each takes its closest row instead, which is
   an upper bound, since a row may serve several.
3. Null: the same matching with random rows in the second SAE's place.

Source: Paulo and Belrose 2025, arXiv:2501.16615 (features shared where the cosine exceeds .7).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from virtuelens import stats, storage
from virtuelens.errors import SaeError
from virtuelens.sparse_coding.features import batches, counted
from virtuelens.sparse_coding.sae import Sae, check_fits, encode
from virtuelens.values.estimates import Estimate
from virtuelens.values.texts import Text

if TYPE_CHECKING:
    import pandas as pd

    from virtuelens.models import HookedModel

SHARED = 0.7
"""A feature whose match has a larger cosine is called shared."""

MOST_MATCHED = 4096
SCHEMA = 1
_ROWS_AT_ONCE = 2048


@dataclass(frozen=True)
class Pair:
    """Two SAEs of one recipe.

    cosine: mean over the live features of `first` of the cosine with their match; its null is the
        mean with random rows. shared: share of them whose cosine exceeds `SHARED`.
    matched: "one to one", or "closest" where there are too many features for that.
    """

    first: int
    second: int
    matched: str
    cosine: Estimate
    shared: Estimate


@dataclass(frozen=True, eq=False)
class Stability:
    """How alike SAEs of several seeds are.

    features: one row a seed and live feature: `cosine`, the mean over the other seeds of the
        cosine with its match, and `lowest`, the smallest of them.
    """

    pairs: tuple[Pair, ...]
    features: "pd.DataFrame"

    def to_json(self) -> dict[str, Any]:
        """The pairs as plain JSON values, with the schema number."""
        return {"schema": SCHEMA, "shared_above": SHARED, "pairs": [asdict(p) for p in self.pairs]}


def compare_seeds(
    saes: Mapping[int, Sae], live: Mapping[int, Bool[Tensor, " d_sae"]] | None = None, *,
    seed: int = 0,
) -> Stability:
    """Every pair of SAEs, and every feature over all the others.

    saes: by seed, on the same model and point. live: which features count, by seed; by default all.

    Raises: SaeError: fewer than two, other points or widths, or one without a live feature.
    """
    import pandas as pd

    _check(saes)
    rows, numbers = {}, {}
    for key, sae in saes.items():
        kept = torch.arange(sae.d_sae) if live is None else live[key].nonzero()[:, 0].cpu()
        if not len(kept):
            raise SaeError(f"The SAE of seed {key} has no live feature: there is nothing to match.")
        rows[key] = torch.nn.functional.normalize(sae.W_dec[kept].float().cpu(), dim=-1)
        numbers[key] = kept.numpy()
    pairs, table = [], []
    for key in saes:
        cosines = []
        for other in saes:
            if other == key:
                continue
            found, how = matched_cosines(rows[key], rows[other])
            cosines.append(found)
            if list(saes).index(key) < list(saes).index(other):
                random = torch.nn.functional.normalize(
                    torch.randn(rows[other].shape, generator=torch.Generator().manual_seed(seed)),
                    dim=-1)
                null = float(matched_cosines(rows[key], random)[0].mean())
                pairs.append(_pair(key, other, how, found, null=null, seed=seed))
        each = np.stack(cosines)  # [other feature]
        table.append(pd.DataFrame({
            "seed": key, "feature": numbers[key], "cosine": each.mean(0), "lowest": each.min(0)}))
    return Stability(tuple(pairs), pd.concat(table, ignore_index=True))


def matched_cosines(
    rows: Float[Tensor, "a d"], others: Float[Tensor, "b d"]
) -> tuple[Float[np.ndarray, " a"], str]:
    """Cosine of each unit row with its match, and how they were matched.

    One to one, rows that are left without a partner (b < a) have 0.
    """
    if max(len(rows), len(others)) > MOST_MATCHED:
        closest = [(part @ others.T).amax(-1) for part in torch.split(rows, _ROWS_AT_ONCE)]
        return torch.cat(closest).numpy(), "closest"
    cosines = (rows @ others.T).double().numpy()
    first, second = linear_sum_assignment(cosines, maximize=True)
    out = np.zeros(len(rows))
    out[first] = cosines[first, second]
    return out, "one to one"


@torch.no_grad()
def live_features(model: "HookedModel", sae: Sae, texts: Sequence[Text]) -> Bool[Tensor, " d_sae"]:
    """Which features are active at least once on the texts, their first tokens left out.

    Raises: ModelMismatchError, SaeError: not this model's SAE.
    """
    check_fits(sae, model)
    live = torch.zeros(sae.d_sae, dtype=torch.bool)
    for _, batch in batches(model, [model.encode(text) for text in texts], 4096):
        acts = model.run(batch, read=[sae.point]).acts[sae.point][counted(batch)]  # [n d_model]
        live |= (encode(sae, acts) != 0).any(0).cpu()
    return live


def write_stability(found: Stability, folder: Path) -> None:
    """Write `stability.json` and `stability.parquet`."""
    storage.write_json(folder / "stability.json", found.to_json())
    storage.write_table(folder / "stability.parquet", found.features)


def _pair(
    first: int, second: int, how: str, cosines: Float[np.ndarray, " a"], *, null: float, seed: int
) -> Pair:
    each = [str(i) for i in range(len(cosines))]
    return Pair(
        first, second, how,
        stats.bootstrap(lambda rows: float(cosines[rows].mean()), each, seed=seed, null=null),
        stats.share(int((cosines > SHARED).sum()), len(cosines)),
    )


def _check(saes: Mapping[int, Sae]) -> None:
    if len(saes) < 2:
        raise SaeError(f"Stability needs at least two SAEs, there are {len(saes)}.")
    sites = {(sae.point, sae.d_in, sae.fingerprint) for sae in saes.values()}
    if len(sites) > 1:
        raise SaeError(
            "These SAEs are of several hook points, widths or models: compare SAEs of one recipe."
        )
