"""What an audit does, as one frozen value that every run writes down."""

from dataclasses import asdict, dataclass, field
from typing import Any

from virtuelens.audits.ladder import Thresholds


@dataclass(frozen=True)
class AuditConfig:
    """Settings of an audit; the defaults are the ones that reports assume.

    n_permutations: random swaps of pair sides for the null of the whole sweep.
    n_random_weights: freshly initialised copies that the probe must beat.
    n_random_directions: norm-matched random directions that a steer must beat (at least 20).
    n_doses: doses from minus to plus the working range (odd, so that zero is among them).
    dose_cap: largest dose tried, standard deviations of the projection; smaller where the classes
        lie less far apart, because no dose goes beyond the distance of their means.
    max_steer_layers: layers tried as places to steer (evenly spaced when there are more).
    max_items: forced-choice items used per behaviour, at most.
    """

    methods: tuple[str, ...] = ("diff_means", "logistic", "lda")
    n_permutations: int = 200
    n_bootstrap: int = 1000
    n_random_weights: int = 2
    n_random_directions: int = 20
    n_doses: int = 9
    dose_cap: float = 4.0
    max_steer_layers: int = 6
    max_items: int = 200
    n_features: int = 10
    n_generations: int = 4
    seed: int = 0
    thresholds: Thresholds = field(default_factory=Thresholds)

    def to_json(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def quick() -> AuditConfig:
    """A short audit for a first look: fewer permutations, doses and items, wider intervals."""
    return AuditConfig(
        n_permutations=60, n_bootstrap=300, n_random_weights=1, n_doses=5, max_steer_layers=3,
        max_items=60, n_features=5, n_generations=2,
    )
