"""Admission within one process: every decision is one synchronous step, for threads and tasks.

The hot path of the library, written for the interpreter and compiled where that is possible: what
a limit needs is read from one object, and a claim of a single rate takes a short way. It decides
what the pure rule decides; the conformance suite compares the two on random scripts.

The turnstile is passed in try/finally and not by `with`, which costs twice as much per decision.
"""

from __future__ import annotations

from typing import Any

from tidegate.adapters.memory.cells import Table, scope_under
from tidegate.adapters.memory.rates import MemoryRates
from tidegate.adapters.memory.records import GrantedId, Held
from tidegate.adapters.memory.rows import Draft, look_closer
from tidegate.domain.claim import Claim
from tidegate.domain.decision import Decision, Denied
from tidegate.domain.lease import LEASE_S, lease_us_of
from tidegate.domain.policy import ID_LENGTH_MAX
from tidegate.domain.rule import STOCK


class MemoryAdmissionStore(MemoryRates):
    """`AdmissionStore` of this process. A restart forgets everything."""

    __slots__ = ()

    # Written out: each call of a part of it would cost a tenth of the whole.
    def try_admit(  # noqa: PLR0912
        self, claim: Claim, lease_s: float = LEASE_S, holder: str = "", report: bool = False
    ) -> Decision:
        """Decide now, without waiting; by `slowly` while there is a `detour`."""
        if self.detour or report:
            assert self.slowly is not None
            return self.slowly(claim, lease_s, holder, report)
        lease_us: Any = self._usual_us if lease_s == LEASE_S else lease_us_of(lease_s)
        asked: Any = claim
        now = self._now_ns() // 1000 + self._epoch_us
        self._enter()
        try:
            if now < self.seen_us:
                now = self.seen_us
            else:
                self.seen_us = now
            if now >= self.look_us:
                self.look(now)
            take: dict[Any, Any] = asked.take
            if len(take) == 1 and not asked.hold and asked.id is None:
                # The short way, of a tenant's only rate whose cell is there already.
                for resource, amount in take.items():
                    table = self._lone.get(resource)
                    if table is None or type(amount) is not int:
                        break
                    units: int = amount
                    key = asked.tenant
                    cells = table.young
                    stored = cells.get(key, -1)
                    terms = table.terms
                    base = (now - table.since_us) * terms.drain
                    if stored < base:
                        if stored < 0:
                            break
                        stored = base
                    stored += units * terms.unit
                    if stored - base > terms.watch or units < 1:
                        denied = self.too_much(table, key, stored - base, units)
                        if denied is None:
                            break
                        return denied
                    cells[key] = stored
                    token = self._token + 1
                    self._token = token
                    return self._grant(token, claim, self, now, lease_us, holder)
            decision = self._decide(claim, lease_us, holder, now)
            if type(decision) is Denied:
                self.denied[decision.reason] += 1
            return decision
        finally:
            self._leave(None)

    async def admit_soon(
        self, claim: Claim, lease_s: float = LEASE_S, holder: str = "", report: bool = False
    ) -> Decision:
        """Do what `try_admit` does, for tasks. Here because a compiled coroutine costs half."""
        return self.try_admit(claim, lease_s, holder, report)

    def admit(self, claim: Claim, lease_us: int, holder: str) -> Decision:
        """Grant everything the claim asks for, or nothing, in one step.

        Raises:
            InvalidClaim: the claim names what no limit knows, or amounts no limit can grant.
            ClaimIdReused: the claim's id was granted for another claim.
        """
        self._enter()
        try:
            return self._decide(claim, lease_us, holder, self.catch_up())
        finally:
            self._leave(None)

    def _decide(self, claim: Claim, lease_us: Any, holder: str, now: int) -> Decision:
        """Decide a claim of any shape. The lock is held."""
        asked: Any = claim
        tenant, claim_id = asked.tenant, asked.id
        ids: dict[str, GrantedId] | None = None
        if claim_id is not None:
            if type(claim_id) is not str or not 0 < len(claim_id) <= ID_LENGTH_MAX:
                self.tables.policy.check_id(claim)
            ids = self._ids.get(tenant)
            if ids is not None and claim_id in ids:
                return self.granted_before(claim)
        draft = Draft(claim, now)
        if asked.take:
            self._take(draft)
        if asked.hold:
            self._hold(draft)
        if draft.refused is not None:
            return self._refusal(draft, draft.refused)
        self.write(draft)
        token = self._token + 1
        self._token = token
        held = draft.held
        lease = self._grant(token, claim, self, now, lease_us, holder, held)
        if held is not None or claim_id is not None:
            self._live[token] = lease
            ends_us: int = lease_us
            ends_us += now
            if ends_us < self.look_us:
                self.look_us = ends_us
            if claim_id is not None:
                digest = draft.digest if not asked.attributes else asked.digest
                granted_id = GrantedId(
                    token, digest, tenant, claim_id, asked.host, asked.user, asked.route
                )
                if ids is None:
                    ids = self._ids[tenant] = {}
                ids[claim_id] = lease.granted_id = granted_id
        return lease

    def _take(self, draft: Draft) -> None:
        """Judge what a claim takes.

        What can simply be had is judged here: a call for each row would cost as much as the row.
        """
        asked: Any = draft.claim
        take: dict[Any, Any] = asked.take
        now, writes, takes, digest = draft.now_us, draft.writes, self._takes, 0
        for resource, amount in take.items():
            table = takes.get(resource)
            if table is None or type(amount) is not int or amount < 1:
                table = self.tables.refuse(resource, "take", amount)
            units: int = amount
            digest += table.salt if units == 1 else table.salt * units
            while table is not None:
                key = asked.tenant if table.by_tenant else table.pick(asked)
                terms = self.tables.terms(table, key, now) if table.varies else table.terms
                cells = table.young
                stored = cells.get(key, -1)
                fits = stored >= 0
                if fits:
                    base = (now - table.since_us) * terms.drain if terms.drain else 0
                    if stored < base:
                        stored = base
                    stored += units * terms.unit
                    fits = stored - base <= terms.watch
                if fits:
                    writes.append(cells)
                    writes.append(key)
                    writes.append(stored)
                else:
                    look_closer(draft, table, terms, key, units)
                table = table.also
        draft.digest = digest

    def _hold(self, draft: Draft) -> None:
        """Judge what a claim holds, and note what its lease has to give back."""
        asked: Any = draft.claim
        hold: dict[Any, Any] = asked.hold
        writes, holds = draft.writes, self._holds
        for resource, amount in hold.items():
            table = holds.get(resource)
            if table is None or type(amount) is not int or amount < 1:
                table = self.tables.refuse(resource, "hold", amount)
            units: int = amount
            draft.digest += table.salt if units == 1 else table.salt * units
            while table is not None:
                key = asked.tenant if table.by_tenant else table.pick(asked)
                terms = table.terms
                if table.varies:
                    terms = self.tables.terms(table, key, draft.now_us)
                cells = table.young
                stored = cells.get(key, -1)
                if 0 <= stored <= terms.watch - units:
                    writes.append(cells)
                    writes.append(key)
                    writes.append(stored + units)
                    draft.held = Held(table, key, units, draft.held)
                else:
                    look_closer(draft, table, terms, key, units)
                table = table.also

    def _refusal(self, draft: Draft, table: Table) -> Denied:
        wait_us: int | None = draft.wait_us
        timed = table.kind != STOCK
        if not timed:
            expiry_us = self.leases.next_expiry_us(table, self._token)
            wait_us = None if expiry_us is None else max(1, expiry_us - draft.now_us)
        scope = scope_under(table, draft.key)
        return Denied(table.reason, table.name, scope, draft.left, wait_us, timed)
