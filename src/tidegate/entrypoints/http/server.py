"""Serving: from a bound socket to a clean end, whatever ends it."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

import uvicorn

from tidegate.bootstrap import Settings
from tidegate.entrypoints.http.app import create_app
from tidegate.errors import InvalidSetting
from tidegate.facades.service import Service

KEEP_ALIVE_S = 5
BACKLOG = 2048

Ready = Callable[[Service, str], Awaitable[None]]


def bind(settings: Settings) -> socket.socket:
    """Bind the address of the settings, so that a taken port is said before anything starts.

    Raises:
        InvalidSetting: the port is in use, or the address is not ours.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM
        )[0]
    except socket.gaierror as error:
        raise InvalidSetting("host", settings.host, f"an address: {error.strerror}") from None
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        reason = (error.strerror or str(error)).lower()
        raise InvalidSetting(
            "port",
            settings.port,
            f"a free port on {settings.host} ({reason}); name another one in TIDEGATE_PORT",
        ) from None
    return listener


async def serve(
    settings: Settings, service: Service, listener: socket.socket, ready: Ready
) -> None:
    """Serve until SIGTERM or SIGINT, finish what is in flight, and stop the service.

    Args:
        settings: See `Settings`.
        service: Not started yet.
        listener: From `bind`; closed when this returns.
        ready: Called with the address once requests are answered.
    """
    await service.start()
    try:
        server = _Server(
            uvicorn.Config(
                create_app(service, settings),
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=round(settings.shutdown_s),
                proxy_headers=bool(settings.trusted_proxies),
                forwarded_allow_ips=list(settings.trusted_proxies),
            ),
            on_exit=lambda: setattr(service.status, "draining", True),
        )
        async with asyncio.TaskGroup() as group:
            announcing = group.create_task(_announce(server, service, address_of(listener), ready))
            await server.serve(sockets=[listener])
            announcing.cancel()
    finally:
        await service.stop()
        listener.close()


def address_of(listener: socket.socket) -> str:
    """Return the URL under which a bound socket is reached."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host and "[" not in host else f"http://{host}:{port}"


async def _announce(server: _Server, service: Service, address: str, ready: Ready) -> None:
    with suppress(asyncio.CancelledError):
        await server.answering.wait()
        await ready(service, address)


class _Server(uvicorn.Server):
    """uvicorn that tells when it answers, and leaves signals to us.

    Its own handlers raise the signal again once it has shut down, which would end the process
    before browsers and workers are gone.
    """

    def __init__(self, config: uvicorn.Config, *, on_exit: Callable[[], None]) -> None:
        super().__init__(config)
        self.answering = asyncio.Event()
        self._on_exit = on_exit

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start answering, and say so."""
        await super().startup(sockets)
        self.answering.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Turn the first signal into an orderly end, a second one into a quick one."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end, number)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def _end(self, number: int) -> None:
        self._on_exit()
        self.handle_exit(number, None)
