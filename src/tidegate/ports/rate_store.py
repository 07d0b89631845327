"""Limits asked directly: the shortest way from a key to yes or no."""

from __future__ import annotations

from typing import Protocol


class Limiter(Protocol):
    """One limit, alone: no precheck, no queue, no other limit on its resource, and no lease."""

    @property
    def name(self) -> str:
        """The name of the limit."""
        ...

    def take(self, key: str | tuple[str, ...] = "", units: int = 1) -> int:
        """Take units, or say how long until they are there. Safe for threads and tasks.

        Args:
            key: The value of what the limit is `per`, several as a tuple, none as "".
            units: How many, up to what the limit can ever grant at once.

        Returns:
            0 if they were taken, else the exact wait in microseconds; then nothing was taken.

        Raises:
            InvalidClaim: a key that does not fit the limit, a wrong number of units, or the limit
                is no longer in force.
        """
        ...


class RateStore(Protocol):
    """Hands out limiters."""

    def limiter(self, name: str) -> Limiter:
        """Return the limiter of a rate, a sliding window or a quota. It follows changed limits.

        Raises:
            InvalidClaim: there is no such limit.
        """
        ...
