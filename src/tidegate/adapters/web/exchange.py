"""One plain HTTP request and its answer, parsed on both sides and written anew.

What is forwarded is what was understood, so two parsers cannot disagree about where a message
ends. Nothing follows on the same connection.
"""

from __future__ import annotations

import asyncio

import h11

from tidegate.adapters.web.messages import Rejection, request_for, response_for
from tidegate.adapters.web.relay import READ_BYTES, Relay
from tidegate.domain.target import Target

EVENTS_PER_TURN = 64
"""Parsed pieces after which others get their turn; a hostile server sends them a byte each."""


class Exchange:
    """Forwards one request. `client` has just parsed its head."""

    def __init__(self, client: h11.Connection, relay: Relay, *, head_max_bytes: int) -> None:
        self._client = client
        self._server = h11.Connection(h11.CLIENT, max_incomplete_event_size=head_max_bytes)
        self._relay = relay

    async def run(self, request: h11.Request, target: Target) -> None:
        """Carry it out.

        Raises:
            Rejection: the server spoke no HTTP or the client did not; of use only while nothing
                of the answer was sent.
            ConnectionAbortedError: the client went away.
        """
        head = self._server.send(request_for(request, target))
        if not await self._relay.run(self._upload(head), self._download()):
            raise ConnectionAbortedError

    async def _upload(self, head: bytes) -> None:
        await self._to_server(head)
        while True:
            event = self._from_client()
            if event is h11.NEED_DATA:
                if self._client.they_are_waiting_for_100_continue:
                    go_on = h11.InformationalResponse(status_code=100, headers=[])
                    await self._relay.to_client(self._client.send(go_on))
                self._client.receive_data(await self._relay.from_client())
            elif isinstance(event, h11.Data):
                await self._to_server(self._server.send(h11.Data(data=event.data)))
            else:
                await self._to_server(self._server.send(h11.EndOfMessage()))
                break
        # Returning means that the client is gone; bytes of a second request are never looked at.
        if await self._relay.from_client():
            await asyncio.Event().wait()

    async def _download(self) -> None:
        pieces: list[bytes] = []
        events = size_bytes = 0
        while True:
            event = self._from_server()
            if isinstance(event, h11.Data):
                pieces.append(bytes(event.data))
                size_bytes += len(event.data)
            elif isinstance(event, h11.Response):
                await self._relay.to_client(self._client.send(response_for(event)))
            if pieces and (size_bytes >= READ_BYTES or not isinstance(event, h11.Data)):
                await self._relay.to_client(self._client.send(h11.Data(data=b"".join(pieces))))
                pieces, size_bytes = [], 0
            if event is h11.NEED_DATA:
                self._server.receive_data(await self._receive())
            elif isinstance(event, h11.EndOfMessage):
                await self._relay.to_client(self._client.send(h11.EndOfMessage()))
                return
            events += 1
            if events % EVENTS_PER_TURN == 0:
                await asyncio.sleep(0)

    def _from_client(self) -> object:
        try:
            return self._client.next_event()
        except h11.RemoteProtocolError as error:
            raise Rejection(400, str(error)) from error

    def _from_server(self) -> object:
        try:
            return self._server.next_event()
        except h11.RemoteProtocolError as error:
            raise Rejection.failed("its answer is not HTTP") from error

    async def _receive(self) -> bytes:
        try:
            data = await self._relay.from_server()
        except OSError as error:
            raise Rejection.failed("it broke off the connection") from error
        if not data and self._server.their_state is h11.SEND_RESPONSE:
            raise Rejection.failed("it closed the connection without an answer")
        return data

    async def _to_server(self, data: bytes) -> None:
        try:
            await self._relay.to_server(data)
        except OSError:
            # It may have answered before it closed; the download decides.
            await asyncio.Event().wait()
