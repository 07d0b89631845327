"""The little web site that `tidegate serve --demo` renders, extracts and reads.

It runs on the event loop of the service but on a port of its own, so that the egress guard can
allow that port and nothing else of this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from tidegate.entrypoints.demo_pages import APP, ARTICLE, INDEX, sample_pdf
from tidegate.errors import ExtraMissing

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

SLOW_S_MAX: Final = 30.0
# A client that reads slowly must not hold up the end of the service.
_STOP_S: Final = 1


def demo_app(*, stopping: asyncio.Event | None = None) -> Starlette:
    """The site as an ASGI app: `/`, `/app`, `/article`, `/sample.pdf`, `/slow?seconds=`.

    Args:
        stopping: Once set, `/slow` answers at once instead of holding up the end.
    """
    from starlette.applications import Starlette
    from starlette.routing import Route

    stopping = stopping or asyncio.Event()

    async def slow(request: Request) -> Response:
        return await _slow(request, stopping)

    pages = {"/": INDEX, "/app": APP, "/article": ARTICLE}
    routes = [_page(path, html.encode(), "text/html") for path, html in pages.items()]
    pdf = _page("/sample.pdf", sample_pdf(), "application/pdf")
    return Starlette(routes=[*routes, pdf, Route("/slow", slow)])


def _page(path: str, body: bytes, media_type: str) -> Route:
    from starlette.responses import Response
    from starlette.routing import Route

    async def answer(_request: Request) -> Response:
        return Response(body, media_type=media_type)

    return Route(path, answer)


async def _slow(request: Request, stopping: asyncio.Event) -> Response:
    from starlette.responses import PlainTextResponse

    try:
        wanted_s = float(request.query_params.get("seconds", "1"))
    except ValueError:
        wanted_s = math.nan
    # A NaN is below nothing, so this refuses it, too.
    if not wanted_s >= 0:
        return PlainTextResponse("seconds must be a number, 0 or more\n", status_code=400)
    delay_s = min(wanted_s, SLOW_S_MAX)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(delay_s):
            await stopping.wait()
    return PlainTextResponse(f"answered after {delay_s:g} s\n")


class DemoSite:
    """The site, served. `port` 0 takes a free one; after `start` it is the one in use."""

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.host = host
        self.port = port
        self._stopping = asyncio.Event()
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None

    def url(self, path: str = "/") -> str:
        """The address of a page."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}{path}"

    async def start(self) -> None:
        """Listen and serve. Once.

        Raises:
            ExtraMissing: the server's libraries are not installed.
            OSError: the port is taken.
        """
        assert self._serving is None, "started once"
        try:
            self._server = _embedded_server(demo_app(stopping=self._stopping))
        except ModuleNotFoundError as error:
            raise ExtraMissing("server") from error
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        listener = socket.create_server((self.host, self.port), family=family)
        self.port = listener.getsockname()[1]
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))

    async def stop(self) -> None:
        """End all connections and close the port. Idempotent."""
        if self._server is None or self._serving is None:
            return
        self._stopping.set()
        self._server.should_exit = True
        await self._serving


def _embedded_server(app: Starlette) -> uvicorn.Server:
    import uvicorn

    class EmbeddedServer(uvicorn.Server):
        """A server among others in its process, which leaves the signals to that process."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Install no handler."""
            yield

    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_STOP_S,
    )
    # Here and not in its task, so that a missing part is seen by who starts it.
    config.load()
    return EmbeddedServer(config)
