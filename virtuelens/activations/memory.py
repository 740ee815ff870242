"""Give freed memory back to the system while a long harvest runs.

Batches differ in shape, so the C library's heap is left with holes of all sizes and grows from
batch to batch: 1.2 GB in a million tokens of 12 layers of 768 (benchmarks/harvest_store.py). Arrow
keeps what the index took, 35 MB there. Asked now and then, both give it back; that takes some
milliseconds.
"""

import contextlib
import ctypes
import sys
import time
from collections.abc import Callable

import pyarrow as pa


def keeper(*, every: float = 0.2) -> Callable[[], None]:
    """A function to call after every batch; does nothing where the C library cannot.

    every: seconds between two requests, at least. The first call asks at once: planning leaves
        much behind.
    """
    trim = None
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):
            trim = ctypes.CDLL("libc.so.6").malloc_trim
    last = -every

    def give_back() -> None:
        nonlocal last
        if trim is not None and time.monotonic() - last >= every:
            pa.default_memory_pool().release_unused()
            trim(0)
            last = time.monotonic()

    return give_back
