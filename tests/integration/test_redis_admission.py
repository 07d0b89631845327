"""The admission store on a real server: once and only once, whatever happens on the way."""

from __future__ import annotations

from random import Random

import pytest

from tests.integration.redis_admission import (
    HOLD,
    NOW_US,
    PREFIX,
    batch,
    carried,
    held,
    store_at,
    timeless,
)
from tests.servers.proxy import Proxy
from tests.servers.resp import ask
from tests.servers.valkey import Valkey
from tidegate.adapters.redis.address import parse_address
from tidegate.adapters.redis.blocking_admission_store import RedisBlockingStore
from tidegate.domain.batch import (
    APPLIED,
    LOST,
    Admit,
    Adopt,
    Batch,
    Done,
    GiveBack,
    Levels,
    Look,
    Reply,
    Wait,
    Yes,
    levels_of,
)
from tidegate.domain.rule import RATE, Rule
from tidegate.errors import InvalidSetting, StoreUnavailable

pytest_plugins = ["tests.servers.fixtures"]


@pytest.mark.slow
@pytest.mark.needs("valkey_own")
def test_thousands_of_batches_are_applied_once_though_replies_are_cut(
    valkey_proxy: Proxy, own_valkey: Valkey
) -> None:
    rng, units, token = Random(7), 0, 0
    store = RedisBlockingStore(parse_address(f"redis://127.0.0.1:{valkey_proxy.port}"))
    for seq in range(1, 3001):
        claims = rng.randrange(6)
        gone = rng.randrange(units + 1)
        if seq % 3 == 0:
            # Before, within or after the reply: it is some 30 bytes long, and 8 for each answer.
            valkey_proxy.cut_after(rng.randrange(80))
        reply = carried(store, batch(seq, *[HOLD] * claims, GiveBack((0, gone)), Look((0,))))
        assert reply.state == APPLIED
        units += claims - gone
        assert held(reply) == units
        for answer in reply.answers[:claims]:
            assert isinstance(answer, Yes)
            assert answer.token > token
            token = answer.token
    store.close()
    assert own_valkey.ask("HGETALL", f"{PREFIX}h:m") == [b"room", b"%d" % units]
    assert valkey_proxy.accepted > 500


@pytest.mark.needs("valkey")
def test_a_batch_sent_again_gets_the_same_reply_from_any_connection(redis_url: str) -> None:
    first, second = store_at(redis_url), store_at(redis_url)
    reply = first.apply(batch(1, HOLD, Look((0,))))
    assert second.apply(batch(1, HOLD, Look((0,)))) == reply
    assert timeless(first.apply(batch(2, GiveBack((0, 1)), Look((0,))))).answers[0] == Done()
    # The first one once more, after its successor: it came late, and nobody waits for it.
    assert second.apply(batch(1, HOLD)).state == LOST
    assert held(first.apply(batch(3, Look((0,))))) == 0
    first.close()
    second.close()


@pytest.mark.needs("valkey")
def test_scripts_that_the_server_forgot_are_loaded_again(redis_url: str) -> None:
    store = store_at(redis_url)
    address = parse_address(redis_url).nodes[0]
    for seq in range(1, 4):
        ask(address.port, "SCRIPT", "FLUSH")
        assert held(store.apply(batch(seq, HOLD, Look((0,))))) == seq
    store.close()


@pytest.mark.needs("valkey_own")
def test_a_restarted_server_that_lost_everything_says_so(own_valkey: Valkey) -> None:
    store = store_at(own_valkey.url)
    store.apply(batch(1, HOLD))
    own_valkey.flush()
    assert store.apply(batch(2, HOLD, hello=False)).state == LOST
    reply = store.apply(batch(3, HOLD, Look((0,))))
    assert (reply.state, held(reply)) == (APPLIED, 1)
    store.close()


@pytest.mark.needs("valkey_own")
def test_a_full_memory_changes_nothing_and_says_so(own_valkey: Valkey) -> None:
    store = store_at(own_valkey.url)
    store.apply(batch(1, HOLD))
    own_valkey.ask("CONFIG", "SET", "maxmemory", 1)
    dead = batch(1, HOLD, Wait(0, 0, 1, "t", "x", 1, 500), member="dead")
    for refused in (batch(2, HOLD), batch(2, Wait(0, 0, 1, "t", "x", 1, 500)), dead):
        with pytest.raises(StoreUnavailable, match=r"memory is full \(maxmemory\)"):
            carry_once(store, refused)
    own_valkey.ask("CONFIG", "SET", "maxmemory", 0)
    reply = carried(store, batch(2, HOLD, Look((0,))))
    assert held(reply) == 2
    assert own_valkey.ask("ZRANGE", f"{PREFIX}members", 0, -1) == [b"m"]
    store.close()


def carry_once(store: RedisBlockingStore, sent: Batch) -> Reply:
    store.connect()
    return store.apply(sent)


@pytest.mark.needs("valkey_own")
def test_a_primary_that_became_a_replica_is_left(own_valkey: Valkey) -> None:
    with Valkey() as other:
        store = store_at(own_valkey.url)
        own_valkey.ask("REPLICAOF", "127.0.0.1", other.port)
        with pytest.raises(StoreUnavailable, match="it is a replica now, and takes no writes"):
            store.apply(batch(1, HOLD))
        with pytest.raises(StoreUnavailable, match="it is a replica now, and takes no writes"):
            store.connect()
        own_valkey.ask("REPLICAOF", "NO", "ONE")
        assert carried(store, batch(1, HOLD)).state == APPLIED
        store.close()


@pytest.mark.needs("valkey_own")
@pytest.mark.parametrize(
    ("command", "credentials", "field", "allowed"),
    [
        ("ACL SETUSER ann on >x ~* &* +@all -@scripting", "ann:x@", "store_url", "may run scripts"),
        ("ACL SETUSER ann on >x ~other:* &* +@all", "ann:x@", "store_url", "tidegate:*"),
        ("PING", "ann:wrong@", "store_url", "that the server knows"),
        ("CONFIG SET requirepass x", "", "store_url", "a user and a password"),
    ],
)
def test_what_can_never_work_is_a_wrong_setting(
    own_valkey: Valkey, command: str, credentials: str, field: str, allowed: str
) -> None:
    own_valkey.ask(*command.split())
    store = RedisBlockingStore(parse_address(f"redis://{credentials}127.0.0.1:{own_valkey.port}"))
    with pytest.raises(InvalidSetting, match=allowed.replace("*", r"\*")) as caught:
        store.connect()
    assert caught.value.field == field
    with pytest.raises(StoreUnavailable, match="not connected"):
        store.apply(batch(1))


class Renamed(Valkey):
    """A server that knows a command under another name only."""

    def __init__(self, renamed: str) -> None:
        super().__init__()
        self._renamed = renamed

    def command(self) -> list[str]:
        return [*super().command(), "--rename-command", self._renamed, "hidden"]


@pytest.mark.needs("valkey_own")
@pytest.mark.parametrize("command", ["hello", "evalsha"])
def test_a_server_without_what_is_needed_is_a_wrong_setting(command: str) -> None:
    with Renamed(command) as server:
        store = RedisBlockingStore(parse_address(server.url))
        with pytest.raises(InvalidSetting, match="Redis from version 6"):
            store.connect()


@pytest.mark.needs("valkey_own")
def test_a_database_that_is_not_there_is_a_wrong_setting(own_valkey: Valkey) -> None:
    store = RedisBlockingStore(parse_address(f"{own_valkey.url}?db=99".replace("/0?", "?")))
    with pytest.raises(InvalidSetting, match=r"store_url\.db"):
        store.connect()


@pytest.mark.parametrize("timeout_s", [0, -1, 61, float("nan")])
def test_a_timeout_out_of_range_is_a_wrong_setting(timeout_s: float) -> None:
    with pytest.raises(InvalidSetting, match="timeout_s"):
        RedisBlockingStore(parse_address("redis://h"), timeout_s=timeout_s)


@pytest.mark.needs("valkey")
def test_a_batch_may_be_large(redis_url: str) -> None:
    """A thousand claims of eight cells each, all different: more than Lua unpacks at once."""
    store = store_at(redis_url)
    rule = Rule(kind=RATE, ceiling=5, drain=1, forget_us=5)
    cells = tuple(f"cell {number}" for number in range(8 * 1024))
    claims = [
        Admit(
            tuple(word for at in range(8) for word in (8 * number + at, 0, 1)),
            "x",
            claim_id=f"i{number}",
        )
        for number in range(1024)
    ]
    whole = Batch("m", 1, 10**9, True, NOW_US, (rule,), cells, (*claims, Look((0, 8191))))
    reply = store.apply(whole)
    assert [type(answer) for answer in reply.answers[:-1]] == [Yes] * 1024
    looked = reply.answers[-1]
    assert isinstance(looked, Levels)
    assert [level.amount for level in levels_of(looked)] == [1, 1]
    assert store.apply(whole) == reply
    holds = Batch("m", 2, 10**9, True, NOW_US, (), cells, (Adopt((*range(2 * 4096),)),))
    assert store.apply(holds).answers == (Done(),)
    store.close()


@pytest.mark.needs("valkey")
def test_stores_of_other_names_share_nothing(redis_url: str) -> None:
    stores = [store_at(f"{redis_url}?name={name}") for name in ("a", "b")]
    for store in stores:
        assert held(store.apply(batch(1, HOLD, Look((0,))))) == 1
        store.close()
    address = parse_address(redis_url).nodes[0]
    keys = ask(address.port, "KEYS", "*")
    assert {key.split(b"}")[0] for key in keys} == {
        b"tidegate:ratelimit:v1:{a",
        b"tidegate:ratelimit:v1:{b",
    }
