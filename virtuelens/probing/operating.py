"""Where to draw the line: a threshold by its false positives on ordinary text, and what it finds.

The threshold comes from neutral texts, never from the concept's own: a pack's negatives are made
to look like its positives, ordinary text is what a probe meets in use.

Source: thresholds at 1 % false positives on benign text, Goldowsky-Dill et al. 2025,
arXiv:2502.03407.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from virtuelens import stats
from virtuelens.concepts.splits import group_folds
from virtuelens.errors import ProbeError
from virtuelens.probing.data import Array
from virtuelens.values.estimates import Estimate

RATE = 0.01
"""Share of ordinary texts that may be called positive."""


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and what happens there.

    threshold: a score above it counts as positive.
    false_positives: share of neutral texts above a threshold set on *other* neutral texts, with
        the Wilson interval; its null is the rate that was asked for.
    true_positives: share of positives above the threshold on held-out groups, its interval over
        groups and over neutral texts together; its null is the rate asked for (what a probe that
        knows nothing finds).
    enough: whether there are texts enough to see such a rate at all (`n >= 3 / rate`: with fewer,
        not one false positive still leaves a larger rate possible).
    """

    threshold: float
    false_positives: Estimate
    true_positives: Estimate
    enough: bool


def threshold_at(neutral: Float[Array, " n"], *, rate: float = RATE) -> float:
    """The smallest score that at most a share `rate` of neutral scores exceeds.

    Raises: ProbeError: no neutral score. ValueError: `rate` is not between 0 and 1.
    """
    if not 0 < rate < 1:
        raise ValueError(f"rate is {rate}: expected a share between 0 and 1")
    if not len(neutral):
        raise ProbeError("No neutral text was scored: a threshold needs some.")
    descending = np.sort(neutral)[::-1]
    above = int(rate * len(descending) + 1e-9)  # 0.29 * 100 is 28.999999999999996
    return float(descending[above])


def operating_point(
    neutral: Float[Array, " k"],
    scores: Float[Array, " n"],
    labels: Int[Array, " n"],
    groups: Sequence[str],
    *,
    rate: float = RATE,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> OperatingPoint:
    """The threshold at a false-positive rate on neutral texts, and what it finds elsewhere.

    neutral: one score a neutral text. scores, labels, groups: of held-out examples.

    Raises: ProbeError: fewer than two neutral texts, or no positive example.
    """
    positive = np.flatnonzero(np.asarray(labels) == 1).tolist()
    if not positive:
        raise ProbeError("No positive example was scored: nothing can be found.")
    threshold = threshold_at(neutral, rate=rate)
    texts = [str(i) for i in range(len(neutral))]
    hits = 0
    for fold in group_folds(texts, 5, seed=seed):
        held = np.array([t in fold for t in texts])
        hits += int((neutral[held] > threshold_at(neutral[~held], rate=rate)).sum())
    counts = stats.sample_counts([groups[i] for i in positive], n_draws=n_bootstrap, seed=seed)
    rng = np.random.default_rng(seed)
    draws = np.array([
        np.average(scores[positive] > threshold_at(rng.choice(neutral, len(neutral)), rate=rate),
                   weights=row)
        for row in counts
    ])
    found = float((scores[positive] > threshold).mean())
    return OperatingPoint(
        threshold,
        stats.share(hits, len(neutral), null=rate),
        stats.from_draws(found, draws, len(positive), null=rate),
        enough=len(neutral) * rate >= 3,
    )
