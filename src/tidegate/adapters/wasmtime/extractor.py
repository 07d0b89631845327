"""HTML extraction inside WebAssembly, each page in a fresh store on a thread of the instance.

A tenant's page is parsed by code that can reach nothing but its own capped memory, and that is
interrupted at its deadline. The interpreter lock is free meanwhile, so instances run in parallel.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from tidegate.adapters.wasmtime.epochs import DEADLINES, Call
from tidegate.adapters.wasmtime.page import assemble, encode
from tidegate.errors import ExtraMissing, InvalidLimit, WorkerCrashed
from tidegate.ports.extractor import Extracted

if TYPE_CHECKING:
    from tidegate.adapters.wasmtime.sandbox import Sandbox

MEMORY_MAX_BYTES = 128 * 2**20
MEMORY_FLOOR_BYTES = 2**20
MEMORY_CEILING_BYTES = 2**31


class WasmExtractor:
    """`Extractor` on one sandbox and one thread. A second call waits for the first."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.operations = 0
        self._sandbox = sandbox
        self._trapped = False
        self._closed = False
        self._calls: dict[Call, Future[Extracted]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tidegate-wasm")
        DEADLINES.hold()

    @property
    def alive(self) -> bool:
        """False after a trap or `close`."""
        return not (self._trapped or self._closed)

    @property
    def memory_bytes(self) -> int:
        """Linear memory of the running or else the last store, which is given back when it ends."""
        return self._sandbox.memory_bytes

    @property
    def memory_peak_bytes(self) -> int:
        """Most linear memory that any page needed so far."""
        return self._sandbox.memory_peak_bytes

    async def extract(self, html: str, *, base_url: str | None, timeout_us: int) -> Extracted:
        """Extract one page; see `ports.extractor`. Cancellation interrupts it within milliseconds.

        `timeout_us` begins here: it covers the wait for a call that came before.
        """
        if not self.alive:
            raise WorkerCrashed("this extractor trapped or was closed")
        call = Call(timeout_us)
        future = self._thread.submit(self._work, html, base_url, call)
        self._calls[call] = future
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            DEADLINES.stop(call)
            # The instance is lent again at once, so it has to be idle when this returns.
            await asyncio.gather(asyncio.wrap_future(future), return_exceptions=True)
            raise
        finally:
            del self._calls[call]

    async def close(self) -> None:
        """Interrupt what runs and end the thread. Idempotent."""
        first, self._closed = not self._closed, True
        for call in self._calls:
            DEADLINES.stop(call)
        running = [asyncio.wrap_future(future) for future in self._calls.values()]
        try:
            await asyncio.gather(*running, return_exceptions=True)
            self._thread.shutdown()
        finally:
            self._thread.shutdown(wait=False)
            if first:
                DEADLINES.release()

    def _work(self, html: str, base_url: str | None, call: Call) -> Extracted:
        call.check()
        self.operations += 1
        try:
            raw = self._sandbox.run(list(encode(html)), call)
        except WorkerCrashed:
            self._trapped |= not call.stopped
            raise
        return assemble(raw, base_url=base_url, check=call.check)


class WasmExtractorFactory:
    """Makes extractors of the shipped module, or of `code`, with a cap on each page's memory."""

    def __init__(
        self, *, memory_max_bytes: int = MEMORY_MAX_BYTES, code: bytes | None = None
    ) -> None:
        if not MEMORY_FLOOR_BYTES <= memory_max_bytes <= MEMORY_CEILING_BYTES:
            raise InvalidLimit("memory_max_bytes", memory_max_bytes, "1 MiB..2 GiB")
        self._memory_max_bytes = memory_max_bytes
        self._code = code

    async def launch(self) -> WasmExtractor:
        """Start one extractor. The first call compiles the module, on a thread.

        Raises:
            ExtraMissing: wasmtime is not installed.
        """
        return WasmExtractor(await asyncio.to_thread(self._sandbox))

    def _sandbox(self) -> Sandbox:
        try:
            from tidegate.adapters.wasmtime.sandbox import Sandbox, shipped_code
        except ModuleNotFoundError as error:
            raise ExtraMissing("wasm") from error
        code = shipped_code() if self._code is None else self._code
        return Sandbox(code, memory_max_bytes=self._memory_max_bytes)
