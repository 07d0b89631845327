"""The machine's clock."""

from __future__ import annotations

import time

SKEW_MIN_US = 50_000
"""Reading two clocks one after the other may take a moment; that is no step."""


class SystemClock:
    """`Clock` on the system's wall clock: it may step when the machine's time is set."""

    def now_us(self) -> int:
        """Microseconds since the epoch."""
        return time.time_ns() // 1000

    def elapsed_us(self) -> int:
        """Microseconds of the monotonic clock, which nobody sets."""
        return time.monotonic_ns() // 1000


class SteadyClock:
    """Time since the epoch that never steps: the monotonic clock, set by the wall's once."""

    def __init__(self) -> None:
        self.elapsed_ns = time.monotonic_ns
        self.epoch_us = time.time_ns() // 1000 - time.monotonic_ns() // 1000

    def skew_us(self) -> int:
        """How far ahead the wall clock is by now, because somebody set it. 0 if by little."""
        skew_us = time.time_ns() // 1000 - time.monotonic_ns() // 1000 - self.epoch_us
        return skew_us if abs(skew_us) > SKEW_MIN_US else 0
