"""One claim on its way: as the store is asked, and what its answer means."""

from __future__ import annotations

from asyncio import InvalidStateError
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from tidegate.domain.ask import Ask
from tidegate.domain.batch import (
    Admit,
    Again,
    Answer,
    Call,
    Levels,
    No,
    Reused,
    Wait,
    Yes,
)
from tidegate.domain.claim import Claim
from tidegate.domain.decision import Decision, Granted
from tidegate.domain.lease import LEASE_S, lease_us_of
from tidegate.errors import ClaimIdReused, InvalidClaim, TidegateError
from tidegate.facades.sharing.leasing import Draft
from tidegate.facades.sharing.outbox import Naming
from tidegate.facades.sharing.resolver import Plan
from tidegate.facades.sharing.seen import Seen
from tidegate.facades.sharing.wording import denied_by, held_by, id_of, look_at

if TYPE_CHECKING:
    from tidegate.facades.sharing.clerk import Clerk


class Terms(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How a claim is asked for. `ticket` is that of a waiter, taken at `cell` in the same step."""

    lease_us: int
    holder: str = ""
    report: bool = False
    ticket: str = ""
    cell: tuple[str, tuple[str, ...]] | None = None


_USUAL = Terms(lease_us=lease_us_of(LEASE_S))


def terms_of(lease_s: float, holder: str, report: bool) -> Terms:
    """Return how a claim is asked for that does not wait. Raises InvalidClaim."""
    if lease_s == LEASE_S and not holder and not report:
        return _USUAL
    return Terms(lease_us=lease_us_of(lease_s), holder=holder, report=report)


class Question(msgspec.Struct, eq=False, gc=False):
    """Asks the store for one claim, that was resolved by its `plan` before it travels.

    `heard` is told the decision, or what went wrong; it raises InvalidStateError where nobody is
    there any more.
    `is_plain`: it asks for nothing but its rows, at the end of no queue, as most do. `draft` is
    what is left of it after tokens of leased limits were spent.
    """

    clerk: Clerk
    claim: Claim
    terms: Terms
    heard: Callable[[Decision | TidegateError], object]
    plan: Plan
    ask: Ask
    is_plain: bool
    digest: str = ""
    draft: Draft | None = None
    count: int = 0
    given_up: bool = False
    must: bool = False

    @property
    def again(self) -> bool:
        """See `Asked.again`: an id may have been granted, and ended, meanwhile."""
        return self.claim.id is None

    def is_answered_here(self) -> bool:
        """Answer from the tokens of leased limits, where they suffice or are known to be spent."""
        leasing, ask = self.clerk.leasing, self.ask
        if self.claim.id is not None or self.terms.report:
            return False
        draft = leasing.draft(ask)
        if draft.behind is not None:
            draft.behind.behind.append(self.resume)
            return True
        if draft.refused is not None:
            draft.undo()
            pool, row = draft.refused
            wait_us = max(1, pool.ready_us - self.clerk.session.now_us())
            self._tell(denied_by(self.clerk.policy, ask, No(row, pool.tokens, wait_us)))
            return True
        self.draft, self.ask = draft, draft.ask
        if not draft.ask.cells:
            self._tell(self._granted(Yes(0), self.clerk.session.now_us()))
            return True
        self.is_plain = False
        return False

    def resume(self) -> None:
        """Try again what stood behind a draw for leased limits. The lock is held."""
        try:
            self.plan = self.clerk.resolver.plan(self.claim)
        except InvalidClaim as error:
            # Other limits are in force by now.
            self._tell(error)
            return
        self.ask = self.plan.ask
        if not self.is_answered_here():
            self.clerk.again(self)

    def calls(self, naming: Naming) -> Sequence[Call]:
        """Return the claim, after the ticket for it, and before a look at its levels."""
        plan = self.plan
        if not plan.since_us <= naming.now_us < plan.until_us:
            plan = self._renewed(naming.now_us)
        if self.is_plain:
            return plan.plain(naming, self.claim.priority)
        claim, terms, ask, weight = self.claim, self.terms, self.ask, plan.weight
        rows = naming.rows(ask)
        calls: list[Call] = []
        if terms.cell is not None:
            calls += self._tickets(ask, rows, weight)
        claim_id = id_of(claim)
        calls.append(
            Admit(
                rows,
                claim.tenant,
                weight,
                claim.priority,
                claim_id,
                self.digest,
                terms.lease_us,
                terms.ticket,
                naming.cohorts(ask),
            )
        )
        if terms.report:
            calls.append(look_at(ask, naming))
        return calls

    def _renewed(self, now_us: int) -> Plan:
        """Resolve anew: the calendar has moved on, or turned out to be another one."""
        self.plan = self.clerk.resolver.plan(self.claim, now_us)
        self.ask = self.plan.ask if self.draft is None else self._redrafted(self.draft)
        return self.plan

    def _tickets(self, ask: Ask, rows: tuple[int, ...], weight: int) -> list[Call]:
        """Return the taking of a ticket at the cell where the claim waits."""
        terms, claim = self.terms, self.claim
        who = (terms.ticket, claim.tenant, weight, claim.priority)
        each = zip(ask.cells, rows[::3], rows[1::3], rows[2::3], strict=True)
        return [
            Wait(cell, rule, max(1, units), *who)
            for asked, cell, rule, units in each
            if terms.cell == (asked.limit, asked.scope)
        ]

    def _redrafted(self, draft: Draft) -> Ask:
        """Return what is left to ask for, by the calendar of now."""
        now_us = self.clerk.session.now_us()
        rows = []
        for cell, (rule, units, via) in zip(draft.ask.cells, draft.ask.rows, strict=True):
            if cell.limit not in self.clerk.policy:
                raise InvalidClaim("take", cell.limit, "limits that are still in force")
            fresh = rule if via >= 0 else self.clerk.policy.rule(cell.limit, cell.scope, now_us)
            rows.append((fresh, units, via))
        draft.ask = replace(draft.ask, rows=tuple(rows))
        return draft.ask

    def answered(self, answers: Sequence[Answer]) -> None:
        """Hear the answer."""
        draft, answer = self.draft, answers[-1]
        if self.is_plain and type(answer) is Yes:
            self._tell(self._granted(answer, self.clerk.session.applied_us))
            return
        if draft is not None:
            if isinstance(answer, Yes):
                self.clerk.leasing.granted(draft)
            elif not isinstance(answer, No):
                self.clerk.leasing.undone(draft)
            elif self.clerk.leasing.refused(draft, answer) is not None:
                # Less was left than was to be drawn, but enough for the claim.
                self.ask = draft.ask
                self.clerk.again(self)
                return
        self._tell(self._decision(answers))

    def failed(self, error: TidegateError) -> None:
        """Hear that the store cannot be had."""
        if self.draft is not None:
            self.clerk.leasing.undone(self.draft)
        self._tell(error)

    def late(self, answers: Sequence[Answer]) -> None:
        """Give back what was granted after its asker had been told that nobody knows."""
        decision = self._decision(answers)
        drawn: Collection[str] = ()
        if self.draft is not None and isinstance(answers[-1], Yes):
            # What was drawn for pools stays there, with what the claim itself was to have.
            drawn = self.clerk.leasing.kept(self.draft)
        elif self.draft is not None:
            self.clerk.leasing.undone(self.draft)
        if isinstance(decision, Granted) and not decision.repeated:
            self.clerk.void(decision, drawn)

    def _tell(self, decision: Decision | TidegateError) -> None:
        try:
            self.heard(decision)
        except (InvalidStateError, RuntimeError):
            # Whoever asked is gone, or the whole loop.
            if isinstance(decision, Granted) and not decision.repeated:
                self.clerk.void(decision)

    def _decision(self, answers: Sequence[Answer]) -> Decision | TidegateError:
        clerk, ask = self.clerk, self.ask
        answer = answers[-2] if self.terms.report else answers[-1]
        decision: Decision
        if isinstance(answer, Yes):
            decision = self._granted(answer, clerk.session.applied_us)
        elif isinstance(answer, Again):
            decision = self._repeated(answer)
        elif isinstance(answer, Reused):
            return ClaimIdReused("id", self.claim.id, "the claim it was first granted for")
        else:
            assert isinstance(answer, No)
            decision = denied_by(clerk.policy, ask, answer)
        if self.terms.report:
            levels = answers[-1]
            assert isinstance(levels, Levels)
            seen = Seen(ask, levels, clerk.session.now_us())
            return replace(decision, limits=seen.states(clerk.policy))
        return decision

    def _granted(self, answer: Yes, now_us: int) -> Granted:
        clerk, claim, terms = self.clerk, self.claim, self.terms
        held = self.plan.held
        if answer.costs:
            self._count_shadows(self.ask, answer.costs)
            held = held_by(self.ask, answer.costs) if held else ()
            self._note_near(answer.near)
        clerk.granted += 1
        lease = Granted(answer.token, claim, clerk, now_us, terms.lease_us, terms.holder, held)
        if self.plan.cohort:
            lease.cohort = self.plan.cohort
        if held or claim.id is not None:
            clerk.session.holdings.add(lease)
        return lease

    def _count_shadows(self, ask: Ask, costs: Sequence[int]) -> None:
        for cell, (_, cost, via), got in zip(ask.cells, ask.rows, costs, strict=True):
            if via < 0 and got < cost:
                self.clerk.shadowed[cell.limit] += 1

    def _note_near(self, near: Sequence[int]) -> None:
        events = self.clerk.session.near
        if events is not None:
            for row, left in zip(near[::2], near[1::2], strict=True):
                cell = self.ask.cells[row]
                events.note(cell.limit, cell.scope, left)

    def _repeated(self, answer: Again) -> Granted:
        session = self.clerk.session
        name = f"{answer.member}-{answer.token:x}"
        kept = None
        if answer.member == session.member:
            kept = session.holdings.of_token(answer.token)
        if kept is not None:
            return replace(kept, repeated=True)
        now_us = session.now_us()
        left_us = 0 if answer.ended else max(0, answer.expires_us - now_us)
        return Granted(
            answer.token,
            self.claim,
            self.clerk,
            now_us,
            left_us,
            settled=True,
            known_as=name,
            repeated=True,
        )
