"""Files that are meant to hurt, a service that dies, and workers that come and go."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests import pdf_samples as samples
from tidegate.adapters.linux.host import descendants
from tidegate.adapters.pdfium.pdf_reader import PdfiumReader, start_pdf_reader
from tidegate.entrypoints.demo_pages import sample_pdf
from tidegate.errors import DocumentUnreadable, WorkerCrashed, WorkTimeout

pytestmark = [pytest.mark.anyio, pytest.mark.needs("pdfium", "linux_proc")]
LONG_US = 60_000_000


async def outcome(reader: PdfiumReader, data: bytes) -> str:
    try:
        await reader.read(data, timeout_us=LONG_US)
        code = "read"
    except (DocumentUnreadable, WorkerCrashed) as error:
        code = error.code
    assert reader.alive or code != "read"
    return code


def flipped(data: bytes, seed: int) -> bytes:
    rng, out = random.Random(seed), bytearray(data)
    for _ in range(rng.randint(1, 40)):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


async def test_damaged_documents() -> None:
    whole = sample_pdf()
    cuts = [whole[:length] for length in range(0, len(whole), 29)]
    holes = [whole[:at] + b"\0" * 64 + whole[at + 64 :] for at in range(0, len(whole), 67)]
    damaged = [*cuts, *holes, *(flipped(whole, seed) for seed in range(200))]
    reader, seen = await start_pdf_reader(), Counter[str]()
    try:
        for data in damaged:
            if not reader.alive:
                await reader.close()
                reader = await start_pdf_reader()
            seen[await outcome(reader, data)] += 1
        if not reader.alive:
            await reader.close()
            reader = await start_pdf_reader()
        assert await outcome(reader, whole) == "read"
    finally:
        await reader.close()
    assert seen.total() == len(damaged)
    assert min(seen["read"], seen["document_unreadable"]) > 20, seen


async def test_a_memory_bomb_ends_in_its_worker() -> None:
    reader = await start_pdf_reader(memory_bytes_max=256 * 2**20)
    try:
        with pytest.raises(DocumentUnreadable, match="memory"):
            await reader.read(samples.bomb(), timeout_us=LONG_US)
    finally:
        await reader.close()


async def test_the_event_loop_runs_on_while_a_document_is_read() -> None:
    reader = await start_pdf_reader()
    longest_s, ticks = 0.0, True

    async def tick() -> None:
        nonlocal longest_s
        while ticks:
            before = time.monotonic()
            await asyncio.sleep(0.001)
            longest_s = max(longest_s, time.monotonic() - before)

    ticking = asyncio.create_task(tick())
    line = b"(abcdefghijklmnopqrstuvwxyz0123456789) Tj 0 -12 Td " * 4_000
    page = samples.stream(b"BT /F 1 Tf 10 0 Td " + line + b"ET")
    try:
        document = await reader.read(samples.pages(page, kids=60), timeout_us=LONG_US)
    finally:
        ticks = False
        await ticking
        await reader.close()
    assert sum(map(len, document.pages)) > 8_000_000
    assert longest_s < 0.5


ORPHAN = """
import asyncio, sys
from tests import pdf_samples
from tidegate.adapters.pdfium.pdf_reader import start_pdf_reader

async def main():
    busy, idle = await start_pdf_reader(), await start_pdf_reader()
    print(busy.pid, idle.pid, flush=True)
    await busy.read(pdf_samples.slow(), timeout_us=600_000_000)

asyncio.run(main())
"""


async def test_a_killed_service_leaves_no_worker() -> None:
    command = [sys.executable, "-c", ORPHAN]
    service = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
    assert service.stdout is not None
    with service.stdout:
        pids = [int(each) for each in service.stdout.readline().split()]
        await asyncio.sleep(0.5)
        assert len(pids) == 2
        assert all(map(running, pids))
        service.send_signal(signal.SIGKILL)
        service.wait()
    deadline = time.monotonic() + 20
    while (left := [pid for pid in pids if running(pid)]) and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    assert not left


def running(pid: int) -> bool:
    """Whether it runs; an orphan nobody reaps stays behind as a zombie where pid 1 is no init."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}


@pytest.mark.slow
async def test_a_hundred_workers_leave_nothing() -> None:
    await cycle(0)
    descriptors, children = set(os.listdir("/proc/self/fd")), descendants(os.getpid())  # noqa: PTH208
    for batch in range(0, 100, 4):
        await asyncio.gather(*(cycle(batch + each) for each in range(4)))
    assert set(os.listdir("/proc/self/fd")) == descriptors  # noqa: PTH208
    assert descendants(os.getpid()) == children


async def cycle(number: int) -> None:
    """One worker, ended in one of four ways."""
    reader = await start_pdf_reader()
    try:
        match number % 4:
            case 0:
                await reader.read(sample_pdf(), timeout_us=LONG_US)
            case 1:
                with pytest.raises(WorkTimeout):
                    await reader.read(samples.slow(), timeout_us=50_000)
            case 2:
                os.kill(reader.pid, signal.SIGKILL)
    finally:
        await reader.close()
