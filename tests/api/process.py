"""A real `tidegate serve`, as a process of its own: for sockets, signals and sudden death."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec

from tests.api.harness import ADMIN_KEY, BASE, PATIENCE_S, Caller, merged

START_S = 60.0
ADDRESS = re.compile(r"answers at (http://\S+)")
FAULTS = ("Traceback", "a bug", "never awaited", "was never retrieved")
"""What a log line says when something is wrong that no caller was told."""


class Server:
    """The service of one data folder. May be killed and started again."""

    def __init__(self, folder: Path, changes: Mapping[str, Any]) -> None:
        self.folder = folder
        self._config = folder / "settings.yml"
        # JSON is YAML, too.
        self._config.write_text(json.dumps(merged(BASE, changes)))
        self._log = folder / "log"
        self._process: asyncio.subprocess.Process | None = None
        self.http = httpx.AsyncClient(timeout=3 * PATIENCE_S)
        self.address = ""

    @property
    def admin(self) -> Caller:
        """The operator."""
        return Caller(http=self.http, key=ADMIN_KEY)

    @property
    def pid(self) -> int:
        """The service's process."""
        assert self._process is not None
        return self._process.pid

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.address.rpartition(":")[2])

    async def start(self) -> None:
        """Start, and wait until requests are answered. Callers of an earlier start stay good."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                "from tidegate.entrypoints.cli import main; main()",
                "serve",
                "--port",
                "0",
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={
                    **os.environ,
                    "TIDEGATE_CONFIG": str(self._config),
                    "TIDEGATE_DATA_DIR": str(self.folder / "data"),
                },
            )
        assert self._process.stdout is not None
        async with asyncio.timeout(START_S):
            while line := await self._process.stdout.readline():
                found = ADDRESS.search(line.decode())
                if found:
                    self.address = found[1]
                    self.http.base_url = httpx.URL(self.address)
                    return
        raise AssertionError(self.log())

    async def kill(self) -> None:
        """End the process as the machine's power switch would."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """Ask the process to end, and return its exit status."""
        return await self._end(signal.SIGTERM)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a socket to it."""
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def close(self) -> None:
        """End whatever is left, and check that the log tells of no fault."""
        if self._process is not None and self._process.returncode is None:
            assert await self.stop() == 0, self.log()
        await self.http.aclose()
        assert not [line for line in self.log().splitlines() if any(f in line for f in FAULTS)]

    def log(self) -> str:
        """What it wrote."""
        return self._log.read_text(errors="replace")

    async def _end(self, number: int) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        async with asyncio.timeout(PATIENCE_S):
            # Reading to the end closes the pipe, too.
            await self._process.communicate()
        assert self._process.returncode is not None
        return self._process.returncode


@asynccontextmanager
async def serving(folder: Path, changes: Mapping[str, Any]) -> AsyncIterator[Server]:
    """Run a server over a folder, which may be killed and started meanwhile."""
    server = Server(folder, changes)
    await server.start()
    try:
        yield server
    finally:
        await server.close()


def request(caller: Caller, path: str, body: bytes, kind: str = "application/json") -> bytes:
    """Return a POST as it goes over the wire."""
    head = [
        f"POST {path} HTTP/1.1",
        "Host: gate.test",
        f"Authorization: Bearer {caller.key}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "",
        "",
    ]
    return "\r\n".join(head).encode() + body


def json_request(caller: Caller, path: str, **fields: Any) -> bytes:
    """Return a POST of a JSON body."""
    return request(caller, path, msgspec.json.encode(fields))
