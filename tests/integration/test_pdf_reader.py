"""The worker process and the service's side of it, on both event loops."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests import pdf_samples as samples
from tidegate.adapters.pdfium import frames, pdf_reader
from tidegate.adapters.pdfium.pdf_reader import PdfiumReader, start_pdf_reader
from tidegate.entrypoints.demo_pages import sample_pdf
from tidegate.errors import DocumentUnreadable, ExtraMissing, WorkerCrashed, WorkTimeout

pytestmark = [pytest.mark.anyio, pytest.mark.needs("pdfium", "linux_proc")]
LONG_US = 60_000_000


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
        pytest.param(
            ("asyncio", {"use_uvloop": True}), id="uvloop", marks=pytest.mark.needs("uvloop")
        ),
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


@pytest.fixture
async def reader() -> AsyncIterator[PdfiumReader]:
    reader = await start_pdf_reader()
    yield reader
    await reader.close()


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def limits(pid: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return {line[:25].strip(): line[25:].split() for line in lines}


def descriptors(pid: int) -> dict[int, str]:
    """What each open descriptor of a process is."""
    return {int(each.name): str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()}


def wait_until(condition: Callable[[], bool], *, seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not (true := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return true


async def test_it_reads_one_document_after_the_other(reader: PdfiumReader) -> None:
    for data, page_count in ((sample_pdf(), 3), (samples.says(b"hello"), 1), (sample_pdf(), 3)):
        document = await reader.read(data, timeout_us=LONG_US)
        assert len(document.pages) == page_count
    assert document.metadata["Title"] == "Tides and gates"
    assert reader.alive
    assert 5 * 2**20 < (reader.memory_bytes or 0) < 200 * 2**20


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"plain text", "not a PDF", id="not a PDF"),
        pytest.param(samples.encrypted(), "encrypted with a password", id="encrypted"),
        pytest.param(b"%PDF-1.7\n" + b"\0" * (20 * 2**20), "at most 20,971,520", id="too large"),
    ],
)
async def test_a_worker_outlives_what_it_cannot_read(
    reader: PdfiumReader, data: bytes, reason: str
) -> None:
    with pytest.raises(DocumentUnreadable, match=reason):
        await reader.read(data, timeout_us=LONG_US)
    assert reader.alive
    assert len((await reader.read(sample_pdf(), timeout_us=LONG_US)).pages) == 3


async def test_a_document_of_20_mib_passes(reader: PdfiumReader) -> None:
    data = sample_pdf()
    padding = frames.DOCUMENT_BYTES_MAX - len(data)
    head, tail = data.split(b"\n", 1)
    # A comment moves every offset, so pdfium rebuilds the table, which reads all of the file.
    padded = head + b"\n%" + b"x" * (padding - 2) + b"\n" + tail
    assert len(padded) == frames.DOCUMENT_BYTES_MAX
    assert len((await reader.read(padded, timeout_us=LONG_US)).pages) == 3


async def test_time_out_kills(reader: PdfiumReader) -> None:
    started = time.monotonic()
    with pytest.raises(WorkTimeout, match=r"pdf did not finish within 0\.3 s") as caught:
        await reader.read(samples.slow(), timeout_us=300_000)
    assert (caught.value.cap_us, reader.alive) == (300_000, False)
    await reader.close()
    assert time.monotonic() - started < 10
    assert gone(reader.pid)
    with pytest.raises(WorkerCrashed, match="has ended"):
        await reader.read(sample_pdf(), timeout_us=LONG_US)


async def test_cancellation_kills(reader: PdfiumReader) -> None:
    job = asyncio.create_task(reader.read(samples.slow(), timeout_us=LONG_US))
    await asyncio.sleep(0.3)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert not reader.alive
    await reader.close()
    assert gone(reader.pid)


async def test_death_in_the_middle_of_a_job(reader: PdfiumReader) -> None:
    job = asyncio.create_task(reader.read(samples.slow(), timeout_us=LONG_US))
    await asyncio.sleep(0.3)
    assert not job.done()
    os.kill(reader.pid, signal.SIGKILL)
    with pytest.raises(WorkerCrashed, match=r"ended by signal 9 \(Killed\)"):
        await job
    assert (reader.alive, reader.memory_bytes) == (False, None)


async def test_death_between_jobs_is_seen(reader: PdfiumReader) -> None:
    os.kill(reader.pid, signal.SIGKILL)
    assert wait_until(lambda: not reader.alive)
    with pytest.raises(WorkerCrashed, match="has ended"):
        await reader.read(sample_pdf(), timeout_us=LONG_US)


async def test_closing_is_idempotent_and_ends_a_job(reader: PdfiumReader) -> None:
    job = asyncio.create_task(reader.read(samples.slow(), timeout_us=LONG_US))
    await asyncio.sleep(0.1)
    await asyncio.gather(reader.close(), reader.close())
    with pytest.raises(WorkerCrashed):
        await job
    await reader.close()
    assert gone(reader.pid)


async def test_a_worker_that_cannot_be_killed_ends_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    idle, busy = await start_pdf_reader(), await start_pdf_reader()
    monkeypatch.setattr(subprocess.Popen, "kill", refuse)
    with pytest.raises(WorkTimeout):
        await busy.read(samples.slow(), timeout_us=500_000)
    started = time.monotonic()
    async with asyncio.timeout(60):
        await idle.close()
        await busy.close()
    assert time.monotonic() - started < 30
    assert gone(idle.pid)
    assert gone(busy.pid)


async def test_the_worker_is_confined(reader: PdfiumReader) -> None:
    before = limits(reader.pid)
    assert before["Max address space"][:2] == [str(2**30)] * 2
    assert before["Max core file size"][:2] == ["0", "0"]
    assert before["Max file size"][:2] == ["0", "0"]
    assert before["Max open files"][:2] == ["16", "16"]
    text = (Path("/proc") / str(reader.pid) / "status").read_text()
    status = dict(line.split(":\t", 1) for line in text.splitlines())
    assert status["NoNewPrivs"] == "1"
    assert int(status["CapEff"], 16) == 0
    expected = 70_100 if os.geteuid() == 0 else os.geteuid()
    assert status["Uid"].split() == [str(expected)] * 4
    assert reader.uid == expected
    await reader.read(sample_pdf(), timeout_us=9_500_000)
    assert 10 <= int(limits(reader.pid)["Max cpu time"][0]) <= 20
    assert set(descriptors(reader.pid)) <= {0, 1, 2, 3}


@pytest.fixture
def heirloom(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """What a careless child would inherit: a secret, and a socket left open for children."""
    monkeypatch.setenv("TIDEGATE_ADMIN_KEY", "very-secret")
    with socket.create_server(("127.0.0.1", 0)) as heirloom:
        heirloom.set_inheritable(True)
        yield heirloom


async def test_nothing_is_inherited(heirloom: socket.socket, reader: PdfiumReader) -> None:
    environment = Path(f"/proc/{reader.pid}/environ").read_bytes()  # noqa: ASYNC240
    own = Path(f"/proc/self/fd/{heirloom.fileno()}").readlink()  # noqa: ASYNC240
    assert str(own) not in descriptors(reader.pid).values()
    assert b"secret" not in environment
    assert {entry.split(b"=")[0] for entry in environment.split(b"\0") if entry} <= {
        b"PYTHONPATH",
        b"MALLOC_TOP_PAD_",
        b"LD_LIBRARY_PATH",
        b"PYTHONHOME",
    }


@pytest.mark.parametrize("failure", ["early", "late", "spawn", "extra"])
async def test_a_worker_that_does_not_come_up(
    monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    if failure == "early":
        monkeypatch.setattr(sys, "executable", "/bin/false")
        with pytest.raises(WorkerCrashed, match="the PDF worker ended with status 1"):
            await start_pdf_reader()
    elif failure == "late":
        with pytest.raises(WorkerCrashed, match=r"did not start within 0\.001 s"):
            await start_pdf_reader(start_cap_us=1_000)
    elif failure == "spawn":
        monkeypatch.setattr(pdf_reader, "spawn", refuse)
        with pytest.raises(WorkerCrashed, match="temporarily unavailable"):
            await start_pdf_reader()
    else:
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
        with pytest.raises(ExtraMissing, match="pdf"):
            await start_pdf_reader()
