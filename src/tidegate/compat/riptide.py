"""RipTide's names over ours: its rate limiters, each a gate with one limit.

They promise what theirs announced. Where theirs did otherwise, ours differ on purpose: who is
allowed is never made to wait; the wait of who is refused is exact, with jitter only on top; every
figure is counted; to ask and to take is one step. Methods are coroutines, as theirs were, so that
a shared store can be behind them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from fractions import Fraction

import msgspec

from tidegate.bootstrap.embedded import Gate
from tidegate.bootstrap.world import chance, system_clock
from tidegate.domain.claim import Claim
from tidegate.domain.decision import Denied
from tidegate.domain.limit import RateLimit
from tidegate.errors import InvalidLimit, RateLimitExceeded
from tidegate.ports.clock import Clock

__all__ = [
    "HostStats",
    "PerHostRateLimiter",
    "RateLimitExceeded",
    "RateLimitStats",
    "RateLimiter",
]

HOSTS_MAX = 10_000
IDLE_S = 3_600
SWEEP_S = 300
"""Figures of a host or tenant are kept that long after its last request; looked for that often."""


class HostStats(msgspec.Struct, frozen=True, kw_only=True):
    """One host: requests that were allowed, whole tokens left now, seconds since the last one."""

    request_count: int
    available_tokens: int
    last_request_age: float


class RateLimitStats(msgspec.Struct, frozen=True, kw_only=True):
    """All of a limiter: every question it was asked, how it answered, and whom it remembers."""

    total_checks: int
    successful_checks: int
    rate_limited_checks: int
    tracked_tenants: int


class _Figures:
    """Who was allowed how often and when, the longest idle first; and how all were answered."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[int, int]] = {}
        self._swept_us = clock.elapsed_us()
        self._allowed = self._refused = 0

    def allowed(self, key: str) -> None:
        with self._lock:
            self._allowed += 1
            count, _ = self._seen.pop(key, (0, 0))
            self._seen[key] = (count + 1, self._clock.elapsed_us())
            self._sweep()
            if len(self._seen) > HOSTS_MAX:
                del self._seen[next(iter(self._seen))]

    def refused(self) -> None:
        with self._lock:
            self._refused += 1

    def of(self, key: str) -> tuple[int, float] | None:
        """Return how often the key was allowed and how many seconds ago the last time was."""
        with self._lock:
            self._sweep()
            found = self._seen.get(key)
            now_us = self._clock.elapsed_us()
            return None if found is None else (found[0], (now_us - found[1]) / 1e6)

    def remembered(self) -> list[str]:
        with self._lock:
            self._sweep()
            return list(self._seen)

    def stats(self) -> RateLimitStats:
        tracked = len(self.remembered())
        with self._lock:
            return RateLimitStats(
                total_checks=self._allowed + self._refused,
                successful_checks=self._allowed,
                rate_limited_checks=self._refused,
                tracked_tenants=tracked,
            )

    def _sweep(self) -> None:
        now_us = self._clock.elapsed_us()
        if now_us - self._swept_us < SWEEP_S * 1_000_000:
            return
        self._swept_us = now_us
        for key, (_, last_us) in list(self._seen.items()):
            if now_us - last_us < IDLE_S * 1_000_000:
                return
            del self._seen[key]


class RateLimiter:
    """A rate for each tenant: `max_requests` in `window_s` seconds on average, and at once.

    The defaults are those of RipTide: 1.5 a second for a minute.
    """

    def __init__(
        self,
        *,
        max_requests: int = 90,
        window_s: float = 60.0,
        store: str = "memory://",
        clock: Clock | None = None,
    ) -> None:
        clock = clock or system_clock()
        limit = RateLimit("requests", units=max_requests, period_s=window_s, per=("tenant",))
        self.gate = Gate([limit], store=store, clock=clock)
        self._figures = _Figures(clock)

    async def check_quota(self, tenant_id: str) -> None:
        """Ask whether the tenant may make a request, and take nothing.

        Raises:
            RateLimitExceeded: naming the tenant; `denied` has the exact wait.
        """
        self._answer(tenant_id, self.gate.explain(_of_tenant(tenant_id, 1)))

    async def consume(self, tenant_id: str, amount: int = 1) -> None:
        """Take `amount` requests, or nothing.

        Raises:
            RateLimitExceeded: naming the tenant; `denied` has the exact wait.
            InvalidClaim: more than `max_requests`; no wait is long enough.
        """
        decision = await self.gate.admit(_of_tenant(tenant_id, amount))
        self._answer(tenant_id, decision if isinstance(decision, Denied) else None)

    async def reset(self, tenant_id: str) -> None:
        """Let the tenant have all its requests again."""
        self.gate.set_used("requests", _of_tenant(tenant_id, 1), 0)

    async def get_remaining(self, tenant_id: str) -> int:
        """Return how many requests the tenant could make at once now."""
        return self.gate.limits(_of_tenant(tenant_id, 1))[0].remaining

    async def get_stats(self) -> RateLimitStats:
        """Return how often it was asked, by either question, and how it answered."""
        return self._figures.stats()

    def _answer(self, tenant_id: str, denied: Denied | None) -> None:
        if denied is not None:
            self._figures.refused()
            raise RateLimitExceeded(tenant_id, denied)
        self._figures.allowed(tenant_id)


class PerHostRateLimiter:
    """A rate for each host: `requests_per_second` on average, `burst_capacity` at once.

    The wait of who is refused is exact, and longer by up to `jitter_factor` of the time between two
    requests, so that they do not all come back together. `enabled` False allows everything.
    """

    def __init__(
        self,
        *,
        requests_per_second: float = 1.5,
        burst_capacity: int = 3,
        jitter_factor: float = 0.1,
        enabled: bool = True,
        store: str = "memory://",
        clock: Clock | None = None,
        chance: Callable[[], float] = chance,
    ) -> None:
        if not 1e-6 <= requests_per_second <= 1e6:
            raise InvalidLimit("requests_per_second", requests_per_second, "1e-6..1e6")
        if not 0 <= jitter_factor <= 1:
            raise InvalidLimit("jitter_factor", jitter_factor, "0..1")
        clock = clock or system_clock()
        # Exact for all that people write, such as 1.5: three in two seconds.
        rate = Fraction(requests_per_second).limit_denominator(1_000_000)
        limit = RateLimit(
            "host_requests",
            units=rate.numerator,
            period_s=rate.denominator,
            burst=burst_capacity,
            per=("host",),
        )
        self.gate = Gate([limit], store=store, clock=clock)
        self._figures = _Figures(clock)
        self._enabled, self._chance = enabled, chance
        self._interval_s = 1 / requests_per_second
        self._jitter_s = jitter_factor * self._interval_s

    async def check_rate_limit(self, host: str) -> float | None:
        """Take a request to the host: None if it may be made now, else the seconds to wait.

        After that wait a request passes, unless others came first.
        """
        if self._enabled:
            decision = await self.gate.admit(_of_host(host, take={"host_requests": 1}))
            if isinstance(decision, Denied):
                self._figures.refused()
                return self._wait_s(decision) + self._jitter_s * self._chance()
        self._figures.allowed(host)
        return None

    async def get_host_stats(self, host: str) -> HostStats | None:
        """Return the figures of a host; None if it was never asked for, or too long ago."""
        found = self._figures.of(host)
        if found is None:
            return None
        count, age_s = found
        tokens = self.gate.limits(_of_host(host))[0].remaining
        return HostStats(request_count=count, available_tokens=tokens, last_request_age=age_s)

    async def get_all_stats(self) -> dict[str, HostStats]:
        """Return the figures of every host that is remembered."""
        return {
            host: stats
            for host in self._figures.remembered()
            if (stats := await self.get_host_stats(host)) is not None
        }

    async def tracked_hosts_count(self) -> int:
        """Return of how many hosts there are figures: `HOSTS_MAX` at most, the latest ones.

        Hosts whose figures had to go are limited like all others.
        """
        return len(self._figures.remembered())

    async def get_stats(self) -> RateLimitStats:
        """Return how often it was asked and how it answered; what it tracks are hosts."""
        return self._figures.stats()

    def _wait_s(self, denied: Denied) -> float:
        if denied.retry_after_us is None:
            # A store that does not answer knows no wait; one request later is a fair guess.
            return self._interval_s
        return denied.retry_after_us / 1e6


def _of_tenant(tenant_id: str, amount: int) -> Claim:
    return Claim(tenant=tenant_id, take={"requests": amount})


def _of_host(host: str, take: dict[str, int] | None = None) -> Claim:
    return Claim(host=host, take=take or {})
