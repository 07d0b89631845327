"""Admission within one process: every decision is one synchronous step, for threads and tasks.

The hot path of the library, written for the interpreter and compiled where that is possible: what
a limit needs is read from one object, and a claim of a single rate takes a short way. It decides
what the pure rule decides; the conformance suite compares the two on random scripts.

The lock is taken in try/finally and not by `with`, which costs twice as much per decision.
"""

from __future__ import annotations

from typing import Any

from tidegate.adapters.memory.cells import Table, scope_under
from tidegate.adapters.memory.leases import MemoryLeases
from tidegate.adapters.memory.rows import Decided, hold, look_closer, slide
from tidegate.domain.ask import check_units
from tidegate.domain.claim import Claim
from tidegate.domain.decision import Decision, Denied, Granted
from tidegate.domain.lease import LEASE_S, lease_us_of
from tidegate.domain.rule import RATE, STOCK

LEASE_US = lease_us_of(LEASE_S)


class MemoryAdmissionStore(MemoryLeases):
    """`AdmissionStore` of this process. A restart forgets everything."""

    def try_admit(
        self, claim: Claim, *, lease_s: float = LEASE_S, holder: str = "", report: bool = False
    ) -> Decision:
        """Decide now, without waiting; by `slowly` while there is a `detour`."""
        if self.detour or report:
            assert self.slowly is not None
            return self.slowly(claim, lease_s, holder, report)
        lease_us = LEASE_US if lease_s == LEASE_S else lease_us_of(lease_s)
        decision = self.admit(claim, lease_us, holder)
        if isinstance(decision, Denied):
            self.denied[decision.reason] += 1
        return decision

    def admit(self, claim: Claim, lease_us: int, holder: str) -> Decision:
        """Grant everything the claim asks for, or nothing, in one step.

        Raises:
            InvalidClaim: the claim names what no limit knows, or amounts no limit can grant.
            ClaimIdReused: the claim's id was granted for another claim.
        """
        now = self._now_ns() // 1000 + self._epoch_us
        self._acquire()
        try:
            now = max(now, self._now_us)
            self._now_us = now
            if now >= self._look_us:
                self.look(now)
            take = claim.take
            if len(take) != 1 or claim.hold or claim.id is not None:
                return self._admit_all(claim, lease_us, holder, now)
            for resource, units in take.items():
                tables = self.tables.takes.get(resource) or self.tables.unknown(resource, "take")
                table = tables[0]
                if len(tables) > 1 or table.varies or type(units) is not int or units < 1:
                    return self._admit_all(claim, lease_us, holder, now)
                key = claim.tenant if table.by_tenant else table.key(claim)
                cells = table.young
                stored = cells.get(key, -1)
                terms = table.terms
                if stored < 0 or table.kind != RATE:
                    return self._admit_all(claim, lease_us, holder, now)
                base = now if terms.drain == 1 else now * terms.drain
                stored = max(stored, base)
                stored += units * terms.unit
                if stored - base > terms.watch:
                    over = stored - base - terms.ceiling
                    if over <= 0 or terms.rule.shadow or units * terms.unit > terms.ceiling:
                        return self._admit_all(claim, lease_us, holder, now)
                    left = (units * terms.unit - over) // terms.unit
                    return _denied(table, key, -(-over // terms.drain), left)
                cells[key] = stored
            return self._grant(claim, lease_us, holder, now, ())
        finally:
            self._unlock()

    # One loop on purpose: a call for each row would cost as much as the row.
    def _admit_all(  # noqa: C901, PLR0912
        self, claim: Claim, lease_us: int, holder: str, now: int
    ) -> Decision:
        """Decide a claim of any shape. The lock is held."""
        if claim.id is not None:
            self.tables.policy.check_id(claim)
            earlier = self.ids.find(claim, claim.id, self)
            if earlier is not None:
                return earlier
        tenant = claim.tenant
        decided = Decided(self.tables, claim, now)
        writes = decided.writes
        takes = self.tables.takes
        for resource, units in claim.take.items():
            for table in takes.get(resource) or self.tables.unknown(resource, "take"):
                key = tenant if table.by_tenant else table.key(claim)
                terms = self.tables.terms(table, key, now) if table.varies else table.terms
                if type(units) is not int or units < 1 or units * terms.unit > terms.ceiling:
                    check_units(f"take.{resource}", units, terms.rule)
                if table.kind > STOCK:
                    slide(decided, table, terms, key, units)
                    continue
                cells = table.young
                stored = cells.get(key, -1)
                if stored < 0:
                    key = table.enter(key, claim)
                    stored = table.stored(key)
                base = 0
                if table.kind == RATE:
                    base = now if terms.drain == 1 else now * terms.drain
                    stored = max(stored, base)
                stored += units * terms.unit
                if stored - base > terms.watch:
                    over = stored - base - terms.ceiling
                    if not look_closer(decided, table, terms, key, over, units):
                        continue
                writes.append((cells, key, stored))
        rows = hold(decided, claim) if claim.hold else ()
        if decided.refused is not None:
            return self._refuse(decided)
        for cells, key, value in writes:
            cells[key] = value
        if decided.noted:
            self._tell(decided)
        return self._grant(claim, lease_us, holder, now, rows)

    def _grant(
        self, claim: Claim, lease_us: int, holder: str, now: int, rows: tuple[Any, ...]
    ) -> Granted:
        self.granted += 1
        token = self._token + 1
        if token <= now:
            token = now + 1
        self._token = token
        lease = Granted(token, claim, self, now, lease_us, holder, rows)
        if rows or claim.id is not None:
            self.leases.leases[token] = lease
            self._look_us = min(self._look_us, now + lease_us)
            if claim.id is not None:
                self.ids.remember(lease, claim.tenant, claim.id)
        return lease

    def _refuse(self, decided: Decided) -> Denied:
        table = decided.refused
        assert table is not None
        wait_us: int | None = decided.wait_us
        if table.kind == STOCK:
            expiry_us = self.leases.next_expiry_us(table)
            wait_us = None if expiry_us is None else max(1, expiry_us - decided.now_us)
        return _denied(table, decided.key, wait_us, decided.left)

    def _tell(self, decided: Decided) -> None:
        """Count what a shadow would have refused, and say what came near."""
        for table, key, left in decided.noted:
            if left < 0:
                self.shadowed[table.name] = self.shadowed.get(table.name, 0) + 1
            elif self._near is not None:
                self._near(table.name, scope_under(table, key), left)


def _denied(table: Table, key: object, wait_us: int | None, left: int) -> Denied:
    scope = scope_under(table, key)
    timed = table.kind != STOCK
    return Denied(table.reason, table.name, scope, max(0, left), wait_us, timed)
