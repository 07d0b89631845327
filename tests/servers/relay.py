"""One connection through the proxy: two streams, each with its own rules, and sudden ends."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

Way = Literal["up", "down"]
"""Up goes to the server, down comes from it."""

_CHUNK_BYTES = 65_536
_CHUNKS_WAITING_MAX = 64
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of no time: closing sends a reset, socket(7)."""


@dataclass(slots=True, kw_only=True)
class Rules:
    """What happens to all that passes one way, on every connection."""

    delay_s: float = 0.0
    flows: asyncio.Event = field(default_factory=asyncio.Event)
    cut_after_bytes: int | None = None


class Relay:
    """Passes bytes between a client and the server until either ends, or it is cut."""

    def __init__(self, rules: dict[Way, Rules], writer: asyncio.StreamWriter) -> None:
        self._rules = rules
        self._writers: dict[Way, asyncio.StreamWriter] = {"down": writer}
        self._ended: set[Way] = set()
        self.serving = asyncio.current_task()
        """Ends with the relay."""

    async def run(self, reader: asyncio.StreamReader, server_port: int) -> None:
        """Relay to the end of both streams."""
        try:
            coming, going = await asyncio.open_connection("127.0.0.1", server_port)
            self._writers["up"] = going
            async with asyncio.TaskGroup() as group:
                self._pass(group, "up", reader)
                self._pass(group, "down", coming)
        except* (OSError, EOFError):
            pass  # Either side is gone, and so the other has to be.
        finally:
            for writer in self._writers.values():
                writer.close()

    def cut(self) -> None:
        """Reset both connections."""
        for writer in self._writers.values():
            # None where TLS has let go of it already.
            raw = writer.get_extra_info("socket")
            if raw is not None:
                with suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()
        if self.serving is not None:
            self.serving.cancel()

    def half_close(self, way: Way) -> None:
        """Say that no more comes this way; what still does is lost."""
        if way in self._writers and way not in self._ended:
            self._ended.add(way)
            self._writers[way].write_eof()

    def _pass(self, group: asyncio.TaskGroup, way: Way, reader: asyncio.StreamReader) -> None:
        chunks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS_WAITING_MAX)
        group.create_task(self._receive(way, reader, chunks))
        group.create_task(self._send(way, chunks))

    async def _receive(
        self, way: Way, reader: asyncio.StreamReader, chunks: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        rules, loop = self._rules[way], asyncio.get_running_loop()
        data = b"-"
        while data:
            await rules.flows.wait()
            data = await reader.read(_CHUNK_BYTES)
            await chunks.put((loop.time() + rules.delay_s, data))

    async def _send(self, way: Way, chunks: asyncio.Queue[tuple[float, bytes]]) -> None:
        rules, writer, loop = self._rules[way], self._writers[way], asyncio.get_running_loop()
        while True:
            due_s, data = await chunks.get()
            await asyncio.sleep(due_s - loop.time())
            await rules.flows.wait()
            if not data:
                break
            if way in self._ended:
                continue
            last = rules.cut_after_bytes is not None and len(data) >= rules.cut_after_bytes
            if rules.cut_after_bytes is not None:
                data = data[: rules.cut_after_bytes]
                rules.cut_after_bytes = None if last else rules.cut_after_bytes - len(data)
            writer.write(data)
            await writer.drain()
            if last:
                raise EOFError
        if not writer.can_write_eof():
            raise EOFError
        self.half_close(way)
