"""What a pool of workers may have and does have: limits, figures, and the pause after failures."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.errors import InvalidLimit

BACKOFF_FIRST_US = 250_000
"""The first pause; each further failure in a row doubles it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """How many workers there may be, and when one is replaced. None switches a rule off.

    Args:
        size: Most workers that exist at any moment, those starting and closing included.
        keep_warm: Workers kept alive without demand, 0..size; lent ones count.
        uses_max: Jobs after which a worker is replaced.
        age_max_us: Age at which a worker is replaced, once it is idle.
        idle_max_us: Idle time after which a worker beyond `keep_warm` is closed.
        memory_max_bytes: Memory from which on a worker is replaced, once it is idle.
    """

    size: int
    keep_warm: int = 0
    uses_max: int | None = None
    age_max_us: int | None = None
    idle_max_us: int | None = None
    memory_max_bytes: int | None = None

    def __post_init__(self) -> None:
        """Refuse a pool that could never lend, or would replace workers without end."""
        if self.size < 1:
            raise InvalidLimit("size", self.size, ">= 1")
        if not 0 <= self.keep_warm <= self.size:
            raise InvalidLimit("keep_warm", self.keep_warm, f"0..{self.size}")
        for field in ("uses_max", "age_max_us", "idle_max_us", "memory_max_bytes"):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise InvalidLimit(field, value, ">= 1, or none")

    def worn(self, *, uses: int, age_us: int, memory_bytes: int | None) -> bool:
        """Say whether a worker has served long enough, or grown too large."""
        used = (uses, age_us, memory_bytes or 0)
        most = (self.uses_max, self.age_max_us, self.memory_max_bytes)
        return any(m is not None and u >= m for u, m in zip(used, most, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStats:
    """`available` is free capacity, started or not. `failed` counts deaths and failed starts."""

    total: int
    available: int
    in_use: int
    failed: int
    idle: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerHealth:
    """One worker. `operations` includes the running one; `idle_us` is 0 while `in_use`."""

    worker_id: str
    healthy: bool
    operations: int
    memory_bytes: int | None
    age_us: int
    idle_us: int
    in_use: bool


class Backoff:
    """A pause that doubles with each failure in a row. Time comes in as a value."""

    def __init__(self) -> None:
        self._failures = self._since_us = self._wait_us = 0

    def fail(self, now_us: int, *, wait_max_us: int) -> None:
        """Begin a pause of at most `wait_max_us`."""
        self._since_us = now_us
        self._wait_us = min(wait_max_us, BACKOFF_FIRST_US << min(self._failures, 20))
        self._failures += 1

    def reset(self) -> None:
        """Forget all failures."""
        self._failures = self._wait_us = 0

    def over(self, now_us: int) -> bool:
        """Say whether there is no pause now. A clock that was set back ends it."""
        return not 0 <= now_us - self._since_us < self._wait_us
