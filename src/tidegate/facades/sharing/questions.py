"""One claim on its way: as the store is asked, and what its answer means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    Part,
    Reused,
    Wait,
    Yes,
)
from tidegate.domain.claim import Claim
from tidegate.domain.decision import Decision, Granted
from tidegate.errors import ClaimIdReused, TidegateError
from tidegate.facades.sharing.leasing import Draft
from tidegate.facades.sharing.outbox import Naming
from tidegate.facades.sharing.seen import Seen
from tidegate.facades.sharing.wording import denied_by, digest_of, held_by, id_of, look_at

if TYPE_CHECKING:
    from tidegate.facades.sharing.clerk import Clerk


class Terms(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How a claim is asked for. `ticket` is that of a waiter, taken at `cell` in the same step."""

    lease_us: int
    holder: str = ""
    report: bool = False
    ticket: str = ""
    cell: tuple[str, tuple[str, ...]] | None = None


class Question:
    """Asks the store for one claim."""

    __slots__ = (
        "_ask",
        "_claim",
        "_clerk",
        "_draft",
        "_heard",
        "_is_fresh",
        "_terms",
        "count",
        "given_up",
        "must",
    )

    def __init__(
        self,
        clerk: Clerk,
        claim: Claim,
        terms: Terms,
        heard: Callable[[Decision | TidegateError], None],
    ) -> None:
        self._clerk, self._claim, self._terms, self._heard = clerk, claim, terms, heard
        self._ask: Ask | None = None
        self._draft: Draft | None = None
        self._is_fresh = False
        self.count, self.given_up, self.must = 0, False, False

    def resolve(self) -> Ask:
        """Resolve the claim under the limits and the calendar of now. Raises InvalidClaim."""
        clerk, terms = self._clerk, self._terms
        self._ask = clerk.resolver.ask(
            self._claim,
            lease_us=terms.lease_us,
            now_us=clerk.session.now_us(),
            holder=terms.holder,
        )
        self._is_fresh = True
        return self._ask

    def is_answered_here(self) -> bool:
        """Answer from the tokens of leased limits, where they suffice or are known to be spent."""
        leasing, ask = self._clerk.leasing, self._ask
        assert ask is not None
        if self._claim.id is not None or self._terms.report:
            return False
        draft = leasing.draft(ask)
        if draft.refused is not None:
            draft.undo()
            pool, row = draft.refused
            wait_us = max(1, pool.ready_us - self._clerk.session.now_us())
            self._heard(denied_by(self._clerk.policy, ask, No(row, pool.tokens, wait_us)))
            return True
        self._draft, self._ask = draft, draft.ask
        if not draft.ask.cells:
            self._heard(self._granted(ask, Yes(0)))
            return True
        return False

    def calls(self, naming: Naming) -> Sequence[Call]:
        """Return the claim, after the ticket for it, and before a look at its levels."""
        claim, terms = self._claim, self._terms
        ask = self._current()
        weight = self._clerk.policy.weights.get(claim.tenant, 1)
        parts = naming.parts(ask)
        calls: list[Call] = []
        if terms.cell is not None:
            calls += self._tickets(ask, parts, weight)
        claim_id = id_of(claim)
        calls.append(
            Admit(
                parts,
                claim.tenant,
                weight,
                claim.priority,
                claim_id,
                digest_of(claim) if claim_id else "",
                terms.lease_us,
                terms.ticket,
            )
        )
        if terms.report:
            calls.append(look_at(ask, naming))
        return calls

    def _current(self) -> Ask:
        """Return the ask as it is now: when it is tried again, the calendar may have moved on."""
        ask = self._ask
        if ask is None or not self._is_fresh:
            ask = self.resolve() if self._draft is None else self._redrafted(self._draft)
        self._ask, self._is_fresh = ask, False
        return ask

    def _tickets(self, ask: Ask, parts: Sequence[Part], weight: int) -> list[Call]:
        """Return the taking of a ticket at the cell where the claim waits."""
        terms, claim = self._terms, self._claim
        return [
            Wait(
                part.cell,
                part.rule,
                max(1, part.cost),
                terms.ticket,
                claim.tenant,
                weight,
                claim.priority,
            )
            for cell, part in zip(ask.cells, parts, strict=True)
            if terms.cell == (cell.limit, cell.scope)
        ]

    def _redrafted(self, draft: Draft) -> Ask:
        """Return what is left to ask for, by the calendar of now."""
        now_us = self._clerk.session.now_us()
        rows = []
        for cell, (rule, units, via) in zip(draft.ask.cells, draft.ask.rows, strict=True):
            fresh = rule if via >= 0 else self._clerk.policy.rule(cell.limit, cell.scope, now_us)
            rows.append((fresh, units, via))
        draft.ask = replace(draft.ask, rows=tuple(rows))
        return draft.ask

    def answered(self, answers: Sequence[Answer]) -> None:
        """Hear the answer."""
        draft, answer = self._draft, answers[-1]
        if draft is not None:
            if isinstance(answer, Yes):
                self._clerk.leasing.granted(draft)
            elif not isinstance(answer, No):
                draft.undo()
            elif self._clerk.leasing.refused(draft, answer) is not None:
                # Less was left than was to be drawn, but enough for the claim.
                self._clerk.again(self)
                return
        self._heard(self._decision(answers))

    def failed(self, error: TidegateError) -> None:
        """Hear that the store cannot be had."""
        if self._draft is not None:
            self._draft.undo()
        self._heard(error)

    def late(self, answers: Sequence[Answer]) -> None:
        """Give back what was granted after its asker had been told that nobody knows."""
        decision = self._decision(answers)
        if isinstance(decision, Granted) and not decision.repeated:
            if self._draft is not None:
                # Its rates were drawn for a pool, and stay there.
                self._clerk.leasing.granted(self._draft)
                decision.settled = True
            self._clerk.void(decision)

    def _decision(self, answers: Sequence[Answer]) -> Decision | TidegateError:
        clerk, ask = self._clerk, self._ask
        assert ask is not None
        answer = answers[-2] if self._terms.report else answers[-1]
        decision: Decision
        if isinstance(answer, Yes):
            decision = self._granted(ask, answer)
        elif isinstance(answer, Again):
            decision = self._repeated(answer)
        elif isinstance(answer, Reused):
            return ClaimIdReused("id", self._claim.id, "the claim it was first granted for")
        else:
            assert isinstance(answer, No)
            decision = denied_by(clerk.policy, ask, answer)
        if self._terms.report:
            levels = answers[-1]
            assert isinstance(levels, Levels)
            seen = Seen(ask, levels, clerk.session.now_us())
            return replace(decision, limits=seen.states(clerk.policy))
        return decision

    def _granted(self, ask: Ask, answer: Yes) -> Granted:
        clerk = self._clerk
        if answer.costs:
            self._count_shadows(ask, answer.costs)
        clerk.granted += 1
        held = held_by(ask, answer.costs or None) if self._claim.hold else ()
        now_us, terms = clerk.session.now_us(), self._terms
        lease = Granted(
            answer.token, self._claim, clerk, now_us, terms.lease_us, terms.holder, held
        )
        if held or self._claim.id is not None:
            clerk.session.holdings.add(lease)
        return lease

    def _count_shadows(self, ask: Ask, costs: Sequence[int]) -> None:
        for cell, (_, cost, via), got in zip(ask.cells, ask.rows, costs, strict=True):
            if via < 0 and got < cost:
                self._clerk.shadowed[cell.limit] += 1

    def _repeated(self, answer: Again) -> Granted:
        session = self._clerk.session
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
            self._claim,
            self._clerk,
            now_us,
            left_us,
            settled=True,
            known_as=name,
            repeated=True,
        )
