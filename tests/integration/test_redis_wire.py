"""The wire of an event loop: what comes back, to whom, and how it travels."""

from __future__ import annotations

import asyncio
from unittest.mock import Mock

import pytest

from tests.integration.redis_wires import PATIENT, both_loops
from tidegate.adapters.redis.endpoint import Endpoint
from tidegate.adapters.redis.reply import Arg, ServerError
from tidegate.adapters.redis.wire import AsyncWire

pytestmark = [pytest.mark.anyio, pytest.mark.needs("valkey_own")]
pytest_plugins = ["tests.servers.fixtures"]
anyio_backend = both_loops

INCREASE = "return redis.call('INCRBY', KEYS[1], ARGV[1])"


async def test_replies_are_what_the_protocol_says(redis_endpoint: Endpoint) -> None:
    async with AsyncWire(redis_endpoint, PATIENT) as wire:
        assert wire.server["role"] == "master"
        assert await wire.call("SET", "key", b"\x00\r\n\xff") == b"OK"
        assert await wire.call("GET", b"key") == b"\x00\r\n\xff"
        assert await wire.call("GET", "none") is None
        assert await wire.call("INCRBY", "number", 2**62) == 2**62
        assert await wire.call("ECHO", "\u00fc") == "\u00fc".encode()
        script = "return {1, {'a', false}, redis.error_reply('ODD one')}"
        one, (a, none), odd = await wire.call("EVAL", script, 0)
        assert (one, a, none) == (1, b"a", None)
        assert (odd.kind, odd.message) == ("ODD", "one")
        assert wire.calls_pending == 0


async def test_large_calls_and_replies_pass(redis_endpoint: Endpoint) -> None:
    big = b"x" * (5 * 2**20)
    async with AsyncWire(redis_endpoint, PATIENT) as wire:
        await wire.call("SET", "big", big)
        replies = await asyncio.gather(*(wire.call("GET", "big") for _ in range(8)))
        assert replies == [big] * 8


async def test_a_refusal_is_raised_and_harms_nobody(redis_endpoint: Endpoint) -> None:
    async with AsyncWire(redis_endpoint, PATIENT) as wire:
        before, refused, after = (
            wire.send(("ECHO", "1")),
            wire.send(("EVALSHA", "0" * 40, 0)),
            wire.send(("ECHO", "2")),
        )
        with pytest.raises(ServerError, match="NOSCRIPT No matching script") as caught:
            await refused
        assert caught.value.kind == "NOSCRIPT"
        assert [await before, await after] == [b"1", b"2"]


@pytest.mark.parametrize(
    "args", [("ECHO", None), ("ECHO", True), ("ECHO", "\ud800")], ids=["none", "bool", "half"]
)
async def test_what_cannot_be_sent_is_refused_and_harms_nobody(
    redis_endpoint: Endpoint, args: tuple[Arg, ...]
) -> None:
    async with AsyncWire(redis_endpoint, PATIENT) as wire:
        before = wire.send(("ECHO", "1"))
        with pytest.raises((TypeError, UnicodeEncodeError)):
            await wire.call(*args)
        assert [await before, await wire.call("ECHO", "2")] == [b"1", b"2"]


async def test_thousands_of_tasks_share_the_wire(redis_endpoint: Endpoint) -> None:
    tasks, calls = 5000, 3
    async with AsyncWire(redis_endpoint, PATIENT) as wire:
        script = await wire.call("SCRIPT", "LOAD", INCREASE)

        async def one(number: int) -> list[int]:
            key = f"key:{number}"
            return [await wire.call("EVALSHA", script, 1, key, number) for _ in range(calls)]

        replies = await asyncio.gather(*map(one, range(tasks)))
        assert replies == [[n * k for k in range(1, calls + 1)] for n in range(tasks)]


async def test_the_calls_of_one_turn_leave_in_one_write(
    redis_endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncWire(redis_endpoint, PATIENT) as wire:
        link = wire._link
        assert link is not None
        transport = Mock(wraps=link._transport)
        monkeypatch.setattr(link, "_transport", transport)
        await asyncio.gather(*(wire.call("ECHO", n) for n in range(100)))
        assert transport.write.call_count == 1


async def test_cancelled_callers_disturb_no_one(redis_endpoint: Endpoint) -> None:
    async with AsyncWire(redis_endpoint, PATIENT) as wire:
        for early in (True, False):
            tasks = [asyncio.create_task(wire.call("ECHO", n)) for n in range(300)]
            # Some go before their call is written, some while it is under way.
            await asyncio.sleep(0)
            if not early:
                await asyncio.sleep(0)
            for task in tasks[::3]:
                task.cancel()
            replies = await asyncio.gather(*tasks, return_exceptions=True)
            for number, reply in enumerate(replies):
                if number % 3:
                    assert reply == str(number).encode()
                else:
                    assert isinstance(reply, asyncio.CancelledError)
        assert await wire.call("ECHO", "end") == b"end"
