"""The worker process: reads one PDF after the other and forgets each.

Started as `python -P -m tidegate.adapters.pdfium.worker PARENT_PID MEMORY_BYTES UID` with a
socket as its standard input. It ends when the socket does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import BinaryIO

from tidegate.adapters.pdfium.confine import confine, limit_cpu
from tidegate.adapters.pdfium.document import Document
from tidegate.adapters.pdfium.frames import (
    PIECE_CHARS_MAX,
    PREFIX_BYTES,
    Done,
    Job,
    Opened,
    Ready,
    Refused,
    Reply,
    Text,
    body_bytes,
    pack,
    unpack_job,
)
from tidegate.errors import DocumentUnreadable

_WARM_UP = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
    b"2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]/Contents 4 0 R"
    b"/Resources<</Font<</F<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>>>endobj\n"
    b"4 0 obj<</Length 30>>stream\nBT /F 9 Tf 9 9 Td (Ready) Tj ET\nendstream endobj\n"
    b"5 0 obj<</Title(Ready)>>endobj\ntrailer<</Root 1 0 R/Info 5 0 R>>"
)


def answer(data: bytes) -> Iterator[Reply]:
    """Everything to be said about one document, ending with `Done` or `Refused`."""
    try:
        document = Document(data)
        try:
            yield Opened(page_count=document.page_count, metadata=document.metadata())
            for text in document.texts():
                yield from _pieces(text)
        finally:
            document.close()
    except DocumentUnreadable as error:
        yield Refused(reason=str(error))
    except MemoryError:
        yield Refused(reason="the document needs more memory than a worker may use")
    except Exception as error:
        # No document may end the loop that serves the next one.
        yield Refused(reason=f"the document cannot be read ({type(error).__name__})")
    else:
        yield Done()


def _pieces(text: str) -> Iterator[Text]:
    for start in range(0, max(1, len(text)), PIECE_CHARS_MAX):
        stop = start + PIECE_CHARS_MAX
        yield Text(text=text[start:stop], ends_page=stop >= len(text))


def serve(jobs: BinaryIO, replies: BinaryIO, *, arm: Callable[[int], None]) -> None:
    """Answer jobs until there are no more. `arm` is told the CPU seconds each may take."""
    replies.write(pack(Ready(uid=os.geteuid())))
    replies.flush()
    while (job := _next_job(jobs)) is not None:
        arm(job.cpu_s)
        replies.writelines(map(pack, answer(jobs.read(job.size_bytes))))
        replies.flush()


def _next_job(jobs: BinaryIO) -> Job | None:
    prefix = jobs.read(PREFIX_BYTES)
    return unpack_job(jobs.read(body_bytes(prefix))) if len(prefix) == PREFIX_BYTES else None


def main() -> None:
    """Warm up, give everything up, serve."""
    parent_pid, memory_bytes, uid = (int(argument) for argument in sys.argv[1:])
    # Loads what Python and pdfium load late; afterwards the files may be out of reach.
    assert Text(text="Ready", ends_page=True) in list(answer(_WARM_UP))
    confine(parent_pid=parent_pid, memory_bytes=memory_bytes, uid=uid)
    with os.fdopen(0, "rb") as jobs, os.fdopen(os.dup(0), "wb") as replies:
        serve(jobs, replies, arm=limit_cpu)


if __name__ == "__main__":
    main()
