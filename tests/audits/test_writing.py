"""How far apart the classes lie along a direction, measured on groups it was not fitted on."""

import numpy as np
import pytest

from virtuelens.audits.writing import held_out_gap
from virtuelens.probing.data import Examples, Site

AT = Site("blocks.0.hook_resid_post", "last_prompt")


def _examples(gap: float, *, n: int = 400, d: int = 64, seed: int = 0) -> Examples:
    rng = np.random.default_rng(seed)
    labels = np.tile([1, 0], n // 2)
    acts = rng.normal(size=(n, d))
    acts[:, 0] += gap * labels
    groups = tuple(f"g{i // 20}" for i in range(n))
    return Examples({AT: acts}, labels, groups, tuple(f"p{i // 2}" for i in range(n)),
                    tuple(f"e{i}" for i in range(n)))


def test_the_planted_distance_is_found() -> None:
    """A shift of 5 along one axis, with noise of 1 in all 64."""
    assert held_out_gap(_examples(5.0), AT, seed=0) == pytest.approx(5.0, abs=0.3)


def test_noise_alone_keeps_no_classes_apart() -> None:
    """Fitted and measured on the same examples, the means of pure noise would lie 0.8 apart."""
    gaps = [held_out_gap(_examples(0.0, seed=s), AT, seed=0) for s in range(20)]
    acts = _examples(0.0).matrices[AT]
    fitted_on_itself = np.linalg.norm(acts[::2].mean(axis=0) - acts[1::2].mean(axis=0))
    assert fitted_on_itself > 0.6
    assert abs(float(np.mean(gaps))) < 0.1
