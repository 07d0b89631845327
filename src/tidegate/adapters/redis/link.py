"""One connection's life on an event loop: calls go out together, replies come back in order.

All calls of one turn of the loop leave in one write. One timer serves all calls: within a turn
they were sent at the same time, so the instants of the turns that are not answered suffice.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, cast

from tidegate.adapters.redis.bounds import Bounds
from tidegate.adapters.redis.endpoint import Endpoint
from tidegate.adapters.redis.failures import CLOSED, UNREADABLE, sentence, unavailable
from tidegate.adapters.redis.reply import MORE, Arg, BrokenReply, ServerError, pack, reader

_RECEIVE_BYTES = 65_536
_GRACE_S = 0.001
"""The least that an overdue call is given for a last look at what has arrived."""


class Link(asyncio.BufferedProtocol):
    """A connection from being made to being lost; never made again."""

    def __init__(self, endpoint: Endpoint, bounds: Bounds, loop: asyncio.AbstractEventLoop) -> None:
        self._endpoint, self._loop = endpoint, loop
        self._deadline_s = bounds.deadline_us / 1e6
        self._calls_max, self._unsent_bytes_max = bounds.calls_max, bounds.unsent_bytes_max
        self._reader = reader()
        self._received = bytearray(_RECEIVE_BYTES)
        self._view = memoryview(self._received)
        self._transport: asyncio.Transport | None = None
        self._pending: deque[asyncio.Future[Any]] = deque()
        self._answered = 0
        self._packets: list[bytes] = []
        self._unsent_bytes = 0
        self._turns: deque[tuple[int, float]] = deque()
        """Of each turn with an open call: the number of its first call, and its instant."""
        self._turn_is_open = False
        self._paused = False
        self._timer: asyncio.TimerHandle | None = None
        self._overdue = False
        self._reason = ""
        self._closed: asyncio.Future[None] = loop.create_future()

    @property
    def alive(self) -> bool:
        """Whether calls can be made."""
        return not self._reason

    @property
    def calls_pending(self) -> int:
        """Calls without a reply."""
        return len(self._pending)

    def send(self, args: tuple[Arg, ...]) -> asyncio.Future[Any]:
        """Make a call; the future is its reply.

        Raises:
            StoreUnavailable: it is not sent.
        """
        if self._reason:
            raise unavailable(self._endpoint, self._reason)
        pending = self._pending
        if len(pending) >= self._calls_max or self._unsent_bytes >= self._unsent_bytes_max:
            raise unavailable(self._endpoint, "too many calls wait")
        packet = pack(args)
        if not self._turn_is_open:
            self._open_turn()
        future = self._loop.create_future()
        pending.append(future)
        self._packets.append(packet)
        self._unsent_bytes += len(packet)
        return future

    def lose(self, reason: str) -> None:
        """Drop the connection and fail every call that has no reply. Idempotent."""
        if self._reason:
            return
        self._reason = reason
        if self._transport is not None:
            self._transport.abort()
        if self._timer is not None:
            self._timer.cancel()
        pending, self._pending = self._pending, deque()
        self._packets.clear()
        for future in pending:
            if not future.done():
                future.set_exception(unavailable(self._endpoint, reason))

    def check(self) -> None:
        """Raise StoreUnavailable if the connection is lost."""
        if self._reason:
            raise unavailable(self._endpoint, self._reason)

    async def end(self, reason: str) -> None:
        """Drop the connection, and return when its socket is closed."""
        self.lose(reason)
        if self._transport is not None:
            await self._closed

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the loop's interface.
        """Let the loop read into the same memory each time: new memory cost half of a call.

        A view of it: with TLS asyncio reads on into a slice, which of a bytearray is a copy.
        """
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        """Hand out replies, in the order of the calls."""
        # It takes, and copies, any buffer; its stub knows of bytes alone.
        self._reader.feed(self._received, 0, nbytes)  # type: ignore[arg-type]
        next_reply, pending = self._reader.gets, self._pending
        before = len(pending)
        try:
            while (reply := next_reply()) is not MORE:
                future = pending.popleft()
                if future.done():
                    continue  # Its caller went away; the place in the order stayed.
                if type(reply) is ServerError:
                    future.set_exception(reply)
                else:
                    future.set_result(reply)
        except (BrokenReply, IndexError):
            self.lose(UNREADABLE)
            return
        self._answered += before - len(pending)
        turns = self._turns
        while turns and (not pending or (len(turns) > 1 and turns[1][0] <= self._answered)):
            turns.popleft()

    def pause_writing(self) -> None:
        """Keep what is to be sent: the server reads more slowly than we write."""
        self._paused = True

    def resume_writing(self) -> None:
        """Send what was kept."""
        self._paused = False
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        """End. The server's end of the stream comes here, too."""
        self.lose(sentence(error) if isinstance(error, OSError) else CLOSED)
        self._transport = None
        self._closed.set_result(None)

    def _open_turn(self) -> None:
        self._turn_is_open = True
        now_s = self._loop.time()
        self._turns.append((self._answered + len(self._pending), now_s))
        self._loop.call_soon(self._end_turn)
        if self._timer is None:
            self._timer = self._loop.call_at(now_s + self._deadline_s, self._look)

    def _end_turn(self) -> None:
        self._turn_is_open = False
        self._flush()

    def _flush(self) -> None:
        if self._packets and not self._paused and self._transport is not None:
            data = b"".join(self._packets)
            self._packets.clear()
            self._unsent_bytes = 0
            self._transport.write(data)

    def _look(self) -> None:
        """See whether the oldest call is overdue."""
        self._timer = None
        if not self._pending:
            return
        due_s = self._turns[0][1] + self._deadline_s
        late_s = self._loop.time() - due_s
        if late_s < 0:
            self._overdue = False
            self._timer = self._loop.call_at(due_s, self._look)
        elif not self._overdue:
            # Time in which this process did not run is not the server's: replies may be waiting.
            self._overdue = True
            grace_s = min(max(late_s, _GRACE_S), self._deadline_s)
            self._timer = self._loop.call_later(grace_s, self._look)
        else:
            self.lose(f"no answer within {self._deadline_s:g} s")
