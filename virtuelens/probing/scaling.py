"""Features at mean 0 and spread 1 while fitting, with what maps weights back to raw space."""

import numpy as np
from jaxtyping import Float

Array = np.ndarray


def standardised(X: Float[Array, "n d"]) -> tuple[Float[Array, "n d"], Float[Array, " d"]]:
    """Rows with mean 0 and standard deviation 1 per feature, and the standard deviations.

    A feature that is constant but for rounding becomes 0 and has the deviation infinity, so that
    weights divided by it are 0.
    """
    spread = X.std(axis=0)
    scale = np.where(spread > flat_below(X), spread, np.inf)
    Z = X - X.mean(axis=0)
    Z /= scale
    return Z, scale


def flat_below(X: Float[Array, "n d"]) -> float:
    """Spread below which a feature counts as constant (rounding of its own magnitude)."""
    return 1e-6 * float(np.abs(X).max(initial=0.0)) + 1e-30
