"""A server behind a gate, simulated: what each way to limit it does under more work than it can do.

Ten workers need a tenth of a second for each request, so the server does 100 requests a second. It
is sent 130, at random. Prints what gets through, and how long that takes.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable

from tidegate import AdaptiveCapacity, Aimd, Capacity, Claim, Gate, Gradient2, Granted
from tidegate.testing import FakeClock

WORKERS, SERVICE_S, ARRIVALS_PER_S = 10, 0.1, 130.0
SECONDS, WARM_S = 600, 120
CLAIM = Claim(hold={"backend": 1})


class Outcome:
    """What came out of a run: how many per second, and how long each of them took."""

    def __init__(self, latencies_s: list[float], seconds: float) -> None:
        self.per_s = len(latencies_s) / seconds
        self._latencies_s = sorted(latencies_s)

    def latency_s(self, percent: int) -> float:
        """Return the latency that `percent` of all did not exceed."""
        return self._latencies_s[len(self._latencies_s) * percent // 100]


def simulate(
    enter: Callable[[float], object | None],
    leave: Callable[[float, object], None],
    *,
    slowness: Callable[[float], float] = lambda _: 1.0,
    per_s: float = ARRIVALS_PER_S,
    seconds: float = SECONDS,
    warm_s: float = WARM_S,
) -> Outcome:
    """Run the server. Requests come at random and are served in their order by ten workers.

    Args:
        enter: Asked at each arrival; what it returns is given back to `leave`, None is a refusal.
        leave: Told when the request has been answered.
        slowness: How many times as long as usual work takes at an instant.
        per_s: Arrivals per second.
        seconds: How long the run lasts.
        warm_s: From when on it is measured.
    """
    chance = random.Random(1)
    workers = [0.0] * WORKERS
    ends: list[tuple[float, int, float, object]] = []
    latencies: list[float] = []
    now_s, order = 0.0, 0
    while now_s < seconds:
        now_s += chance.expovariate(per_s)
        while ends and ends[0][0] <= now_s:
            end_s, _, came_s, ticket = heapq.heappop(ends)
            leave(end_s, ticket)
            if end_s >= warm_s:
                latencies.append(end_s - came_s)
        ticket = enter(now_s)
        if ticket is None:
            continue
        order += 1
        begin_s = max(now_s, heapq.heappop(workers))
        end_s = begin_s + chance.expovariate(1 / (SERVICE_S * slowness(begin_s)))
        heapq.heappush(workers, end_s)
        heapq.heappush(ends, (end_s, order, now_s, ticket))
    return Outcome(latencies, seconds - warm_s)


class Door:
    """A gate in the time of the simulation, with a capacity that may be adaptive."""

    def __init__(self, units: int, algorithm: Aimd | Gradient2 | None = None) -> None:
        self.clock = FakeClock()
        self.started_us = self.clock.now_us()
        self.gate = Gate([Capacity("backend", units=units)], clock=self.clock)
        self.ceilings: deque[int] = deque(maxlen=100_000)
        self.adaptive = None
        if algorithm is not None:
            self.adaptive = AdaptiveCapacity(
                self.gate, "backend", algorithm=algorithm, minimum=2, maximum=1_000
            )

    def enter(self, now_s: float) -> Granted | None:
        """Ask for a place."""
        self.clock.set(self.started_us + round(now_s * 1e6))
        decision = self.gate.try_admit(CLAIM, lease_s=86_400)
        if self.adaptive is not None:
            self.ceilings.append(self.adaptive.units)
        return decision if isinstance(decision, Granted) else None

    def leave(self, now_s: float, ticket: object) -> None:
        """Give the place back."""
        self.clock.set(self.started_us + round(now_s * 1e6))
        assert isinstance(ticket, Granted)
        ticket.release()


def main() -> None:
    """Print the table."""
    doors = {
        "unlimited": Door(1_000_000),
        "static, 10": Door(10),
        "static, 15": Door(15),
        "static, 100": Door(100),
        "AIMD": Door(100, Aimd(latency_max_s=0.15)),
        "Gradient2": Door(100, Gradient2()),
    }
    print(f"{'limit':12}{'per second':>12}{'p50':>10}{'p99':>10}")
    for name, door in doors.items():
        found = simulate(door.enter, door.leave)
        p50, p99 = found.latency_s(50), found.latency_s(99)
        print(f"{name:12}{found.per_s:>12.1f}{p50:>8.3f} s{p99:>8.3f} s")


if __name__ == "__main__":
    main()
