"""What one instrument said of one subject: a row of calibration.parquet."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Reading:
    """One claim of one instrument, beside the truth.

    claim: what was asked ("rung 4", "verdict", "decodable", "moves the target", ...).
    said: whether the instrument claims it.
    true: whether it holds; None where the process does not settle it.
    value: the number the claim rests on (an AUROC, a slope, an accuracy, a share).
    note: why, where the instrument says why.
    """

    instrument: str
    claim: str
    said: bool
    true: bool | None
    value: float
    note: str = ""
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)
