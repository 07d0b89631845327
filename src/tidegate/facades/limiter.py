"""Limits asked directly, for callers that need neither claims nor leases."""

from __future__ import annotations

from collections.abc import Callable

from tidegate.ports.rate_store import Limiter, RateStore


class Limiters:
    """The part of a gate that hands out limiters.

    `_told` is what to call after a take, where somebody listens to limits that come near.
    """

    _rates: RateStore
    _told: Callable[[], None] | None

    def limiter(self, name: str) -> Limiter:
        """Return the limit of this name, to be asked directly: `take(key, units=1)`.

        That returns 0 if the units were had, else the exact wait in microseconds. The limit is
        asked alone: no precheck, no queue, no other limit on its resource. Refusals are counted
        among the gate's decisions. A limiter follows changes of the limits.

        Raises:
            InvalidClaim: there is no such limit, or it is a capacity.
        """
        limiter = self._rates.limiter(name)
        return limiter if self._told is None else TellingLimiter(limiter, self._told)


class TellingLimiter:
    """A limiter that tells of limits that came near, outside of every lock."""

    def __init__(self, limiter: Limiter, tell: Callable[[], None]) -> None:
        self._limiter, self._tell = limiter, tell

    @property
    def name(self) -> str:
        """The name of the limit."""
        return self._limiter.name

    def take(self, key: str | tuple[str, ...] = "", units: int = 1) -> int:
        """See `Limiter.take`."""
        wait_us = self._limiter.take(key, units)
        self._tell()
        return wait_us
