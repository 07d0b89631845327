"""Admission within one process: every decision is one synchronous step, for threads and tasks.

The hot path of the library, written for the interpreter and compiled where that is possible: what
a limit needs is read from one object, and a claim of a single rate takes a short way. It decides
what the pure rule decides; the conformance suite compares the two on random scripts.

The turnstile is passed in try/finally and not by `with`, which costs twice as much per decision.
"""

from __future__ import annotations

from typing import Any, Final

from tidegate.adapters.memory.cells import Table, scope_under
from tidegate.adapters.memory.claim_ids import Ids, no_ids
from tidegate.adapters.memory.rates import MemoryRates
from tidegate.adapters.memory.records import GrantedId, Held
from tidegate.adapters.memory.rows import Draft, look_closer
from tidegate.domain.claim import Claim
from tidegate.domain.decision import Decision, Denied
from tidegate.domain.lease import LEASE_S, lease_us_of
from tidegate.domain.policy import ID_LENGTH_MAX
from tidegate.domain.rule import STOCK

ONE: Final[Any] = 1
"""The one that amounts mostly are: the same object, and then there is nothing to check."""


class MemoryAdmissionStore(MemoryRates):
    """`AdmissionStore` of this process. A restart forgets everything."""

    __slots__ = ()

    # Written out: each call of a part of it would cost a tenth of the whole.
    def try_admit(
        self, claim: Claim, lease_s: float = LEASE_S, holder: str = "", report: bool = False
    ) -> Decision:
        """Decide now, without waiting; by `slowly` while there is a `detour`."""
        if self.detour or report:
            assert self.slowly is not None
            return self.slowly(claim, lease_s, holder, report)
        lease_us: Any = self._usual_us if lease_s == LEASE_S else lease_us_of(lease_s)
        asked: Any = claim
        now_ns, enter, leave = self._now_ns, self._enter, self._leave
        now = now_ns() // 1000 + self._epoch_us
        enter()
        try:
            if now < self.seen_us:
                now = self.seen_us
            else:
                self.seen_us = now
            if now >= self.look_us:
                self.look(now)
            take: dict[Any, Any] = asked.take
            if len(take) == 1 and asked.id is None and not asked.hold:
                # The short way, of a tenant's only rate whose cell is there already.
                for resource in take:  # noqa: PLC0206  (items cost twice as much)
                    table, amount = self._lone.get(resource), take[resource]
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
                    grant = self._grant
                    return grant(token, claim, self, now, lease_us, holder)
            return self._decide(claim, lease_us, holder, now, True)
        finally:
            leave(None)

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
            return self._decide(claim, lease_us, holder, self.catch_up(), False)
        finally:
            self._leave(None)

    def _decide(self, claim: Claim, lease_us: Any, holder: str, now: int, counts: bool) -> Decision:
        """Decide a claim of any shape; count it if it is refused and that `counts`. Locked."""
        asked: Any = claim
        tenant, claim_id = asked.tenant, asked.id
        ids: Ids | None = None
        if claim_id is not None:
            if type(claim_id) is not str or not 0 < len(claim_id) <= ID_LENGTH_MAX:
                self.tables.policy.check_id(claim)
            ids = self._ids.get(tenant)
            if ids is not None and claim_id in ids:
                return self.granted_before(claim)
        self._done = None
        try:
            digest, held, draft = self._judge(claim, now)
        except BaseException:
            self._undo(claim, now)
            raise
        if draft is not None:
            if draft.refused is not None:
                self._undo(claim, now)
                self.denied[draft.refused.reason] += counts
                return self._refusal(draft, draft.refused)
            self.write(draft)
            held = draft.held
        self._token += 1
        # One object for all that keep it.
        token: Any = self._token
        granted_id: GrantedId | None = None
        if claim_id is not None:
            if asked.attributes:
                digest = asked.digest
            granted_id = GrantedId(
                token, digest, tenant, claim_id, asked.host, asked.user, asked.route
            )
            if ids is None:
                ids = self._ids[tenant] = no_ids()
            ids[claim_id] = granted_id
        grant = self._grant
        lease = grant(token, claim, self, now, lease_us, holder, held, granted_id)
        if held is not None or granted_id is not None:
            self._live[token] = lease
            ends_us: int = lease_us
            ends_us += now
            if ends_us < self.look_us:
                self.look_us = ends_us
        return lease

    def _judge(self, claim: Claim, now: int) -> tuple[int, Held | None, Draft | None]:
        """Do each row that can simply be had; from the first that cannot on, draft them.

        All in one loop: a call for each row would cost as much as the row. Rows that were done
        are linked, from `_done` on, for `_undo`.

        Returns:
            The claim's digest, what its lease will hold, and the draft if there is one.
        """
        asked: Any = claim
        draft: Draft | None = None
        held: Held | None = None
        tenant, tables, digest = asked.tenant, self._takes, 0
        for wanted in (asked.take, asked.hold):
            amounts: dict[Any, Any] = wanted
            for resource in amounts:  # noqa: PLC0206  (items cost twice as much)
                amount = amounts[resource]
                table = tables.get(resource)
                if table is None or (amount is not ONE and (type(amount) is not int or amount < 1)):
                    side = "take" if tables is self._takes else "hold"
                    table = self.tables.refuse(resource, side, amount)
                units: int = amount
                digest += table.salt if amount is ONE else table.salt * units
                while table is not None:
                    pick = table.pick
                    key = tenant if table.by_tenant else "" if pick is None else pick(claim)
                    terms = self.tables.terms(table, key, now) if table.varies else table.terms
                    cells = table.young
                    found = cells.get(key)
                    level = terms.unit if amount is ONE else terms.unit * units
                    stored: int = 0 if found is None else found
                    if terms.drain:
                        base = (now - table.since_us) * terms.drain
                        if stored > base:
                            level += stored - base
                        stored = base + level
                    else:
                        level += stored
                        stored = level
                    if found is None or level > terms.watch or draft is not None:
                        if draft is None:
                            draft = Draft(claim, now, held)
                        look_closer(draft, table, terms, key, units)
                    else:
                        cells[key] = stored
                        table.before, self._done = self._done, table
                        if table.is_stock:
                            held = Held(table, key, units, held)
                    table = table.also
            tables = self._holds
        return digest, held, draft

    def _undo(self, claim: Claim, now: int) -> None:
        """Take back the rows that were done.

        A rate is empty at the same moment again, also where that lies in the past.
        """
        # What is undone may be a claim of anything.
        asked: Any = claim
        table, tenant, take, hold = self._done, asked.tenant, asked.take, asked.hold
        while table is not None:
            pick = table.pick
            key: object = tenant if table.by_tenant else "" if pick is None else pick(claim)
            terms = self.tables.terms(table, key, now) if table.varies else table.terms
            units = (hold if table.is_stock else take)[table.limit.resource]
            table.young[key] -= terms.unit * units
            table = table.before

    def _refusal(self, draft: Draft, table: Table) -> Denied:
        wait_us: int | None = draft.wait_us
        timed = table.kind != STOCK
        if not timed:
            expiry_us = self.leases.next_expiry_us(table, self._token)
            wait_us = None
            if expiry_us is not None:
                wait_us = expiry_us - draft.now_us if expiry_us > draft.now_us else 1
        scope = scope_under(table, draft.key)
        return Denied(table.reason, table.name, scope, draft.left, wait_us, timed)
