"""One edit of every row of EDITS, from a point and directions: what the contract tests run over."""

from collections.abc import Callable

import torch

from virtuelens.exchange.swap import Swap
from virtuelens.steering.edits import (
    Ablate,
    Add,
    Cap,
    Clamp,
    Floor,
)
from virtuelens.steering.feature_edits import ClampFeatures, ScaleFeatures

Make = Callable[[str, torch.Tensor, str, int], object]
"""Hook point, `[2 d_model]` directions of any norm, token selection, rows of the batch -> an edit.

Only a swap needs to know the rows (a source for each), and has a place of its own.
"""


def encoder(rows: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """Rectified features along the rows, as an SAE has."""
    return lambda x: (x @ rows.T.to(x.device) - 0.2).relu()


MAKE: dict[str, Make] = {
    "add": lambda at, d, where, n: Add(at, d[0], where),
    "clamp": lambda at, d, where, n: Clamp(at, d, torch.tensor([1.5, -1.0]), where),
    "cap": lambda at, d, where, n: Cap(at, d[0], -0.5, where),
    "floor": lambda at, d, where, n: Floor(at, d[0], 0.5, where),
    "ablate": lambda at, d, where, n: Ablate(at, d, where),
    "clamp_features": lambda at, d, where, n: ClampFeatures(
        at, encoder(d), d.flip(1), torch.tensor([2.0, 0.5]), where),
    "scale_features": lambda at, d, where, n: ScaleFeatures(
        at, encoder(d), d.flip(1), torch.tensor([3.0, 0.0]), where),
    "swap": lambda at, d, where, n: Swap(at, d[:1].expand(n, -1)),
}
