"""What the service makes of a worker that a document took over."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tidegate.adapters.pdfium import frames
from tidegate.adapters.pdfium.frames import Done, Opened, Ready, Refused, Reply, Text
from tidegate.adapters.pdfium.pdf_reader import PdfiumReader
from tidegate.errors import DocumentUnreadable, WorkerCrashed, WorkTimeout

pytestmark = [pytest.mark.anyio, pytest.mark.needs("linux_proc")]
LONG_US = 60_000_000

HOSTILE = """
import os, sys, time
greeting, answer = (bytes.fromhex(each) for each in sys.argv[1:])
os.write(0, greeting)
os.read(0, 1)
os.write(0, answer)
time.sleep(60)
"""


async def start_hostile(greeting: bytes, answer: bytes) -> PdfiumReader:
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-ISc", HOSTILE, greeting.hex(), answer.hex()]
    with theirs:
        process = subprocess.Popen(command, stdin=theirs.fileno())  # noqa: ASYNC220
    reader = PdfiumReader(process, ours)
    try:
        await reader.greet(cap_us=LONG_US)
    except BaseException:
        await reader.close()
        raise
    return reader


def packed(*replies: Reply) -> bytes:
    return b"".join(map(frames.pack, replies))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        pytest.param(b"\xff" * 8, WorkerCrashed, id="a frame of 4 GiB"),
        pytest.param(b"\0\0\0\1\xc1", WorkerCrashed, id="no msgpack"),
        pytest.param(packed(Ready(uid=0)), WorkerCrashed, id="out of turn"),
        pytest.param(packed(Opened(page_count=1, metadata={}), Done()), WorkerCrashed, id="short"),
        pytest.param(packed(Opened(page_count=1, metadata={})), WorkTimeout, id="no end"),
        pytest.param(b"\0\0", WorkTimeout, id="half a frame"),
    ],
)
async def test_a_worker_that_was_taken_over(answer: bytes, error: type[Exception]) -> None:
    reader = await start_hostile(packed(Ready(uid=1)), answer)
    try:
        with pytest.raises(error):
            await reader.read(b"any", timeout_us=500_000)
        assert not reader.alive
    finally:
        await reader.close()
    assert not Path(f"/proc/{reader.pid}").exists()  # noqa: ASYNC240


async def test_a_greeting_that_is_none() -> None:
    with pytest.raises(WorkerCrashed, match="Done instead of a greeting"):
        await start_hostile(packed(Done()), b"")


async def test_one_refusal_leaves_the_worker_idle() -> None:
    text = Text(text="a", ends_page=True)
    answer = packed(Opened(page_count=2, metadata={}), text, Refused(reason="page 2 is damaged"))
    reader = await start_hostile(packed(Ready(uid=1)), answer)
    try:
        with pytest.raises(DocumentUnreadable, match="page 2 is damaged"):
            await reader.read(b"", timeout_us=LONG_US)
        assert reader.alive
    finally:
        await reader.close()
