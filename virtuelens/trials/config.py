"""What a trial of a steer does, as one frozen value that every trial writes down."""

from dataclasses import asdict, dataclass
from typing import Any

from virtuelens.audits.config import AuditConfig
from virtuelens.errors import SteeringError


@dataclass(frozen=True)
class TrialConfig:
    """Settings of a trial.

    n_doses: doses from minus to plus the working range (odd, so that zero is among them).
    n_random: directions uniform on the sphere, added in the same amount at the same place; at
        least one.
    n_shuffled: fits of the same kind with the sides of pairs swapped at random.
    n_shots: answered examples in the few-shot prompt; fewer where the context holds no more.
    dose_cap: largest dose tried, standard deviations; never more than the classes lie apart,
        unless a probe or a feature is given to steer along.
    perplexity: most that perplexity on neutral text may grow within the working range, as a
        multiple; KL has its own budget (`steering.side_effects.KL_BUDGET`).
    max_items: forced-choice items used per behaviour, at most.

    Raises: SteeringError: an even number of doses or fewer than 3, or no random direction.
    """

    n_doses: int = 9
    n_random: int = 30
    n_shuffled: int = 10
    n_shots: int = 4
    dose_cap: float = 4.0
    perplexity: float = 1.5
    max_steer_layers: int = 6
    max_items: int = 200
    n_bootstrap: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_doses < 3 or self.n_doses % 2 == 0:
            raise SteeringError(f"n_doses is {self.n_doses}: give an odd number from 3 on, so that "
                                "zero is among the doses.")
        if self.n_random < 1:
            raise SteeringError(f"n_random is {self.n_random}: give at least 1, because a steer is "
                                "compared with random directions.")

    @property
    def of_audit(self) -> AuditConfig:
        """The settings that a trial shares with an audit."""
        return AuditConfig(
            n_random_directions=self.n_random, n_doses=self.n_doses, dose_cap=self.dose_cap,
            max_steer_layers=self.max_steer_layers, max_items=self.max_items,
            n_bootstrap=self.n_bootstrap, seed=self.seed,
        )

    def to_json(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        return asdict(self)


def quick() -> TrialConfig:
    """For a first look: fewer doses, draws and items, wider intervals."""
    return TrialConfig(n_doses=5, n_random=10, n_shuffled=4, max_steer_layers=3, max_items=60,
                       n_bootstrap=300)
