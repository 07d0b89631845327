"""A TCP proxy that delays, freezes, cuts and refuses, on a port of its own.

It runs in a thread of its own, so that a test on an event loop and a test that blocks steer it
alike: every method returns when the change is made. It relays whole streams, so pipelined calls
are delayed each by the same time, not one after the other.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self, TypeVar

from tests.servers.ports import free_port
from tests.servers.relay import Relay, Rules, Way

T = TypeVar("T")
_STEER_S = 30.0


class Proxy:
    """A way to a server. A context manager that opens it.

    Args:
        port: Of the server, on the loopback.
        tls: Speak TLS with the clients, and plainly with the server.
    """

    def __init__(self, port: int, *, tls: ssl.SSLContext | None = None) -> None:
        self.port = free_port()
        self._server_port, self._tls = port, tls
        self._rules: dict[Way, Rules] = {"up": Rules(), "down": Rules()}
        self._relays: set[Relay] = set()
        self._listener: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self.accepted = 0
        """Connections that were ever made through it."""

    @property
    def connections(self) -> int:
        """How many are open now."""
        return self._steer(lambda: len(self._relays))

    def delay(self, delay_s: float, *ways: Way) -> None:
        """Hold back what comes from now on by so long; both ways, unless some are named."""

        def change(rules: Rules) -> None:
            rules.delay_s = delay_s

        self._change(change, ways)

    def stall(self, *ways: Way) -> None:
        """Let nothing pass any more and close nothing. New connections are made, and hang."""
        self._change(lambda rules: rules.flows.clear(), ways)

    def resume(self, *ways: Way) -> None:
        """Undo `stall`; what waited passes, in order."""
        self._change(lambda rules: rules.flows.set(), ways)

    def cut_after(self, size_bytes: int, way: Way = "down") -> None:
        """End a connection once so many further bytes have passed this way; later ones live."""

        def change(rules: Rules) -> None:
            rules.cut_after_bytes = size_bytes

        self._change(change, (way,))

    def cut(self) -> None:
        """Reset every connection, as a crash or a firewall does."""
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(_STEER_S)

    def half_close(self, way: Way = "down") -> None:
        """Say on every connection that no more comes this way; the other way stays open."""
        self._each(lambda relay: relay.half_close(way))

    def refuse(self) -> None:
        """Refuse new connections; those that are open stay."""
        self._steer(self._close_listener)

    def accept(self) -> None:
        """Undo `refuse`, on the same port."""
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(_STEER_S)

    def close(self) -> None:
        """Cut everything and end the thread. Idempotent."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(_STEER_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STEER_S)
        self._loop.close()

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self.resume()
            self.accept()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def _listen(self) -> None:
        if self._listener is None:
            self._listener = await asyncio.start_server(
                self._serve, "127.0.0.1", self.port, ssl=self._tls
            )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        relay = Relay(self._rules, writer)
        self._relays.add(relay)
        try:
            # Only `cut` cancels.
            with suppress(asyncio.CancelledError):
                await relay.run(reader, self._server_port)
        finally:
            self._relays.discard(relay)

    async def _end(self) -> None:
        self._close_listener()
        # A connection that was accepted just now has yet to begin, and is cut in the next round.
        while len(asyncio.all_tasks()) > 1:
            await self._cut()
            await asyncio.sleep(0)

    async def _cut(self) -> None:
        serving = [relay.serving for relay in self._relays if relay.serving]
        for relay in self._relays:
            relay.cut()
        await asyncio.gather(*serving)

    def _close_listener(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    def _change(self, change: Callable[[Rules], None], ways: tuple[Way, ...]) -> None:
        def all_of_them() -> None:
            for way, rules in self._rules.items():
                if way in ways or not ways:
                    change(rules)

        self._steer(all_of_them)

    def _each(self, change: Callable[[Relay], None]) -> None:
        def all_of_them() -> None:
            for relay in self._relays:
                change(relay)

        self._steer(all_of_them)

    def _steer(self, change: Callable[[], T]) -> T:
        """Run something in the proxy's thread, and return what it returns."""

        async def change_there() -> T:
            return change()

        return asyncio.run_coroutine_threadsafe(change_there(), self._loop).result(_STEER_S)
