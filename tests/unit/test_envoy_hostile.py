"""HTTP/2 from peers that break its rules, or keep to them in bad faith."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator

import pytest
from hpack import Encoder

from tests.unit.gateway_peers import Listening
from tests.unit.grpc_client import END, GOOD, HELLO, Client, Service, serving
from tidegate.entrypoints.envoy import frames, http2
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


def bare(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return HELLO + frame(kind, flags, stream_id, payload)


HEAD = Encoder().encode(list(GOOD.items()))
OPENED = HELLO + frame(frames.HEADERS, frames.END_HEADERS, 1, HEAD)

HOSTILE = {
    "HTTP/1.1": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", frames.PROTOCOL_ERROR),
    "no settings": (frames.PREFACE + frame(frames.PING, 0, 0, b"x" * 8), frames.PROTOCOL_ERROR),
    "a huge frame": (HELLO + b"\xff\xff\xff\x00\x00\0\0\0\x01", frames.FRAME_SIZE_ERROR),
    "a short ping": (bare(frames.PING, 0, 0, b"x"), frames.FRAME_SIZE_ERROR),
    "settings of 5": (bare(frames.SETTINGS, 0, 0, b"x" * 5), frames.FRAME_SIZE_ERROR),
    "settings of a call": (bare(frames.SETTINGS, 0, 1), frames.PROTOCOL_ERROR),
    "an acknowledgement with more": (
        bare(frames.SETTINGS, frames.ACK, 0, b"x" * 6),
        frames.FRAME_SIZE_ERROR,
    ),
    "a window beyond all": (
        bare(frames.SETTINGS, 0, 0, struct.pack(">HI", 4, 2**31)),
        frames.FLOW_CONTROL_ERROR,
    ),
    "data of nothing": (bare(frames.DATA, 0, 1, b"x"), frames.PROTOCOL_ERROR),
    "data of the connection": (bare(frames.DATA, 0, 0, b"x"), frames.PROTOCOL_ERROR),
    "an even call": (bare(frames.HEADERS, END, 2, HEAD), frames.PROTOCOL_ERROR),
    "a push": (bare(frames.PUSH_PROMISE, 0, 1, b"x"), frames.PROTOCOL_ERROR),
    "a lone continuation": (bare(frames.CONTINUATION, 0, 1, b"x"), frames.PROTOCOL_ERROR),
    "a broken block": (bare(frames.HEADERS, 0, 1, HEAD) + frame(6, 0, 0, b"x" * 8), 1),
    "a block of another": (
        bare(frames.HEADERS, 0, 1, HEAD) + frame(frames.CONTINUATION, 4, 3, HEAD),
        frames.PROTOCOL_ERROR,
    ),
    "no compression": (
        bare(frames.HEADERS, frames.END_HEADERS, 1, b"\xff" * 20),
        frames.COMPRESSION_ERROR,
    ),
    "padding alone": (bare(frames.HEADERS, 0xC, 1, b"\x05abc"), frames.PROTOCOL_ERROR),
    "half a priority": (bare(frames.HEADERS, 0x24, 1, b"abc"), frames.FRAME_SIZE_ERROR),
    "an endless block": (
        bare(frames.HEADERS, 0, 1, HEAD) + frame(frames.CONTINUATION, 0, 1, b"x" * 9_000) * 3,
        frames.ENHANCE_YOUR_CALM,
    ),
    "empty pieces of a block": (
        bare(frames.HEADERS, 0, 1, HEAD) + frame(frames.CONTINUATION, 0, 1),
        frames.ENHANCE_YOUR_CALM,
    ),
    "a bomb of headers": (
        bare(
            frames.HEADERS,
            frames.END_HEADERS,
            1,
            Encoder().encode([("x", "y" * 3000)]) + b"\xbe" * 200,
        ),
        frames.COMPRESSION_ERROR,
    ),
    "more than the window": (
        OPENED + frame(frames.DATA, 0, 1, b"x" * 16_384) * 5,
        frames.FLOW_CONTROL_ERROR,
    ),
    "a window of nothing": (OPENED + frame(8, 0, 1, b"\0\0\0\0"), frames.PROTOCOL_ERROR),
    "a window of no call": (bare(8, 0, 5, b"\0\0\0\x01"), frames.PROTOCOL_ERROR),
    "a window without end": (bare(8, 0, 0, b"\x7f\xff\xff\xff"), frames.FLOW_CONTROL_ERROR),
    "a reset of no call": (bare(frames.RST_STREAM, 0, 5, b"\0" * 4), frames.PROTOCOL_ERROR),
    "headers again": (
        OPENED + frame(frames.HEADERS, frames.END_HEADERS, 1, HEAD),
        frames.PROTOCOL_ERROR,
    ),
}


@pytest.mark.parametrize(("sent", "code"), HOSTILE.values(), ids=HOSTILE)
async def test_a_peer_that_breaks_the_rules_is_sent_away(
    server: Listening, sent: bytes, code: int
) -> None:
    async with server.peer() as peer:
        await peer.send(sent)
        assert await Client(peer).goodbye() == code
        await server.deserted()


async def test_calls_taken_back_without_end_end_the_connection(
    client: Client, server: Listening
) -> None:
    await client.peer.send(
        b"".join(
            client.call(number, path="/wait") + frame(frames.RST_STREAM, 0, number, b"\0\0\0\x08")
            for number in range(1, 2 * http2.TAKEN_BACK_MAX + 3, 2)
        )
    )
    assert await client.goodbye() == frames.ENHANCE_YOUR_CALM
    await server.deserted()


async def test_who_says_nothing_is_closed(
    server: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegate.entrypoints.gateway_listener.HELLO_S", 0.05)
    async with server.peer() as peer:
        await peer.send(frames.PREFACE[:10])
        await peer.rest()
        await server.deserted()


async def test_who_does_not_read_is_not_read_from(server: Listening) -> None:
    """Pings of a peer that takes no answer stop being taken in, so nothing piles up."""
    async with server.peer() as peer:
        await peer.send(HELLO)
        pings = frame(frames.PING, 0, 0, b"12345678") * 10_000
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                for _ in range(1_000):
                    await peer.send(pings)
        (connection,) = server.listener._connections
        assert connection.transport.get_write_buffer_size() < 4_000_000
        peer.writer.transport.abort()
    await server.deserted()
