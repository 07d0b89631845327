"""The agent for HAProxy, from good peers, slow ones and hostile ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.unit.gateway_peers import Listening, Peer, listening
from tidegate.entrypoints.haproxy import agent, frames
from tidegate.entrypoints.haproxy.agent import Agent, Variables
from tidegate.entrypoints.haproxy.frames import Frame, Message, write_frame, write_pairs

pytestmark = pytest.mark.anyio

GREETING: dict[str, str | int] = {
    "supported-versions": "2.0",
    "max-frame-size": 16_380,
    "capabilities": "pipelining,async",
}


@dataclass
class Service:
    """Answers at once, or when told, and remembers what became of its questions."""

    go: asyncio.Event = field(default_factory=asyncio.Event)
    begun: int = 0
    cancelled: int = 0

    async def ask(self, messages: Sequence[Message]) -> Variables:
        self.begun += 1
        name = messages[0].name if messages else "nothing"
        if name == "wait":
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        if name == "bug":
            raise ZeroDivisionError
        if name == "long":
            return {"status": 429, "problem": "p" * 20_000, "policy": "q" * 300}
        return {"status": 200, "name": name}


@pytest.fixture
async def service() -> Service:
    return Service()


@pytest.fixture
async def server(service: Service) -> AsyncIterator[Listening]:
    async with listening(lambda closed: Agent(service.ask, closed)) as server:
        yield server


def hello(**changes: Any) -> bytes:
    said = {**GREETING, **{name.replace("_", "-"): value for name, value in changes.items()}}
    known = {name: value for name, value in said.items() if value is not None}
    return write_frame(frames.HELLO, 0, 0, write_pairs(known))


def asking(name: str, stream_id: int = 1, frame_id: int = 1) -> bytes:
    payload = bytes((len(name),)) + name.encode() + b"\x00"
    return write_frame(frames.NOTIFY, stream_id, frame_id, payload)


async def frame(peer: Peer) -> Frame:
    size = int.from_bytes(await peer.take(4), "big")
    return frames.read_frame(await peer.take(size))


async def farewell(peer: Peer) -> int:
    """The status of the farewell, after which the connection is closed."""
    while (got := await frame(peer)).kind != frames.AGENT_DISCONNECT:
        assert got.kind in (frames.ACK, frames.AGENT_HELLO)
    status = frames.read_pairs(got.payload)["status-code"]
    assert isinstance(status, int)
    await peer.rest()
    return status


@pytest.fixture
async def peer(server: Listening) -> AsyncIterator[Peer]:
    async with server.peer() as peer:
        await peer.send(hello())
        answer = await frame(peer)
        assert answer.kind == frames.AGENT_HELLO
        assert frames.read_pairs(answer.payload) == {
            "version": "2.0",
            "max-frame-size": 16_380,
            "capabilities": "pipelining",
        }
        yield peer


async def test_questions_are_answered(peer: Peer) -> None:
    await peer.send(asking("check", 7, 2))
    answer = await frame(peer)
    assert (answer.kind, answer.stream_id, answer.frame_id) == (frames.ACK, 7, 2)
    assert answer.payload == frames.write_variables({"status": 200, "name": "check"})


async def test_a_question_may_come_in_any_pieces(peer: Peer) -> None:
    for byte in asking("check") + write_frame(77, 1, 1, b"unknown") + asking("again"):
        await peer.send(bytes((byte,)))
        await asyncio.sleep(0)
    for name in ("check", "again"):
        assert name.encode() in (await frame(peer)).payload


async def test_who_takes_long_keeps_nobody_waiting(peer: Peer, service: Service) -> None:
    await peer.send(asking("wait", 1) + asking("check", 2))
    assert (await frame(peer)).stream_id == 2
    service.go.set()
    assert (await frame(peer)).stream_id == 1


async def test_a_question_that_cannot_be_answered_gets_no_answer(peer: Peer) -> None:
    await peer.send(asking("bug", 1) + asking("check", 2))
    assert (await frame(peer)).stream_id == 2


async def test_an_answer_fits_into_its_frame(server: Listening) -> None:
    async with server.peer() as peer:
        await peer.send(hello(max_frame_size=256) + asking("long"))
        assert frames.read_pairs((await frame(peer)).payload)["max-frame-size"] == 256
        assert (await frame(peer)).payload == frames.write_variables({"status": 429})


async def test_a_check_of_the_health_is_greeted_and_closed(server: Listening) -> None:
    said = write_pairs(GREETING) + b"\x0bhealthcheck\x11"
    async with server.peer() as peer:
        await peer.send(write_frame(frames.HELLO, 0, 0, said))
        assert (await frame(peer)).kind == frames.AGENT_HELLO
        assert await peer.rest() == b""
    await server.deserted()


async def test_a_farewell_is_returned(peer: Peer, server: Listening) -> None:
    said = write_pairs({"status-code": 0, "message": "normal"})
    await peer.send(write_frame(frames.DISCONNECT, 0, 0, said))
    assert await farewell(peer) == frames.NO_ERROR
    await server.deserted()


async def test_a_lost_connection_cancels_its_questions(server: Listening, service: Service) -> None:
    async with server.peer() as peer:
        await peer.send(hello() + asking("wait", 1) + asking("wait", 2))
        while service.begun < 2:
            await asyncio.sleep(0.001)
        peer.writer.transport.abort()
        await server.deserted()
    while service.cancelled < 2:
        await asyncio.sleep(0.001)


async def test_at_the_end_what_was_asked_is_answered(
    peer: Peer, server: Listening, service: Service
) -> None:
    await peer.send(asking("wait"))
    while not service.begun:
        await asyncio.sleep(0.001)
    ending = asyncio.create_task(server.listener.stop())
    await asyncio.sleep(0)
    service.go.set()
    assert (await frame(peer)).kind == frames.ACK
    assert await farewell(peer) == frames.NO_ERROR
    await ending
    assert server.connections == 0


async def test_too_many_questions_wait_until_some_are_done(
    peer: Peer, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "ASKED_MAX", 3)
    await peer.send(b"".join(asking("wait", number) for number in range(1, 11)))
    while service.begun < 3:
        await asyncio.sleep(0.001)
    for _ in range(10):
        await asyncio.sleep(0.001)
    assert service.begun == 3
    service.go.set()
    got = [(await frame(peer)).stream_id for _ in range(10)]
    assert got == list(range(1, 11))


HOSTILE = {
    "no greeting": (asking("check"), frames.INVALID),
    "a huge length": (b"\x7f\xff\xff\xff", frames.TOO_BIG),
    "more than was agreed": (hello(max_frame_size=300) + b"\0\0\x02\0", frames.TOO_BIG),
    "no frame": (b"\0\0\0\x01\x01", frames.INVALID),
    "a fragment": (b"\0\0\0\x07\x01\0\0\0\0\0\0", frames.FRAGMENTED),
    "another version": (hello(supported_versions="3.0"), frames.BAD_VERSION),
    "no version": (hello(supported_versions=None), frames.NO_VERSION),
    "no size": (hello(max_frame_size=None), frames.NO_FRAME_SIZE),
    "a size that is none": (hello(max_frame_size="large"), frames.NO_FRAME_SIZE),
    "a tiny size": (hello(max_frame_size=12), frames.BAD_FRAME_SIZE),
    "no capabilities": (hello(capabilities=None), frames.NO_CAPABILITIES),
    "two greetings": (hello() + hello(), frames.INVALID),
    "a message cut off": (
        hello() + write_frame(frames.NOTIFY, 1, 1, b"\x05check\x02\x01k\x08\x30"),
        frames.INVALID,
    ),
    "a greeting cut off": (write_frame(frames.HELLO, 0, 0, b"\x40x"), frames.INVALID),
}


@pytest.mark.parametrize(("sent", "status"), HOSTILE.values(), ids=HOSTILE)
async def test_a_peer_that_breaks_the_rules_is_sent_away(
    server: Listening, sent: bytes, status: int
) -> None:
    async with server.peer() as peer:
        await peer.send(sent)
        assert await farewell(peer) == status
        await server.deserted()


async def test_who_says_nothing_is_closed(
    server: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegate.entrypoints.gateway_listener.HELLO_S", 0.05)
    async with server.peer() as peer:
        await peer.send(b"\0\0")
        assert await peer.rest() == b""
        await server.deserted()


async def test_there_is_room_for_so_many_connections(
    server: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegate.entrypoints.gateway_listener.CONNECTIONS_MAX", 1)
    async with server.peer() as first:
        await first.send(hello())
        assert (await frame(first)).kind == frames.AGENT_HELLO
        async with server.peer() as second:
            assert await second.rest() == b""
        await first.send(asking("check"))
        assert (await frame(first)).kind == frames.ACK
    await server.deserted()
    async with server.peer() as third:
        await third.send(hello())
        assert (await frame(third)).kind == frames.AGENT_HELLO
