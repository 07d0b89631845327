"""Time, leases and what they give back, of admission within one process.

Every step is one synchronous section under one lock. All that time brings about waits for one
look, which is done when it is due and before anything else is decided.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import get_args

from tidegate.adapters.memory.claim_ids import ClaimIds
from tidegate.adapters.memory.lease_table import LeaseTable
from tidegate.adapters.memory.settling import adjust, adopted
from tidegate.adapters.memory.stock import give_back
from tidegate.adapters.memory.tables import Tables
from tidegate.domain.claim import Claim
from tidegate.domain.decision import Decision, Granted
from tidegate.domain.lease import Lease, LeaseRecord, Outcome
from tidegate.domain.policy import Policy
from tidegate.errors import LeaseLost

EXPIRED_MAX = 10_000
"""Expired leases that are kept until somebody asks for them."""

Near = Callable[[str, tuple[str, ...], int], None]
"""Hears the limit, the scope and the units left there, when a limit comes near."""


class MemoryLeases:
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
        lock = threading.Lock()
        self.lock = lock
        self._acquire: Callable[[], bool] = lock.acquire
        self._unlock: Callable[[], None] = lock.release
        self._now_ns: Callable[[], int] = now_ns
        self._epoch_us: int = epoch_us
        self._now_us: int = 0
        self._look_us: int = 0
        self._token: int = 0
        self._near: Near | None = near
        self.lease_prefix: str = lease_prefix
        self.tables: Tables = Tables(skew_us, near is not None)
        self.leases: LeaseTable = LeaseTable()
        self.ids: ClaimIds = ClaimIds()
        self.expired: deque[Granted] = deque(maxlen=EXPIRED_MAX)
        self.granted: int = 0
        self.settled: int = 0
        self.released: dict[str, int] = dict.fromkeys(get_args(Outcome), 0)
        self.shadowed: dict[str, int] = {}
        self.denied: Counter[str] = Counter()
        self.detour: bool = False
        self.slowly: Callable[[Claim, float, str, bool], Decision] | None = None
        self.on_freed: Callable[[Lease], None] | None = None
        self.on_released: Callable[[Lease, Outcome, int], None] | None = None
        self.bind(policy)

    def now_us(self) -> int:
        """The store's time, microseconds since the epoch. Never steps back."""
        now = self._now_ns() // 1000 + self._epoch_us
        return max(self._now_us, now)

    def catch_up(self) -> int:
        """Return the time after all that was due by then has been done. The lock is held."""
        now = self.now_us()
        self._now_us = now
        if now >= self._look_us:
            self.look(now)
        return now

    def bind(self, policy: Policy) -> None:
        """Put other limits in force. What is held and what was spent stays."""
        self._acquire()
        try:
            self._now_us = self.now_us()
            self.tables.bind(policy, self._now_us)
            self._look_us = 0
        finally:
            self._unlock()

    def release(self, lease: Lease, outcome: Outcome = "success") -> bool:
        """Give back what a lease holds; False if it was not live."""
        self._acquire()
        try:
            kept = self.leases.pop(lease)
            if kept is None:
                return False
            if kept.rows:
                give_back(kept.rows)
            if kept.claim.id is not None:
                self.ids.end(kept, kept.claim.id, self.now_us())
            self.released[outcome] += 1
        finally:
            self._unlock()
        if self.on_released is not None:
            self.on_released(kept, outcome, self.now_us())
        if self.on_freed is not None and kept.rows:
            self.on_freed(kept)
        return True

    def settle(self, lease: Lease, actual: Mapping[str, int]) -> bool:
        """Replace the amounts a lease took by those really used; False if that was done before.

        Raises:
            InvalidClaim: a resource that the claim did not take, or no integer >= 0.
        """
        self._acquire()
        try:
            kept = self.leases.get(lease) or lease
            if kept.settled:
                return False
            adjust(self.tables, kept, actual, self.catch_up())
            kept.settled = lease.settled = True
            self.settled += 1
        finally:
            self._unlock()
        if self.on_freed is not None:
            self.on_freed(kept)
        return True

    def void(self, lease: Lease) -> bool:
        """Take back a grant whose holder never heard of it, with all it took; free its id."""
        self._acquire()
        try:
            kept = self.leases.pop(lease)
            if kept is None and (lease.rows or lease.claim.id is not None):
                return False
            if not lease.settled:
                adjust(self.tables, lease, dict.fromkeys(lease.claim.take, 0), self.catch_up())
                lease.settled = True
            give_back(lease.rows)
            self.ids.forget(lease.claim)
        finally:
            self._unlock()
        if self.on_freed is not None:
            self.on_freed(lease)
        return True

    def renew(self, lease: Lease, lease_us: int) -> int:
        """Move a lease's expiry to `lease_us` from now; return the new expiry.

        Raises:
            LeaseLost: it was released, reclaimed, or never there.
        """
        self._acquire()
        try:
            now = self.catch_up()
            kept = self.leases.get(lease)
            if kept is None:
                raise LeaseLost(lease.id)
            ends_us = self.tables.policy.hold_end_us(kept.claim, kept.granted_us)
            kept.renewed_us = now
            kept.lease_us = min(lease_us, ends_us - now)
            self.leases.moved(kept)
            self._look_us = min(self._look_us, kept.expires_us)
            return kept.expires_us
        finally:
            self._unlock()

    def reclaim(self) -> list[LeaseRecord]:
        """Take back every lease that has expired, and return them, once each."""
        self._acquire()
        try:
            self.catch_up()
            expired = list(self.expired)
            self.expired.clear()
        finally:
            self._unlock()
        return [lease.record() for lease in expired]

    def adopt(self, record: LeaseRecord) -> None:
        """Hold what a lease of an earlier process holds, even above the ceiling. Idempotent.

        Raises:
            InvalidClaim: a resource there is no limit on any more, or a scope it says nothing of.
        """
        self._acquire()
        try:
            now = self.catch_up()
            if self.leases.find(record.id, self.lease_prefix) is not None:
                return
            lease = adopted(self.tables, record, self, now)
            self._token = max(self._token, record.fencing_token)
            self.leases.adopt(lease)
            if record.claim.id is not None:
                self.ids.remember(lease, record.claim.tenant, record.claim.id)
            self._look_us = min(self._look_us, record.expires_us)
        finally:
            self._unlock()

    def look(self, now: int) -> None:
        """Do all that time brings about: windows turn, leases expire, ids are forgotten."""
        turn_us = self.tables.turn(now)
        for lease in self.leases.expire(now):
            give_back(lease.rows)
            if lease.claim.id is not None:
                self.ids.end(lease, lease.claim.id, now)
            self.expired.append(lease)
        self.ids.sweep(now)
        self._look_us = min(turn_us, self.leases.next_look_us(now))
