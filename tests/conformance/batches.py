"""Random batches for shared stores: what honest, confused and hostile members send over time.

They are made against the pure rule as it goes, so that tokens, tickets and held units are mostly
real ones. One seed always makes the same batches, whatever store they are then sent to.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from random import Random

import msgspec

from tests.conformance.batch_limits import COHORT, LIMITS, TENANTS, Draft, comparable
from tests.conformance.worlds import WorldStore
from tidegate.domain.batch import (
    APPLIED,
    Adjust,
    Admit,
    Adopt,
    Batch,
    Call,
    Check,
    End,
    GiveBack,
    Leave,
    Look,
    Part,
    Reply,
    Touch,
    Wait,
    Write,
    Yes,
)
from tidegate.domain.rule import STOCK, cohort_rule

__all__ = ["comparable", "random_batches"]

NOW_US = 1_900_000_000_000_000
MEMBERS = [f"m{number}" for number in range(8)]
SHORT_STEPS_US = [0, 0, 0, 1, 3, 20_000, 200_000, 666_667, -1]
STEPS_US = [2_000_000, -3_000_000, 7_000_000, 31_000_000, 61_000_000]
LONG_STEP_US = 1_000_000_000
"""So long that nearly everything is over. At most one for every hundred batches."""


def random_batches(rng: Random, count: int) -> Iterator[Batch]:
    """Yield batches, each with its `now_us`, to be applied in this order to an empty store."""
    script = Script(rng)
    for number in range(count):
        step_us = rng.choice(SHORT_STEPS_US if rng.random() < 0.9 else STEPS_US)
        long = number % 100 == 99 and rng.random() < 0.5
        yield script.next_batch(LONG_STEP_US if long else step_us)


class Script:
    """What the members have done so far, as the pure rule sees it."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._store = WorldStore()
        self._now_us = NOW_US
        self._last: dict[str, Batch] = {}
        self._held: dict[str, list[tuple[str, int]]] = {name: [] for name in MEMBERS}
        self._ids: list[tuple[str, int]] = [("never", 7)]
        self._tickets: list[tuple[str, str, str]] = [("browsers:", "nobody's", "m0")]
        self._numbers = itertools.count()

    def next_batch(self, step_us: int) -> Batch:
        """Return the next batch, and apply it here."""
        self._now_us += step_us
        member = self._rng.choice(MEMBERS)
        last = self._last.get(member)
        if last is not None and self._rng.random() < 0.1:
            batch = msgspec.structs.replace(last, now_us=self._now_us)
        else:
            batch = self._new_batch(member, last.seq + 1 if last else 1)
        if batch.seq:
            self._last[member] = batch
        self._learn(batch, self._store.apply(batch))
        return batch

    def _new_batch(self, member: str, seq: int) -> Batch:
        rng = self._rng
        known = member in self._store.world.members
        draft = Draft(self._now_us - 120_000_000 * (rng.random() < 0.03))
        calls = tuple(self._call(draft, member) for _ in range(rng.choice([0, 1, 1, 2, 4, 8, 20])))
        return Batch(
            member=member,
            seq=0 if not calls and rng.random() < 0.5 else seq,
            ttl_us=rng.choice([100_000, 1_000_000, 5_000_000, 5_000_000, 30_000_000, 100_000_000]),
            hello=rng.random() < (0.05 if known else 0.8),
            now_us=self._now_us,
            rules=tuple(draft.rules),
            cells=tuple(draft.cells),
            calls=calls,
            watch=rng.random() < 0.5,
        )

    def _call(self, draft: Draft, member: str) -> Call:
        kinds: list[tuple[int, Callable[[Draft, str], Call]]] = [
            (40, self._admit),
            (14, self._give_back),
            (8, self._end),
            (4, self._touch),
            (6, self._adjust),
            (5, self._look),
            (2, self._write),
            (3, self._adopt),
            (10, self._wait),
            (4, self._leave),
            (4, self._check),
        ]
        weights = [weight for weight, _ in kinds]
        ((_, make),) = self._rng.choices(kinds, weights)
        return make(draft, member)

    def _admit(self, draft: Draft, member: str) -> Admit:
        rng = self._rng
        tenant = rng.choice(TENANTS)
        parts: list[Part] = []
        for name in rng.sample(list(LIMITS), rng.choice([0, 1, 2, 3, 3, 5])):
            parts += self._parts(draft, name, tenant, len(parts))
        number = rng.randrange(30)
        has_id = rng.random() < 0.3
        mine = [name for _, name, whose in self._tickets if whose == member or rng.random() < 0.02]
        return Admit(
            rows=tuple(word for part in parts for word in (part.cell, part.rule, part.cost)),
            tenant=tenant,
            weight=rng.choice([1, 1, 3]),
            priority=rng.choice([500, 500, 900]),
            claim_id=f"{tenant}:{number}" if has_id else "",
            digest=rng.choice(["d", "d", "d", "e"]) if has_id else "",
            lease_us=rng.choice([1, 5_000_000, 60_000_000]),
            ticket=rng.choice(mine[-3:]) if mine and rng.random() < 0.5 else "",
            cohorts=tuple((at, p.via, p.siblings) for at, p in enumerate(parts) if p.via >= 0),
        )

    def _parts(self, draft: Draft, name: str, tenant: str, index: int) -> list[Part]:
        rng = self._rng
        own, shared = f"{name}:{tenant}", f"{name}:"
        rule, cost = draft.rule(name), rng.choice([0, 1, 1, 2, 3, 3])
        cohort, tenants = COHORT
        if name != cohort:
            return [Part(draft.cell(rng.choice([own, shared])), rule, cost)]
        if tenant not in tenants:
            return [Part(draft.cell(own), rule, cost)]
        kept = draft.rules[rule].kept
        siblings = [
            number
            for other in tenants
            if other != tenant
            for number in (draft.cell(f"{name}:{other}"), kept)
        ]
        lends = Part(
            draft.cell(f"{name}:cohort"),
            draft.add_rule(cohort_rule(len(tenants))),
            0,
            index,
            tuple(siblings),
        )
        return [Part(draft.cell(own), rule, cost), lends]

    def _give_back(self, draft: Draft, member: str) -> GiveBack:
        rng = self._rng
        held = self._held[rng.choice(MEMBERS) if rng.random() < 0.1 else member]
        if held and rng.random() < 0.9:
            cell, units = held.pop(rng.randrange(len(held)))
            return GiveBack((draft.cell(cell), units))
        return GiveBack((draft.cell(f"browsers:{rng.choice(['', 'x'])}"), rng.randrange(4)))

    def _end(self, draft: Draft, member: str) -> End:
        claim_id, token = self._known_id()
        return End(claim_id, token, forget=self._rng.random() < 0.3)

    def _touch(self, draft: Draft, member: str) -> Touch:
        claim_id, token = self._known_id()
        return Touch(claim_id, token, self._rng.choice([1, 1_000_000, 60_000_000]))

    def _known_id(self) -> tuple[str, int]:
        claim_id, token = self._rng.choice(self._ids[-10:])
        return claim_id, token + (self._rng.random() < 0.1)

    def _adjust(self, draft: Draft, member: str) -> Adjust:
        rng = self._rng
        name = rng.choice([name for name in LIMITS if draft.kind(name) != STOCK])
        cell = draft.cell(f"{name}:{rng.choice(['', *TENANTS])}")
        taken_us = self._now_us - rng.choice([0, 1, 1_000_000, 4_000_000, 100_000_000])
        return Adjust(cell, draft.rule(name), rng.choice([-5, -1, 0, 1, 3]), taken_us)

    def _look(self, draft: Draft, member: str) -> Look:
        return Look(
            tuple(
                draft.cell(f"{name}:{self._rng.choice(['', *TENANTS])}")
                for name in self._rng.sample(list(LIMITS), 3)
            )
        )

    def _write(self, draft: Draft, member: str) -> Write:
        name = self._rng.choice([name for name in LIMITS if draft.kind(name) != STOCK])
        cell = draft.cell(f"{name}:{self._rng.choice(['', *TENANTS])}")
        return Write(cell, draft.rule(name), self._rng.randrange(9))

    def _adopt(self, draft: Draft, member: str) -> Adopt:
        rng = self._rng
        held = (draft.cell("browsers:"), rng.randrange(1, 4), draft.cell("gpus:x"), 1)
        if rng.random() < 0.5:
            return Adopt(held)
        number = rng.randrange(30)
        token = max(1, self._store.world.token + rng.randrange(-3, 4))
        return Adopt(held, f"x:{number}", "d", token, rng.choice([1, 60_000_000]))

    def _wait(self, draft: Draft, member: str) -> Wait:
        rng = self._rng
        name = rng.choice(list(LIMITS))
        tenant = rng.choice(TENANTS)
        cell = f"{name}:{rng.choice(['', tenant])}"
        ticket = f"{member}:{next(self._numbers) if rng.random() < 0.9 else 0}"
        self._tickets.append((cell, ticket, member))
        return Wait(
            cell=draft.cell(cell),
            rule=draft.rule(name),
            cost=rng.randrange(1, 4),
            ticket=ticket,
            tenant=tenant,
            weight=rng.choice([1, 3]),
            priority=rng.choice([500, 500, 900]),
        )

    def _leave(self, draft: Draft, member: str) -> Leave:
        cell, name, _ = self._rng.choice(self._tickets[-6:])
        return Leave(draft.cell(cell), name)

    def _check(self, draft: Draft, member: str) -> Check:
        cell, name, _ = self._rng.choice(self._tickets[-6:])
        return Check(draft.cell(cell), name)

    def _learn(self, batch: Batch, reply: Reply) -> None:
        if reply.state != APPLIED:
            return
        for call, answer in zip(batch.calls, reply.answers, strict=True):
            if not isinstance(call, Admit) or not isinstance(answer, Yes):
                continue
            if call.claim_id:
                self._ids.append((call.claim_id, answer.token))
                continue
            costs = answer.costs or call.rows[2::3]
            self._held[batch.member] += [
                (batch.cells[part.cell], cost)
                for part, cost in zip(call.parts(), costs, strict=True)
                if batch.rules[part.rule].kind == STOCK and part.via < 0 and cost
            ]
