"""A number that is never reported alone: value, interval, sample size and the null it faces."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Estimate:
    """A measured value with its 95 % interval.

    null: the value that chance reaches (which quantile of which null is said where it is made);
    None only where no null applies.
    """

    value: float
    low: float
    high: float
    n: int
    null: float | None = None

    def to_json(self) -> dict[str, float | int | None]:
        """The fields as plain JSON values."""
        return asdict(self)
