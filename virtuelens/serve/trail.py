"""The audit trail: who applied what, in which dose; one JSON object a line, only ever appended.

What was said is not kept: no prompt and no answer is in it.
"""

import errno
import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from virtuelens.errors import DiskError


class Trail:
    """A file that lines are added to; one that is made is readable by its owner alone."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises: DiskError: it cannot be written.
        """
        self._path = path
        self._lock = threading.Lock()
        self._torn = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as error:
            raise DiskError(f"The audit trail {path} cannot be written ({error.strerror}): name "
                            "another file with --trail.") from error

    def write(self, event: str, **what: Any) -> None:
        """Add a line.

        Raises: DiskError: it could not be written.
        """
        told = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event}
        line = json.dumps(told | what, ensure_ascii=True, allow_nan=False) + "\n"
        try:
            with self._lock:
                if self._torn:  # the rest of a line did not fit: this one does not go on from it
                    line = "\n" + line
                written = os.write(self._file, line.encode())
                self._torn = written < len(line)
            if written < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise DiskError(f"The audit trail {self._path} cannot be written "
                            f"({error.strerror}).") from error

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
