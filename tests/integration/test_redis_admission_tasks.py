"""The admission store of an event loop: the same replies, and who is woken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

import pytest

from tests.conformance.batch_limits import comparable
from tests.conformance.batches import random_batches
from tests.conformance.worlds import WorldStore
from tests.integration.redis_admission import HOLD, PREFIX, batch, timeless
from tests.integration.redis_wires import both_loops
from tests.servers.proxy import Proxy
from tests.servers.valkey import Valkey
from tidegate.adapters.redis.address import parse_address
from tidegate.adapters.redis.admission_store import RedisSharedStore
from tidegate.domain.batch import APPLIED, Done, GiveBack, Wait, Yes
from tidegate.domain.rule import STOCK, Rule
from tidegate.errors import StoreUnavailable

pytestmark = [pytest.mark.anyio, pytest.mark.needs("valkey_own")]
pytest_plugins = ["tests.servers.fixtures"]
anyio_backend = both_loops

ONE = (Rule(kind=STOCK, ceiling=1),)
WAIT = Wait(0, 0, 1, "t", "x", 1, 500)


@asynccontextmanager
async def open_store(url: str, timeout_s: float = 60) -> AsyncIterator[RedisSharedStore]:
    store = RedisSharedStore(parse_address(url), timeout_s=timeout_s)
    try:
        await store.connect()
        yield store
    finally:
        await store.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.005)


async def test_random_batches_get_the_replies_of_the_rule(redis_url: str) -> None:
    world = WorldStore()
    async with open_store(redis_url) as store:
        for sent in random_batches(Random(99), 300):
            expected, reply = world.apply(sent), await store.apply(sent)
            if reply.state == APPLIED:
                expected, reply = comparable(sent, expected), comparable(sent, reply)
            assert reply == expected


async def test_a_member_is_woken_by_the_batch_of_another(own_valkey: Valkey) -> None:
    woken = 0

    def wake() -> None:
        nonlocal woken
        woken += 1

    async with open_store(own_valkey.url) as one, open_store(own_valkey.url) as other:
        one.listen("waits", wake)
        await until(lambda: woken == 1)
        await one.apply(batch(1, HOLD, rules=ONE))
        await other.apply(batch(1, WAIT, member="waits", rules=ONE))
        reply = await one.apply(batch(2, GiveBack((0, 1)), rules=ONE))
        assert reply.woken == ("waits",)
        await until(lambda: woken == 2)
        # Whoever asks for itself is told by its reply alone.
        again = await other.apply(batch(2, HOLD, GiveBack((0, 1)), member="waits", rules=ONE))
        assert again.woken == ("waits",)
        assert woken == 2
        own_valkey.kill()
        own_valkey.restart()
        await until(lambda: woken == 3)
        await one.connect()
        await one.apply(batch(3, HOLD, GiveBack((0, 1)), rules=ONE))
        await until(lambda: woken == 4)
        # Another name, as after the member was lost.
        one.listen("anew", wake)
        await until(lambda: woken == 5)
        own_valkey.ask("PUBLISH", f"{PREFIX}woken:waits", "")
        own_valkey.ask("PUBLISH", f"{PREFIX}woken:anew", "")
        await until(lambda: woken == 6)


async def test_listening_outlives_a_cut_and_a_server_that_is_away(
    own_valkey: Valkey, valkey_proxy: Proxy
) -> None:
    woken = 0

    def wake() -> None:
        nonlocal woken
        woken += 1

    store = RedisSharedStore(parse_address(f"redis://127.0.0.1:{valkey_proxy.port}"), timeout_s=60)
    valkey_proxy.refuse()
    store.listen("m", wake)
    await asyncio.sleep(0)
    valkey_proxy.accept()
    await until(lambda: woken == 1)
    valkey_proxy.cut()
    await until(lambda: woken == 2)
    own_valkey.ask("PUBLISH", f"{PREFIX}woken:m", "")
    await until(lambda: woken == 3)
    await store.close()
    await until(lambda: valkey_proxy.connections == 0)


async def test_a_lost_reply_is_asked_for_again(valkey_proxy: Proxy) -> None:
    url = f"redis://127.0.0.1:{valkey_proxy.port}"
    async with open_store(url, timeout_s=0.3) as store:
        valkey_proxy.stall("down")
        with pytest.raises(StoreUnavailable, match=r"no answer within 0\.3 s"):
            await store.apply(batch(1, HOLD))
        with pytest.raises(StoreUnavailable):
            await store.apply(batch(1, HOLD))
        valkey_proxy.resume()
        await store.connect()
        reply = await store.apply(batch(1, HOLD))
        assert isinstance(reply.answers[0], Yes)
        gone = await store.apply(batch(2, GiveBack((0, 9)), hello=False))
        assert timeless(gone).answers == (Done(),)


async def test_a_cancelled_caller_leaves_the_connection_in_order(own_valkey: Valkey) -> None:
    async with open_store(own_valkey.url) as store:
        own_valkey.freeze()
        asked = asyncio.create_task(store.apply(batch(1, HOLD)))
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        own_valkey.thaw()
        reply = await store.apply(batch(1, HOLD))
        assert isinstance(reply.answers[0], Yes)
        reply = await store.apply(batch(2, HOLD))
        assert isinstance(reply.answers[0], Yes)


async def test_scripts_that_the_server_forgot_are_loaded_again(own_valkey: Valkey) -> None:
    async with open_store(own_valkey.url) as store:
        own_valkey.ask("SCRIPT", "FLUSH")
        assert (await store.apply(batch(1, HOLD))).state == APPLIED
        own_valkey.ask("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(StoreUnavailable, match="replica"):
            await store.apply(batch(2, HOLD))
        with pytest.raises(StoreUnavailable, match="not connected"):
            await store.apply(batch(2, HOLD))
        with pytest.raises(StoreUnavailable, match="replica"):
            await store.connect()
        own_valkey.ask("REPLICAOF", "NO", "ONE")
        await store.connect()
        assert (await store.apply(batch(2, HOLD))).state == APPLIED


async def test_nothing_is_left_open(own_valkey: Valkey) -> None:
    def clients() -> int:
        return len(own_valkey.ask("CLIENT", "LIST", "TYPE", "normal").splitlines()) - 1

    before = clients()
    store = RedisSharedStore(parse_address(own_valkey.url))
    store.listen("m", lambda: None)
    await asyncio.gather(*(store.connect() for _ in range(5)))
    await until(lambda: clients() == before + 1)
    await store.close()
    await until(lambda: clients() == before)
    await store.close()
