"""Row 2: all of it at once. Tenant rate, host rate, quota and a capacity, then the release.

Every claim is new and has an id of its own, as a retry-safe request has; the ids are made before
the clock starts. The peer makes one hit on one window.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

from admitting import own, peers
from admitting.effort import Effort
from admitting.table import Bar, Row, nanoseconds
from admitting.timing import Subject, Timings, cpu_ns, middle, times
from tidegate import Claim, Granted

GROUP = "claim"
NEW = "four limits + release, new claim with id"
REUSED = "four limits + release, claim reused, no id"


def measure(effort: Effort) -> list[Row]:
    rivals, absent = peers.present(peers.fixed_window)
    timings = cpu_ns([new(), reused(), *rivals], calls=effort.calls, repeats=effort.repeats)
    rows = [
        times_the_cost(GROUP, name, timings, peers.FIXED_WINDOW, bar)
        for name, bar in ((NEW, own.must(at_most=(1.2, 0.7))), (REUSED, None))
    ]
    return rows + [Row(group=GROUP, what=NEW, peer=why) for why in absent]


def new() -> Subject:
    admit = own.open_gate(own.FOUR_LIMITS).try_admit
    numbers = count()

    def run(items: Iterable[Any]) -> object:
        decision: object = None
        for claim_id in items:
            decision = admit(
                Claim(
                    tenant="acme",
                    host="example.com",
                    take={"requests": 1, "host_requests": 1, "operations": 1},
                    hold={"browsers": 1},
                    id=claim_id,
                )
            )
            assert isinstance(decision, Granted)
            decision.lease.release()
        return decision

    return Subject(
        name=NEW, run=run, prepare=lambda calls: ids(numbers, calls), check=own.all_granted
    )


def reused() -> Subject:
    admit = own.open_gate(own.FOUR_LIMITS).try_admit
    claim = own.four_limits_claim()

    def run(items: Iterable[Any]) -> object:
        decision: object = None
        for _ in items:
            decision = admit(claim)
            assert isinstance(decision, Granted)
            decision.lease.release()
        return decision

    return Subject(name=REUSED, run=run, check=own.all_granted)


def ids(numbers: Iterator[int], calls: int) -> list[str]:
    """Return ids as long as those that people make of random bytes."""
    return [f"{next(numbers):032x}" for _ in range(calls)]


def times_the_cost(group: str, name: str, timings: Timings, rival: str, bar: Bar | None) -> Row:
    """Return how many times the rival's cost one subject costs."""
    mine = middle(timings, name)
    if rival not in timings:
        absent = f"{rival}: not installed"
        return Row(group=group, what=name, ours=nanoseconds(mine), peer=absent, bar=bar)
    its = middle(timings, rival)
    return Row(
        group=group,
        what=name,
        ours=nanoseconds(mine),
        peer=f"{rival}: {nanoseconds(its)}",
        value=times(timings, name, rival),
        bar=bar,
        figures={"ours_ns": mine, "peer_ns": its},
    )
