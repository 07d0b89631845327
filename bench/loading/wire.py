"""HTTP/1.1 over a kept connection at next to no cost: clients must not be the bottleneck."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: status, headers in lower case, body."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """One connection to the service, opened when it is needed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(
        self,
        method: str,
        path: str,
        key: str,
        body: bytes = b"",
        *,
        media_type: str = "application/json",
    ) -> None:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        self._streams[1].write(
            f"{method} {path} HTTP/1.1\r\nHost: load\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: {media_type}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        await self._streams[1].drain()

    async def receive(self) -> Answer:
        """Return the answer to what was sent; OSError or EOFError if there is none."""
        assert self._streams is not None
        reader = self._streams[0]
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {}
            for line in head[1:-2]:
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            status = int(head[0].split()[1])
            body = await reader.readexactly(int(headers.get("content-length", 0)))
        except BaseException:
            self.close()
            raise
        if headers.get("connection") == "close":
            self.close()
        return Answer(status, headers, body)

    async def call(self, method: str, path: str, key: str, body: Any = None) -> Answer:
        """Send one request and return its answer."""
        await self.send(method, path, key, b"" if body is None else json.dumps(body).encode())
        return await self.receive()

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None
