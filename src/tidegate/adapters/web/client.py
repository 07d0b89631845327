"""One GET over one connection through the guard.

Written on h11 like the guard itself: a client library would bring pools, cookies and redirects
that must be switched off, and its own idea of an IPv6 address in a proxy request.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import h11

from tidegate.adapters.web.relay import READ_BYTES, Stream
from tidegate.domain.target import Target
from tidegate.ports.egress_guard import Passage

HEAD_MAX_BYTES = 64 * 1024

EVENTS_PER_TURN = 32
"""Parsed pieces after which others get their turn; a hostile server sends them a byte each."""


class TunnelDenied(Exception):
    """The guard answered CONNECT with something else than a tunnel."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class BrokenOff(Exception):
    """The connection ended before the answer did."""


class Answer:
    """The head of an answer, and its body as it comes in."""

    def __init__(self, head: h11.Response, incoming: Incoming) -> None:
        self.status = head.status_code
        self.reason = head.reason.decode("ascii", "replace")
        self._headers = head.headers
        self._incoming = incoming

    def header(self, name: bytes) -> str:
        """Return the value of a header, all of its lines; empty where there is none."""
        return ", ".join(value.decode("latin-1") for key, value in self._headers if key == name)

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the body as it was sent, still encoded."""
        events = 0
        while isinstance(event := await self._incoming.event(), h11.Data):
            yield bytes(event.data)
            events += 1
            if events % EVENTS_PER_TURN == 0:
                await asyncio.sleep(0)


class Incoming:
    """What the other side sends, parsed."""

    def __init__(self, parser: h11.Connection, reader: asyncio.StreamReader) -> None:
        self._parser = parser
        self._reader = reader

    async def event(self) -> object:
        """Return the next event.

        Raises:
            BrokenOff: the connection ended in the middle.
            h11.RemoteProtocolError: this is not HTTP.
        """
        ended = False
        while True:
            try:
                event = self._parser.next_event()
            except h11.RemoteProtocolError as error:
                raise (BrokenOff() if ended else error) from error
            if isinstance(event, h11.ConnectionClosed):
                raise BrokenOff
            if event is not h11.NEED_DATA:
                return event
            data = await self._reader.read(READ_BYTES)
            ended = not data
            self._parser.receive_data(data)

    async def head(self) -> h11.Response:
        """Return the head of the final answer, past informational ones."""
        while not isinstance(event := await self.event(), h11.Response):
            pass
        return event


@asynccontextmanager
async def get(
    target: Target, headers: dict[str, str], passage: Passage, ssl_context: ssl.SSLContext
) -> AsyncIterator[Answer]:
    """Ask for `target`. The connection ends with the block.

    Raises:
        TunnelDenied: the guard let no https connection through.
        BrokenOff: the connection ended before the head of the answer was complete.
        h11.RemoteProtocolError: the answer is not HTTP.
        OSError: the connection failed, or TLS did (ssl.SSLError).
    """
    guard = urlsplit(passage.proxy_url)
    stream = Stream(*await asyncio.open_connection(guard.hostname, guard.port))
    try:
        fields = {"Host": target.authority, **headers, "Connection": "close"}
        if target.scheme == "https":
            await _enter_tunnel(stream, target, passage)
            await stream.writer.start_tls(ssl_context, server_hostname=target.host)
            place = target.path
        else:
            place = target.url
            fields["Proxy-Authorization"] = _credentials(passage)
        request = h11.Request(method="GET", target=place, headers=list(fields.items()))
        incoming = await _send(stream, request)
        yield Answer(await incoming.head(), incoming)
    finally:
        stream.abort()


async def _enter_tunnel(stream: Stream, target: Target, passage: Passage) -> None:
    host = f"[{target.host}]" if ":" in target.host else target.host
    place = f"{host}:{target.port}"
    headers = [("Host", place), ("Proxy-Authorization", _credentials(passage))]
    incoming = await _send(stream, h11.Request(method="CONNECT", target=place, headers=headers))
    answer = await incoming.head()
    if answer.status_code != 200:
        raise TunnelDenied(answer.status_code, answer.reason.decode("ascii", "replace"))


async def _send(stream: Stream, request: h11.Request) -> Incoming:
    parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MAX_BYTES)
    await stream.send(parser.send(request) + parser.send(h11.EndOfMessage()))
    return Incoming(parser, stream.reader)


def _credentials(passage: Passage) -> str:
    token = base64.b64encode(f"{passage.username}:{passage.password}".encode())
    return f"Basic {token.decode()}"
