"""A web site for the service to visit, on a loopback address of its own: pages by path.

A page may be held back: then a test waits until somebody asks for it, and needs no sleep.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress

HOST = "127.0.0.2"
HTML = "text/html; charset=utf-8"

Behave = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answer(body: bytes | str, kind: str = HTML, status: str = "200 OK", *headers: str) -> bytes:
    """Return a whole HTTP answer."""
    content = body.encode() if isinstance(body, str) else body
    head = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(content)}",
        "Connection: close",
        *headers,
        "",
        "",
    ]
    return "\r\n".join(head).encode("latin-1") + content


def redirect(location: str) -> bytes:
    """Return an answer that points elsewhere."""
    return answer("", HTML, "302 Found", f"Location: {location}")


async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say nothing until the other side goes."""
    await reader.read()


class Site:
    """Answers each connection's first request. `pages` may be changed at any time."""

    def __init__(self, host: str = HOST) -> None:
        self.host, self.port = host, 0
        self.pages: dict[str, bytes | Behave] = {}
        self.asked: defaultdict[str, int] = defaultdict(int)
        self._changed = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    def url(self, path: str) -> str:
        """The address of a page."""
        return f"http://{self.host}:{self.port}{path}"

    def put(self, path: str, page: bytes | Behave) -> str:
        """Serve a page, and return its address."""
        self.pages[path] = page
        return self.url(path)

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._accept, self.host, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End every connection."""
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await self._server.wait_closed()

    async def visits(self, path: str, count: int = 1) -> None:
        """Wait until a page was asked for this often."""
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(lambda: self.asked[path] >= count)

    async def quiet(self) -> None:
        """Wait until no connection is left."""
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(lambda: not self._serving)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._serving.add(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            path = head.split(" ")[1].partition("?")[0]
            page = self.pages.get(path, answer("nothing here", HTML, "404 Not Found"))
            self.asked[path] += 1
            async with self._changed:
                self._changed.notify_all()
            if isinstance(page, bytes):
                writer.write(page)
                await writer.drain()
            else:
                await page(reader, writer)
        except (OSError, EOFError):
            pass
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
            current = asyncio.current_task()
            assert current is not None
            self._serving.discard(current)
            async with self._changed:
                self._changed.notify_all()
