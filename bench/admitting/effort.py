"""How much is measured: all of it, or seconds of it to see that every row works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """Sizes of the measurements. `bursts` and `burst_s` are those of the crowds at stores."""

    calls: int
    repeats: int
    keys: int
    tasks: int
    tenants: int
    bursts: int
    burst_s: float
    contest_s: float
    leases: int
    watch_s: float


FULL = Effort(
    calls=10_000,
    repeats=15,
    keys=100_000,
    tasks=512,
    tenants=10_000,
    bursts=7,
    burst_s=0.6,
    contest_s=5.0,
    leases=10_000,
    watch_s=6.0,
)
QUICK = Effort(
    calls=300,
    repeats=3,
    keys=2_000,
    tasks=64,
    tenants=500,
    bursts=1,
    burst_s=0.1,
    contest_s=0.5,
    leases=200,
    watch_s=1.0,
)
