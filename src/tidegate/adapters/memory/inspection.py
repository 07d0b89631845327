"""`AdmissionInspect` within one process: looking into the store, and correcting it."""

from __future__ import annotations

from tidegate.adapters.memory.admission_store import MemoryAdmissionStore
from tidegate.adapters.memory.cells import Table, key_of
from tidegate.domain.admission import Level, Row, aged, decide, remaining, reset
from tidegate.domain.ask import Ask
from tidegate.domain.claim import Claim
from tidegate.domain.decision import Denied, Granted, LimitState
from tidegate.domain.lease import Lease
from tidegate.domain.rule import STOCK


class MemoryInspection:
    """Shows and changes what a `MemoryAdmissionStore` holds. Each call is one step of it."""

    def __init__(self, store: MemoryAdmissionStore) -> None:
        self.store = store

    def explain(self, claim: Claim) -> Denied | None:
        """See `AdmissionInspect.explain`."""
        store = self.store
        with store.lock:
            now_us = store.catch_up()
            ask = store.tables.policy.ask(claim, lease_us=0, now_us=now_us)
            rows = self._rows(ask, now_us)
            verdict = decide(rows, now_us)
            if verdict.levels is not None:
                return None
            cell, rule = ask.cells[verdict.refused], rows[verdict.refused].rule
            wait_us = verdict.wait_us
            table = store.tables.by_name[cell.limit]
            if rule.kind == STOCK:
                expiry_us = store.leases.next_expiry_us(table, store.newest)
                wait_us = None if expiry_us is None else max(1, expiry_us - now_us)
            timed = rule.kind != STOCK
            return Denied(table.reason, cell.limit, cell.scope, verdict.remaining, wait_us, timed)

    def limits(self, claim: Claim, *, every: bool) -> list[LimitState]:
        """See `AdmissionInspect.limits`."""
        store = self.store
        with store.lock:
            now_us = store.catch_up()
            policy = store.tables.policy
            if every:
                ask = policy.overview(claim, now_us)
            else:
                ask = policy.ask(claim, lease_us=0, now_us=now_us)
            rows = self._rows(ask, now_us)
            return [
                self._state(table, cell.scope, row, now_us)
                for cell, row in zip(ask.cells, rows, strict=True)
                if row.via < 0
                for table in [store.tables.by_name[cell.limit]]
            ]

    def set_used(self, limit: str, claim: Claim, units: int) -> None:
        """See `AdmissionInspect.set_used`."""
        store = self.store
        with store.lock:
            now_us = store.catch_up()
            ask = store.tables.policy.one(limit, claim, units, now_us)
            (row, *_), cell = self._rows(ask, now_us), ask.cells[0]
            table = store.tables.by_name[limit]
            key = table.enter(key_of(cell.scope), cell.scope, table.terms)
            amount = units if row.rule.length_us else units * row.rule.unit
            past = (now_us, units) if row.rule.length_us and row.rule.unit == 1 and units else ()
            table.store(key, Level(amount, now_us, past), now_us)

    def granted_before(self, claim: Claim) -> Granted | None:
        """See `AdmissionInspect.granted_before`."""
        store = self.store
        with store.lock:
            store.catch_up()
            known = claim.id is not None and store.ids.find(claim) is not None
            return store.granted_before(claim) if known else None

    def leases_active(self) -> int:
        """See `AdmissionInspect.leases_active`."""
        return len(self.store.leases.leases)

    def lease(self, lease_id: str) -> Granted | None:
        """See `AdmissionInspect.lease`."""
        store = self.store
        with store.lock:
            store.catch_up()
            return store.leases.find(lease_id, store.lease_prefix)

    def leases(self, *, tenant: str | None = None, holder: str | None = None) -> list[Lease]:
        """See `AdmissionInspect.leases`."""
        store = self.store
        with store.lock:
            store.catch_up()
            return [
                lease
                for lease in store.leases.leases.values()
                if tenant in (None, lease.claim.tenant) and holder in (None, lease.holder)
            ]

    def counted(self) -> dict[str, int]:
        """See `AdmissionInspect.counted`."""
        store = self.store
        counted = {"granted": store.granted, "settled": store.settled}
        for outcome, count in store.released.items():
            counted[f"released:{outcome}"] = count
        for name, count in list(store.shadowed.items()):
            counted[f"shadowed:{name}"] = count
        for name, table in list(store.tables.by_name.items()):
            if table.overflowed:
                counted[f"overflowed:{name}"] = table.overflowed
        return counted

    def _rows(self, ask: Ask, now_us: int) -> list[Row]:
        """Return the rows of an ask with their levels, by the rules in the store's own time."""
        rows = ask.fresh_rows()
        for cell, row in zip(ask.cells, rows, strict=True):
            table = self.store.tables.by_name[cell.limit]
            key: object = key_of(cell.scope)
            if row.via < 0:
                terms = table.terms
                if table.varies:
                    terms = self.store.tables.terms(table, key, now_us)
                row.rule = terms.rule
                key = table.found(key, ask.claim.tenant)
            row.level = table.level(key, now_us)
        for index, siblings in ask.siblings.items():
            table = self.store.tables.by_name[ask.cells[index].limit]
            rows[index].siblings = [
                (table.level(key_of(cell.scope), now_us), kept) for cell, kept in siblings
            ]
        return rows

    def _state(self, table: Table, scope: tuple[str, ...], row: Row, now_us: int) -> LimitState:
        level = aged(row.rule, row.level, now_us)
        return LimitState(
            name=table.name,
            resource=table.limit.resource,
            scope=scope,
            units=row.rule.units_max,
            remaining=remaining(row.rule, level, now_us),
            reset_us=reset(row.rule, level, now_us),
            window_us=row.rule.window_us,
            shadow=row.rule.shadow,
        )
