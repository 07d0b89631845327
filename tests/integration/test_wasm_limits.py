"""Memory, time, cancellation, traps and the end of an extractor: nothing is exceeded or left."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tidegate.adapters.wasmtime.extractor import WasmExtractor, WasmExtractorFactory
from tidegate.errors import (
    DocumentUnreadable,
    ExtraMissing,
    InvalidLimit,
    WorkerCrashed,
    WorkTimeout,
)

pytestmark = [pytest.mark.anyio, pytest.mark.needs("wasmtime")]

MIB = 2**20
LONG_US = 60_000_000

# A module that gives room for any page and then does what the test puts into `extract`.
FIXTURE = """(module (memory (export "memory") 32)
  (func (export "reserve") (param i32) (result i32) (i32.const 4096))
  (func (export "extract") (result i32) {body}))"""
SPIN = "(loop (br 0)) (i32.const 0)"

Launch = Callable[..., Awaitable[WasmExtractor]]


@pytest.fixture
async def launch() -> AsyncIterator[Launch]:
    """Start extractors that are closed after the test; `body` replaces what they do."""
    started: list[WasmExtractor] = []

    async def launch(*, body: str | None = None, memory_mib: int = 128) -> WasmExtractor:
        code = None
        if body is not None:
            import wasmtime

            code = bytes(wasmtime.wat2wasm(FIXTURE.format(body=body)))
        factory = WasmExtractorFactory(memory_max_bytes=memory_mib * MIB, code=code)
        started.append(await factory.launch())
        return started[-1]

    yield launch
    for extractor in started:
        await extractor.close()


async def extract(extractor: WasmExtractor, page: str = "a", timeout_us: int = LONG_US) -> str:
    return (await extractor.extract(page, base_url=None, timeout_us=timeout_us)).text


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "tidegate-wasm" in thread.name]


@pytest.mark.parametrize("mib", [3, 4, 40])
async def test_memory_is_capped(launch: Launch, mib: int) -> None:
    extractor = await launch(memory_mib=4)
    with pytest.raises(DocumentUnreadable, match="4 MiB"):
        await extract(extractor, "x" * mib * MIB)
    assert extractor.alive
    assert await extract(extractor, "x" * MIB) == "x" * MIB
    assert 2 * MIB < extractor.memory_bytes <= 4 * MIB
    await extract(extractor, "small")
    assert extractor.memory_bytes < MIB < extractor.memory_peak_bytes <= 4 * MIB
    assert extractor.operations == 3


async def test_records_count_too(launch: Launch) -> None:
    extractor = await launch(memory_mib=2)
    with pytest.raises(DocumentUnreadable):
        await extract(extractor, f"<a href={'&nGt;' * 1000}>" * 170)
    assert await extract(extractor) == "a"


@pytest.mark.parametrize("memory_max_bytes", [0, MIB - 1, 2**31 + 1])
def test_a_cap_out_of_range_is_refused(memory_max_bytes: int) -> None:
    with pytest.raises(InvalidLimit):
        WasmExtractorFactory(memory_max_bytes=memory_max_bytes)


async def test_a_deadline_ends_a_call_that_never_would(launch: Launch) -> None:
    extractor = await launch(body=SPIN)
    for timeout_us in (1, 50_000):
        begun_s = time.monotonic()
        with pytest.raises(WorkTimeout):
            await extract(extractor, timeout_us=timeout_us)
        assert timeout_us / 1e6 <= time.monotonic() - begun_s < 5
    assert extractor.alive


async def test_a_tiny_timeout_ends_a_long_page(launch: Launch) -> None:
    extractor = await launch()
    with pytest.raises(WorkTimeout):
        await extract(extractor, "<p>x</p>" * 3_000_000, timeout_us=20_000)
    assert await extract(extractor) == "a"


async def test_one_deadline_interrupts_no_other_call(launch: Launch) -> None:
    spinning, working = await launch(body=SPIN), await launch()
    page = "<p>x</p>" * 1_000_000

    async def spin() -> None:
        for _ in range(20):
            with pytest.raises(WorkTimeout):
                await extract(spinning, timeout_us=5_000)

    spin_task = asyncio.create_task(spin())
    while not spin_task.done():
        assert len(await extract(working, page)) == 3 * 1_000_000 - 2
    await spin_task


async def test_the_loop_and_other_extractors_go_on_meanwhile(launch: Launch) -> None:
    spinning = [await launch(body=SPIN) for _ in range(3)]
    tasks = [asyncio.create_task(extract(one, timeout_us=500_000)) for one in spinning]
    ticks = 0
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0.005)
        ticks += 1
    assert ticks > 10
    assert all(isinstance(task.exception(), WorkTimeout) for task in tasks)


async def test_cancellation_interrupts_and_leaves_an_idle_extractor(launch: Launch) -> None:
    extractor = await launch(body=SPIN)
    running = asyncio.create_task(extract(extractor))
    queued = asyncio.create_task(extract(extractor))
    await asyncio.sleep(0.05)
    begun_s = time.monotonic()
    queued.cancel()
    running.cancel()
    await asyncio.gather(running, queued, return_exceptions=True)
    assert running.cancelled()
    assert queued.cancelled()
    assert time.monotonic() - begun_s < 2
    assert extractor.alive
    assert extractor.operations == 1
    with pytest.raises(WorkTimeout):
        await extract(extractor, timeout_us=10_000)
    # Had the cancelled call gone on, the last one would have waited a minute for it.
    assert time.monotonic() - begun_s < 5


async def test_a_call_waits_for_the_one_before(launch: Launch) -> None:
    extractor = await launch()
    pages = [f"<p>{number}" + "<b>" * 100_000 for number in range(8)]
    assert await asyncio.gather(*(extract(extractor, page) for page in pages)) == [*"01234567"]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("unreachable", id="unreachable"),
        pytest.param("(i32.load (i32.const -4))", id="out of bounds"),
        pytest.param("(i32.const -8)", id="result outside memory"),
        pytest.param(
            "(i32.store (i32.const 64) (i32.const -1))"
            "(i32.store (i32.const 68) (i32.const 1)) (i32.const 64)",
            id="text outside memory",
        ),
        pytest.param(
            "(i32.store (i32.const 76) (i32.const 100)) (i32.const 64)", id="broken records"
        ),
    ],
)
async def test_an_instance_that_misbehaves_is_never_used_again(launch: Launch, body: str) -> None:
    extractor = await launch(body=body)
    with pytest.raises(WorkerCrashed):
        await extract(extractor)
    assert not extractor.alive
    with pytest.raises(WorkerCrashed):
        await extract(extractor)


async def test_input_outside_memory_is_refused(launch: Launch) -> None:
    extractor = await launch(body="(i32.const 0)")
    with pytest.raises(WorkerCrashed, match="input"):
        await extract(extractor, "x" * 3 * MIB)


async def test_code_that_cannot_run_is_a_crash() -> None:
    import wasmtime

    code = bytes(wasmtime.wat2wasm('(module (import "a" "b" (func)))'))
    extractor = await WasmExtractorFactory(code=code).launch()
    with pytest.raises(WorkerCrashed):
        await extract(extractor)
    await extractor.close()


async def test_close_interrupts_and_leaves_no_thread(launch: Launch) -> None:
    extractors = [await launch(body=SPIN) for _ in range(3)]
    calls = [asyncio.create_task(extract(one)) for one in (*extractors, *extractors)]
    await asyncio.sleep(0.05)
    assert len(threads()) == 4
    await asyncio.gather(*(one.close() for one in (*extractors, *extractors)))
    assert threads() == []
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [WorkerCrashed] * 6
    assert not any(one.alive for one in extractors)
    await extractors[0].close()


async def test_without_wasmtime_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "tidegate.adapters.wasmtime.sandbox", raising=False)
    monkeypatch.setitem(sys.modules, "wasmtime", None)
    with pytest.raises(ExtraMissing, match=r"tidegate\[wasm\]"):
        await WasmExtractorFactory().launch()


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.needs("linux_proc")
async def test_a_thousand_pages_leak_nothing(launch: Launch) -> None:
    extractor = await launch()
    page = "<title>t</title>" + ("<p>word &amp; more" * 50 + "<a href=/x>link</a>") * 200
    for _ in range(50):
        await extract(extractor, page)
    before_bytes = resident_bytes()
    for _ in range(1000):
        await extract(extractor, page)
    # One page takes half a MiB of linear memory, so a leak of stores would be 500 MiB.
    assert resident_bytes() - before_bytes < 30 * MIB
    assert len(threads()) == 2
