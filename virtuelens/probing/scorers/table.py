"""The table of families that are no direction: fitted to parameters, parameters to scores."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from virtuelens.probing.bags import Bags
from virtuelens.probing.scorers import few, network, pooled

Array = np.ndarray
Reads = Literal["activations", "tokens", "features"]


@dataclass(frozen=True)
class Family:
    """A row of the table.

    reads: what an example is: one row of activations, all its tokens, or one row of SAE features.
    parameters: names of what `fit` returns, which is all that `score` needs and a file holds.
    fit: of examples, their labels and a seed. score: higher with label 1, log-odds.
    """

    name: str
    about: str
    source: str
    reads: Reads
    parameters: tuple[str, ...]
    fit: Callable[[Bags, Int[Array, " n"], int], dict[str, Any]]
    score: Callable[[Mapping[str, Any], Bags], Float[Array, " n"]]


SCORERS: dict[str, Family] = {
    f.name: f
    for f in (
        Family("mlp", "one hidden layer of 32 units", "arXiv:1909.03368", "activations",
               ("hidden", "hidden_bias", "out", "bias"), network.fit, network.score),
        Family("attention", "tokens weighed by attention", "arXiv:2506.10805", "tokens",
               ("query", "value", "bias"), pooled.fit_attention, pooled.score_attention),
        Family("max", "the strongest token", "arXiv:2506.10805", "tokens",
               ("value", "bias"), pooled.fit_max, pooled.score_max),
        Family("k_sparse", "16 features of an SAE", "arXiv:2502.16681", "features",
               ("features", "weights", "bias"), few.fit, few.score),
    )
}
