"""A web site for tests: pages by path, on a free loopback port, and a log of who came."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType

TLS_HANDSHAKE = b"\x16"
"""First byte of a client that speaks TLS, to which there is no answer here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one path answers, once `until` is set. `mute` never answers."""

    body: str = ""
    status: int = 200
    kind: str = "text/html; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    until: asyncio.Event | None = None
    mute: bool = False

    def write(self) -> bytes:
        body = self.body.encode()
        fields = {"Content-Type": self.kind, "Content-Length": str(len(body)), **self.headers}
        lines = [f"HTTP/1.1 {self.status} Answer", *(f"{k}: {v}" for k, v in fields.items())]
        return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body


class Site:
    """Answers each connection's first request and closes."""

    def __init__(self) -> None:
        self.pages: dict[str, Answer] = {}
        self.requests: list[str] = []
        self._server: asyncio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> Site:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    def put(self, path: str, body: str = "", **facts: object) -> str:
        """Serve a page and return its URL."""
        self.pages[path] = Answer(body=body, **facts)  # type: ignore[arg-type]
        return self.url(path)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first = await reader.readexactly(1)
            if first == TLS_HANDSHAKE:
                return
            text = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.requests.append(text)
            path = text.split()[1].partition("?")[0]
            answer = self.pages.get(path, Answer(status=404, body="nothing here"))
            if answer.mute:
                await reader.read()
                return
            if answer.until is not None:
                await answer.until.wait()
            writer.write(answer.write())
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()
