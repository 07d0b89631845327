"""Requests that nobody made: arrivals by chance, tenants of unequal size.

The same stream of chance gives the same requests. Randomness comes in as a function, so that this
is a pure computation.

Source: Knuth, The Art of Computer Programming, volume 2, 3.4.1 D, for exponential intervals by
inversion; Zipf's law for the sizes of tenants, the k-th having 1 / k**skew of the first's share.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from math import log
from typing import Literal

from tidegate.domain.claim import Claim
from tidegate.errors import InvalidRequest
from tidegate.facades.replay.request import Request, Unsaid

START_US = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z: the start of every calendar period."""
BURST_S = 5.0
QUIET_S = 20.0
"""Mean lengths of bursts and of the silence between them; a fifth of the time has all requests."""

TENANTS_MAX = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """`requests` of them, `per_s` a second on average, by tenants `tenant-1`, `tenant-2`, ...

    `poisson` arrivals know nothing of each other; `bursty` ones do the same at five times the
    rate, in bursts that come and go by chance.
    """

    pattern: Literal["poisson", "bursty"]
    requests: int
    per_s: float
    tenants: int
    skew: float

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        if not 0 < self.per_s <= 1e6:
            raise InvalidRequest("rate", self.per_s, "> 0 and <= 1e6 a second")
        if not 0 <= self.requests <= 1e9 * self.per_s:
            raise InvalidRequest("requests", self.requests, "what comes within 1e9 s at that rate")
        if not 1 <= self.tenants <= TENANTS_MAX:
            raise InvalidRequest("tenants", self.tenants, f"1..{TENANTS_MAX}")
        if not 0 <= self.skew <= 10:
            raise InvalidRequest("zipf", self.skew, "0..10")


def arrivals(shape: Arrivals, unsaid: Unsaid, chance: Callable[[], float]) -> Iterator[Request]:
    """Yield the requests in the order of their time; `chance` gives numbers in [0, 1)."""
    shares = list(accumulate(1 / rank**shape.skew for rank in range(1, shape.tenants + 1)))
    intervals = _even(shape, chance) if shape.pattern == "poisson" else _in_bursts(shape, chance)
    passed_s = 0.0
    for _ in range(shape.requests):
        passed_s += next(intervals)
        rank = bisect(shares, chance() * shares[-1], hi=len(shares) - 1) + 1
        yield Request(
            at_us=START_US + round(passed_s * 1e6),
            claim=Claim(tenant=f"tenant-{rank}", take=unsaid.take, hold=unsaid.hold),
            held_us=unsaid.held_us or 0,
        )


def _even(shape: Arrivals, chance: Callable[[], float]) -> Iterator[float]:
    while True:
        yield _exponential(1 / shape.per_s, chance)


def _in_bursts(shape: Arrivals, chance: Callable[[], float]) -> Iterator[float]:
    mean_s = BURST_S / (BURST_S + QUIET_S) / shape.per_s
    left_s, silent_s = _exponential(BURST_S, chance), 0.0
    while True:
        wait_s = _exponential(mean_s, chance)
        while wait_s > left_s:
            # Exponential waits have no memory, so the rest of this one goes on after the silence.
            wait_s -= left_s
            silent_s += left_s + _exponential(QUIET_S, chance)
            left_s = _exponential(BURST_S, chance)
        left_s -= wait_s
        yield wait_s + silent_s
        silent_s = 0.0


def _exponential(mean: float, chance: Callable[[], float]) -> float:
    return -mean * log(1 - chance())
