"""Tokens pooled inside the probe: by attention, or by the strongest one.

For long responses in which only some tokens carry the concept; their mean (position
`response_mean`) dilutes those, the last token may not know of them.
Source: McKenzie et al. 2025, arXiv:2506.10805 (attention and max among six ways to pool).
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from virtuelens.probing.bags import Bags
from virtuelens.probing.methods import diff_means

Array = np.ndarray
Parameters = Mapping[str, Float[Array, "..."]]
Pool = Callable[[dict[str, Tensor], Tensor, Tensor, int], Tensor]

STEPS = 300
LEARNING_RATE = 0.02
RIDGE_C = 0.1
"""Strength of the L2 penalty on standardised features, in scikit-learn's `C`."""


def fit_attention(
    bags: Bags, labels: Int[Array, " n"], seed: int  # noqa: ARG001
) -> dict[str, Float[Array, "..."]]:
    """A softmax over tokens along one direction weighs what they say along another.

    Starts at equal weights and the difference of means, so no draw is involved.
    """
    return _fit(bags, labels, _by_attention, free=("query", "value"))


def fit_max(
    bags: Bags, labels: Int[Array, " n"], seed: int  # noqa: ARG001
) -> dict[str, Float[Array, "..."]]:
    """The largest projection over tokens, fitted through the maximum.

    One token decides, so a single outlier does as well: look where it fires.
    Starts at the difference of means, so no draw is involved.
    """
    return _fit(bags, labels, _by_max, free=("value",))


def score_attention(parameters: Parameters, bags: Bags) -> Float[Array, " n"]:
    """Log-odds of label 1."""
    return _score(parameters, bags, _by_attention)


def score_max(parameters: Parameters, bags: Bags) -> Float[Array, " n"]:
    """Log-odds of label 1."""
    return _score(parameters, bags, _by_max)


def _by_attention(p: dict[str, Tensor], values: Tensor, owners: Tensor, n: int) -> Tensor:
    says = values @ p["value"]  # [n_rows]
    asked = values @ p["query"]
    top = torch.full((n,), -torch.inf, dtype=asked.dtype)
    top = top.scatter_reduce(0, owners, asked.detach(), "amax")
    weight = (asked - top[owners]).exp()
    zeros = torch.zeros(n, dtype=asked.dtype)
    return zeros.index_add(0, owners, weight * says) / zeros.index_add(0, owners, weight)


def _by_max(p: dict[str, Tensor], values: Tensor, owners: Tensor, n: int) -> Tensor:
    says = values @ p["value"]
    lowest = torch.full((n,), -torch.inf, dtype=says.dtype)
    return lowest.scatter_reduce(0, owners, says, "amax")


def _fit(
    bags: Bags, labels: Int[Array, " n"], pool: Pool, *, free: tuple[str, ...]
) -> dict[str, Float[Array, "..."]]:
    """Full-batch Adam on the logistic loss with a ridge."""
    raw = torch.tensor(bags.values, dtype=torch.float32)  # a copy: a mapped file cannot be written
    center, scale = _center_scale(raw)
    values = (raw - center) / scale
    owners, n = torch.from_numpy(bags.owners), len(bags)
    y = torch.tensor(labels, dtype=torch.float32)
    d = values.shape[1]
    means = Bags(values.numpy().astype(np.float64), bags.sizes).means()
    start = diff_means(means, labels[None])[0]
    start = torch.from_numpy(start / max(float((means @ start).std()), 1e-12)).float()
    p = {"query": torch.zeros(d), "value": start}
    p = {name: p[name].clone().requires_grad_() for name in free}
    with torch.no_grad():
        bias = -pool(p, values, owners, n).mean()
    bias = bias.clone().requires_grad_()
    optimiser = torch.optim.Adam([*p.values(), bias], lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.01, STEPS)
    for _ in range(STEPS):
        logits = pool(p, values, owners, n) + bias
        norms = torch.stack([w.square().sum() for w in p.values()]).sum()
        loss = F.binary_cross_entropy_with_logits(logits, y) + norms / (2 * RIDGE_C * n)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    # in raw space the shift of the query cancels in the softmax, that of the value is a constant
    out = {name: (w.detach() / scale).double() for name, w in p.items()}
    out["bias"] = (bias.detach().double() - out["value"] @ center.double())[None]
    return {name: w.numpy() for name, w in out.items()}


def _center_scale(raw: Float[Tensor, "n_rows d"]) -> tuple[Tensor, Tensor]:
    spread = raw.std(dim=0, correction=0)
    flat = 1e-6 * float(raw.abs().max())
    return raw.mean(dim=0), torch.where(spread > flat, spread, torch.inf)


def _score(parameters: Parameters, bags: Bags, pool: Pool) -> Float[Array, " n"]:
    p = {name: torch.tensor(w, dtype=torch.float64) for name, w in parameters.items()}
    values = torch.tensor(bags.values, dtype=torch.float64)
    pooled = pool(p, values, torch.from_numpy(bags.owners), len(bags))
    return (pooled + p["bias"]).numpy()
