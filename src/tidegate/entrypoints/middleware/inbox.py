"""What a client sends over ASGI, read ahead as far as it takes to notice that it has gone."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


class Inbox:
    """What the client sends. Once somebody listens it is read ahead, to notice the client's going.

    At most one part of a body is read ahead, for what is behind it would have to be kept.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._ahead: deque[Message] = deque()
        self._arrived, self._taken = asyncio.Event(), asyncio.Event()
        self._asking = 0
        self._listener: asyncio.Task[None] | None = None
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def receive(self) -> Message:
        """Return the next message, as the application asks for it."""
        if self._listener is None:
            self._asking += 1
            try:
                message = await self._receive()
            finally:
                self._asking -= 1
            self._note(message)
            return message
        while not self._ahead:
            self._arrived.clear()
            await self._arrived.wait()
        message = self._ahead[0]
        if message["type"] != "http.disconnect":
            self._ahead.popleft()
            self._taken.set()
        return message

    def listen(self) -> None:
        """Notice from now on when the client goes. An application that is asking will notice."""
        if self._listener is None and not self._asking:
            self._listener = asyncio.ensure_future(self._listen())

    async def close(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.wait({self._listener})

    def _note(self, message: Message) -> None:
        if message["type"] == "http.disconnect" and not self.gone.done():
            self.gone.set_result(None)

    async def _listen(self) -> None:
        while not self.gone.done():
            message: Message = {"type": "http.disconnect"}
            # A server that cannot tell what comes next has lost the connection.
            with suppress(Exception):
                message = await self._receive()
            self._ahead.append(message)
            self._arrived.set()
            self._note(message)
            if message.get("more_body"):
                self._taken.clear()
                await self._taken.wait()
