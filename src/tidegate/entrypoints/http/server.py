"""Serving: from a bound socket to a clean end, whatever ends it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidegate.bootstrap import Settings
from tidegate.entrypoints.ending import Ending
from tidegate.entrypoints.http.app import create_app
from tidegate.entrypoints.http.listener import address_of
from tidegate.entrypoints.http.problems import problem
from tidegate.entrypoints.http.protocol import BoundedProtocol
from tidegate.facades.service import Service

KEEP_ALIVE_S = 5
LAST_WORD_S = 1.0
"""How long a cancelled request may take to give everything back and say that it was."""

Ready = Callable[[Service, str], Awaitable[None]]


async def serve(
    settings: Settings, service: Service, listener: socket.socket, ready: Ready, ending: Ending
) -> None:
    """Serve until the end is asked for, finish what is in flight, and stop the service.

    Args:
        settings: See `Settings`.
        service: Not started yet.
        listener: Bound; closed when this returns.
        ready: Called with the address once requests are answered.
        ending: The first request for the end lets work finish, a second one cuts it short.
    """
    server = _server(settings, service)
    try:
        await service.start()
        ending.hand_over(server.end)
        await _serve(server, listener, lambda: ready(service, address_of(listener)))
        await server.cut_short()
    finally:
        await service.stop()
        listener.close()


async def _serve(
    server: _Server, listener: socket.socket, ready: Callable[[], Awaitable[None]]
) -> None:
    """Serve, and greet beside it. A greeting that fails ends the service with its error."""

    async def greet() -> None:
        await server.answering.wait()
        await ready()

    greeting = asyncio.ensure_future(greet())
    greeting.add_done_callback(server.greeted)
    try:
        await server.serve(sockets=[listener])
    finally:
        greeting.cancel()
        await asyncio.wait([greeting])
    if not greeting.cancelled():
        greeting.result()


def _server(settings: Settings, service: Service) -> _Server:
    config = uvicorn.Config(
        _Interruptible(create_app(service, settings)),
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(settings.shutdown_s)),
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
    )
    return _Server(config, on_end=service.drain)


class _Server(uvicorn.Server):
    """uvicorn that tells when it answers, and leaves signals to us.

    Its own handlers raise the signal again once it has shut down, which would end the process
    before browsers and workers are gone.
    """

    def __init__(self, config: uvicorn.Config, *, on_end: Callable[[], None]) -> None:
        super().__init__(config)
        self.answering = asyncio.Event()
        self._on_end = on_end
        self._cutting: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start answering, and say so."""
        await super().startup(sockets)
        self.answering.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield

    def greeted(self, greeting: asyncio.Future[None]) -> None:
        """End if the greeting failed."""
        if not greeting.cancelled() and greeting.exception() is not None:
            self.should_exit = True

    def end(self, asked: int) -> None:
        """Let work finish at the first time of asking; cut it short at the second."""
        self._on_end()
        self.should_exit = True
        if asked > 1:
            self.force_exit = True
            self._cutting = self._cutting or asyncio.create_task(self.cut_short())

    async def cut_short(self) -> None:
        """Cancel every request that is still served, let it say so, and close its connection."""
        tasks = set(self.server_state.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=LAST_WORD_S)
        for connection in list(self.server_state.connections):
            transport = connection.transport
            if transport is not None:
                transport.abort()


class _Interruptible:
    """Answers 503 to requests that the end of the service cuts short: nothing else cancels one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        begun = False

        async def noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except asyncio.CancelledError:
            if not begun:
                headers = {"Retry-After": "1", "Connection": "close"}
                answer = problem(503, "unavailable", "the service is ending", headers=headers)
                await answer(scope, receive, send)
