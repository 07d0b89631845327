"""Time, as the rules need it."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """The present, and what has passed, in integer microseconds."""

    def now_us(self) -> int:
        """Microseconds since the epoch. May step back when the machine's clock is set."""
        ...

    def elapsed_us(self) -> int:
        """Microseconds since some fixed moment. Never steps: for durations and deadlines."""
        ...
