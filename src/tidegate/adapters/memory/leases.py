"""Leases within one process, from their grant to their end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from tidegate.adapters.memory.settling import adjust, adopted
from tidegate.adapters.memory.state import MemoryState
from tidegate.adapters.memory.stock import give_back
from tidegate.domain.claim import Claim
from tidegate.domain.decision import Granted
from tidegate.domain.lease import Lease, LeaseRecord, Outcome
from tidegate.errors import LeaseLost


class MemoryLeases(MemoryState):
    """`LeaseOwner` of this process. Each call is one step."""

    __slots__ = ()

    def release(self, lease: Lease, outcome: Outcome = "success") -> bool:
        """Give back what a lease holds; False if it was not live."""
        asked: Any = lease
        enter, leave = self._enter, self._leave
        enter()
        try:
            counted = self.released[outcome] + 1
            if asked.known_as:
                kept: Any = self.leases.pop(lease)
                if kept is None:
                    return False
            else:
                token = asked.fencing_token
                kept = self._live.get(token)
                if kept is None:
                    return False
                del self._live[token]
            rows, granted_id = kept.rows, kept.granted_id
            if rows is not None:
                give_back(rows)
            if granted_id is not None:
                now_ns = self._now_ns
                now = now_ns() // 1000 + self._epoch_us
                granted_id.ended_us = now if now > self.seen_us else self.seen_us
                ended = self.ids.ended
                ended.append(granted_id)
            self.released[outcome] = counted
        finally:
            leave(None)
        if self.on_released is not None:
            self.on_released(kept, outcome, self.now_us())
        if self.on_freed is not None and rows is not None:
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
            self.look_us = min(self.look_us, kept.expires_us)
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
            self.look_us = min(self.look_us, record.expires_us)
        finally:
            self._leave(None)
