"""Giving memory back to the system, so that what was freed is not counted against tenants.

glibc raises the size from which it maps blocks by themselves each time a large one is freed, up to
32 MiB; bodies and pages then stay in the heap long after they are gone. Fixed thresholds keep large
blocks apart, and a trim returns what lies between.

Source: mallopt(3), malloc_trim(3).
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
LARGE_BYTES = 128 * 1024


def keep_large_blocks_apart() -> None:
    """Map every block from 128 KiB on by itself. Does nothing where there is no glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(_TRIM_THRESHOLD, LARGE_BYTES)


def trim() -> None:
    """Return freed memory to the system. Takes milliseconds: call it from a thread."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
