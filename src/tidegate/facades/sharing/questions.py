"""One claim on its way: as the store is asked, and what its answer means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from tidegate.domain.admission import Row, aged, decide, remaining, reset
from tidegate.domain.ask import Ask
from tidegate.domain.batch import (
    Admit,
    Again,
    Answer,
    Call,
    Levels,
    Look,
    No,
    Reused,
    Wait,
    Yes,
    levels_of,
)
from tidegate.domain.claim import Claim
from tidegate.domain.decision import Decision, Denied, Granted, LimitState, reason_of
from tidegate.domain.policy import Policy
from tidegate.domain.rule import STOCK
from tidegate.errors import ClaimIdReused, InvalidClaim, TidegateError
from tidegate.facades.sharing.outbox import Naming, cell_name

if TYPE_CHECKING:
    from tidegate.facades.sharing.clerk import Clerk


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a claim is asked for. `ticket` is that of a waiter, taken at `cell` in the same step."""

    lease_us: int
    holder: str = ""
    report: bool = False
    ticket: str = ""
    cell: tuple[str, tuple[str, ...]] | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """Levels that were looked at, for the ask they belong to, at the store's time."""

    ask: Ask
    levels: Levels
    now_us: int

    def rows(self) -> list[Row]:
        """Return the ask's rows with their levels."""
        rows, levels = self.ask.fresh_rows(), levels_of(self.levels)
        for row, level in zip(rows, levels, strict=False):
            row.level = level
        index = len(rows)
        for at, siblings in self.ask.siblings.items():
            found = levels[index : index + len(siblings)]
            index += len(siblings)
            kept = (units for _, units in siblings)
            rows[at].siblings = list(zip(found, kept, strict=True))
        return rows

    def states(self, policy: Policy) -> tuple[LimitState, ...]:
        """Return how each limit stands."""
        states = []
        for cell, row in zip(self.ask.cells, self.rows(), strict=True):
            if row.via >= 0:
                continue
            level = aged(row.rule, row.level, self.now_us)
            states.append(
                LimitState(
                    name=cell.limit,
                    resource=policy.limit(cell.limit, cell.scope).resource,
                    scope=cell.scope,
                    units=row.rule.units_max,
                    remaining=remaining(row.rule, level, self.now_us),
                    reset_us=reset(row.rule, level, self.now_us),
                    window_us=row.rule.window_us,
                )
            )
        return tuple(states)

    def denial(self, policy: Policy) -> Denied | None:
        """Return how the claim would be refused; None: it would be granted."""
        verdict = decide(self.rows(), self.now_us)
        if verdict.levels is not None:
            return None
        wait_us = -1 if verdict.wait_us is None else verdict.wait_us
        return denied_by(policy, self.ask, No(verdict.refused, verdict.remaining, wait_us))


class Question:
    """Asks the store for one claim."""

    def __init__(
        self,
        clerk: Clerk,
        claim: Claim,
        terms: Terms,
        heard: Callable[[Decision | TidegateError], None],
    ) -> None:
        self._clerk, self._claim, self._terms, self._heard = clerk, claim, terms, heard
        self._ask: Ask | None = None

    def resolve(self) -> Ask:
        """Resolve the claim under the limits and the calendar of now. Raises InvalidClaim."""
        now_us = self._clerk.session.now_us()
        self._ask = self._clerk.policy.ask(
            self._claim, lease_us=self._terms.lease_us, now_us=now_us, holder=self._terms.holder
        )
        return self._ask

    def calls(self, naming: Naming) -> Sequence[Call]:
        """Return the claim, after the ticket for it, and before a look at its levels."""
        ask, claim, terms = self.resolve(), self._claim, self._terms
        weight = self._clerk.policy.weights.get(claim.tenant, 1)
        parts = naming.parts(ask)
        calls: list[Call] = []
        for (cell, (_, cost, _)), part in zip(
            zip(ask.cells, ask.rows, strict=True), parts, strict=True
        ):
            if terms.cell == (cell.limit, cell.scope):
                place = (part.cell, part.rule, max(1, cost))
                calls.append(Wait(*place, terms.ticket, claim.tenant, weight, claim.priority))
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

    def answered(self, answers: Sequence[Answer]) -> None:
        """Hear the answer."""
        self._heard(self._decision(answers))

    def late(self, answers: Sequence[Answer]) -> None:
        """Give back what was granted after its asker had been told that nobody knows."""
        decision = self._decision(answers)
        if isinstance(decision, Granted) and not decision.repeated:
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
        for cell, (_, cost, via), got in zip(ask.cells, ask.rows, answer.costs, strict=False):
            if via < 0 and got < cost:
                clerk.shadowed[cell.limit] += 1
        clerk.granted += 1
        held = held_by(ask, answer.costs or None)
        now_us, terms = clerk.session.now_us(), self._terms
        lease = Granted(
            answer.token, self._claim, clerk, now_us, terms.lease_us, terms.holder, held
        )
        if held or self._claim.id is not None:
            clerk.session.holdings.add(lease)
        return lease

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


def denied_by(policy: Policy, ask: Ask, answer: No) -> Denied:
    """Return a refusal in the words of callers."""
    cell, rule = ask.cells[answer.row], ask.rows[answer.row][0]
    timed = rule.kind != STOCK
    wait_us = answer.wait_us if answer.wait_us >= 0 else None
    reason = reason_of(policy.limit(cell.limit, cell.scope))
    return Denied(reason, cell.limit, cell.scope, answer.remaining, wait_us, timed)


def look_at(ask: Ask, naming: Naming) -> Look:
    """Return a look at every cell of an ask, then at those of its cohorts."""
    cells = [naming.cell(cell_name(cell)) for cell in ask.cells]
    for siblings in ask.siblings.values():
        cells += [naming.cell(cell_name(cell)) for cell, _ in siblings]
    return Look(tuple(cells))


def held_by(ask: Ask, costs: Sequence[int] | None) -> tuple[tuple[str, int], ...]:
    """Return what a lease gives back: the names of cells, each with its units."""
    held: list[tuple[str, int]] = []
    for index, (cell, (rule, cost, via)) in enumerate(zip(ask.cells, ask.rows, strict=True)):
        units = cost if costs is None else costs[index]
        if rule.kind == STOCK and via < 0 and units:
            held.append((cell_name(cell), units))
    return tuple(held)


def id_of(claim: Claim) -> str:
    """Return under what name a claim's id is known in the store; empty without one."""
    return "" if claim.id is None else f"{claim.tenant}\x1f{claim.id}"


def digest_of(claim: Claim) -> str:
    """Return what tells a claim from others, in every process; the priority plays no part."""
    told = replace(claim, priority=0, id=None)
    return blake2b(msgspec.msgpack.encode(told, order="sorted"), digest_size=8).hexdigest()


def check_actual(claim: Claim, actual: Mapping[str, int]) -> None:
    """Refuse what no settlement can be. Raises InvalidClaim."""
    for resource, units in actual.items():
        if resource not in claim.take:
            raise InvalidClaim(f"actual.{resource}", resource, " | ".join(claim.take) or "nothing")
        if type(units) is not int or units < 0:
            raise InvalidClaim(f"actual.{resource}", units, "an integer >= 0")
