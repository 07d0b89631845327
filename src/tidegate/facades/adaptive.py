"""A capacity whose ceiling follows what the thing behind it can do.

It is told of every lease that is released: how long it was held, and how its work ended. Once for
each window whoever releases next closes it, lets the algorithm see the mean, and swaps the policy
if the ceiling moved; there is no thread and no timer. Held leases stay: a lowered ceiling keeps
newcomers out until enough has been given back.

How much was in flight follows from the same figures (Little's law: the units of all that ended
times how long they were held, by the length of the window), so that admission pays for nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final, get_args

from tidegate.domain.adaptive import Aimd, Algorithm, Bounds, Gradient2, Sample, begin, observe
from tidegate.domain.lease import Lease, Outcome
from tidegate.domain.limit import Capacity
from tidegate.domain.policy import Policy
from tidegate.errors import InvalidLimit
from tidegate.facades.gate import AdmissionGate

SAMPLES_MIN = 10
"""A window stays open until so many have ended: the mean of fewer is chance."""

DROPS_PERCENT = 10
"""Above this share, those who failed or timed out are the server's fault and not their own."""

WINDOW_MAX_S = 3600.0

ALGORITHMS: Final[Mapping[str, Algorithm]] = {"aimd": Aimd(), "gradient2": Gradient2()}


@dataclass(slots=True)
class _Window:
    """What ended since `since_us`. `timed` are those whose time says how fast the server is."""

    since_us: int
    due_us: int
    ended: int = 0
    drops: int = 0
    timed: int = 0
    timed_us: int = 0
    held_unit_us: int = 0


class AdaptiveCapacity:
    """Moves one capacity of a gate between a minimum and a maximum.

    Args:
        gate: Whose limit it is; its time is the time here.
        limit: The name of a capacity without reserve, overcommit, lending or `per`; it starts at
            its units. With `partitions` it may be `per` one attribute, and becomes so.
        algorithm: `gradient2`, `aimd`, or one of the two with numbers of your own.
        minimum: The ceiling is never below it; at least what the largest claim holds.
        maximum: The ceiling is never above it; None: the units of the capacity.
        window_s: How long at least what ended is gathered before the ceiling may move; always
            twice as long as work takes.
        partitions: Guaranteed shares of the ceiling, see `Capacity`; None: those it has.
        partition_by: The attribute of claims whose values they are.
        drops: Outcomes that mean too much was let in, where more than a tenth of all end like that.

    Raises:
        InvalidLimit: naming the field.
    """

    def __init__(
        self,
        gate: AdmissionGate,
        limit: str,
        *,
        algorithm: Algorithm | str = "gradient2",
        minimum: int = 1,
        maximum: int | None = None,
        window_s: float = 1.0,
        partitions: Mapping[str, float] | None = None,
        partition_by: str = "class",
        drops: Collection[str] = ("failed", "timeout"),
    ) -> None:
        if not isinstance(gate, AdmissionGate):
            raise InvalidLimit("gate", type(gate).__name__, "one whose store is this process alone")
        found = _capacity(gate.policy, limit)
        if partitions:
            found = replace(found, per=(partition_by,), partitions=partitions)
        if found.per and not found.partitions:
            raise InvalidLimit("limit", limit, "a capacity that all share, or one with partitions")
        if not isinstance(window_s, int | float) or not 1e-3 <= window_s <= WINDOW_MAX_S:
            raise InvalidLimit("window_s", window_s, f"0.001..{WINDOW_MAX_S:g}")
        for outcome in drops:
            if outcome not in get_args(Outcome):
                raise InvalidLimit("drops", outcome, " | ".join(get_args(Outcome)))
        bounds = Bounds(minimum=minimum, maximum=found.units if maximum is None else maximum)
        self.name: str = limit
        self._gate, self._capacity = gate, found
        self._window_us, self._drops = round(window_s * 1e6), frozenset(drops)
        self._state = begin(_algorithm(algorithm), bounds, found.units)
        self._window: _Window | None = None
        self._lock = threading.Lock()
        gate.change_policy(self.put_into)
        self._end = gate.watch_releases(self._heard)

    @property
    def units(self) -> int:
        """The ceiling of now."""
        return self._state.units

    @property
    def bounds(self) -> Bounds:
        """The least and the most it may become."""
        return self._state.bounds

    def put_into(self, policy: Policy) -> Policy:
        """Return the policy with the ceiling of now, for those who swap policies themselves."""
        now = policy.limit_named(self.name) if self.name in policy else None
        limit = replace(self._capacity, units=self.units)
        if not isinstance(now, Capacity) or now.resource != limit.resource or now == limit:
            return policy
        return policy.with_limit(limit)

    def close(self) -> None:
        """Hear of nothing more; the ceiling stays where it is. Idempotent."""
        self._end()

    def _heard(self, lease: Lease, outcome: Outcome, now_us: int) -> None:
        units = lease.claim.hold.get(self._capacity.resource)
        if units is None:
            return
        held_us = max(0, now_us - lease.granted_us)
        with self._lock:
            before = self._state.units
            window = self._window
            if window is None:
                # Begun when the first of them was let in: that is how long they were in flight.
                since_us = now_us - held_us
                window = self._window = _Window(since_us, since_us + self._window_us)
            _count(window, units, held_us, outcome, drop=outcome in self._drops)
            if now_us < window.due_us or window.ended < SAMPLES_MIN:
                return
            self._close_window(window, now_us)
            moved = self._state.units != before
        if moved:
            self._gate.change_policy(self.put_into)

    def _close_window(self, window: _Window, now_us: int) -> None:
        dropped = window.drops * 100 > DROPS_PERCENT * window.ended
        latency_us = window.timed_us / window.timed if window.timed else 0.0
        if dropped or window.timed:
            in_flight = window.held_unit_us / max(1, now_us - window.since_us)
            sample = Sample(latency_us=latency_us, in_flight=in_flight, dropped=dropped)
            self._state = observe(self._state, sample)
        length_us = max(self._window_us, round(2 * latency_us))
        self._window = _Window(now_us, now_us + length_us)


def _count(window: _Window, units: int, held_us: int, outcome: Outcome, *, drop: bool) -> None:
    """Count an end. Cancelled work was cut short by its caller, and what failed may have been."""
    window.held_unit_us += units * held_us
    if outcome in ("success", "timeout"):
        window.timed += 1
        window.timed_us += held_us
    if outcome != "cancelled":
        window.ended += 1
        window.drops += drop


def _capacity(policy: Policy, name: str) -> Capacity:
    limit = policy.limit_named(name) if name in policy else None
    if not isinstance(limit, Capacity):
        capacities = [each.name for each in policy.limits if isinstance(each, Capacity)]
        raise InvalidLimit("limit", name, " | ".join(capacities) or "a capacity of the gate")
    if limit.is_shared or limit.reserve or limit.overcommit != 1:
        raise InvalidLimit("limit", name, "a capacity without reserve, overcommit and lending")
    return limit


def _algorithm(given: Algorithm | str) -> Algorithm:
    found = ALGORITHMS.get(given) if isinstance(given, str) else given
    if not isinstance(found, Aimd | Gradient2):
        raise InvalidLimit("algorithm", given, " | ".join(ALGORITHMS) + " | Aimd | Gradient2")
    return found
