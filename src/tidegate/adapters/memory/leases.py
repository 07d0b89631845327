"""Time, leases and what they give back, of admission within one process.

Every step is one synchronous section under one lock. All that time brings about waits for one
look, which is done when it is due and before anything else is decided.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, get_args

from msgspec.structs import replace

from tidegate.adapters.memory.cells import Table
from tidegate.adapters.memory.claim_ids import ClaimIds
from tidegate.adapters.memory.lease_table import LeaseTable
from tidegate.adapters.memory.records import GrantedId
from tidegate.adapters.memory.settling import adjust, adopted
from tidegate.adapters.memory.stock import give_back
from tidegate.adapters.memory.tables import Tables
from tidegate.adapters.memory.turnstile import Turnstile
from tidegate.domain.claim import Claim
from tidegate.domain.decision import Decision, Granted, Reason
from tidegate.domain.lease import LEASE_S, Lease, LeaseRecord, Outcome, lease_us_of
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
        self.lock: Turnstile = Turnstile()
        self._enter: Callable[[], None] = self.lock.enter
        self._leave: Callable[[None], None] = self.lock.leave
        self._now_ns: Callable[[], int] = now_ns
        self._epoch_us: int = epoch_us
        self._now_us: int = 0
        self._look_us: int = 0
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
        self._live: dict[int, Granted] = self.leases.leases
        self._ids: dict[str, dict[str, GrantedId]] = self.ids.by_tenant
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
        self._enter()
        try:
            self._now_us = self.now_us()
            self.tables.bind(policy, self._now_us)
            self._takes, self._holds = self.tables.takes, self.tables.holds
            self._lone = self.tables.lone
            self._look_us = 0
        finally:
            self._leave(None)

    def release(self, lease: Lease, outcome: Outcome = "success") -> bool:
        """Give back what a lease holds; False if it was not live."""
        asked: Any = lease
        self._enter()
        try:
            released = self.released[outcome] + 1
            if asked.known_as:
                kept: Any = self.leases.pop(lease)
            else:
                kept = self._live.pop(asked.fencing_token, None)
            if kept is None:
                return False
            if kept.rows is not None:
                give_back(kept.rows)
            if kept.granted_id is not None:
                self.ids.end(kept.granted_id, self.now_us())
            self.released[outcome] = released
        finally:
            self._leave(None)
        if self.on_released is not None:
            self.on_released(kept, outcome, self.now_us())
        if self.on_freed is not None and kept.rows is not None:
            self.on_freed(kept)
        return True

    def granted_before(self, claim: Claim) -> Granted:
        """Return the earlier grant of a claim again, whose id is known. The lock is held.

        Raises:
            ClaimIdReused: the id was granted for another claim.
        """
        found = self.ids.find(claim)
        assert found is not None
        lease = Granted(
            found.fencing_token, claim, self, found.ended_us, 0, settled=True, repeated=True
        )
        lease.known_as = found.known_as
        live = self.leases.get(lease)
        return lease if live is None else replace(live, rows=None, repeated=True)

    def settle(self, lease: Lease, actual: Mapping[str, int]) -> bool:
        """Replace the amounts a lease took by those really used; False if that was done before.

        Raises:
            InvalidClaim: a resource that the claim did not take, or no integer >= 0.
        """
        self._enter()
        try:
            kept = self.leases.get(lease) or lease
            if kept.settled:
                return False
            adjust(self.tables, kept, actual, self.catch_up())
            kept.settled = lease.settled = True
            self.settled += 1
        finally:
            self._leave(None)
        if self.on_freed is not None:
            self.on_freed(kept)
        return True

    def void(self, lease: Lease) -> bool:
        """Take back a grant whose holder never heard of it, with all it took; free its id.

        False if it is not live, or if a retry has heard of it: then it is the retry's.
        """
        self._enter()
        try:
            live = self.leases.get(lease)
            if live is not None and live.granted_id is not None and live.granted_id.told:
                return False
            kept = self.leases.pop(lease)
            if kept is None and (lease.rows is not None or lease.claim.id is not None):
                return False
            if not lease.settled:
                adjust(self.tables, lease, dict.fromkeys(lease.claim.take, 0), self.catch_up())
                lease.settled = True
            give_back(lease.rows if kept is None else kept.rows)
            self.ids.forget(lease.claim)
        finally:
            self._leave(None)
        if self.on_freed is not None:
            self.on_freed(lease)
        return True

    def renew(self, lease: Lease, lease_us: int) -> int:
        """Move a lease's expiry to `lease_us` from now; return the new expiry.

        Raises:
            LeaseLost: it was released, reclaimed, or never there.
        """
        self._enter()
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
            self._leave(None)

    def reclaim(self) -> list[LeaseRecord]:
        """Take back every lease that has expired, and return them, once each."""
        self._enter()
        try:
            self.catch_up()
            expired = list(self.expired)
            self.expired.clear()
        finally:
            self._leave(None)
        return [lease.record() for lease in expired]

    def adopt(self, record: LeaseRecord) -> None:
        """Hold what a lease of an earlier process holds, even above the ceiling. Idempotent.

        Raises:
            InvalidClaim: a resource there is no limit on any more, or a scope it says nothing of.
        """
        self._enter()
        try:
            now = self.catch_up()
            if self.leases.find(record.id, self.lease_prefix) is not None:
                return
            lease = adopted(self.tables, record, self, now)
            jump = max(0, record.fencing_token - self._token)
            self._token += jump
            self._before += jump
            self.leases.adopt(lease)
            if record.claim.id is not None:
                self.ids.remember(lease, record.claim.id)
            self._look_us = min(self._look_us, record.expires_us)
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
        self._look_us = min(turn_us, self.leases.next_look_us(now))
