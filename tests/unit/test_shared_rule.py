"""What a shared store promises beyond the rule of admission: order, and what is forgotten."""

from __future__ import annotations

import msgspec

from tidegate.domain.batch import (
    APPLIED,
    LOST,
    Admit,
    Batch,
    Call,
    Done,
    GiveBack,
    Leave,
    No,
    Reply,
    Wait,
    Yes,
)
from tidegate.domain.rule import STOCK, Rule
from tidegate.domain.shared import handle
from tidegate.domain.world import STANDING_US, World

NOW_US = 1_900_000_000_000_000
TTL_US = 1_000_000_000
ROOM = Rule(kind=STOCK, ceiling=1)
HOLD = Admit((0, 0, 1), "x")


def send(world: World, *calls: Call, member: str = "m", seq: int = 0, at_us: int = 0) -> Reply:
    batch = Batch(member, seq, TTL_US, True, 0, (ROOM,), ("room",), calls)
    world.freed.clear()
    return msgspec.msgpack.decode(handle(world, batch, NOW_US + at_us), type=Reply)


def wait(ticket: str, tenant: str) -> Wait:
    return Wait(0, 0, 1, ticket, tenant, 1, 500)


def test_a_batch_is_applied_once_however_late_it_comes() -> None:
    world = World()
    first = send(world, HOLD, seq=1)
    assert send(world, HOLD, seq=1, at_us=5) == first
    assert send(world, GiveBack((0, 1)), seq=2).answers == (Done(),)
    late = send(world, HOLD, seq=1, at_us=6)
    assert (late.state, late.answers) == (LOST, ())
    assert world.levels["room"].amount == 0
    assert send(world, HOLD, seq=3).state == APPLIED


def test_what_a_dead_member_leaves_wakes_others_whoever_finds_it() -> None:
    world = World()
    send(world, HOLD, member="holder")
    send(world, wait("t", "x"), member="waits")
    world.members["holder"].expires_us = NOW_US
    batch = Batch("unknown", 1, TTL_US, False, 0, (), (), ())
    reply = msgspec.msgpack.decode(handle(world, batch, NOW_US), type=Reply)
    assert (reply.state, reply.woken) == (LOST, ("waits",))


def test_a_ticket_has_one_place() -> None:
    world = World()
    send(world, wait("t", "x"), wait("t", "y"), wait("u", "y"))
    assert [place.name for place in world.queues["room"].places] == ["u"]


def test_an_empty_queue_forgets_after_a_while_who_was_served() -> None:
    world = World()
    send(world, HOLD, wait("a", "x"), wait("b", "y"))
    send(world, GiveBack((0, 1)))
    served = msgspec.structs.replace(HOLD, ticket="a")
    assert isinstance(send(world, served).answers[0], Yes)
    assert isinstance(send(world, HOLD).answers[0], No)
    send(world, Leave(0, "b"))
    send(world, wait("a", "x"), at_us=STANDING_US - 1)
    assert [place.start for place in world.queues["room"].places] == [1.0]
    send(world, Leave(0, "a"), at_us=STANDING_US)
    send(world, wait("a", "x"), at_us=2 * STANDING_US)
    assert [place.start for place in world.queues["room"].places] == [0.0]
