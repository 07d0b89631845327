"""A gRPC client with every knob within reach, and methods for it to call."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from hpack import Decoder, Encoder

from tests.unit.gateway_peers import Listening, Peer, listening
from tidegate.entrypoints.envoy import frames, grpc
from tidegate.entrypoints.envoy.frames import frame
from tidegate.entrypoints.envoy.grpc import CallFailed, GrpcMethods
from tidegate.entrypoints.envoy.http2 import Headers, Http2Connection

HELLO = frames.PREFACE + frame(frames.SETTINGS, 0, 0)
END = frames.END_HEADERS | frames.END_STREAM
GOOD = {":method": "POST", ":scheme": "http", ":path": "/echo", "content-type": "application/grpc"}


@dataclass
class Service:
    """Methods that echo, wait, fail; and what became of their calls."""

    go: asyncio.Event = field(default_factory=asyncio.Event)
    begun: int = 0
    cancelled: int = 0
    seen: Headers = field(default_factory=dict)

    async def echo(self, message: bytes, headers: Headers) -> bytes:
        self.seen = headers
        return message

    async def wait(self, message: bytes, headers: Headers) -> bytes:
        self.begun += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return message

    async def fail(self, message: bytes, headers: Headers) -> bytes:
        raise CallFailed(grpc.UNAVAILABLE, "not now, 100 %\n")

    async def bug(self, message: bytes, headers: Headers) -> bytes:
        raise ZeroDivisionError


@asynccontextmanager
async def serving(service: Service) -> AsyncIterator[Listening]:
    """Listen for calls of the methods."""
    methods = GrpcMethods(
        {
            b"/echo": service.echo,
            b"/wait": service.wait,
            b"/fail": service.fail,
            b"/bug": service.bug,
        }
    )
    async with listening(lambda closed: Http2Connection(methods.respond, closed)) as server:
        yield server


def prefixed(message: bytes) -> bytes:
    return b"\0" + struct.pack(">I", len(message)) + message


class Client:
    """The least of a gRPC client, with every knob within reach."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.encoder, self.decoder = Encoder(), Decoder()
        self.frames: list[tuple[int, int, int, bytes]] = []

    def head(self, stream_id: int, flags: int = frames.END_HEADERS, **changes: Any) -> bytes:
        headers = {**GOOD, **{name.replace("_", "-"): value for name, value in changes.items()}}
        headers[":path"] = headers.pop("path", headers[":path"])
        headers[":method"] = headers.pop("method", headers[":method"])
        block = self.encoder.encode(list(headers.items()))
        return frame(frames.HEADERS, flags, stream_id, block)

    def call(self, stream_id: int, message: bytes = b"hi", **changes: Any) -> bytes:
        data = prefixed(message)
        pieces = [data[place : place + 10_000] for place in range(0, len(data), 10_000)]
        sent = [frame(frames.DATA, 0, stream_id, piece) for piece in pieces[:-1]]
        sent.append(frame(frames.DATA, frames.END_STREAM, stream_id, pieces[-1]))
        return self.head(stream_id, **changes) + b"".join(sent)

    async def frame(self) -> tuple[int, int, int, bytes]:
        head = await self.peer.take(9)
        size, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        payload = await self.peer.take(size) if size else b""
        return kind, flags, int.from_bytes(head[5:], "big"), payload

    async def until(self, kind: int) -> tuple[int, int, int, bytes]:
        while True:
            got = await self.frame()
            if got[0] == kind:
                return got

    async def reply(self) -> tuple[int, bytes, int, str]:
        """The next answer: stream, message, status and its text."""
        message, stream_id = b"", 0
        fields: dict[str, str] = {}
        while "grpc-status" not in fields:
            kind, flags, stream_id, payload = await self.frame()
            if kind == frames.HEADERS:
                fields.update({str(k): str(v) for k, v in self.decoder.decode(payload)})
                ended = bool(flags & frames.END_STREAM)
                assert ended == ("grpc-status" in fields)
            elif kind == frames.DATA:
                message += payload
        assert fields[":status"] == "200"
        assert fields["content-type"] == "application/grpc"
        status, text = int(fields["grpc-status"]), fields.get("grpc-message", "")
        return stream_id, message[5:], status, text

    async def goodbye(self) -> int:
        """The code of GOAWAY, after which the connection is closed."""
        _, _, _, payload = await self.until(frames.GOAWAY)
        await self.peer.rest()
        return int.from_bytes(payload[4:8], "big")
