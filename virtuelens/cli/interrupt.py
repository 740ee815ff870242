"""Ctrl-C that is not lost.

Python drops an exception that is raised while a finaliser runs, and the key press with it. So the
press is remembered, and long commands look for it at every step.
"""

import signal
from typing import Any

_pressed: list[bool] = []


def watch() -> None:
    """Raise KeyboardInterrupt at Ctrl-C, as ever, and remember it."""
    signal.signal(signal.SIGINT, _press)


def look() -> None:
    """Raise what was dropped.

    Raises: KeyboardInterrupt: Ctrl-C was pressed.
    """
    if _pressed:
        raise KeyboardInterrupt


def _press(number: int, frame: Any) -> None:
    del number, frame
    _pressed.append(True)
    raise KeyboardInterrupt
