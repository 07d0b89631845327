"""The wire of an event loop when the way to the server breaks, hangs or says nonsense."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.integration.redis_wires import PATIENT, PATIENT_US, SHORT, SHORT_US, at, both_loops
from tests.servers.proxy import Proxy
from tests.servers.valkey import Valkey
from tidegate.adapters.redis.bounds import Bounds
from tidegate.adapters.redis.endpoint import Endpoint
from tidegate.adapters.redis.wire import AsyncWire
from tidegate.errors import StoreUnavailable

pytestmark = [pytest.mark.anyio, pytest.mark.needs("valkey_own")]
pytest_plugins = ["tests.servers.fixtures"]
anyio_backend = both_loops


async def test_a_cut_within_a_reply_fails_all_and_connecting_again_helps(
    valkey_proxy: Proxy,
) -> None:
    async with AsyncWire(at(valkey_proxy.port), PATIENT) as wire:
        valkey_proxy.stall("down")
        calls = [wire.send(("ECHO", "four")) for _ in range(10)]
        await asyncio.sleep(0)
        valkey_proxy.cut_after(len(b"$4\r\nfour\r\n") * 3 + 5)
        valkey_proxy.resume()
        replies = await asyncio.gather(*calls, return_exceptions=True)
        assert replies[:3] == [b"four"] * 3
        assert {type(reply) for reply in replies[3:]} == {StoreUnavailable}
        assert not wire.connected
        with pytest.raises(StoreUnavailable, match="closed the connection"):
            wire.send(("PING",))
        await wire.connect()
        assert await wire.call("ECHO", "again") == b"again"


async def test_a_reset_fails_what_is_under_way(valkey_proxy: Proxy) -> None:
    async with AsyncWire(at(valkey_proxy.port), PATIENT) as wire:
        valkey_proxy.stall("down")
        call = wire.send(("PING",))
        await asyncio.sleep(0)
        valkey_proxy.cut()
        with pytest.raises(StoreUnavailable, match=r"reset by peer|closed the connection"):
            await call


async def test_a_silent_server_costs_the_connection_at_the_deadline(valkey_proxy: Proxy) -> None:
    async with AsyncWire(at(valkey_proxy.port), SHORT) as wire:
        for _ in range(3):
            assert await wire.call("PING") == b"PONG"
        valkey_proxy.stall()
        started_s = time.monotonic()
        calls = [asyncio.create_task(wire.call("PING")) for _ in range(50)]
        replies = await asyncio.gather(*calls, return_exceptions=True)
        took_s = time.monotonic() - started_s
        assert {str(reply).rpartition(": ")[2] for reply in replies} == {"no answer within 0.5 s"}
        assert SHORT_US / 1e6 <= took_s < 5
        assert not wire.connected
        valkey_proxy.resume()
        await wire.connect()
        assert await wire.call("PING") == b"PONG"


async def test_answers_within_the_deadline_never_cost_the_connection(valkey_proxy: Proxy) -> None:
    """Each call is in time although one is always under way for longer than the deadline."""
    async with AsyncWire(
        at(valkey_proxy.port), Bounds(connect_timeout_us=PATIENT_US, deadline_us=1_000_000)
    ) as wire:
        valkey_proxy.delay(0.1)
        until_s = time.monotonic() + 1.5

        async def call_on(delay_s: float) -> int:
            calls = 0
            await asyncio.sleep(delay_s)
            while time.monotonic() < until_s:
                assert await wire.call("PING") == b"PONG"
                calls += 1
            return calls

        assert sum(await asyncio.gather(*(call_on(n / 100) for n in range(20)))) >= 40


async def test_a_stopped_process_reads_what_waits_before_it_judges(
    redis_endpoint: Endpoint,
) -> None:
    async with AsyncWire(redis_endpoint, SHORT) as wire:
        # More than one turn of the loop can read.
        calls = [wire.send(("ECHO", b"x" * 2**15)) for _ in range(16)]
        await asyncio.sleep(0)  # They are written now.
        time.sleep(2 * SHORT_US / 1e6)  # noqa: ASYNC251 - the whole process is made to hang.
        assert await asyncio.gather(*calls) == [b"x" * 2**15] * 16


async def test_a_killed_server_is_found_again(own_valkey: Valkey) -> None:
    async with AsyncWire(at(own_valkey.port), PATIENT) as wire:
        await wire.call("SET", "key", "kept")
        own_valkey.freeze()
        call = wire.send(("GET", "key"))
        await asyncio.sleep(0)
        own_valkey.kill()
        with pytest.raises(StoreUnavailable):
            await call
        with pytest.raises(StoreUnavailable, match="connection refused"):
            await wire.connect()
        own_valkey.restart()
        await wire.connect()
        assert await wire.call("GET", "key") == b"kept"


async def test_closing_ends_calls_and_attempts(valkey_proxy: Proxy) -> None:
    wire = AsyncWire(at(valkey_proxy.port), PATIENT)
    await wire.connect()
    valkey_proxy.stall()
    call = asyncio.create_task(wire.call("PING"))
    await asyncio.sleep(0)
    await wire.close()
    with pytest.raises(StoreUnavailable, match="closed by this side"):
        await call
    attempt = asyncio.create_task(wire.connect())
    await asyncio.sleep(0)
    await wire.close()
    with pytest.raises(StoreUnavailable, match="closed by this side"):
        await attempt
    await wire.close()


async def test_what_waits_is_bounded(valkey_proxy: Proxy) -> None:
    bounds = Bounds(
        connect_timeout_us=PATIENT_US,
        deadline_us=PATIENT_US,
        calls_max=10_000,
        unsent_bytes_max=2**20,
    )
    wire = AsyncWire(at(valkey_proxy.port), bounds)
    await wire.connect()
    valkey_proxy.stall("up")
    chunk = b"x" * 2**18
    calls = []
    with pytest.raises(StoreUnavailable, match="too many calls wait"):
        while True:
            calls.append(wire.send(("ECHO", chunk)))
            await asyncio.sleep(0)
    assert len(calls) < 200
    valkey_proxy.resume()
    assert await asyncio.gather(*calls) == [chunk] * len(calls)
    many = [wire.send(("PING",)) for _ in range(10_000)]
    with pytest.raises(StoreUnavailable, match="too many calls wait"):
        wire.send(("PING",))
    assert await asyncio.gather(*many) == [b"PONG"] * 10_000
    await wire.close()


@pytest.mark.parametrize(
    "nonsense",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"$9999999999999999999\r\n", b"*0\r\n" * 9],
    ids=["http", "too large", "too many"],
)
async def test_nonsense_is_noticed(nonsense: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(nonsense)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        wire = AsyncWire(at(server.sockets[0].getsockname()[1]), PATIENT)
        with pytest.raises(StoreUnavailable, match="makes no sense"):
            await wire.connect()
        await wire.close()
