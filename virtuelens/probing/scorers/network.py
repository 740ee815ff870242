"""One hidden layer: does anything but a direction tell the classes apart?"""

import warnings
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

from virtuelens.probing.bags import Bags
from virtuelens.probing.scaling import standardised

Array = np.ndarray

HIDDEN = 32
RIDGE = 1.0
"""scikit-learn's `alpha`: the penalty is alpha / (2 n) times the squared weights."""


def fit(bags: Bags, labels: Int[Array, " n"], seed: int) -> dict[str, Float[Array, "..."]]:
    """32 rectified units on standardised features (scikit-learn's MLPClassifier, by L-BFGS).

    A check, not a detector: a network that beats every direction on groups kept aside says that
    the concept does not lie along one; one that does not beat them says little.
    Source: Hewitt and Liang 2019, arXiv:1909.03368 (why a stronger probe proves less).
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    Z, scale = standardised(bags.values.astype(np.float64))
    network = MLPClassifier((HIDDEN,), alpha=RIDGE, solver="lbfgs", max_iter=300,
                            random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # stopping early is a penalty as well
        network.fit(Z, labels)
    hidden = network.coefs_[0].T / scale  # [h d]
    center = bags.values.mean(axis=0, dtype=np.float64)
    return {
        "hidden": hidden, "hidden_bias": network.intercepts_[0] - hidden @ center,
        "out": network.coefs_[1][:, 0], "bias": network.intercepts_[1],
    }


def score(parameters: Mapping[str, Float[Array, "..."]], bags: Bags) -> Float[Array, " n"]:
    """Log-odds of label 1."""
    hidden = bags.values @ parameters["hidden"].T + parameters["hidden_bias"]  # [n h]
    return np.maximum(hidden, 0) @ parameters["out"] + parameters["bias"][0]
