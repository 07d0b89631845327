"""HTTP/2 and gRPC from good peers and slow ones."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.unit.gateway_peers import Listening
from tests.unit.grpc_client import END, GOOD, HELLO, Client, Service, prefixed, serving
from tidegate.entrypoints.envoy import frames, grpc, http2
from tidegate.entrypoints.envoy.frames import frame

pytestmark = pytest.mark.anyio


@pytest.fixture
async def service() -> Service:
    return Service()


@pytest.fixture
async def server(service: Service) -> AsyncIterator[Listening]:
    async with serving(service) as server:
        yield server


@pytest.fixture
async def client(server: Listening) -> AsyncIterator[Client]:
    async with server.peer() as peer:
        await peer.send(HELLO)
        yield Client(peer)


async def test_calls_are_answered(client: Client, service: Service) -> None:
    kind, _, _, payload = await client.frame()
    assert kind == frames.SETTINGS
    assert int.from_bytes(payload[2:6], "big") == http2.CALLS_MAX
    await client.peer.send(client.call(1, b"one", authorization="Bearer x") + client.call(3))
    assert await client.reply() == (1, b"one", grpc.OK, "")
    assert await client.reply() == (3, b"hi", grpc.OK, "")
    assert b"authorization" not in service.seen
    await client.peer.send(client.call(5, b""))
    assert await client.reply() == (5, b"", grpc.OK, "")


async def test_a_request_may_come_in_any_pieces(client: Client) -> None:
    block = client.encoder.encode([*GOOD.items(), ("x-long", "y" * 3000)])
    data = prefixed(b"in pieces")
    whole = b"".join(
        (
            frame(
                frames.HEADERS,
                frames.PADDED | frames.WITH_PRIORITY,
                1,
                b"\x03" + b"\0" * 5 + block[:10] + b"\0" * 3,
            ),
            frame(frames.CONTINUATION, 0, 1, block[10:500]),
            frame(frames.CONTINUATION, frames.END_HEADERS, 1, block[500:]),
            frame(99, 0, 1, b"unknown"),
            frame(frames.PRIORITY, 0, 1, b"\0" * 5),
            frame(frames.DATA, frames.PADDED, 1, b"\x02" + data[:4] + b"\0\0"),
            frame(frames.DATA, 0, 1, data[4:]),
            frame(frames.HEADERS, END, 1, client.encoder.encode([("x-trailer", "1")])),
        )
    )
    for place in range(0, len(whole), 7):
        await client.peer.send(whole[place : place + 7])
        await asyncio.sleep(0)
    assert await client.reply() == (1, b"in pieces", grpc.OK, "")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"path": "/none"}, grpc.UNIMPLEMENTED),
        ({"method": "GET"}, grpc.UNIMPLEMENTED),
        ({"content_type": "application/json"}, grpc.UNIMPLEMENTED),
        ({"grpc_timeout": "soon"}, grpc.INVALID_ARGUMENT),
        ({"grpc_timeout": "50m", "path": "/wait"}, grpc.DEADLINE_EXCEEDED),
        ({"path": "/fail"}, grpc.UNAVAILABLE),
        ({"path": "/bug"}, grpc.INTERNAL),
    ],
)
async def test_a_call_that_fails_has_a_status(
    client: Client, service: Service, changes: dict[str, Any], status: int
) -> None:
    await client.peer.send(client.call(1, **changes))
    stream_id, message, told, text = await client.reply()
    assert (stream_id, message, told) == (1, b"", status)
    assert text
    assert "\n" not in text
    await client.peer.send(client.call(3))
    assert (await client.reply())[2] == grpc.OK
    assert service.cancelled == (status == grpc.DEADLINE_EXCEEDED)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", grpc.INVALID_ARGUMENT),
        (b"\0\0\0", grpc.INVALID_ARGUMENT),
        (prefixed(b"x")[:-1], grpc.INVALID_ARGUMENT),
        (prefixed(b"x") + b"y", grpc.INVALID_ARGUMENT),
        (b"\x01" + prefixed(b"x")[1:], grpc.UNIMPLEMENTED),
        (b"\0\xff\xff\xff\xff", grpc.RESOURCE_EXHAUSTED),
    ],
)
async def test_a_body_that_is_no_message_is_said_to_be_none(
    client: Client, body: bytes, status: int
) -> None:
    await client.peer.send(client.head(1) + frame(frames.DATA, frames.END_STREAM, 1, body))
    assert (await client.reply())[2] == status


async def test_small_windows_are_kept(client: Client) -> None:
    """10 bytes for each call at first, then one byte more at a time, then all."""
    small = struct.pack(">HI", http2.INITIAL_WINDOW_SIZE, 10)
    message = b"m" * 40
    await client.peer.send(frame(frames.SETTINGS, 0, 0, small) + client.call(1, message))
    assert (await client.until(frames.DATA))[3] == prefixed(message)[:10]
    for place in (10, 11):
        await client.peer.send(frame(frames.WINDOW_UPDATE, 0, 1, struct.pack(">I", 1)))
        assert (await client.until(frames.DATA))[3] == prefixed(message)[place : place + 1]
    large = struct.pack(">HI", http2.INITIAL_WINDOW_SIZE, 1000)
    await client.peer.send(frame(frames.SETTINGS, 0, 0, large))
    assert (await client.until(frames.DATA))[3] == prefixed(message)[12:]
    assert (await client.until(frames.HEADERS))[1] == END


async def test_more_than_the_connection_takes_waits_for_its_window(client: Client) -> None:
    message = b"m" * 30_000
    calls = b"".join(client.call(number, message) for number in (1, 3, 5))
    await client.peer.send(calls)
    received = 0
    while received < http2.WINDOW_BYTES:
        received += len((await client.until(frames.DATA))[3])
    assert received == http2.WINDOW_BYTES
    await client.peer.send(frame(frames.WINDOW_UPDATE, 0, 0, struct.pack(">I", 100_000)))
    while received < 3 * 30_005:
        received += len((await client.until(frames.DATA))[3])
    assert (await client.until(frames.HEADERS))[1] == END


async def test_a_call_that_is_taken_back_is_cancelled(client: Client, service: Service) -> None:
    await client.peer.send(client.call(1, path="/wait") + client.call(3, path="/wait"))
    while service.begun < 2:
        await asyncio.sleep(0.001)
    await client.peer.send(frame(frames.RST_STREAM, 0, 1, b"\0\0\0\x08"))
    while not service.cancelled:
        await asyncio.sleep(0.001)
    service.go.set()
    assert await client.reply() == (3, b"hi", grpc.OK, "")


async def test_a_lost_connection_cancels_its_calls(server: Listening, service: Service) -> None:
    async with server.peer() as peer:
        client = Client(peer)
        await peer.send(HELLO + client.call(1, path="/wait") + client.head(3))
        while not service.begun:
            await asyncio.sleep(0.001)
        peer.writer.transport.abort()
        await server.deserted()
    assert service.cancelled == 1


async def test_more_calls_than_there_is_room_for_are_refused(
    client: Client, service: Service
) -> None:
    numbers = range(1, 2 * http2.CALLS_MAX + 3, 2)
    await client.peer.send(b"".join(client.call(number, path="/wait") for number in numbers))
    _, _, stream_id, payload = await client.until(frames.RST_STREAM)
    assert stream_id == numbers[-1]
    assert int.from_bytes(payload, "big") == frames.REFUSED_STREAM
    service.go.set()
    for _ in range(http2.CALLS_MAX):
        assert (await client.reply())[2] == grpc.OK


async def test_pings_are_answered_and_a_goodbye_is_taken(
    client: Client, server: Listening, service: Service
) -> None:
    ping = frame(frames.PING, 0, 0, b"12345678") + frame(frames.PING, frames.ACK, 0, b"x" * 8)
    await client.peer.send(ping)
    assert await client.until(frames.PING) == (frames.PING, frames.ACK, 0, b"12345678")
    await client.peer.send(client.call(1, path="/wait") + frame(frames.GOAWAY, 0, 0, b"\0" * 8))
    while not service.begun:
        await asyncio.sleep(0.001)
    service.go.set()
    assert await client.reply() == (1, b"hi", grpc.OK, "")
    await client.peer.rest()
    await server.deserted()


async def test_at_the_end_what_runs_is_answered_and_nothing_else(
    client: Client, server: Listening, service: Service
) -> None:
    await client.peer.send(client.call(1, path="/wait"))
    while not service.begun:
        await asyncio.sleep(0.001)
    ending = asyncio.create_task(server.listener.stop())
    assert (await client.until(frames.GOAWAY))[3][4:] == b"\0\0\0\0"
    await client.peer.send(client.call(3))
    assert (await client.until(frames.RST_STREAM))[2] == 3
    service.go.set()
    assert await client.reply() == (1, b"hi", grpc.OK, "")
    await ending
    assert server.connections == 0


async def test_who_does_not_finish_is_cut_off_at_the_end(
    client: Client, server: Listening, service: Service
) -> None:
    await client.peer.send(client.call(1, path="/wait"))
    while not service.begun:
        await asyncio.sleep(0.001)
    await server.listener.stop()
    assert server.connections == 0
    assert service.cancelled == 1
