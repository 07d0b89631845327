"""HTTP/2 as gateways speak it to a server of unary calls: over TCP, known beforehand, no push.

Our own and not a library: those at hand cost three to five times as much for each call as the
decision does. Only the compression of headers is theirs. What a peer may make us keep is bounded:
calls at once, their bytes by the window of the connection, which is opened again only when a call
is complete, and answers by not reading from a peer that does not read.

Source: RFC 9113, sections 5 and 6; RFC 7541 for the headers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tidegate.entrypoints.envoy import frames
from tidegate.entrypoints.envoy.frames import Broken, FrameReader, frame
from tidegate.entrypoints.gateway_listener import GatewayConnection
from tidegate.errors import ExtraMissing

try:
    from hpack import Decoder, HPACKError
except ImportError:
    raise ExtraMissing("envoy") from None

MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_HEADER_LIST_SIZE = 3, 4, 6
WINDOW_BYTES, WINDOW_MAX_BYTES = 65_535, 2**31 - 1
CALLS_MAX = 256
TAKEN_BACK_MAX = 1_000
"""How many more calls a peer may take back than it waits for: taking back costs us, not it."""

Headers = dict[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Reply:
    """What a call is answered: two blocks of compressed headers around a body."""

    head: bytes
    body: bytes
    trailers: bytes


Respond = Callable[[Headers, bytes], Awaitable[Reply]]


class _Call:
    """One stream: what has come of it, and what is still to be sent."""

    __slots__ = ("body", "headers", "rest", "task", "trailers", "window")

    def __init__(self, headers: Headers, window: int) -> None:
        self.headers, self.window = headers, window
        self.body = bytearray()
        self.task: asyncio.Task[None] | None = None
        self.rest, self.trailers = b"", b""


class Http2Connection(GatewayConnection):
    """One connection of a gateway.

    Args:
        respond: Answers a call and raises nothing; cancelled when the peer takes the call back
            or is gone.
        closed: Called once when the connection is gone.
    """

    def __init__(self, respond: Respond, closed: Callable[[GatewayConnection], None]) -> None:
        super().__init__(closed)
        self._respond = respond
        self._reader, self._decoder = FrameReader(), Decoder(frames.HEAD_MAX_BYTES)
        self._calls: dict[int, _Call] = {}
        self._last_id = self._taken_back = 0
        self._window, self._initial_window = WINDOW_BYTES, WINDOW_BYTES
        self._kept_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say what we take."""
        super().connection_made(transport)
        limits = {MAX_CONCURRENT_STREAMS: CALLS_MAX, MAX_HEADER_LIST_SIZE: frames.HEAD_MAX_BYTES}
        self._send(frames.SETTINGS, 0, 0, b"".join(_setting(*limit) for limit in limits.items()))

    def give_up(self) -> None:
        """Cancel every call."""
        for call in self._calls.values():
            _cancel(call)
        self._calls.clear()

    def end(self) -> None:
        """Take no new calls, and close once those that run are answered."""
        if not self.ending:
            self._go_away(frames.NO_ERROR)

    def data_received(self, data: bytes) -> None:
        """Take in what came, frame by frame."""
        try:
            for kind, flags, stream_id, payload in self._reader.feed(data):
                self._take(kind, flags, stream_id, payload)
        except Broken as broken:
            self._go_away(broken.code)
            self.close()
            return
        if self._reader.greeted and not self.ending:
            self.greeted()

    def _take(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind == frames.DATA:
            self._take_data(flags, stream_id, payload)
        elif kind == frames.HEADERS:
            self._take_headers(flags, stream_id, payload)
        elif kind == frames.WINDOW_UPDATE:
            self._widen(stream_id, payload)
        elif kind == frames.SETTINGS:
            self._take_settings(flags, payload)
        elif kind == frames.PING and not flags & frames.ACK:
            self._send(frames.PING, frames.ACK, 0, payload)
        elif kind == frames.RST_STREAM:
            self._take_back(stream_id)
        elif kind == frames.GOAWAY:
            self.ending = True
            self._close_if_done()

    def _take_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id > self._last_id:
            raise Broken(frames.PROTOCOL_ERROR)
        self._kept_bytes += len(payload)
        if self._kept_bytes > WINDOW_BYTES:
            raise Broken(frames.FLOW_CONTROL_ERROR)
        call = self._calls.get(stream_id)
        if call is None or call.task is not None:
            # Taken back or answered meanwhile: only the window is to be kept.
            self._let_go(len(payload))
            return
        data = frames.unpadded(flags, payload)
        call.body += data
        self._let_go(len(payload) - len(data))
        if flags & frames.END_STREAM:
            self._complete(stream_id, call)

    def _take_headers(self, flags: int, stream_id: int, block: bytes) -> None:
        try:
            # Also of a call that is refused: the state of the compression depends on it.
            headers: Headers = dict(self._decoder.decode(block, raw=True))
        except HPACKError:
            raise Broken(frames.COMPRESSION_ERROR) from None
        call = self._calls.get(stream_id)
        if call is None:
            if stream_id <= self._last_id:
                return
            self._last_id = stream_id
            if self.ending or len(self._calls) >= CALLS_MAX:
                refused = frames.REFUSED_STREAM.to_bytes(4, "big")
                self._send(frames.RST_STREAM, 0, stream_id, refused)
                return
            call = self._calls[stream_id] = _Call(headers, self._initial_window)
        elif not flags & frames.END_STREAM or call.task is not None:
            raise Broken(frames.PROTOCOL_ERROR)
        if flags & frames.END_STREAM:
            self._complete(stream_id, call)

    def _complete(self, stream_id: int, call: _Call) -> None:
        self._let_go(len(call.body))
        call.task = self.loop.create_task(self._serve(stream_id, call))

    async def _serve(self, stream_id: int, call: _Call) -> None:
        reply = await self._respond(call.headers, bytes(call.body))
        call.rest, call.trailers = reply.body, reply.trailers
        self._taken_back = max(0, self._taken_back - 1)
        self._send(frames.HEADERS, frames.END_HEADERS, stream_id, reply.head)
        self._pump(stream_id, call)

    def _pump(self, stream_id: int, call: _Call) -> None:
        """Send of an answer what its windows let through."""
        while call.rest:
            room = min(len(call.rest), self._window, call.window, frames.FRAME_MAX_BYTES)
            if room <= 0:
                return
            self._send(frames.DATA, 0, stream_id, call.rest[:room])
            call.rest = call.rest[room:]
            self._window -= room
            call.window -= room
        ended = frames.END_HEADERS | frames.END_STREAM
        self._send(frames.HEADERS, ended, stream_id, call.trailers)
        del self._calls[stream_id]
        self._close_if_done()

    def _take_back(self, stream_id: int) -> None:
        if stream_id > self._last_id:
            raise Broken(frames.PROTOCOL_ERROR)
        call = self._calls.pop(stream_id, None)
        if call is None:
            return
        if call.task is None:
            self._let_go(len(call.body))
        _cancel(call)
        self._taken_back += 1
        if self._taken_back > TAKEN_BACK_MAX:
            raise Broken(frames.ENHANCE_YOUR_CALM)
        self._close_if_done()

    def _take_settings(self, flags: int, payload: bytes) -> None:
        if len(payload) % 6 or (flags & frames.ACK and payload):
            raise Broken(frames.FRAME_SIZE_ERROR)
        if flags & frames.ACK:
            return
        for place in range(0, len(payload), 6):
            name = int.from_bytes(payload[place : place + 2], "big")
            value = int.from_bytes(payload[place + 2 : place + 6], "big")
            if name == INITIAL_WINDOW_SIZE:
                if value > WINDOW_MAX_BYTES:
                    raise Broken(frames.FLOW_CONTROL_ERROR)
                for call in self._calls.values():
                    call.window += value - self._initial_window
                self._initial_window = value
        self._send(frames.SETTINGS, frames.ACK, 0, b"")
        self._pump_all()

    def _widen(self, stream_id: int, payload: bytes) -> None:
        more = int.from_bytes(payload, "big") & WINDOW_MAX_BYTES
        if not more or stream_id > self._last_id:
            raise Broken(frames.PROTOCOL_ERROR)
        call = self._calls.get(stream_id)
        if not stream_id:
            self._window += more
        elif call is not None:
            call.window += more
        if max(self._window, call.window if call else 0) > WINDOW_MAX_BYTES:
            raise Broken(frames.FLOW_CONTROL_ERROR)
        self._pump_all()

    def _pump_all(self) -> None:
        for stream_id, call in list(self._calls.items()):
            if call.rest:
                self._pump(stream_id, call)

    def _let_go(self, size: int) -> None:
        """Let the peer send as much again."""
        if size:
            self._kept_bytes -= size
            self._send(frames.WINDOW_UPDATE, 0, 0, size.to_bytes(4, "big"))

    def _go_away(self, code: int) -> None:
        self.ending = True
        reason = self._last_id.to_bytes(4, "big") + code.to_bytes(4, "big")
        self._send(frames.GOAWAY, 0, 0, reason)
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self.ending and not self._calls:
            self.close()

    def _send(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        self.write(frame(kind, flags, stream_id, payload))


def _setting(name: int, value: int) -> bytes:
    return name.to_bytes(2, "big") + value.to_bytes(4, "big")


def _cancel(call: _Call) -> None:
    if call.task is not None:
        call.task.cancel()
