"""How often each instrument is right, on models whose inner truth is known and proven.

- `subjects`: which models, seeds and controls
- `instruments`: the table of instruments and what each says of one subject
- `calibrate`: all instruments on all subjects, kept as they finish
- `rates`: from readings to rates with intervals, and the record that reports quote
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from virtuelens.calibration.calibrate import calibrate as calibrate

__all__ = ["calibrate"]


def __getattr__(name: str) -> Any:
    import importlib

    if name not in __all__:
        raise AttributeError(f"module 'virtuelens.calibration' has no attribute {name!r}")
    return getattr(importlib.import_module("virtuelens.calibration.calibrate"), name)
