"""The service's side of a PDF worker: start it, ask it, kill it.

Between a question and its complete answer the worker can serve nobody else, so whatever ends the
exchange early, time or cancellation or nonsense, ends the worker. What it sends is not trusted.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import math
import signal
import socket
import subprocess
from typing import Final

from tidegate.adapters.pdfium.assembly import Assembly
from tidegate.adapters.pdfium.frames import (
    DOCUMENT_BYTES_MAX,
    PREFIX_BYTES,
    Job,
    Ready,
    Reply,
    body_bytes,
    pack,
    unpack_reply,
)
from tidegate.adapters.pdfium.process import memory_bytes, spawn
from tidegate.errors import DocumentUnreadable, ExtraMissing, WorkerCrashed, WorkTimeout
from tidegate.ports.pdf_reader import PdfDocument

MEMORY_BYTES_MAX: Final = 2**30
# A user that owns nothing and that no distribution assigns.
WORKER_UID: Final = 70_100
# A start takes 0.3 s; on a busy machine with a cold disk it takes much longer.
START_CAP_US: Final = 30_000_000

_WRITE_BYTES = 256 * 2**10


async def start_pdf_reader(
    *,
    memory_bytes_max: int = MEMORY_BYTES_MAX,
    uid: int = WORKER_UID,
    start_cap_us: int = START_CAP_US,
) -> PdfiumReader:
    """Start one worker and wait until it is confined and warm.

    Args:
        memory_bytes_max: Address space of the worker, its own code included.
        uid: User that the worker becomes when this process is root.
        start_cap_us: Longest wait for the worker.

    Raises:
        ExtraMissing: pypdfium2 is not installed.
        WorkerCrashed: the worker did not come up. A retry may help.
    """
    if importlib.util.find_spec("pypdfium2") is None:
        raise ExtraMissing("pdf")
    ours, theirs = socket.socketpair()
    try:
        process = spawn(theirs, memory_bytes_max=memory_bytes_max, uid=uid)
    except OSError as error:
        ours.close()
        raise WorkerCrashed(f"the PDF worker cannot be started: {error.strerror}") from error
    finally:
        theirs.close()
    worker = PdfiumReader(process, ours)
    try:
        await worker.greet(cap_us=start_cap_us)
    except BaseException:
        await worker.close()
        raise
    return worker


class PdfiumReader:
    """`PdfReader` over one worker process. Made by `start_pdf_reader`.

    `uid` is the user the worker runs as, known once it has greeted.
    """

    def __init__(self, process: subprocess.Popen[bytes], channel: socket.socket) -> None:
        self.uid: int | None = None
        self._process = process
        self._channel = channel
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._idle = False
        self._killed = False

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """False once the worker can serve no more jobs."""
        return not self._killed and self._process.poll() is None

    @property
    def memory_bytes(self) -> int | None:
        """Memory of the worker, shared pages by share, or None where /proc does not tell."""
        return memory_bytes(self.pid) if self._process.poll() is None else None

    async def greet(self, *, cap_us: int) -> None:
        """Open the channel and wait until the worker is ready. Once, before anything else.

        Raises:
            WorkerCrashed: it died, was not ready in time, or said something else.
        """
        try:
            async with asyncio.timeout(cap_us / 1e6):
                self._streams = await asyncio.open_unix_connection(sock=self._channel)
                self.uid = (await self._greeting()).uid
        except TimeoutError:
            text = f"the PDF worker did not start within {cap_us / 1e6:g} s"
            raise WorkerCrashed(text) from None
        except (OSError, EOFError, ValueError) as error:
            raise await self._crashed(error) from error
        self._idle = True

    async def read(self, data: bytes, *, timeout_us: int) -> PdfDocument:
        """Read one document; see `PdfReader`."""
        if len(data) > DOCUMENT_BYTES_MAX:
            raise DocumentUnreadable(
                f"the document has {len(data):,} bytes, at most {DOCUMENT_BYTES_MAX:,} are read"
            )
        if not self.alive:
            raise WorkerCrashed("the PDF worker has ended")
        assert self._idle, "one job at a time"
        self._idle = False
        try:
            async with asyncio.timeout(timeout_us / 1e6):
                await self._send(data, cpu_s=math.ceil(timeout_us / 1e6))
                return await self._answer()
        except TimeoutError:
            raise WorkTimeout("pdf", timeout_us) from None
        except (OSError, EOFError, ValueError) as error:
            raise await self._crashed(error) from error
        finally:
            if not self._idle:
                self._kill()

    async def close(self) -> None:
        """Kill the worker, which has nothing to save, and wait until it is gone."""
        self._kill()
        # Polling is the one way to wait that needs no thread and works on every loop.
        pause_s = 0.001
        while self._process.poll() is None:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 0.05)
        if self._streams is not None:
            with contextlib.suppress(OSError):
                await self._streams[1].wait_closed()

    def _kill(self) -> None:
        if self._killed:
            return
        self._killed = True
        # A root that may change users but not kill others: without its channel the worker ends
        # when it is idle, or when its CPU time is spent.
        with contextlib.suppress(PermissionError):
            # Popen does nothing once the process was seen dead, so no stranger can be hit.
            self._process.kill()
        if self._streams is None:
            self._channel.close()
        else:
            self._streams[1].transport.abort()

    async def _crashed(self, error: Exception) -> WorkerCrashed | DocumentUnreadable:
        # Death closes the channel last: a worker that died by itself keeps its own exit status.
        await self.close()
        if isinstance(error, ValueError):
            return WorkerCrashed(f"the PDF worker sent nonsense: {error}")
        status = self._process.returncode
        if status == -signal.SIGABRT:
            # How pdfium ends when it gets no memory, and it always does with this document.
            return DocumentUnreadable("the document needs more memory than its reader may have")
        if status < 0:
            name = signal.strsignal(-status)
            return WorkerCrashed(f"the PDF worker was ended by signal {-status} ({name})")
        return WorkerCrashed(f"the PDF worker ended with status {status}")

    async def _send(self, data: bytes, *, cpu_s: int) -> None:
        assert self._streams is not None
        writer = self._streams[1]
        writer.write(pack(Job(size_bytes=len(data), cpu_s=cpu_s)))
        view = memoryview(data)
        for start in range(0, len(data), _WRITE_BYTES):
            writer.write(view[start : start + _WRITE_BYTES])
            await writer.drain()

    async def _answer(self) -> PdfDocument:
        assembly = Assembly()
        try:
            while (document := assembly.add(await self._receive())) is None:
                pass
        except DocumentUnreadable:
            self._idle = True
            raise
        self._idle = True
        return document

    async def _greeting(self) -> Ready:
        reply = await self._receive()
        if isinstance(reply, Ready):
            return reply
        raise ValueError(f"{type(reply).__name__} instead of a greeting")

    async def _receive(self) -> Reply:
        assert self._streams is not None
        reader = self._streams[0]
        prefix = await reader.readexactly(PREFIX_BYTES)
        return unpack_reply(await reader.readexactly(body_bytes(prefix)))
