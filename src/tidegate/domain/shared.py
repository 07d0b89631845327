"""The rule of a shared store: how one batch changes what its members hold and spend.

A store loads what a batch touches into a `World`, lets `handle` change it, and writes back what is
dirty, all in one transaction; or it does the same in a script of its own, which then has to agree
with this one. Pure: the world is data, and time comes in as a number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from tidegate.domain.admission import EMPTY, Level, Row, aged, decide, fallen, risen
from tidegate.domain.batch import (
    APPLIED,
    LOST,
    STALE,
    Adjust,
    Admit,
    Adopt,
    Again,
    Answer,
    Batch,
    Call,
    Check,
    Done,
    End,
    GiveBack,
    Leave,
    Levels,
    Look,
    No,
    Reply,
    Reused,
    Touch,
    Wait,
    Write,
    Yes,
    flat,
)
from tidegate.domain.near import near_rows
from tidegate.domain.rule import STOCK
from tidegate.domain.tally import Tally
from tidegate.domain.world import DEDUP_US, KnownId, Member, Place, Queue, World, behind


def handle(world: World, batch: Batch, now_us: int) -> bytes:
    """Apply a batch once, however often it was sent; return the reply as it travels."""
    known = kept(world, batch, now_us)
    if known is not None:
        return known
    reply = msgspec.msgpack.encode(apply(world, batch, now_us))
    member = world.members.get(batch.member)
    if member is not None and batch.seq and member.seq == batch.seq:
        member.reply = reply
    return reply


def kept(world: World, batch: Batch, now_us: int) -> bytes | None:
    """Return the reply to a batch that is not the next one of its member; None: it is."""
    member = world.members.get(batch.member)
    if member is None or not 0 < batch.seq <= member.seq:
        return None
    # A batch that comes after its successor was delayed on its way: nobody waits for it.
    late = batch.seq < member.seq
    return msgspec.msgpack.encode(Reply(now_us, LOST)) if late else member.reply


def apply(world: World, batch: Batch, now_us: int) -> Reply:
    """Apply a batch, which is not the one its member sent last."""
    world.reclaim(now_us)
    if any(rule.is_stale(now_us) for rule in batch.rules):
        return Reply(now_us, STALE, (), world.woken(now_us))
    member = world.members.get(batch.member)
    if member is None:
        if not batch.hello:
            return Reply(now_us, LOST, (), world.woken(now_us))
        member = world.members[batch.member] = Member(expires_us=0)
    member.expires_us = now_us + batch.ttl_us
    member.seq = batch.seq or member.seq
    answers = _Step(world, batch, now_us).answers()
    return Reply(now_us, APPLIED, answers, world.woken(now_us))


class _Step:
    """One batch at one instant."""

    def __init__(self, world: World, batch: Batch, now_us: int) -> None:
        self.world, self.batch, self.now_us = world, batch, now_us
        self._tally = Tally(world, batch, now_us)
        self._how: dict[type, Callable[[Any], Answer]] = {
            GiveBack: self._give_back,
            End: self._end,
            Touch: self._touch,
            Adjust: self._adjust,
            Look: self._look,
            Write: self._write,
            Adopt: self._adopt,
            Wait: self._wait,
            Leave: self._leave,
            Check: self._check,
        }

    def answers(self) -> tuple[Answer, ...]:
        """Return the answers to the calls, in their order."""
        answers = tuple([self._answer(call) for call in self.batch.calls])
        self._tally.settle()
        return answers

    def _answer(self, call: Call) -> Answer:
        if isinstance(call, Admit):
            return self._admit(call)
        self._tally.settle()
        return self._how[type(call)](call)

    def _admit(self, call: Admit) -> Answer:
        known = self._known(call.claim_id) if call.claim_id else None
        if known is not None:
            if known.digest != call.digest:
                return Reused()
            known.told = True
            return Again(known.token, known.member, known.expires_us, known.ended)
        held = None if self.world.queues else self._tally.add(call)
        if held is not None:
            near = self._tally.near(call) if self.batch.watch else ()
            token = self._granted(call, held)
            return Yes(token, call.rows[2::3], near) if near else Yes(token)
        self._tally.leave(call)
        return self._decide(call)

    def _decide(self, call: Admit) -> Answer:
        """Decide by the rule."""
        rows = [self.world.row(part, self.batch) for part in call.parts()]
        seen = self._behind(call, rows) if self.world.queues else rows
        verdict = decide(seen, self.now_us)
        if verdict.levels is None:
            wait_us = -1 if verdict.wait_us is None else verdict.wait_us
            return No(verdict.refused, verdict.remaining, wait_us)
        levels = verdict.levels
        if seen is not rows:
            # What is kept for others was counted, but nobody has taken it.
            pairs = zip(rows, verdict.costs, strict=True)
            levels = [risen(r.rule, aged(r.rule, r.level, self.now_us), cost) for r, cost in pairs]
        costs, watch = verdict.costs, self.batch.watch
        near = near_rows(rows, costs, levels, self.now_us) if watch else ()
        token = self._granted(call, self._take(call, rows, costs, levels))
        if not near and costs == list(call.rows[2::3]):
            return Yes(token)
        return Yes(token, tuple(costs), near)

    def _granted(self, call: Admit, held: dict[str, int]) -> int:
        """Note a grant; return its token."""
        token = self.world.token = max(self.world.token, self.now_us) + 1
        if call.claim_id:
            self._remember(call, token, held)
        return token

    def _remember(self, call: Admit | Adopt, token: int, held: dict[str, int]) -> None:
        self.world.ids[call.claim_id] = KnownId(
            digest=call.digest,
            token=token,
            member=self.batch.member,
            expires_us=self.now_us + call.lease_us + DEDUP_US,
            held=held,
        )

    def _take(
        self, call: Admit, rows: list[Row], costs: list[int], levels: list[Level]
    ) -> dict[str, int]:
        """Set the new levels; return what is held of them."""
        world, cells = self.world, self.batch.cells
        held: dict[str, int] = {}
        for part, row, cost, level in zip(call.parts(), rows, costs, levels, strict=True):
            if part.via >= 0 or not cost:
                continue
            cell = cells[part.cell]
            world.levels[cell] = level
            world.dirty[cell] = row.rule
            if row.rule.kind == STOCK:
                held[cell] = held.get(cell, 0) + cost
            queue = world.queues.get(cell)
            if queue is not None and queue.places:
                share = cost / call.weight
                if queue.serve(call.ticket, call.tenant, share, self.now_us):
                    world.freed.add(cell)
        if held:
            mine = world.members[self.batch.member].held
            for cell, units in held.items():
                mine[cell] = mine.get(cell, 0) + units
        return held

    def _behind(self, call: Admit, rows: list[Row]) -> list[Row]:
        """Return the rows with what is kept at their cells for those who go before this claim."""
        queues, cells = self.world.queues, self.batch.cells
        standing = (call.ticket, call.tenant, call.priority, self.now_us)
        waiting = [queues.get(cells[cell]) for cell in call.rows[::3]]
        ahead = [0 if queue is None else queue.ahead(*standing) for queue in waiting]
        return behind(rows, ahead, self.now_us)

    def _give_back(self, call: GiveBack) -> Answer:
        self.world.give_back(self.batch.member, self.batch.named(call.held))
        return Done()

    def _look(self, call: Look) -> Answer:
        cells = (self.batch.cells[index] for index in call.cells)
        return Levels(flat([self.world.levels.get(cell, EMPTY) for cell in cells]))

    def _check(self, call: Check) -> Answer:
        fitting = self.world.fitting(self.batch.cells[call.cell], self.now_us)
        return Done(any(place.name == call.ticket for place in fitting))

    def _known(self, claim_id: str) -> KnownId | None:
        known = self.world.ids.get(claim_id) if claim_id else None
        if known is None or known.expires_us <= self.now_us:
            return None
        if not known.ended and known.member not in self.world.members:
            # What it held came back when its member died.
            known.ended, known.held = True, {}
        return known

    def _end(self, call: End) -> Answer:
        known = self._known(call.claim_id)
        if known is None or known.token != call.token:
            return Done(False)
        if call.forget and known.told:
            return Done(False)
        live = not known.ended
        if live:
            self.world.give_back(known.member, known.held)
            known.ended, known.held = True, {}
            known.expires_us = self.now_us + DEDUP_US
        if call.forget:
            del self.world.ids[call.claim_id]
        return Done(live)

    def _touch(self, call: Touch) -> Answer:
        known = self._known(call.claim_id)
        if known is None or known.token != call.token or known.ended:
            return Done(False)
        known.expires_us = self.now_us + call.lease_us + DEDUP_US
        return Done()

    def _adjust(self, call: Adjust) -> Answer:
        cell, rule = self.batch.cells[call.cell], self.batch.rules[call.rule]
        level = self.world.levels.get(cell, EMPTY)
        if call.units >= 0:
            self.world.put(cell, risen(rule, aged(rule, level, self.now_us), call.units), rule)
        else:
            level = fallen(rule, level, -call.units, call.taken_us, self.now_us)
            self.world.put(cell, level, rule)
            self.world.freed.add(cell)
        return Done()

    def _write(self, call: Write) -> Answer:
        cell, rule = self.batch.cells[call.cell], self.batch.rules[call.rule]
        self.world.put(cell, risen(rule, Level(0, self.now_us, (), rule.unit), call.units), rule)
        self.world.freed.add(cell)
        return Done()

    def _adopt(self, call: Adopt) -> Answer:
        if self._known(call.claim_id) is not None:
            return Done(False)
        member, held = self.world.members[self.batch.member], self.batch.named(call.held)
        for cell, units in held.items():
            level = self.world.levels.get(cell, EMPTY)
            self.world.put(cell, Level(level.amount + units, self.now_us))
            member.held[cell] = member.held.get(cell, 0) + units
        self.world.token = max(self.world.token, call.token)
        if call.claim_id:
            self._remember(call, call.token, held)
        return Done()

    def _wait(self, call: Wait) -> Answer:
        queue = self.world.queue(self.batch.cells[call.cell], self.now_us)
        mine = (self.batch.member, call.tenant)
        queue.keep(lambda p: p.name != call.ticket and (p.member, p.tenant) != mine, self.now_us)
        place = Place(
            name=call.ticket,
            start=queue.start(call.tenant),
            urgency=-call.priority,
            arrived=queue.arrive(self.now_us),
            member=self.batch.member,
            tenant=call.tenant,
            cost=call.cost,
            weight=call.weight,
            rule=self.batch.rules[call.rule],
        )
        queue.places = sorted([*queue.places, place])
        return Done()

    def _leave(self, call: Leave) -> Answer:
        cell = self.batch.cells[call.cell]
        queue = self.world.queues.get(cell, Queue())
        if not queue.keep(lambda place: place.name != call.ticket, self.now_us):
            return Done(False)
        self.world.freed.add(cell)
        return Done()
