"""Remote servers that answer whatever a test says, a guard in front of them, a raw client."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from tidegate.adapters.web.egress_guard import FilteringProxy
from tidegate.adapters.web.passage import EgressLimits
from tidegate.adapters.web.resolver import Resolve, system_addresses
from tidegate.domain.egress import EgressPolicy
from tidegate.ports.egress_guard import Passage

PATIENCE_S = 30.0

CERTIFICATE = Path(__file__).with_name("tls_test.pem")
"""A key that protects nothing and its self-signed certificate, for `tls.test` and 127.0.0.1."""

Behave = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answer(body: bytes = b"", *headers: str, status: str = "200 OK") -> bytes:
    """Return a whole HTTP answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def redirect(location: str, status: str = "302 Found") -> bytes:
    """Return an answer that points elsewhere."""
    return answer(b"", f"Location: {location}", status=status)


class Remote:
    """A server of raw bytes. `answers` maps a path to bytes, or to a coroutine that sends them.

    The empty path is what to do with a connection before anything was read from it.
    """

    def __init__(self, answers: dict[str, bytes | Behave]) -> None:
        self.answers = answers
        self.heads: list[str] = []
        self.port = 0
        self.gone = asyncio.Event()
        """Set when a connection has ended."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._writers.append(writer)

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            path = ""
            if "" not in self.answers:
                self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode("latin-1"))
                path = self.heads[-1].split(" ")[1].partition("?")[0]
            behave = self.answers[path]
            if isinstance(behave, bytes):
                writer.write(behave)
                await writer.drain()
            else:
                await behave(reader, writer)
        except (OSError, EOFError):
            pass
        finally:
            writer.close()
            self.gone.set()


@asynccontextmanager
async def serving(
    answers: dict[str, bytes | Behave], *, tls: bool = False
) -> AsyncIterator[Remote]:
    remote = Remote(answers)
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
    server = await asyncio.start_server(remote.accept, "127.0.0.1", 0, ssl=context, backlog=1024)
    remote.port = server.sockets[0].getsockname()[1]
    try:
        yield remote
    finally:
        # asyncio loses a connection that it is accepting while its server closes.
        for _ in range(5):
            await asyncio.sleep(0)
        server.close()
        await remote.end()
        await server.wait_closed()


@asynccontextmanager
async def guarding(
    allow: str, *, limits: EgressLimits | None = None, resolve: Resolve = system_addresses
) -> AsyncIterator[FilteringProxy]:
    guard = FilteringProxy(EgressPolicy.parse(allow), limits=limits, resolve=resolve)
    await guard.start()
    try:
        yield guard
    finally:
        await guard.stop()


def basic(user: str, password: str) -> str:
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return f"Proxy-Authorization: Basic {token}"


async def connect(passage: Passage) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    port = int(passage.proxy_url.rpartition(":")[2])
    return await asyncio.open_connection("127.0.0.1", port)


def head_for(passage: Passage, line: str, *headers: str, credentials: str | None = None) -> bytes:
    """Return the head of a request to the proxy, with the passage's credentials or others."""
    own = basic(passage.username, passage.password) if credentials is None else credentials
    lines = [f"{line} HTTP/1.1", "Host: x", *([own] if own else []), *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


async def ask(
    passage: Passage, line: str, *headers: str, body: bytes = b"", credentials: str | None = None
) -> bytes:
    """Send one request to the proxy and return all that comes back, also when it breaks off."""
    reader, writer = await connect(passage)
    writer.write(head_for(passage, line, *headers, credentials=credentials) + body)
    got = bytearray()
    try:
        async with asyncio.timeout(PATIENCE_S):
            while data := await reader.read(65536):
                got += data
    except ConnectionError:
        pass
    finally:
        writer.close()
    return bytes(got)


def status_of(got: bytes) -> int:
    return int(got.split(b" ", 2)[1]) if got else 0


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
