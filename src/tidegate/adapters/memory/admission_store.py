"""`AdmissionStore` and `AdmissionInspect` within one process. A restart forgets everything.

Every step is one synchronous section under one lock, so it serves threads and tasks alike. The
lock is taken in try/finally and not by `with`, which costs twice as much per decision.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import msgspec

from tidegate.adapters.memory.cells import CellTable
from tidegate.adapters.memory.claim_ids import ClaimIds
from tidegate.adapters.memory.lease_table import Held, LeaseTable
from tidegate.domain.admission import STOCK, WINDOW, Row, age, decide, reset
from tidegate.domain.claim import Claim
from tidegate.domain.lease import LeaseRecord
from tidegate.domain.policy import Ask, Cell
from tidegate.errors import LeaseLost
from tidegate.ports.admission_store import Grant, Refusal

KEYS_MAX = 100_000
"""Cells of one limit; beyond it newcomers share one, so that nobody can fill the memory."""
EXPIRED_MAX = 100_000


class MemoryAdmissionStore:
    """The embedded default. `now_us` is the clock; `lease_prefix` makes ids unique to a process."""

    def __init__(self, *, now_us: Callable[[], int], lease_prefix: str) -> None:
        self._clock = now_us
        self._lease_prefix = lease_prefix
        self._lock = threading.Lock()
        self._tables: dict[str, CellTable] = {}
        self._leases = LeaseTable()
        self._expired: deque[LeaseRecord] = deque(maxlen=EXPIRED_MAX)
        self._ids = ClaimIds()
        self._token = 0

    def admit(self, ask: Ask, *, now_us: int | None = None) -> Grant | Refusal:
        """See `AdmissionStore.admit`."""
        self._lock.acquire()
        try:
            now = self._clock() if now_us is None else now_us
            self._reclaim(now)
            if ask.claim.id is not None:
                earlier = self._repeated(ask.claim, now)
                if earlier is not None:
                    return earlier
            addresses, rows = self._read(ask, now)
            verdict = decide(rows, now)
            if verdict.levels is None:
                return self._refusal(ask, verdict.refused, verdict.wait_us, verdict.remaining, now)
            for cell, scope, row, level in zip(
                ask.cells, addresses, rows, verdict.levels, strict=True
            ):
                self._tables[cell.limit].write(scope, level, max(now, row.at_us), row.rule.unit)
            return self._grant(ask, addresses, now)
        finally:
            self._lock.release()

    def renew(self, lease_id: str, *, lease_us: int, now_us: int | None = None) -> int:
        """See `AdmissionStore.renew`."""
        with self._lock:
            now = self._clock() if now_us is None else now_us
            self._reclaim(now)
            lease = self._leases.get(lease_id)
            if lease is None:
                raise LeaseLost(lease_id)
            lease.expires_us = now + lease_us
            self._leases.moved(lease_id, lease)
            return lease.expires_us

    def release(
        self, lease_id: str, *, void: bool = False, now_us: int | None = None
    ) -> tuple[Cell, ...] | None:
        """See `AdmissionStore.release`."""
        self._lock.acquire()
        try:
            now = self._clock() if now_us is None else now_us
            lease = self._leases.pop(lease_id)
            if lease is None:
                return None
            if void:
                self._ids.forget(lease.claim)
                self._refund(lease, now)
            return self._give_back(lease, now)
        finally:
            self._lock.release()

    def reclaim(self, *, now_us: int | None = None) -> list[LeaseRecord]:
        """See `AdmissionStore.reclaim`."""
        with self._lock:
            self._reclaim(self._clock() if now_us is None else now_us)
            expired = list(self._expired)
            self._expired.clear()
            return expired

    def adopt(self, record: LeaseRecord, ask: Ask) -> None:
        """See `AdmissionStore.adopt`."""
        with self._lock:
            if record.id in self._leases:
                return
            now = self._clock()
            held = []
            for cell, (rule, cost) in zip(ask.cells, ask.rows, strict=True):
                table = self._table(cell)
                scope = table.address(cell.scope, 0, now)
                level, at_us = table.read(scope, rule.unit)
                table.write(scope, level + cost, at_us, rule.unit)
                held.append((cell, scope, rule, cost))
            self._token = max(self._token, record.fencing_token)
            lease = Held(
                claim=record.claim,
                token=record.fencing_token,
                granted_us=now,
                expires_us=record.expires_us,
                holder=record.holder,
                cells=held,
            )
            self._keep(record.id, lease)

    def explain(self, ask: Ask, *, now_us: int | None = None) -> Refusal | None:
        """See `AdmissionInspect.explain`."""
        with self._lock:
            now = self._clock() if now_us is None else now_us
            self._reclaim(now)
            _, rows = self._read(ask, now)
            verdict = decide(rows, now)
            if verdict.levels is not None:
                return None
            return self._refusal(ask, verdict.refused, verdict.wait_us, verdict.remaining, now)

    def look(self, ask: Ask, *, now_us: int | None = None) -> list[tuple[int, int | None]]:
        """See `AdmissionInspect.look`."""
        with self._lock:
            now = self._clock() if now_us is None else now_us
            self._reclaim(now)
            _, rows = self._read(ask, now)
            return [_look(row, now) for row in rows]

    def set_used(self, ask: Ask, *, now_us: int | None = None) -> None:
        """See `AdmissionInspect.set_used`."""
        with self._lock:
            now = self._clock() if now_us is None else now_us
            addresses, rows = self._read(ask, now)
            for cell, scope, row in zip(ask.cells, addresses, rows, strict=True):
                self._tables[cell.limit].write(scope, row.cost * row.rule.unit, now, row.rule.unit)

    def granted_before(self, claim: Claim) -> Grant | None:
        """See `AdmissionInspect.granted_before`."""
        with self._lock:
            now = self._clock()
            self._reclaim(now)
            return self._repeated(claim, now)

    def leases_active(self) -> int:
        """See `AdmissionInspect.leases_active`."""
        return len(self._leases)

    def lease(self, lease_id: str) -> LeaseRecord | None:
        """See `AdmissionInspect.lease`."""
        with self._lock:
            self._reclaim(self._clock())
            lease = self._leases.get(lease_id)
            return None if lease is None else lease.record(lease_id)

    def leases(self, *, tenant: str | None = None) -> list[LeaseRecord]:
        """See `AdmissionInspect.leases`."""
        with self._lock:
            self._reclaim(self._clock())
            return [
                lease.record(lease_id)
                for lease_id, lease in self._leases.items()
                if tenant is None or lease.claim.tenant == tenant
            ]

    def _table(self, cell: Cell) -> CellTable:
        table = self._tables.get(cell.limit)
        if table is None:
            table = self._tables[cell.limit] = CellTable(keys_max=KEYS_MAX)
        return table

    def _read(self, ask: Ask, now: int) -> tuple[list[tuple[str, ...]], list[Row]]:
        addresses, rows = [], ask.fresh_rows()
        for cell, row in zip(ask.cells, rows, strict=True):
            table = self._table(cell)
            scope = table.address(cell.scope, row.rule.forget_us, now)
            row.level, row.at_us = table.read(scope, row.rule.unit)
            addresses.append(scope)
        return addresses, rows

    def _refusal(
        self, ask: Ask, refused: int, wait_us: int | None, remaining: int, now: int
    ) -> Refusal:
        timed = ask.rows[refused][0].kind != STOCK
        if not timed and (expiry_us := self._leases.next_expiry_us(ask.cells[refused])) is not None:
            wait_us = max(1, expiry_us - now)
        return Refusal(row=refused, remaining=remaining, wait_us=wait_us, timed=timed)

    def _grant(self, ask: Ask, addresses: list[tuple[str, ...]], now: int) -> Grant:
        self._token = token = max(self._token, now) + 1
        lease_id = f"{self._lease_prefix}{token:x}"
        grant = Grant(lease_id=lease_id, fencing_token=token, expires_us=now + ask.lease_us)
        if ask.holds or ask.claim.id is not None:
            lease = Held(
                claim=ask.claim,
                token=token,
                granted_us=now,
                expires_us=grant.expires_us,
                holder=ask.holder,
                cells=[
                    (cell, scope, rule, cost)
                    for cell, scope, (rule, cost) in zip(
                        ask.cells, addresses, ask.rows, strict=True
                    )
                ],
            )
            self._keep(lease_id, lease)
        return grant

    def _keep(self, lease_id: str, lease: Held) -> None:
        self._leases.add(lease_id, lease)
        self._ids.remember(
            lease.claim,
            Grant(lease_id=lease_id, fencing_token=lease.token, expires_us=lease.expires_us),
        )

    def _repeated(self, claim: Claim, now: int) -> Grant | None:
        earlier = self._ids.find(claim, now)
        if earlier is None:
            return None
        lease = self._leases.get(earlier.lease_id)
        expires_us = earlier.expires_us if lease is None else lease.expires_us
        return msgspec.structs.replace(earlier, expires_us=expires_us, repeated=True)

    def _give_back(self, lease: Held, now: int) -> tuple[Cell, ...]:
        freed = []
        for cell, scope, rule, cost in lease.cells:
            if rule.kind == STOCK:
                table = self._tables[cell.limit]
                level, _ = table.read(scope, rule.unit)
                table.write(scope, max(0, level - cost), now, rule.unit)
                freed.append(cell)
        self._ids.end(lease.claim, now)
        return tuple(freed)

    def _refund(self, lease: Held, now: int) -> None:
        """Put back what was taken, but for quotas whose window has turned since."""
        for cell, scope, rule, cost in lease.cells:
            turned = not age(rule, 1, lease.granted_us, now) and rule.kind == WINDOW
            if rule.kind == STOCK or turned:
                continue
            table = self._tables[cell.limit]
            level, at_us = table.read(scope, rule.unit)
            left = max(0, age(rule, level, at_us, now) - cost * rule.unit)
            table.write(scope, left, max(now, at_us), rule.unit)

    def _reclaim(self, now: int) -> None:
        for lease_id, lease in self._leases.expire(now):
            self._give_back(lease, now)
            self._expired.append(lease.record(lease_id))


def _look(row: Row, now: int) -> tuple[int, int | None]:
    rule = row.rule
    level = age(rule, row.level, row.at_us, now)
    return max(0, rule.ceiling - level) // rule.unit, reset(rule, level, row.at_us, now)
