"""What a worker process costs: one document read by a warm worker, in this process, by pypdf.

    python bench/pdf.py [FILE.pdf]

Rounds alternate between the contestants, so that noise of the machine hits all of them; the figures
are medians, the ratios are to reading in this process. Without a file, 120 pages are made up.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import io
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from tidegate.adapters.pdfium.document import Document
from tidegate.adapters.pdfium.pdf_reader import PdfiumReader, start_pdf_reader

sys.path.insert(0, str(Path(__file__).parent.parent))

ROUNDS = 15
CAP_US = 120_000_000
WORDS = ("the", "gate", "holds", "what", "a", "tide", "takes", "until", "its", "lease", "ends")


def made_up(page_count: int = 120, line_count: int = 48) -> bytes:
    from tests import pdf_samples

    rng = random.Random(1)
    lines = (" ".join(rng.choices(WORDS, k=14)).encode() for _ in range(line_count))
    text = b"\n".join(b"(%s) Tj 0 -14 Td" % line for line in lines)
    return pdf_samples.pages(
        pdf_samples.stream(b"BT /F 10 Tf 50 750 Td\n" + text + b"\nET"), kids=page_count
    )


def in_process(data: bytes) -> list[str]:
    document = Document(data)
    try:
        return list(document.texts())
    finally:
        document.close()


def by_pypdf(data: bytes) -> list[str]:
    pypdf = importlib.import_module("pypdf")
    return [page.extract_text() for page in pypdf.PdfReader(io.BytesIO(data)).pages]


def contestants(reader: PdfiumReader, data: bytes) -> dict[str, Callable[[], Awaitable[object]]]:
    async def inline() -> object:
        return in_process(data)

    async def worker() -> object:
        return await reader.read(data, timeout_us=CAP_US)

    async def pypdf() -> object:
        return by_pypdf(data)

    found: dict[str, Callable[[], Awaitable[object]]] = {"in process": inline, "worker": worker}
    if importlib.util.find_spec("pypdf") is not None:
        found["pypdf"] = pypdf
    return found


async def starts(count: int = 10) -> list[float]:
    seconds = []
    for _ in range(count):
        started = time.perf_counter()
        reader = await start_pdf_reader()
        seconds.append(time.perf_counter() - started)
        await reader.close()
    return seconds


async def main() -> None:
    data = Path(sys.argv[1]).read_bytes() if len(sys.argv) > 1 else made_up()  # noqa: ASYNC240
    reader = await start_pdf_reader()
    try:
        page_count = len((await reader.read(data, timeout_us=CAP_US)).pages)
        runs = contestants(reader, data)
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for number in range(ROUNDS):
            for name, run in runs.items():
                # pypdf is slow enough that a third of the rounds says it.
                if name != "pypdf" or number % 3 == 0:
                    started = time.perf_counter()
                    await run()
                    seconds[name].append(time.perf_counter() - started)
        memory_bytes = reader.memory_bytes
    finally:
        await reader.close()
    print(f"{page_count} pages, {len(data):,} bytes")
    base = statistics.median(seconds["in process"])
    for name, each in seconds.items():
        middle = statistics.median(each)
        print(
            f"{name:>12} {middle * 1e3:9.1f} ms {middle / page_count * 1e3:7.3f} ms/page"
            f" {middle / base:6.2f} x"
        )
    print(f"{'start':>12} {statistics.median(await starts()) * 1e3:9.1f} ms")
    print(f"{'memory':>12} {(memory_bytes or 0) / 2**20:9.1f} MiB")


if __name__ == "__main__":
    asyncio.run(main())
