"""Time, and what is known at that time, of admission within one process.

Every step is one synchronous section under one lock. All that time brings about waits for one
look, which is done when it is due and before anything else is decided.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, get_args

from tidegate.adapters.memory.cells import Table
from tidegate.adapters.memory.claim_ids import ClaimIds, Ids
from tidegate.adapters.memory.lease_table import LeaseTable
from tidegate.adapters.memory.limiter import MemoryLimiter
from tidegate.adapters.memory.stock import give_back
from tidegate.adapters.memory.tables import Tables
from tidegate.adapters.memory.turnstile import Turnstile
from tidegate.domain.claim import Claim
from tidegate.domain.decision import Decision, Granted, Reason
from tidegate.domain.lease import LEASE_S, Lease, Outcome, lease_us_of
from tidegate.domain.policy import Policy

EXPIRED_MAX = 10_000
"""Expired leases that are kept until somebody asks for them."""

Near = Callable[[str, tuple[str, ...], int], None]
"""Hears the limit, the scope and the units left there, when a limit comes near."""


class MemoryState:
    """Levels, leases and claim ids of this process. A restart forgets everything.

    Args:
        policy: The limits in force.
        now_ns: Nanoseconds of a clock that should never step; if it does, the store stands still.
        epoch_us: What to add to it to have microseconds since the epoch.
        skew_us: What to add to the store's time to have that of the wall, whose calendar cuts the
            windows of quotas.
        lease_prefix: Makes lease ids unique to this process.
        near: Told when a limit comes near, under the lock: it must not block or call back.
    """

    __slots__ = (
        "_before",
        "_done",
        "_enter",
        "_epoch_us",
        "_grant",
        "_holds",
        "_ids",
        "_leave",
        "_live",
        "_lone",
        "_near",
        "_now_ns",
        "_takes",
        "_token",
        "_usual_us",
        "denied",
        "detour",
        "expired",
        "ids",
        "lease_prefix",
        "leases",
        "limiters",
        "lock",
        "look_us",
        "on_freed",
        "on_released",
        "released",
        "seen_us",
        "settled",
        "shadowed",
        "slowly",
        "tables",
    )

    def __init__(
        self,
        policy: Policy,
        *,
        now_ns: Callable[[], int],
        epoch_us: int = 0,
        skew_us: Callable[[], int] = lambda: 0,
        lease_prefix: str = "",
        near: Near | None = None,
    ) -> None:
        self.lock: Turnstile = Turnstile()
        self._enter: Callable[[], None] = self.lock.enter
        self._leave: Callable[[None], None] = self.lock.leave
        self._now_ns: Callable[[], int] = now_ns
        self._epoch_us: int = epoch_us
        self.seen_us: int = 0
        self.look_us: int = 0
        self._near: Near | None = near
        self.lease_prefix: str = lease_prefix
        self.tables: Tables = Tables(skew_us, near is not None)
        self.leases: LeaseTable = LeaseTable()
        self.ids: ClaimIds = ClaimIds()
        # The hot path takes these at one step less; compiled code looks up what it imports.
        self._grant: Callable[..., Granted] = Granted
        self._usual_us: Any = lease_us_of(LEASE_S)
        self._takes: dict[str, Table] = {}
        self._holds: dict[str, Table] = {}
        self._lone: dict[str, Table] = {}
        self._done: Table | None = None
        self.limiters: dict[str, MemoryLimiter] = {}
        self._live: dict[int, Granted] = self.leases.leases
        self._ids: dict[str, Ids] = self.ids.by_tenant
        self.expired: deque[Granted] = deque(maxlen=EXPIRED_MAX)
        self.settled: int = 0
        self._token: int = self.now_us()
        self._before: int = self._token
        self.released: dict[str, int] = dict.fromkeys(get_args(Outcome), 0)
        self.shadowed: dict[str, int] = {}
        self.denied: dict[str, int] = dict.fromkeys(get_args(Reason), 0)
        self.detour: bool = False
        self.slowly: Callable[[Claim, float, str, bool], Decision] | None = None
        self.on_freed: Callable[[Lease], None] | None = None
        self.on_released: Callable[[Lease, Outcome, int], None] | None = None
        self.bind(policy)

    @property
    def granted(self) -> int:
        """How many claims were granted: each took one token."""
        return self._token - self._before

    @property
    def newest(self) -> int:
        """The last token that was given out."""
        return self._token

    def now_us(self) -> int:
        """The store's time, microseconds since the epoch. Never steps back."""
        now = self._now_ns() // 1000 + self._epoch_us
        return max(self.seen_us, now)

    def catch_up(self) -> int:
        """Return the time after all that was due by then has been done. The lock is held."""
        now = self.now_us()
        self.seen_us = now
        if now >= self.look_us:
            self.look(now)
        return now

    def bind(self, policy: Policy) -> None:
        """Put other limits in force. What is held and what was spent stays."""
        self._enter()
        try:
            self.seen_us = self.now_us()
            self.tables.bind(policy, self.seen_us)
            self._takes, self._holds = self.tables.takes, self.tables.holds
            self._lone = self.tables.lone
            self._grant = granting_in_cohorts(policy) if policy.has_cohort_limits else Granted
            for limiter in self.limiters.values():
                limiter.table = self.tables.rates.get(limiter.name)
            self.look_us = 0
        finally:
            self._leave(None)

    def look(self, now: int) -> None:
        """Do all that time brings about: windows turn, leases expire, ids are forgotten."""
        turn_us = self.tables.turn(now)
        for lease in self.leases.expire(now):
            give_back(lease.rows)
            if lease.granted_id is not None:
                self.ids.end(lease.granted_id, now)
            self.expired.append(lease)
        self.ids.sweep(now)
        self.look_us = min(turn_us, self.leases.next_look_us(now))


def granting_in_cohorts(policy: Policy) -> Callable[..., Granted]:
    """Return what makes leases that remember the cohort of their tenant."""

    def grant(*fields: Any) -> Granted:
        lease = Granted(*fields)
        lease.cohort = policy.cohort_named(lease.claim.tenant)
        return lease

    return grant
