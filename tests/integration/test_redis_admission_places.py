"""The admission store wherever it may be: sockets, TLS, groups under sentinels, clusters."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from random import Random

import pytest

from tests.conformance.batch_limits import comparable
from tests.conformance.batches import random_batches
from tests.conformance.worlds import WorldStore
from tests.integration.redis_admission import HOLD, PREFIX, batch, carried, held, store_at
from tests.integration.redis_wires import PEM
from tests.servers.cluster import Cluster
from tests.servers.proxy import Proxy
from tests.servers.sentinel import Sentinels
from tests.servers.valkey import Valkey
from tidegate.adapters.redis.address import parse_address
from tidegate.adapters.redis.admission_store import RedisSharedStore
from tidegate.adapters.redis.blocking_admission_store import RedisBlockingStore
from tidegate.domain.batch import APPLIED, LOST, Look
from tidegate.errors import InvalidSetting, StoreUnavailable

GUIDE = Path(__file__).parents[2] / "docs/guides/shared-stores.md"

pytest_plugins = ["tests.servers.fixtures"]
pytestmark = [pytest.mark.anyio, pytest.mark.needs("valkey_own")]


def conform(url: str) -> None:
    world, store = WorldStore(), store_at(url)
    for sent in random_batches(Random(url.partition(":")[0]), 100):
        expected, reply = world.apply(sent), store.apply(sent)
        if reply.state == APPLIED:
            expected, reply = comparable(sent, expected), comparable(sent, reply)
        assert reply == expected
    store.close()


async def conform_in_tasks(url: str) -> None:
    world, store = WorldStore(), RedisSharedStore(parse_address(url), timeout_s=60)
    await store.connect()
    for sent in random_batches(Random(url), 50):
        assert (await store.apply(sent)).state == world.apply(sent).state
    await store.close()


async def test_over_a_unix_socket(own_valkey: Valkey) -> None:
    conform(f"unix://{own_valkey.socket_path}")
    await conform_in_tasks(f"unix://{own_valkey.socket_path}?name=other")


async def test_over_tls(own_valkey: Valkey) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(PEM)
    with Proxy(own_valkey.port, tls=context) as proxy:
        url = f"rediss://127.0.0.1:{proxy.port}?ssl_ca_certs={PEM}"
        conform(url)
        await conform_in_tasks(f"{url}&name=other")


async def test_as_a_user_with_no_more_rights_than_needed(own_valkey: Valkey) -> None:
    rights = "~tidegate:* &tidegate:* +@connection +@scripting +@read +@write +@pubsub +time +role"
    own_valkey.ask("ACL", "SETUSER", "gate", "on", ">x", *rights.split())
    url = f"redis://gate:x@127.0.0.1:{own_valkey.port}"
    assert rights in GUIDE.read_text("utf-8")
    conform(url)
    store = RedisSharedStore(parse_address(url))
    heard = asyncio.Event()
    store.listen("m", heard.set)
    await asyncio.wait_for(heard.wait(), 30)
    await store.close()


@pytest.mark.slow
async def test_under_sentinels(sentinel_url: str) -> None:
    conform(sentinel_url)
    await conform_in_tasks(f"{sentinel_url}?name=other")


@pytest.mark.slow
async def test_in_a_cluster(cluster_url: str) -> None:
    conform(cluster_url)
    await conform_in_tasks(f"{cluster_url}?name=other")


@pytest.mark.slow
def test_a_fail_over_costs_at_most_what_was_not_copied(own_sentinels: Sentinels) -> None:
    store = RedisBlockingStore(parse_address(own_sentinels.url), timeout_s=2)
    assert carried(store, batch(1, HOLD, Look((0,)))).state == APPLIED
    own_sentinels.primary().ask("WAIT", 2, 10_000)
    old, _ = own_sentinels.fail_over()
    reply = carried(store, batch(2, HOLD, Look((0,)), hello=False))
    assert (reply.state, held(reply)) == (APPLIED, 2)
    # What had not reached the new primary is lost, and the member is told.
    own_sentinels.primary().flush()
    assert carried(store, batch(3, HOLD, hello=False)).state == LOST
    old.restart()
    assert carried(store, batch(4, HOLD)).state == APPLIED
    store.close()


@pytest.mark.slow
def test_a_cluster_may_move_the_keys_or_lose_their_server(own_cluster: Cluster) -> None:
    store = RedisBlockingStore(parse_address(own_cluster.url), timeout_s=2)
    other = next(n for n in own_cluster.primaries() if n is not own_cluster.owner(PREFIX))
    store.connect()
    own_cluster.flush()
    own_cluster.move_slot(PREFIX, other)
    with pytest.raises(StoreUnavailable, match="another node of the cluster serves its keys now"):
        store.apply(batch(1, HOLD))
    assert held(carried(store, batch(1, HOLD, Look((0,))))) == 1
    other.ask("WAIT", 1, 10_000)
    own_cluster.fail_over(PREFIX)
    reply = carried(store, batch(2, HOLD, Look((0,)), hello=False))
    assert (reply.state, held(reply)) == (APPLIED, 2)
    store.close()


def refused(url: str, match: str) -> None:
    store = RedisBlockingStore(parse_address(url), timeout_s=2)
    with pytest.raises(InvalidSetting, match=match):
        store.connect()
    store.close()


@pytest.mark.slow
def test_an_address_of_another_kind_is_a_wrong_setting(
    shared_sentinels: Sentinels, shared_cluster: Cluster, own_valkey: Valkey
) -> None:
    sentinel = shared_sentinels.sentinels[0].port
    refused(f"redis://127.0.0.1:{sentinel}", r"redis\+sentinel://")
    refused(shared_sentinels.url.rpartition("/")[0] + "/other", "a name the sentinels know")
    refused(f"redis+cluster://127.0.0.1:{own_valkey.port}", "a node of a cluster")
    other = next(n for n in shared_cluster.primaries() if n is not shared_cluster.owner(PREFIX))
    refused(f"redis://127.0.0.1:{other.port}", r"redis\+cluster://")


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1:1", "redis+sentinel://127.0.0.1:1/g", "redis+cluster://127.0.0.1:1"]
)
async def test_where_nobody_answers_a_retry_may_help(url: str) -> None:
    store = RedisBlockingStore(parse_address(url), timeout_s=2)
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1.*refused"):
        store.connect()
    tasks = RedisSharedStore(parse_address(url), timeout_s=2)
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1.*refused"):
        await tasks.connect()
    await tasks.close()
