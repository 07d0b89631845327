"""Fetches that take too long or too much, or are given up: they end and leave nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.integration.fetching import (
    GZIP,
    HTML,
    MIB,
    PATIENCE_US,
    bomb,
    fetch,
    site,
)
from tests.integration.remote import (
    PATIENCE_S,
    Behave,
    answer,
    redirect,
    silence,
)
from tidegate.adapters.web.fetcher import HttpFetcher
from tidegate.adapters.web.passage import EgressLimits
from tidegate.errors import (
    EgressRefused,
    TidegateError,
    UpstreamFailed,
    UpstreamRejected,
    WorkTimeout,
)
from tidegate.ports.fetcher import FetchRequest

pytestmark = pytest.mark.anyio


@pytest.fixture(
    params=[False, pytest.param(True, marks=pytest.mark.needs("uvloop"))],
    ids=["asyncio", "uvloop"],
)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both loops: the service runs on uvloop, embedders on asyncio."""
    return "asyncio", {"use_uvloop": request.param}


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def slow_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X: y\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


async def early_hints(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("behave", [silence, drip, slow_head, early_hints])
@pytest.mark.parametrize("tls", [False, True])
async def test_a_server_that_takes_its_time(behave: Behave, tls: bool) -> None:
    async with site({"/": behave}, tls=tls) as (remote, base, guard):
        with pytest.raises(WorkTimeout) as caught:
            await fetch(base, guard.open("acme"), timeout_us=1_000_000)
        async with asyncio.timeout(PATIENCE_S):
            await remote.gone.wait()
    assert (caught.value.operation, caught.value.cap_us) == ("fetch", 1_000_000)


async def test_a_server_that_never_finishes_its_handshake() -> None:
    async with site({"": silence}) as (_, base, guard):
        with pytest.raises(WorkTimeout):
            await fetch(base.replace("http", "https"), guard.open("acme"), timeout_us=300_000)


async def test_closing_the_passage_ends_the_fetch() -> None:
    async with site({"/": drip}) as (remote, base, guard):
        passage = guard.open("acme")
        fetching = asyncio.create_task(fetch(base, passage))
        while not remote.heads:
            await asyncio.sleep(0.01)
        passage.close()
        with pytest.raises(UpstreamFailed, match="broke off the connection"):
            await fetching


async def test_the_budget_of_the_passage_holds_for_fetches() -> None:
    limits = EgressLimits(received_max_bytes=100_000)
    async with site({"/": answer(b"x" * 500_000, HTML)}, limits=limits) as (_, base, guard):
        with pytest.raises(EgressRefused, match="more than 100000 bytes were received"):
            await fetch(base, guard.open("acme"))


async def test_close_ends_what_is_under_way() -> None:
    fetcher = HttpFetcher("tidegate-test/1.0")
    async with site({"/": silence}) as (remote, base, guard):
        request = FetchRequest(url=base, media_types=frozenset({"text/html"}), size_max_bytes=9)
        passage = guard.open("acme")
        under_way = asyncio.create_task(fetcher.fetch(request, passage, timeout_us=PATIENCE_US))
        while not remote.heads:
            await asyncio.sleep(0.01)
        await fetcher.close()
        await fetcher.close()
        for attempt in (under_way, fetcher.fetch(request, passage, timeout_us=PATIENCE_US)):
            with pytest.raises(UpstreamFailed, match="the fetcher was closed"):
                await attempt
        assert len(remote.heads) == 1


async def test_a_bomb_of_a_gibibyte_blocks_nobody() -> None:
    """One MiB on the wire; nobody else may notice while it is unpacked as far as allowed."""
    lag_s = 0.0

    async def watch() -> None:
        nonlocal lag_s
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(0.001)
            lag_s = max(lag_s, loop.time() - before)

    packed = await asyncio.to_thread(bomb, mebibytes=1024)
    assert len(packed) < 2 * MIB
    async with site({"/": answer(packed, HTML, GZIP)}) as (_, base, guard):
        watching = asyncio.create_task(watch())
        with pytest.raises(UpstreamRejected, match="unpacks to more than 20971520 bytes"):
            await fetch(base, guard.open("acme"), size_max_bytes=20 * MIB)
        watching.cancel()
    assert lag_s < 0.5


async def test_a_body_beyond_the_limit_is_not_read_to_its_end() -> None:
    async with site({"/": answer(b"x" * 25 * MIB, HTML)}) as (_, base, guard):
        passage = guard.open("acme")
        with pytest.raises(UpstreamRejected, match="larger than 20971520 bytes"):
            await fetch(base, passage, size_max_bytes=20 * MIB)
    assert passage.received_bytes < 5 * MIB


@pytest.mark.needs("linux_proc")
@pytest.mark.parametrize("tls", [False, True])
async def test_two_hundred_fetches_leave_nothing(tls: bool) -> None:
    answers: dict[str, bytes | Behave] = {
        "/good": answer(b"<p>", HTML),
        "/cut": b"",
        "/slow": silence,
        "/moved": redirect("/good"),
    }
    async with site(answers, tls=tls) as (_, base, guard):
        tasks_before = len(asyncio.all_tasks())
        files_before = open_files()

        async def one(path: str) -> str:
            passage = guard.open("acme")
            slow = path == "/slow"
            try:
                await fetch(base + path, passage, timeout_us=500_000 if slow else PATIENCE_US)
            except TidegateError as error:
                return type(error).__name__
            finally:
                passage.close()
            return "Fetched"

        outcomes = await asyncio.gather(*(one(path) for path in list(answers) * 50))
        assert outcomes == ["Fetched", "UpstreamFailed", "WorkTimeout", "Fetched"] * 50
        async with asyncio.timeout(PATIENCE_S):
            while len(asyncio.all_tasks()) > tasks_before or open_files() > files_before:
                await asyncio.sleep(0.05)


async def test_cancelled_fetches_leave_nothing() -> None:
    async with site({"/": silence}, tls=True) as (_, base, guard):
        tasks_before = len(asyncio.all_tasks())
        passage = guard.open("acme")
        for delay_s in [0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05] * 5:
            fetching = asyncio.create_task(fetch(base, passage))
            await asyncio.sleep(delay_s)
            fetching.cancel()
            with pytest.raises(asyncio.CancelledError):
                await fetching
        async with asyncio.timeout(PATIENCE_S):
            while len(asyncio.all_tasks()) > tasks_before:
                await asyncio.sleep(0.05)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
