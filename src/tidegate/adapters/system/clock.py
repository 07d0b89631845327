"""The machine's clock."""

from __future__ import annotations

import time


class SystemClock:
    """`Clock` on the system's wall clock: it may step when the machine's time is set."""

    def now_us(self) -> int:
        """Microseconds since the epoch."""
        return time.time_ns() // 1000

    def elapsed_us(self) -> int:
        """Microseconds of the monotonic clock, which nobody sets."""
        return time.monotonic_ns() // 1000
