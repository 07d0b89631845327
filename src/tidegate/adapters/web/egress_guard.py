"""A forward proxy on a loopback port that lets nobody into the private network.

Each connection carries one request: a second one on the same connection would have to be
filtered again, and one that is never read cannot slip through. Chromium and the fetcher both
talk to it, each piece of work with credentials of its own.
"""

from __future__ import annotations

import asyncio
import hmac
import socket
from functools import partial

import h11

from tidegate.adapters.web.dialer import STREAM_BUFFER_BYTES, Dialer, Unreachable
from tidegate.adapters.web.exchange import Exchange
from tidegate.adapters.web.messages import Rejection, credentials, target_of
from tidegate.adapters.web.passage import EgressLimits, GuardedPassage, Refused
from tidegate.adapters.web.relay import Relay, Stream, tunnel
from tidegate.adapters.web.resolver import Resolve, Resolver, system_addresses
from tidegate.domain.egress import EgressPolicy
from tidegate.domain.target import Target

BACKLOG = 1024

HEAD_READ_BYTES = 8 * 1024
"""Step in which a head is read; by so much may it be longer than allowed."""

ACCEPT_PAUSE_S = 0.1
"""Pause when the process has no descriptor left for another connection."""


class FilteringProxy:
    """`EgressGuard` as an HTTP/1.1 proxy. `resolve` may block; it runs in threads of its own."""

    def __init__(
        self,
        policy: EgressPolicy,
        *,
        limits: EgressLimits | None = None,
        resolve: Resolve = system_addresses,
    ) -> None:
        self._limits = limits or EgressLimits()
        resolver = Resolver(
            resolve,
            lookups_max=self._limits.lookups_max,
            lookups_per_tenant=self._limits.lookups_per_tenant,
        )
        self._dialer = Dialer(policy, resolver, self._limits)
        self._passages: dict[str, GuardedPassage] = {}
        self._connections: set[asyncio.Task[None]] = set()
        self._listener: socket.socket | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._url = ""

    async def start(self) -> None:
        """Bind the listener on a free loopback port."""
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        self._listener.setblocking(False)
        self._url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._listen(self._listener)

    def open(self, tenant: str) -> GuardedPassage:
        """Open a passage for one piece of work of `tenant`."""
        assert self._listener is not None, "start the guard before opening passages"
        passage = GuardedPassage(
            tenant=tenant, proxy_url=self._url, limits=self._limits, on_close=self._forget
        )
        self._passages[passage.username] = passage
        return passage

    async def stop(self) -> None:
        """Close the listener and every connection. Idempotent."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        if self._pause is not None:
            self._pause.cancel()
        asyncio.get_running_loop().remove_reader(listener)
        listener.close()
        for passage in list(self._passages.values()):
            passage.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _forget(self, passage: GuardedPassage) -> None:
        self._passages.pop(passage.username, None)

    def _listen(self, listener: socket.socket) -> None:
        # Neither asyncio's server nor `sock_accept`: ended at the wrong moment, both lose a
        # connection that they have just accepted.
        asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            accepted, _ = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:
            loop.remove_reader(listener)
            self._pause = loop.call_later(ACCEPT_PAUSE_S, self._listen, listener)
            return
        if len(self._connections) >= self._limits.connections_max:
            accepted.close()
            return
        accepted.setblocking(False)
        connection = loop.create_task(self._serve(accepted))
        self._connections.add(connection)
        connection.add_done_callback(partial(self._ended, accepted))

    def _ended(self, accepted: socket.socket, connection: asyncio.Task[None]) -> None:
        self._connections.discard(connection)
        # Not in `_serve`: a task that is cancelled before its first step runs none of it.
        accepted.close()

    async def _serve(self, accepted: socket.socket) -> None:
        client = Stream(*await asyncio.open_connection(sock=accepted, limit=STREAM_BUFFER_BYTES))
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=self._limits.head_max_bytes)
        try:
            try:
                await self._carry(client, parser)
            except Rejection as rejection:
                if parser.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
                    return
                await client.send(rejection.write(parser))
            await client.linger()
        except (OSError, Refused, h11.ProtocolError):
            # Whoever is on the other side sees an answer that breaks off, which is what it is.
            return
        finally:
            client.abort()

    async def _carry(self, client: Stream, parser: h11.Connection) -> None:
        request = await self._head(client, parser)
        passage = self._passage_of(request)
        if passage is None:
            raise Rejection.unknown()
        target = target_of(request, length_max=self._limits.head_max_bytes)
        task = asyncio.current_task()
        assert task is not None, "connections are served by tasks"
        try:
            with passage.carrying(task):
                await self._carry_to(target, request, passage, client, parser)
        except Refused as refused:
            passage.refuse(target.url, str(refused))
            raise Rejection.refused(str(refused)) from refused
        except Unreachable as unreachable:
            raise Rejection.failed(str(unreachable)) from unreachable
        except TimeoutError as error:
            raise Rejection.failed("it was silent for too long") from error

    async def _carry_to(
        self,
        target: Target,
        request: h11.Request,
        passage: GuardedPassage,
        client: Stream,
        parser: h11.Connection,
    ) -> None:
        server = await self._dialer.dial(target, passage)
        try:
            relay = Relay(client, server, passage, idle_us=self._limits.idle_us)
            if request.method != b"CONNECT":
                exchange = Exchange(parser, relay, head_max_bytes=self._limits.head_max_bytes)
                await exchange.run(request, target)
                return
            parser.next_event()
            established = h11.Response(status_code=200, headers=[], reason=b"Established")
            await client.send(parser.send(established))
            await tunnel(relay, parser.trailing_data[0])
        finally:
            server.abort()

    async def _head(self, client: Stream, parser: h11.Connection) -> h11.Request:
        async with asyncio.timeout(self._limits.head_us / 1e6):
            while True:
                try:
                    event = parser.next_event()
                except h11.RemoteProtocolError as error:
                    raise Rejection(error.error_status_hint, str(error)) from error
                if isinstance(event, h11.Request):
                    return event
                if event is not h11.NEED_DATA:
                    raise ConnectionAbortedError
                parser.receive_data(await client.reader.read(HEAD_READ_BYTES))

    def _passage_of(self, request: h11.Request) -> GuardedPassage | None:
        user, password = credentials(request) or ("", "")
        passage = self._passages.get(user)
        expected = passage.password if passage else ""
        same = hmac.compare_digest(expected.encode(), password.encode())
        return passage if same else None
