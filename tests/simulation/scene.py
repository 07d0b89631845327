"""Processes that share one store, in virtual time, with everything that goes wrong.

A seed decides all of it: who asks for what and when, how long messages travel, which are lost,
which process stops for a while or for ever, and how the store's clock jumps. The parts under test
are the real ones: session, clerk, lanes and turns on this side, the rule of shared stores on that.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgspec

from tidegate.domain.batch import Batch, Reply
from tidegate.domain.policy import Policy
from tidegate.domain.shared import handle
from tidegate.domain.world import World
from tidegate.errors import StoreUnavailable
from tidegate.facades.sharing.drivers import Breaker
from tidegate.facades.sharing.member import Member
from tidegate.facades.sharing.session import Session

SECOND_US = 1_000_000
START_US = 1_795_000_000_000_000
TTL_US = 2 * SECOND_US
PATIENCE_US = SECOND_US
PULSE_US = 50_000


class Time:
    """Virtual time: what happens next happens now."""

    def __init__(self) -> None:
        self.now_us = 0
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0

    def after(self, delay_us: int, do: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now_us + delay_us, self._count, do))

    def run(self, until_us: int) -> None:
        while self._events and self._events[0][0] <= until_us:
            self.now_us, _, do = heapq.heappop(self._events)
            do()
        self.now_us = until_us


@dataclass
class Faults:
    """How often, of a thousand, and how badly things go wrong."""

    lost_requests: int = 0
    lost_replies: int = 0
    pauses: int = 0
    crashes: int = 0
    clock_jumps: int = 0


@dataclass
class Store:
    """The server: the pure rule, a clock that may jump, and a log of what it granted."""

    time: Time
    random: Random
    faults: Faults
    world: World = field(default_factory=World)
    jumped_us: int = 0
    jumps_from_us: int = 0
    members: dict[str, Process] = field(default_factory=dict)

    def _jump(self) -> None:
        """Step back however far, or forward by less than members keep as a margin.

        A server's clock that leaps further ends leases early: only fencing tokens help then.
        """
        if self.time.now_us >= self.jumps_from_us:
            self.jumps_from_us = self.time.now_us + TTL_US
            self.jumped_us += self.random.choice([-30, -3, -1, 1]) * SECOND_US // 2

    @property
    def now_us(self) -> int:
        return START_US + self.time.now_us + self.jumped_us

    def apply(self, batch: Batch) -> Reply:
        if self.random.randrange(1000) < self.faults.clock_jumps:
            self._jump()
        self.world.freed.clear()
        self.world.dirty.clear()
        reply = msgspec.msgpack.decode(handle(self.world, batch, self.now_us), type=Reply)
        for name in reply.woken:
            process = self.members.get(name)
            if process is not None and name != batch.member:
                self.time.after(self.random.randrange(100, 2_000), process.woken)
        return reply


class Process:
    """One process: a member whose batches travel over a bad network, and who may stop any time."""

    def __init__(self, name: str, store: Store, policy: Policy) -> None:
        self.name, self._store, self._time, self._random = name, store, store.time, store.random
        self._made = 0
        self.paused_until_us = 0
        self.crashed = False
        self._carrying = False
        self.breaker = Breaker(self.elapsed_us, PATIENCE_US)
        self.session = Session(
            elapsed_us=self.elapsed_us, name=self._new_name, ttl_us=TTL_US, fixed_now_us=None
        )
        driver: Any = self
        self.member = Member(self.session, policy, waiting_max=1_000, driver=driver)
        self._time.after(self._random.randrange(PULSE_US), self._pulse)

    def elapsed_us(self) -> int:
        return self._time.now_us

    @property
    def runs(self) -> bool:
        return not self.crashed and self._time.now_us >= self.paused_until_us

    def kick(self) -> None:
        """Carry soon, as a driver does."""
        if not self._carrying:
            self._carrying = True
            self._time.after(10, self._carry)

    def woken(self) -> None:
        self.do(self.member.poke)

    def do(self, what: Callable[[], None]) -> None:
        """Do something, once this process runs again."""
        if self.crashed:
            return
        if not self.runs:
            self._time.after(self.paused_until_us - self._time.now_us, lambda: self.do(what))
            return
        what()

    def pause(self, for_us: int) -> None:
        """Stop for a while. The first thing to run then is the pulse."""
        self.paused_until_us = self._time.now_us + for_us
        self._time.after(for_us, self.look_after)

    def look_after(self) -> None:
        if self.runs:
            if self.session.must_be_lost(TTL_US // 3):
                self.session.lose()
            self.member.clerk.expire()
            if self.session.has_work or self.session.is_quiet or self.breaker.down:
                self.kick()

    def _pulse(self) -> None:
        if self.crashed:
            return
        self.look_after()
        self._time.after(PULSE_US, self._pulse)

    def _new_name(self) -> str:
        self._made += 1
        name = f"{self.name}.{self._made}"
        self._store.members[name] = self
        return name

    def _carry(self) -> None:
        self.do(self._send)

    def _send(self) -> None:
        life = self.breaker.down or self.session.is_quiet
        batch = self.session.batch(sign_of_life=life)
        if batch is None:
            self._carrying = False
            return
        random, faults = self._random, self._store.faults
        if random.randrange(1000) < faults.lost_requests:
            self._time.after(200_000, lambda: self.do(self._failed))
            return
        lost = random.randrange(1000) < faults.lost_replies
        there_us, back_us = random.randrange(100, 3_000), random.randrange(100, 3_000)

        def arrive() -> None:
            reply = self._store.apply(batch)
            if lost:
                self._time.after(200_000, lambda: self.do(self._failed))
            else:
                self._time.after(back_us, lambda: self.do(lambda: self._replied(batch, reply)))

        self._time.after(there_us, arrive)

    def _replied(self, batch: Batch, reply: Reply) -> None:
        self.breaker.succeeded()
        self.session.replied(batch, reply)
        self._send()

    def _failed(self) -> None:
        if self.breaker.failed():
            self.session.given_up(StoreUnavailable("no reply"))
        self._send()
