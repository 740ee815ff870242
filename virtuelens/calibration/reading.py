"""What one instrument said of one subject: a row of calibration.parquet."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Reading:
    """One claim of one instrument. What is true of the subject is none of its business (`truth`).

    claim: what was asked ("rung 4", "verdict", "decodable", "moves the target", ...).
    said: whether the instrument claims it.
    value: the number the claim rests on (an AUROC, a slope, an accuracy, a share).
    note: why, where the instrument says why.
    """

    instrument: str
    claim: str
    said: bool
    value: float
    note: str = ""
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)
