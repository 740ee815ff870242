"""The calibration record: how often each rung was right on organisms, for reports to quote."""

from dataclasses import dataclass
from typing import Any

from virtuelens import catalog, storage

FILE = "calibration.json"
SCHEMA = 1


@dataclass(frozen=True)
class Record:
    """One claim's error rates on organisms; shares with 95 % intervals, or None where untried."""

    claim: str
    right: dict[str, Any] | None
    false_positive: dict[str, Any] | None


def load_record() -> dict[str, Any] | None:
    """The shipped calibration record; None where none ships.

    Raises: StoreError: damaged, or of another version.
    """
    folder = catalog.shipped("calibration")
    path = folder / FILE
    return storage.read_json(path, schema=SCHEMA) if path.is_file() else None


def of_rung(rung: int) -> Record | None:
    """The ladder's record at one rung (1 to 5)."""
    kept = load_record()
    claim = f"rung {rung}"
    rates = ((kept or {}).get("instruments") or {}).get("ladder", {}).get(claim)
    if rates is None:
        return None
    return Record(claim, rates.get("right"), rates.get("false_positive"))
