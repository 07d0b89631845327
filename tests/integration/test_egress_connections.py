"""How connections through the guard begin, end, fail and stay within their budgets."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Sequence

import pytest

from tests.integration.remote import (
    PATIENCE_S,
    Behave,
    answer,
    ask,
    connect,
    echo,
    guarding,
    head_for,
    serving,
    silence,
    status_of,
)
from tidegate.adapters.web.passage import EgressLimits

pytestmark = pytest.mark.anyio


@pytest.fixture(
    params=[False, pytest.param(True, marks=pytest.mark.needs("uvloop"))],
    ids=["asyncio", "uvloop"],
)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both loops: the service runs on uvloop, embedders on asyncio."""
    return "asyncio", {"use_uvloop": request.param}


async def test_a_tunnel_carries_bytes_both_ways_until_the_passage_closes() -> None:
    async with serving({"/": echo}) as remote, guarding(f"127.0.0.1:{remote.port}") as guard:
        passage = guard.open("acme")
        reader, writer = await connect(passage)
        place = f"127.0.0.1:{remote.port}"
        early = b"GET / HTTP/1.1\r\n\r\nearly"
        writer.write(head_for(passage, f"CONNECT {place}") + early)
        async with asyncio.timeout(PATIENCE_S):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            assert await reader.readexactly(5) == b"early"
            writer.write(b"x" * 1_000_000)
            assert await reader.readexactly(1_000_000) == b"x" * 1_000_000
            assert passage.received_bytes == 1_000_005
            passage.close()
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
            await remote.gone.wait()
        writer.close()


async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n1")
    await reader.read()


@pytest.mark.parametrize(
    ("behave", "status", "reason"),
    [
        pytest.param(b"", 502, b"it closed the connection without an answer", id="closed"),
        pytest.param(b"SSH-2.0-x\r\n\r\n", 502, b"its answer is not HTTP", id="not HTTP"),
        pytest.param(b"HTTP/1.1 101 Up\r\n\r\n", 502, b"its answer is not HTTP", id="upgrade"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000, 502, b"not HTTP", id="endless"),
        pytest.param(silence, 502, b"it was silent for too long", id="silent"),
        pytest.param(half, 200, b"half", id="broken off"),
        pytest.param(drip, 200, b"1", id="stuck in the middle"),
    ],
)
async def test_a_server_that_fails(behave: bytes | Behave, status: int, reason: bytes) -> None:
    limits = EgressLimits(idle_us=300_000)
    async with serving({"/": behave}) as remote:
        async with guarding(f"127.0.0.1:{remote.port}", limits=limits) as guard:
            got = await ask(guard.open("acme"), f"GET http://127.0.0.1:{remote.port}/")
            assert status_of(got) == status
            assert reason in got
            assert (b"x-tidegate-egress: failed" in got) is (status == 502)
            async with asyncio.timeout(PATIENCE_S):
                await remote.gone.wait()


async def test_a_server_that_is_not_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        async with guarding(f"127.0.0.1:{port}", resolve=no_such_name) as guard:
            passage = guard.open("acme")
            plain = await ask(passage, f"GET http://127.0.0.1:{port}/")
            tunnel = await ask(passage, f"CONNECT 127.0.0.1:{port}")
            nameless = await ask(passage, f"GET http://missing.example:{port}/")
    assert plain.startswith(b"HTTP/1.1 502 connection refused\r\nx-tidegate-egress: failed")
    assert tunnel.startswith(b"HTTP/1.1 502 connection refused\r\n")
    assert nameless.startswith(b"HTTP/1.1 502 its name does not exist\r\n")
    assert passage.refusals == ()


def no_such_name(host: str) -> Sequence[str]:
    raise socket.gaierror(socket.EAI_NONAME, "no such name")


async def test_a_slow_name_holds_up_its_tenant_alone() -> None:
    release = threading.Event()
    asked: list[str] = []

    def slow(host: str) -> Sequence[str]:
        asked.append(host)
        if host.startswith("slow"):
            release.wait(PATIENCE_S)
        return ["127.0.0.1"]

    limits = EgressLimits(lookup_us=300_000, lookups_per_tenant=1)
    try:
        async with serving({"/": answer(b"hello")}) as remote:
            allow = f"127.0.0.1:{remote.port}"
            async with guarding(allow, limits=limits, resolve=slow) as guard:
                noisy, quiet = guard.open("noisy"), guard.open("quiet")
                got = await asyncio.gather(
                    ask(noisy, f"GET http://slow1.example:{remote.port}/"),
                    ask(noisy, f"GET http://slow2.example:{remote.port}/"),
                    ask(quiet, f"GET http://quick.example:{remote.port}/"),
                )
    finally:
        release.set()
    assert got[0].startswith(b"HTTP/1.1 502 its name was not resolved within 0.3 s")
    assert got[1].startswith(b"HTTP/1.1 502 its name was not resolved within 0.3 s")
    assert got[2].endswith(b"hello")
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (EgressLimits(received_max_bytes=50_000), "more than 50000 bytes were received"),
        (EgressLimits(sent_max_bytes=1_000), "more than 1000 bytes were sent"),
    ],
)
@pytest.mark.parametrize("tunnelled", [False, True])
async def test_budgets_cut_the_connection(
    limits: EgressLimits, reason: str, tunnelled: bool
) -> None:
    async with serving({"/": answer(b"x" * 1_000_000)}) as remote:
        place = f"127.0.0.1:{remote.port}"
        async with guarding(place, limits=limits) as guard:
            passage = guard.open("acme")
            padding = "X: " + "x" * 2_000
            if tunnelled:
                request = f"GET / HTTP/1.1\r\n{padding}\r\n\r\n".encode()
                got = await ask(passage, f"CONNECT {place}", body=request)
            else:
                got = await ask(passage, f"GET http://{place}/", padding)
    assert len(got) < 100_000
    assert [refusal.reason for refusal in passage.refusals] == [reason]


async def test_connections_of_a_passage_are_counted() -> None:
    limits = EgressLimits(connections_per_passage=2)
    async with serving({"/": silence, "/quick": answer(b"hello")}) as remote:
        async with guarding(f"127.0.0.1:{remote.port}", limits=limits) as guard:
            passage, other = guard.open("acme"), guard.open("acme")
            url = f"http://127.0.0.1:{remote.port}/"
            held = [asyncio.create_task(ask(passage, f"GET {url}")) for _ in range(2)]
            while len(remote.heads) < 2:
                await asyncio.sleep(0.01)
            assert status_of(await ask(passage, f"GET {url}quick")) == 403
            assert status_of(await ask(other, f"GET {url}quick")) == 200
            passage.close()
            assert await asyncio.gather(*held) == [b"", b""]
    assert [refusal.reason for refusal in passage.refusals] == ["more than 2 connections at once"]


async def test_the_guard_has_a_last_connection() -> None:
    async with guarding("", limits=EgressLimits(connections_max=1)) as guard:
        passage = guard.open("acme")
        first, holding = await connect(passage)
        await asyncio.sleep(0.1)
        assert await ask(passage, "GET http://10.0.0.1/") == b""
        holding.close()
        await asyncio.sleep(0.1)
        assert status_of(await ask(passage, "GET http://10.0.0.1/")) == 403
        assert await first.read() == b""


async def test_a_client_that_says_nothing_is_let_go() -> None:
    async with guarding("", limits=EgressLimits(head_us=200_000)) as guard:
        reader, writer = await connect(guard.open("acme"))
        writer.write(b"GET http://example.com/ HTTP/1.1\r\nHos")
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
        writer.close()


async def test_a_client_that_leaves_takes_the_server_connection_with_it() -> None:
    async with serving({"/": silence}) as remote, guarding(f"127.0.0.1:{remote.port}") as guard:
        passage = guard.open("acme")
        reader, writer = await connect(passage)
        url = f"http://127.0.0.1:{remote.port}/"
        writer.write(head_for(passage, f"GET {url}"))
        while not remote.heads:
            await asyncio.sleep(0.01)
        writer.close()
        async with asyncio.timeout(PATIENCE_S):
            await remote.gone.wait()
        assert await reader.read() == b""


async def test_a_slow_client_slows_the_server_down() -> None:
    sent_bytes = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent_bytes
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while sent_bytes < 60_000_000:
            writer.write(b"x" * 100_000)
            await writer.drain()
            sent_bytes += 100_000

    async with serving({"/": flood}) as remote, guarding(f"127.0.0.1:{remote.port}") as guard:
        passage = guard.open("acme")
        reader, writer = await connect(passage)
        url = f"http://127.0.0.1:{remote.port}/"
        writer.write(head_for(passage, f"GET {url}"))
        before = -1
        while before != sent_bytes or not sent_bytes:
            before = sent_bytes
            await asyncio.sleep(0.3)
        assert sent_bytes < 40_000_000
        size = 0
        async with asyncio.timeout(PATIENCE_S):
            while data := await reader.read(65536):
                size += len(data)
        assert size > 60_000_000
        writer.close()


async def test_stop_leaves_nothing() -> None:
    tasks_before = len(asyncio.all_tasks())
    async with serving({"/": silence}) as remote, guarding(f"127.0.0.1:{remote.port}") as guard:
        tasks_idle = len(asyncio.all_tasks())
        passage = guard.open("acme")
        url = f"http://127.0.0.1:{remote.port}/"
        held = [asyncio.create_task(ask(passage, f"GET {url}")) for _ in range(20)]
        while len(remote.heads) < 20:
            await asyncio.sleep(0.01)
        await asyncio.gather(guard.stop(), guard.stop())
        assert await asyncio.gather(*held) == [b""] * 20
        while len(asyncio.all_tasks()) > tasks_idle:
            await asyncio.sleep(0.01)
        await guard.start()
        assert status_of(await ask(guard.open("acme"), "GET http://10.0.0.1/")) == 403
    assert len(asyncio.all_tasks()) == tasks_before
